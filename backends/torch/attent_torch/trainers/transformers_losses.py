"""The loss of each example from what a model returned in training: what the plan ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss

from attent.errors import LearnerError


def shifts(model: Any) -> bool:
    """Return whether the model's loss compares each position with the next label, as causal language models do."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return LOSS_MAPPING.get(getattr(base, "loss_type", None)) is ForCausalLMLoss


class CausalLoss:
    """Stands in place of a causal language model's own loss for a step, and keeps each example's part of it.

    The loss of a large vocabulary is a large part of a small model's forward: here it is computed once, not twice.
    """

    def __init__(self) -> None:
        self.each: torch.Tensor | None = None  # (B,), the sums over tokens, of the first forward

    def __call__(
        self, logits: torch.Tensor, labels: Any, vocab_size: int, num_items_in_batch: Any = None,
        ignore_index: int = -100, shift_labels: torch.Tensor | None = None, **kwargs: Any,
    ) -> torch.Tensor:  # fmt: skip
        """Return what transformers' ForCausalLMLoss does."""
        if shift_labels is None:
            shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
        targets = shift_labels.to(logits.device)
        losses = F.cross_entropy(
            logits.float().reshape(-1, vocab_size), targets.reshape(-1), ignore_index=ignore_index, reduction="none"
        )
        each = losses.reshape(len(targets), -1).sum(1)
        if self.each is None and torch.is_grad_enabled():
            self.each = each
        return each.sum() / ((targets != ignore_index).sum() if num_items_in_batch is None else num_items_in_batch)


@contextmanager
def causal_loss(model: Any, wanted: bool) -> Iterator[CausalLoss]:
    """Within this context the model computes its loss by a `CausalLoss`, if it is such a model's usual one."""
    own, base = CausalLoss(), model.get_base_model() if hasattr(model, "get_base_model") else model
    if not wanted or not shifts(base) or hasattr(base, "_loss_function"):
        yield own
        return
    base.loss_function = own
    try:
        yield own
    finally:
        del base._loss_function


def losses_of(
    outputs: Any, inputs: Mapping[str, Any], shift: bool, loss_type: str = "nll"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each example's loss summed over its labels, and how many those are, from a model's outputs.

    ``log_probs`` of the labels are taken where TRL gives them in place of logits. Raises LearnerError where there is
    neither.
    """
    named = outputs if isinstance(outputs, Mapping) else {}
    if named.get("log_probs") is not None:
        losses = -outputs["log_probs"]
        if loss_type == "dft":
            losses = losses * outputs["log_probs"].exp()
        return losses.sum(1), outputs["label_mask"].sum(1)
    if named.get("logits") is not None and torch.is_tensor(inputs.get("labels")):
        return summed_losses(named, inputs["labels"], shift)
    if named.get("start_logits") is not None and torch.is_tensor(inputs.get("end_positions")):
        return _span_losses(named, inputs)
    had = ", ".join(named) or type(outputs).__name__
    raise LearnerError(
        f"the model returned {had} for inputs {', '.join(inputs)}: logits and labels are needed to tell the loss of "
        "each example; a mean loss does not tell it. Give per_example_loss, a function of the model's outputs and "
        "inputs that returns one loss per example, shape (B,)"
    )


def summed_losses(outputs: Mapping[str, Any], labels: torch.Tensor, shift: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each example's loss summed over its labels, and how many labels those are: two tensors (B,).

    From logits (B, classes) and class numbers (B,), or numbers (B, 1) or (B,) to regress, or (B, classes) of 0 and 1;
    or from logits (B, T, classes) and labels (B, T), -100 where a token does not count, one token on where ``shift``.
    Raises LearnerError for another shape.

    Example:
        >>> import torch
        >>> from attent_torch.trainers.transformers_losses import summed_losses
        >>> outputs = {"logits": torch.zeros(1, 3, 2)}
        >>> losses, counts = summed_losses(outputs, torch.tensor([[0, 1, -100]]), shift=True)
        >>> round(losses.item(), 4), counts.item()  # position 0 predicts the 1
        (0.6931, 1)
    """
    logits, ones = outputs["logits"], torch.ones(len(labels), dtype=torch.int64, device=labels.device)
    if logits.ndim == 3 and labels.shape == logits.shape[:2] and not labels.is_floating_point():
        if shift:
            logits, labels = logits[:, :-1], labels[:, 1:]
        # One example at a time: in float32 the logits of a whole batch can be most of a GPU's memory.
        sums = [
            F.cross_entropy(_wide(row), target, reduction="sum") for row, target in zip(logits, labels, strict=True)
        ]
        return torch.stack(sums), (labels != -100).sum(1)
    logits = _wide(logits)
    if logits.ndim == 2 and logits.shape[1] == 1 and labels.numel() == len(logits):
        return (logits[:, 0] - labels.reshape(-1)).square(), ones
    if logits.ndim == 2 and labels.shape == logits.shape[:1] and not labels.is_floating_point():
        return F.cross_entropy(logits, labels, reduction="none"), ones
    if logits.ndim == 2 and labels.shape == logits.shape:
        each = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return each.mean(1), ones
    raise LearnerError(
        f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} are of no task whose losses are known here: "
        "give per_example_loss, a function of the model's outputs and inputs that returns one loss per example"
    )


def _span_losses(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of answers as spans: the mean of both ends' cross-entropy; an end beyond the text has none."""
    each = []
    for end in ("start", "end"):
        logits, places = _wide(outputs[f"{end}_logits"]), inputs[f"{end}_positions"].reshape(-1)
        beyond = logits.shape[1]
        each.append(F.cross_entropy(logits, places.clamp(0, beyond), ignore_index=beyond, reduction="none"))
    return (each[0] + each[1]) / 2, torch.ones_like(inputs["start_positions"].reshape(-1))


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
