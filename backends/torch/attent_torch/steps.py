"""One optimiser step: gradients of the batch's objective, clipping, loss scaling, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from attent.errors import LearnerError
from attent_torch.schedule import Schedule


class Steps:
    """Turns per-example losses into optimiser steps.

    ``scaler`` scales the objective against underflow in float16; ``clip_norm`` caps the Euclidean norm of
    the whole gradient. The schedule steps once per optimiser step, also where the scaler skips an update
    that overflowed: its length is the plan's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        scaler: torch.amp.GradScaler | None,
        clip_norm: float | None,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = scaler
        self.clip_norm = clip_norm
        self.average: Callable[[Sequence[torch.Tensor]], None] | None = None  # gradients, over the ranks of a group
        self._schedule = None if scheduler is None else Schedule(scheduler)

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

    def update(self) -> None:
        """Take the step that the gradients call for, and clear them."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.average is not None:
            self.average(parameters)
        if self.clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self._schedule is not None:
            self._schedule.step()
        self.clear()
