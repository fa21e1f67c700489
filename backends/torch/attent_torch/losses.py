"""Per-example losses: what a loss function may return, and how its numbers reach the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.errors import LearnerError
from attent.learner import Numbers


def cross_entropy(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the cross-entropy of each example of a batch ``(inputs, labels)``: shape (B,), in nats.

    ``model(inputs)`` gives logits (B, classes); labels are class numbers (B,) or probabilities (B, classes).

    Example:
        >>> import torch
        >>> from attent_torch import cross_entropy
        >>> cross_entropy(torch.nn.Identity(), (torch.zeros(2, 3), torch.tensor([0, 1])))
        tensor([1.0986, 1.0986])
    """
    inputs, labels = batch
    return F.cross_entropy(model(inputs), labels, reduction="none")


def token_mean(losses: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return each example's mean loss over its valid tokens: shape (B,).

    ``losses``: shape (B, T). ``mask``: shape (B, T), bool or 0/1, true where a token counts. Padding has no
    influence, not even a NaN in it; an example without valid tokens gets 0. float16 and bfloat16 are averaged
    in float32. Raises LearnerError where the shapes differ.

    Example:
        >>> import torch
        >>> from attent_torch import token_mean
        >>> token_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
        [2.0]
    """
    if losses.ndim != 2 or mask.shape != losses.shape:
        raise LearnerError(
            "token_mean takes losses and mask of one shape (examples, tokens), "
            f"got losses {tuple(losses.shape)} and mask {tuple(mask.shape)}"
        )
    valid = mask.to(torch.bool)
    return torch.where(valid, _widened(losses), 0.0).sum(1) / valid.sum(1).clamp(min=1)


def per_example(output: Any, count: int, task_weights: Mapping[str, float] | None) -> torch.Tensor:
    """Return the loss of each of ``count`` examples, the tasks' weighted sum where there are several: (count,).

    Raises LearnerError for anything else than one floating-point number per example (and task).
    """
    if isinstance(output, torch.Tensor):
        if task_weights is not None:
            raise LearnerError(
                f"task_weights names {_names(task_weights)}, but the loss returned one tensor; "
                "return a dict of tensors by task, or leave task_weights out"
            )
        return _checked(output, count, "the loss")
    if not isinstance(output, Mapping) or not output:
        raise LearnerError(
            f"the loss must return a tensor of shape ({count},) or a dict of them by task, got {output!r:.200}"
        )
    weights = dict.fromkeys(output, 1.0) if task_weights is None else task_weights
    if set(weights) != set(output):
        raise LearnerError(f"task_weights names {_names(weights)}, but the loss returned {_names(output)}")
    first, *others = (weights[task] * _checked(output[task], count, f"loss[{task!r}]") for task in weights)
    return sum(others, start=first)


def _checked(losses: Any, count: int, name: str) -> torch.Tensor:
    if not isinstance(losses, torch.Tensor):
        raise LearnerError(f"{name} must be a tensor of shape ({count},), got {losses!r:.200}")
    if losses.shape != (count,):
        advice = "its shape must be that of the ids asked for"
        if losses.ndim == 0:
            advice = 'build the criterion with reduction="none"'
        elif losses.ndim > 1 and losses.shape[0] == count:
            advice = "reduce each example to one number, for tokens with attent_torch.token_mean"
        raise LearnerError(
            f"{name} must be one number per example, shape ({count},), got shape {tuple(losses.shape)}; {advice}"
        )
    if not losses.is_floating_point():
        raise LearnerError(f"{name} must be of a floating-point dtype, got {losses.dtype}")
    return _widened(losses)


def _widened(losses: torch.Tensor) -> torch.Tensor:
    """Return 16-bit losses as float32: sums over a batch in 16 bits lose what tells examples apart."""
    return losses if losses.dtype in (torch.float32, torch.float64) else losses.float()


def _names(tasks: Mapping[str, Any]) -> str:
    return ", ".join(repr(task) for task in tasks)


class LossRecord:
    """The losses of one call, kept on the device until `fetch` brings them over in one transfer.

    They are copied into one tensor at once: a loss that is a view would keep a batch's logits alive.

    Example:
        >>> import torch
        >>> from attent_torch.losses import LossRecord
        >>> record = LossRecord(3)
        >>> record.add(torch.tensor([1.0, 2.0])), record.add(torch.tensor([4.0]))
        (None, None)
        >>> record.fetch().tolist()
        [1.0, 2.0, 4.0]
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._filled = 0
        self._losses: torch.Tensor | None = None

    def add(self, losses: torch.Tensor) -> None:
        """Append losses of shape (B,)."""
        if self._losses is None:
            self._losses = torch.empty(self._count, dtype=losses.dtype, device=losses.device)
        start, self._filled = self._filled, self._filled + len(losses)
        self._losses[start : self._filled] = losses.detach()

    def last(self, count: int) -> torch.Tensor:
        """Return the last ``count`` losses, on the device."""
        assert self._losses is not None
        return self._losses[self._filled - count : self._filled]

    def fetch(self) -> Numbers:
        """Return all losses: float64, shape (count,)."""
        if self._losses is None:
            return np.empty(0)
        return self._losses.cpu().to(torch.float64).numpy()
