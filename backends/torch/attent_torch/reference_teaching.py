"""The reference learner of `attent.reference`, with the same arguments, on PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import numpy.typing as npt
import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

import attent
from attent.errors import LearnerError
from attent.reference import SGD, AdamW, Architecture, Optimiser, Parameters
from attent.reference.examples import Examples, checked_examples
from attent_torch.learner import TorchLearner
from attent_torch.losses import per_example
from attent_torch.ranks import workers
from attent_torch.reference import ReferenceNetwork, by_task, reference_loss, task_losses, token_losses, token_mask

Array = npt.NDArray[Any]


def reference_learner(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    *,
    lengths: Array | None = None,
    held_out: tuple[Array, Array] | tuple[Array, Array, Array] | None = None,
    task_weights: tuple[float, ...] | None = None,
    optimiser: Optimiser | None = None,
    learning_rate: float | Callable[[int], float] = 1e-3,
    scoring_batch: int = 128,
    dtype: Literal["float64", "float32"] = "float64",
    device: str = "cpu",
) -> TorchLearner:
    """Return a learner that does what ``attent.reference.NumpyLearner`` of the same arguments does.

    Data and parameters are copied to ``device``. Raises LearnerError where they do not fit, or for an
    optimiser other than AdamW and SGD.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_torch import reference_learner
        >>> a = Architecture("classify", length=2, outputs=2, patch=1, width=8, heads=2)
        >>> inputs, targets = np.array([[[0.0], [0.0]], [[1.0], [1.0]]]), np.array([0, 1])
        >>> learner = reference_learner(a, initial_parameters(a, seed=0), inputs, targets)
        >>> learner.score(np.array([0, 1])).shape
        (2,)
    """
    if dtype not in ("float64", "float32"):
        raise LearnerError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    train = checked_examples(architecture, inputs, targets, lengths, dtype, "training", task_weights)
    model = ReferenceNetwork(architecture, parameters, getattr(torch, dtype)).to(device)
    rate = learning_rate if callable(learning_rate) else None
    optimizer = _optimizer(model, optimiser, 1.0 if callable(learning_rate) else learning_rate)
    by_name = None if task_weights is None else {str(task): w for task, w in enumerate(task_weights)}
    evaluate = None
    if held_out is not None:
        held_inputs, held_targets, *held_lengths = held_out
        tested = checked_examples(
            architecture,
            held_inputs,
            held_targets,
            held_lengths[0] if held_lengths else None,
            dtype,
            "held-out",
            task_weights,
        )
        evaluate = _evaluation(_on(tested, device), scoring_batch, by_name)
    return TorchLearner(
        model,
        _on(train, device),
        reference_loss if task_weights is None else task_losses,
        optimizer,
        None if rate is None else LambdaLR(optimizer, rate),
        task_weights=by_name,
        evaluate=evaluate,
        score_batch_size=scoring_batch,
    )


def reference_workers(rank: int, world: int, addresses: Sequence[str]) -> Callable[..., attent.Workers]:
    """Join a gloo group of so many processes, and return `reference_learner` for all of them together.

    addresses: ``"host:port"`` of each process; they meet at rank 0's.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://{addresses[0]}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )

    def together(*arguments: Any, **settings: Any) -> attent.Workers:
        return workers(reference_learner(*arguments, **settings))

    return together


def _on(examples: Examples, device: str) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(array, device=device) for array in examples if array is not None)


def _optimizer(model: nn.Module, optimiser: Optimiser | None, rate: float) -> Optimizer:
    settings = AdamW() if optimiser is None else optimiser
    if isinstance(settings, AdamW):
        return torch.optim.AdamW(
            model.parameters(),
            rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
    if isinstance(settings, SGD):
        return torch.optim.SGD(model.parameters(), rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    raise LearnerError(f"optimiser must be AdamW or SGD of attent.reference, got {settings!r}")


def _evaluation(
    data: tuple[torch.Tensor, ...], batch_size: int, task_weights: Mapping[str, float] | None
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return a function that gives {"accuracy", "loss"} for classes and {"loss", "accuracy"} for tokens.

    Both are means over examples for classes, and over all tokens that are not padding for tokens.
    """

    def evaluate(model: nn.Module) -> dict[str, float]:
        loss, correct, count = 0.0, 0.0, 0
        for inputs, targets, *rest in zip(*(torch.split(part, batch_size) for part in data), strict=True):
            lengths = rest[0] if rest else None
            logits = model(inputs, lengths)
            best = logits.argmax(-1)
            if task_weights is not None:
                losses = per_example(by_task(logits, targets), len(targets), task_weights)
                hits = (best[:, None] == targets).double().mean(1)
            elif targets.ndim == 1:
                losses, hits = F.cross_entropy(logits, targets, reduction="none"), best == targets
            else:
                mask = token_mask(targets, lengths)
                losses, hits = token_losses(logits, targets)[mask], (best == targets)[mask]
            loss += float(losses.double().sum())
            correct += float(hits.double().sum())
            count += len(losses)
        accuracy, loss = correct / count, loss / count
        if task_weights is not None or data[1].ndim == 1:
            return {"accuracy": accuracy, "loss": loss}
        return {"loss": loss, "accuracy": accuracy}

    return evaluate
