"""Checking what a learner is built from, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attent.errors import LearnerError


def check_settings(counts: Mapping[str, int], naturals: Mapping[str, int]) -> None:
    """Raise LearnerError naming the first setting that is impossible; counts start at 1, naturals at 0."""
    for values, least in ((counts, 1), (naturals, 0)):
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LearnerError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_optimizer(optimizer: Any) -> None:
    """Raise LearnerError unless ``optimizer`` has the two functions of an optax transformation."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise LearnerError(
            f"optimizer must be an optax GradientTransformation, such as optax.adamw(1e-3), got {optimizer!r:.200}"
        )
