"""What a trainer hands over: ids and losses as its framework has them, read by NumPy and checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from attent.errors import CourseError, ScoreError
from attent.learner import Ids, Numbers, is_floating


def read_ids(ids: Any, n: int) -> Ids:
    """Return ids as int64, shape (m,). Raises CourseError unless they are distinct whole numbers in [0, n).

    Example:
        >>> from attent.run.given_losses import read_ids
        >>> read_ids([3, 1], 4)
        array([3, 1])
    """
    try:
        found = np.asarray(ids)
    except Exception as error:  # each framework has its own
        raise CourseError(f"ids cannot be read by NumPy: {error}. Hand over whole numbers on the host") from error
    if isinstance(ids, np.ma.MaskedArray):
        raise CourseError("ids must be plain whole numbers, got a masked array: give those that are not masked")
    if found.size == 0 and found.ndim == 1:
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise CourseError(
            f"ids must be one-dimensional whole numbers, got {found.dtype} of shape {found.shape}: "
            "the ids of the batch, one per loss"
        )
    wrong = (found < 0) | (found >= n)
    if wrong.any():
        raise CourseError(f"there is no example {found[wrong][0]}: ids must be 0 <= id < {n}")
    found = found.astype(np.int64)
    values, counts = np.unique(found, return_counts=True)
    if len(values) < len(found):
        raise CourseError(f"id {values[counts > 1][0]} is there {counts.max()} times in one call: record each id once")
    return found


def read_losses(numbers: Any, count: int) -> Numbers:
    """Return numbers as float64, shape (count,), from any floating-point array that NumPy can read.

    bfloat16 and other short floats are taken by their name. Raises ScoreError for another dtype or shape.

    Example:
        >>> import numpy as np
        >>> from attent.run.given_losses import read_losses
        >>> read_losses(np.float16([0.5, 2]), 2)
        array([0.5, 2. ])
    """
    try:
        found = np.asarray(numbers)
    except Exception as error:  # each framework has its own
        raise ScoreError(
            f"the losses cannot be read by NumPy: {error}. Hand over a copy on the host, detached from the "
            "gradient, in float32 or float64"
        ) from error
    if isinstance(numbers, np.ma.MaskedArray):
        raise ScoreError(
            "losses must be plain numbers, got a masked array, whose hidden entries would count as they are: record "
            "the ids and losses of the entries that are not masked"
        )
    if found.shape != (count,):
        raise ScoreError(
            f"one loss per id must be recorded, shape ({count},), got shape {found.shape}"
            + (
                ": a mean says nothing about an example, compute the loss without its reduction"
                if not found.ndim
                else ""
            )
        )
    if count == 0:
        return np.empty(0)
    if not is_floating(found.dtype):
        raise ScoreError(f"losses must be real floating-point numbers, got {found.dtype}")
    return found.astype(np.float64)
