"""Checking the ids and weights of a whole call, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attent.errors import LearnerError
from attent.learner import Ids, Numbers


def check_ids(ids: Ids, n: int, name: str) -> None:
    """Raise LearnerError unless ``ids`` is a one-dimensional int64 array with 0 <= id < n."""
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        raise LearnerError(f"{name} must be a one-dimensional int64 array of example ids, got {_described(ids)}")
    wrong = (ids < 0) | (ids >= n)
    if wrong.any():
        raise LearnerError(f"{name} names example {ids[wrong][0]}; ids must be 0 <= id < {n}")


def check_batches(batches: Sequence[Ids], n: int) -> None:
    """Raise LearnerError naming the first batch that is empty or holds a wrong id."""
    for index, batch in enumerate(batches):
        check_ids(batch, n, f"batches[{index}]")
        if not len(batch):
            raise LearnerError(f"batches[{index}] is empty; an optimiser step needs at least 1 example")


def check_weights(weights: Sequence[Numbers], batches: Sequence[Ids]) -> None:
    """Raise LearnerError unless ``weights`` holds one finite float64 array per batch, of the batch's shape."""
    if len(weights) != len(batches):
        raise LearnerError(f"weights must hold one array per batch, {len(batches)}, got {len(weights)}")
    for index, (values, batch) in enumerate(zip(weights, batches, strict=True)):
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != batch.shape:
            raise LearnerError(
                f"weights[{index}] must be a float64 array of its batch's shape ({len(batch)},), "
                f"got {_described(values)}"
            )
        finite = np.isfinite(values)
        if not finite.all():
            example = batch[~finite][0]
            raise LearnerError(f"weights[{index}] must be finite, got {values[~finite][0]} for example {example}")


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
