"""How many steps an optimiser takes, where something else may leave some out: a loss scaler, or a loop of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class Taken:
    """Counts the steps that an optimiser takes, by a hook after each. Nobody waits for the device.

    A loss scaler does not call the optimiser where a gradient overflowed; a fused one it calls, and tells so by
    ``found_inf``, on the device. Neither is a step taken.

    Example:
        >>> import torch
        >>> from attent_torch.taken import Taken
        >>> weight = torch.ones(1, requires_grad=True)
        >>> optimizer, scaler = torch.optim.SGD([weight], 0.1), torch.amp.GradScaler("cpu")
        >>> taken = Taken(optimizer)
        >>> for factor in (1.0, torch.inf):
        ...     scaler.scale(factor * weight.sum()).backward()
        ...     _ = scaler.step(optimizer)
        ...     scaler.update()
        ...     optimizer.zero_grad()
        >>> taken.since(), taken.since()
        (1, 0)
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._count: int | torch.Tensor = 0
        optimizer.register_step_post_hook(self._after)

    def since(self) -> int | torch.Tensor:
        """Return how many they are since it was asked last; a tensor of one number where the device has decided."""
        count, self._count = self._count, 0
        return count

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        found = getattr(optimizer, "found_inf", None)
        self._count = self._count + (1 if found is None else (found.detach() == 0).sum())
