"""Checking what a learner is built from, before anything is spent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from attent.errors import LearnerError


def check_settings(counts: Mapping[str, int], naturals: Mapping[str, int], clip_norm: float | None) -> None:
    """Raise LearnerError naming the first setting that is impossible; counts start at 1, naturals at 0."""
    for values, least in ((counts, 1), (naturals, 0)):
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LearnerError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise LearnerError(f"clip_norm must be above 0, got {clip_norm}")


def check_model(model: Any) -> None:
    """Raise LearnerError unless the model can be called and tells its variables."""
    if not callable(model) and not hasattr(model, "trainable_variables"):
        raise LearnerError(
            "model must have trainable_variables and variables, as tf.Module and Keras models do, "
            f"got {type(model).__qualname__}"
        )
    for name in ("trainable_variables", "variables"):
        if not hasattr(model, name):
            raise LearnerError(f"model must have {name}, as tf.Module and Keras models do; {_named(model)} has none")


def check_optimizer(optimizer: Any, learning_rate: Callable[[int], float] | None) -> None:
    """Raise LearnerError unless the optimiser can be stepped, and take the learning rates that are meant for it."""
    if isinstance(optimizer, type):
        raise LearnerError(
            f"optimizer must be built, such as {optimizer.__name__}(1e-3), got the class {optimizer.__name__}"
        )
    for name in ("apply", "variables"):
        if not hasattr(optimizer, name):
            raise LearnerError(
                f"optimizer must have apply(gradients, variables) and variables, as Keras' have; {_named(optimizer)} "
                f"has no {name}"
            )
    if learning_rate is None:
        return
    if not callable(learning_rate):
        raise LearnerError(
            f"learning_rate must be a function of the steps already taken, got {learning_rate!r}; "
            "a constant belongs to the optimizer"
        )
    if not hasattr(getattr(optimizer, "learning_rate", None), "assign"):
        raise LearnerError("learning_rate is given twice: the optimizer has a schedule of its own; leave one out")


def takes_seed(loss: Callable[..., Any]) -> bool:
    """Say whether the loss has a parameter named ``seed``."""
    try:
        return "seed" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return False


def _named(value: Any) -> str:
    return type(value).__qualname__
