"""Checking what a learner is built from, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from attent.errors import LearnerError

_CASTS = (torch.bfloat16, torch.float16, torch.float32)


def check_settings(
    counts: Mapping[str, int],
    naturals: Mapping[str, int],
    casts: Mapping[str, torch.dtype | None],
    clip_norm: float | None,
) -> None:
    """Raise LearnerError naming the first setting that is impossible; counts start at 1, naturals at 0."""
    for values, least in ((counts, 1), (naturals, 0)):
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LearnerError(f"{name} must be a whole number of at least {least}, got {value!r}")
    for name, cast in casts.items():
        if cast is not None and cast not in _CASTS:
            raise LearnerError(f"{name} must be {', '.join(map(str, _CASTS))} or None, got {cast!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise LearnerError(f"clip_norm must be above 0, got {clip_norm}")


def check_alone(model: nn.Module) -> None:
    """Raise LearnerError for a model that averages gradients with other processes, each of which would train all."""
    kind = type(model).__name__
    together = kind == "DistributedDataParallel" or kind.startswith(("FSDP", "FullyShardedDataParallel"))
    if together and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise LearnerError(
            f"the model is a {kind} over {torch.distributed.get_world_size()} processes, and a learner alone trains "
            "every example in its own: give attent.teach the learners of all, attent_torch.workers(learner); or use "
            "attent_torch.Teacher in a loop of your own"
        )


def check_loss(loss: Any) -> None:
    """Raise LearnerError for one of torch's own criteria: what it says of a model as its argument helps nobody."""
    if getattr(loss, "__module__", None) in ("torch.nn.modules.loss", "torch.nn.functional"):
        named = getattr(loss, "__name__", None) or repr(loss)
        raise LearnerError(
            f"loss must take (model, batch) and return one loss per example, got torch's {named}, which takes outputs "
            "and targets: give attent_torch.cross_entropy, or call it in a function of your own, with "
            'reduction="none"'
        )


def check_scheduler(scheduler: Any) -> None:
    """Raise LearnerError unless it is one of torch's learning-rate schedulers, or tells its steps as those do."""
    if not isinstance(scheduler, LRScheduler) and (isinstance(scheduler, type) or not hasattr(scheduler, "last_epoch")):
        raise LearnerError(
            "scheduler must be one of torch.optim.lr_scheduler's, built on the optimizer, such as "
            f"CosineAnnealingLR(optimizer, plan.total_steps(n)), got {_named(scheduler)}"
        )


def check_optimizer(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Raise LearnerError where model, optimiser and schedule do not belong together, or cannot be stepped."""
    if not isinstance(model, nn.Module):
        raise LearnerError(f"model must be a torch.nn.Module, built, got {_named(model)}")
    if isinstance(optimizer, type) or not hasattr(optimizer, "param_groups"):
        raise LearnerError(
            "optimizer must be one of torch's, built on the model's parameters, such as "
            f"torch.optim.AdamW(model.parameters(), lr=1e-3), got {_named(optimizer)}"
        )
    if scheduler is not None:
        check_scheduler(scheduler)
    if isinstance(optimizer, LBFGS):
        raise LearnerError("optimizer must not need a closure: LBFGS takes several forwards per step")
    if isinstance(scheduler, ReduceLROnPlateau):
        raise LearnerError("scheduler must depend on the step only: ReduceLROnPlateau waits for a metric")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise LearnerError("scheduler belongs to another optimizer; build it on the one given to the learner")
    own = {id(parameter) for parameter in model.parameters()}
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    if own and own.isdisjoint(held):
        raise LearnerError("optimizer holds no parameter of the model; build it on model.parameters()")


def _named(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.100}"
