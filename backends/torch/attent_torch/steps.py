"""One optimiser step: gradients of the batch's objective, clipping, loss scaling, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from attent.errors import LearnerError
from attent_torch.buffers import Buffers
from attent_torch.schedule import Schedule
from attent_torch.sharded import own_part
from attent_torch.taken import Taken


class Steps:
    """Turns per-example losses into optimiser steps.

    ``scaler`` scales the objective against underflow in float16; ``clip_norm`` caps the Euclidean norm of
    the whole gradient. The schedule steps once per optimiser step, also where the step was skipped: its length is the
    plan's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        scaler: torch.amp.GradScaler | None,
        clip_norm: float | None,
        buffers: Buffers,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = scaler
        self.clip_norm = clip_norm
        # Over the ranks of a group: averages gradients, and makes whether a step is skipped one decision.
        self.average: Callable[[Sequence[torch.Tensor]], None] | None = None
        self.agree: Callable[[torch.Tensor], torch.Tensor] = lambda found: found
        self.buffers = buffers
        self._schedule = None if scheduler is None else Schedule(scheduler)
        self._skipped: int | torch.Tensor = 0
        self._taken = None if scaler is None else Taken(optimizer)

    @property
    def skipped(self) -> int:
        """The steps that changed nothing, as a loss or the gradient was not finite."""
        return int(self._skipped)

    def check(self, steps: int) -> None:
        """Warn, or raise LearnerError, where the schedule ends before so many further steps."""
        if self._schedule is not None:
            self._schedule.check(steps)

    def clear(self) -> None:
        """Forget gradients, also those of someone else."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, losses: torch.Tensor, weights: torch.Tensor | None, count: int) -> None:
        """Add the gradient of ``sum(weights * losses) / count``; ``count`` is the size of the whole batch.

        Raises LearnerError if the losses do not depend on anything that is trained.
        """
        if not losses.requires_grad:
            raise LearnerError(
                "the loss has no gradient: it must be computed from the model's output by torch operations, "
                "without detach, no_grad or NumPy, and the model must have a parameter that requires a gradient"
            )
        # The objective's gradient by each loss is known; to start from it spares the sum and its backward.
        if weights is None:
            gradient = torch.full_like(losses, 1.0 / count, requires_grad=False)
        else:
            gradient = weights.to(losses) * (1.0 / count)
        if self.scaler is not None:
            losses = self.scaler.scale(losses)
        losses.backward(gradient)  # type: ignore[no-untyped-call]

    def update(self, losses: torch.Tensor) -> None:
        """Take the step that the gradients call for, and clear them; skip it where it is not finite (rule P8).

        losses: those of the whole batch, detached. A step that is skipped changes no parameter, moment or buffer.
        """
        self.buffers.settle()
        if self.average is not None:
            self.average([p for group in self.optimizer.param_groups for p in group["params"]])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.scaler is not None:
            self._update_scaled(losses, parameters)
        else:
            seen = [losses]
            if self.clip_norm is not None:
                seen.append(torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm))
            found = self.agree(not_finite([*seen, *(p.grad for p in parameters if p.grad is not None)]))
            if _skips_by_itself(self.optimizer):
                # The kernels of a fused optimiser look at this number on the device: nobody waits for it.
                self.optimizer.found_inf, self.optimizer.grad_scale = found, None  # type: ignore[attr-defined]
                self.optimizer.step()
                del self.optimizer.found_inf, self.optimizer.grad_scale  # type: ignore[attr-defined]
                self.buffers.put_back(found)
                self._skipped = self._skipped + found.detach()
            elif bool(found):
                self._skip(found)
            else:
                self.optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        self.clear()

    def _update_scaled(self, losses: torch.Tensor, parameters: Sequence[torch.Tensor]) -> None:
        assert self.scaler is not None
        assert self._taken is not None
        # The scaler skips what overflowed, and learns from it: only losses that are not finite are kept from it.
        found = self.agree(not_finite([losses]))
        if bool(found):
            self._skip(found)
            return
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        left_out = 1 - self._taken.since()
        if isinstance(left_out, torch.Tensor):  # by a fused optimiser, on the device
            self.buffers.put_back(left_out)
            self._skipped = self._skipped + left_out
        elif left_out:
            self._skip(torch.ones(()))

    def _skip(self, found: torch.Tensor) -> None:
        self.buffers.put_back(found)
        self._skipped = self._skipped + 1
        if self.scheduler is not None:
            self.optimizer._opt_called = True  # type: ignore[attr-defined] # else the schedule warns of its order


def not_finite(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return 1 if a number of any tensor is NaN or infinite, else 0: float32, shape (), on the first one's device.

    By the kernel of torch's loss scaling, which reads all tensors of a device at once, and here multiplies them by 1.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        values = tensor._values() if tensor.is_sparse else own_part(tensor)
        groups.setdefault((values.device, values.dtype), []).append(values)
    found = {device: torch.zeros((), device=device) for device, _ in groups}
    for (device, _), group in groups.items():
        torch._amp_foreach_non_finite_check_and_unscale_(group, found[device], torch.ones((), device=device))
    first = found.pop(tensors[0].device)
    for other in found.values():
        first = torch.maximum(first, other.to(first.device))
    return first


def _skips_by_itself(optimizer: Optimizer) -> bool:
    """Say whether the optimiser takes ``found_inf``, and has stepped: at its first step some leave moments unset."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and bool(getattr(optimizer, "_step_supports_amp_scaling", False)) and len(optimizer.state) > 0
