"""What is not finite, in trainers that own their loop: steps that are left out, and weights that must not be kept."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from attent.errors import LearnerError
from attent_torch.buffers import Buffers
from attent_torch.sharded import own_part
from attent_torch.steps import not_finite
from attent_torch.trainers.workers import Workers


class Skipping:
    """Leaves a step out whose losses or gradient are not finite on any rank (rule P8), from a hook before it.

    Its gradients are taken away: a parameter without one is left alone by torch's optimisers, with its moments. What
    the forward wrote to buffers is put back. The host waits for one number a step.

    Example:
        >>> import torch
        >>> from attent_torch.trainers.skipping import Skipping
        >>> from attent_torch.trainers.workers import Workers
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer, skipping = torch.optim.AdamW(model.parameters()), Skipping(model, Workers.here())
        >>> skipping.forward()
        >>> losses = model(torch.tensor([[torch.nan]]))[:, 0]
        >>> losses.sum().backward()
        >>> skipping.leaves_out(optimizer, [losses.detach()])
        True
        >>> optimizer.step()
        >>> bool(torch.isfinite(model.weight).all())
        True
    """

    def __init__(self, model: nn.Module, workers: Workers) -> None:
        self._buffers, self._workers = Buffers(model), workers
        self._buffers.begin()

    def forward(self) -> None:
        """Keep what the forward passes of the step that comes next may write."""
        self._buffers.keep()

    def leaves_out(self, optimizer: Optimizer, losses: list[torch.Tensor], *, scaled: bool = False) -> bool:
        """Return whether the step must be left out, and see to it; every rank must call it.

        ``scaled``: a loss scaler looks at the gradients itself, skips what overflows and learns from it. Then only
        losses that are not finite count, whose gradients it skips.
        """
        self._buffers.settle()
        held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        found = not_finite([*losses, *([] if scaled else [p.grad for p in held if p.grad is not None])])
        if not self._workers.any(found):
            return False
        self._buffers.put_back(torch.ones(()))
        if not scaled:
            for p in held:
                p.grad = None
        return True


class Weights:
    """The parameters and buffers of a model that were finite at first, and must be so whenever they are kept (rule R6).

    Example:
        >>> import attent, torch
        >>> from attent_torch.trainers.skipping import Weights
        >>> from attent_torch.trainers.workers import Workers
        >>> model = torch.nn.Linear(1, 1)
        >>> weights = Weights(model, Workers.here())
        >>> _ = torch.nn.init.constant_(model.bias, torch.inf)
        >>> try:
        ...     weights.check("in pass 3")
        ... except attent.LearnerError as error:
        ...     print(str(error)[:44])
        'bias' of the model is not finite in pass 3.
    """

    def __init__(self, model: nn.Module, workers: Workers) -> None:
        self._model, self._workers = model, workers
        self._at_first = set(self._finite())

    def check(self, when: str) -> None:
        """Raise LearnerError naming one that is no longer finite; every rank must call it."""
        now = set(self._finite())
        lost = sorted(self._at_first - now)
        if self._workers.any(torch.tensor(float(bool(lost)))):
            named = f"{lost[0]!r} of the model" if lost else "the model on another rank"
            raise LearnerError(
                f"{named} is not finite {when}. Nothing of it is kept: checkpoints from before stay. Lower the "
                "learning rate, clip gradients, leave the examples out, or set non_finite='drop' in the plan (rule R6)"
            )

    def _finite(self) -> list[str]:
        held = {
            name: own_part(each.detach())
            for name, each in [*self._model.named_parameters(), *self._model.named_buffers()]
            if each.is_floating_point() and not each.is_meta
        }
        finite = {name: torch.isfinite(each).all() for name, each in held.items()}
        by_device: dict[torch.device, list[str]] = {}
        for name, each in finite.items():
            by_device.setdefault(each.device, []).append(name)
        return [
            name
            for names in by_device.values()
            for name, yes in zip(names, torch.stack([finite[name] for name in names]).tolist(), strict=True)
            if yes
        ]
