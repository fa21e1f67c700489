"""Batches of similar length, as Trainer's ``group_by_length`` makes them, by the plan's ``bucket`` (rule T14)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from attent.errors import LearnerError
from attent.learner import Numbers
from attent.plan.plan import Plan

GROUPED = "group_by_length"
_MOST, _FEWEST = 50, 2  # batches of a bucket; Trainer sorts up to 50 at once, and at most a quarter of the data


def bucketed(plan: Plan, strategy: str, n: int) -> Plan:
    """Return the plan with a ``bucket`` where Trainer is told to group by length and the plan does not say how.

    Example:
        >>> import attent
        >>> from attent_torch.trainers.transformers_lengths import bucketed
        >>> plan = attent.Plan.full(epochs=3, batch_size=10)
        >>> [bucketed(plan, strategy, 400).bucket for strategy in ("random", "group_by_length")]
        [None, 10]
    """
    if strategy != GROUPED or plan.bucket is not None:
        return plan
    return dataclasses.replace(plan, bucket=max(_FEWEST, min(_MOST, n // (4 * plan.batch_size))))


def lengths_of(data: Any, column: str, name: str) -> Numbers:
    """Return each example's length, float64, shape (len(data),), at least 1: a column, or how long the input is.

    column: of lengths, taken where the data set has it. name: of the model's input, whose length is told otherwise.
    Raises LearnerError where neither is there.

    Example:
        >>> from attent_torch.trainers.transformers_lengths import lengths_of
        >>> lengths_of([{"input_ids": [1, 2, 3]}, {"input_ids": []}], "length", "input_ids").tolist()
        [3.0, 1.0]
    """
    columns = getattr(data, "column_names", None)
    try:
        if columns is not None and column in columns:
            found = np.asarray(data[column], np.float64)
        else:
            found = np.array([len(each) for each in _inputs(data, columns, name)], np.float64)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        known = f"the columns {', '.join(columns)}" if columns is not None else f"items of {type(data).__name__}"
        raise LearnerError(
            f"batches of similar length are asked for, and the data tell no lengths: {known} have neither {column!r} "
            f"nor a sequence {name!r}. Give costs=, the length of each example: a column of train_dataset or an array"
        ) from error
    return np.maximum(1.0, found)


def _inputs(data: Any, columns: Any, name: str) -> Any:
    if columns is not None:
        return data[name]
    first = data[0]
    if not isinstance(first, Mapping):
        raise TypeError(f"items are of {type(first).__name__}")
    return (data[place][name] for place in range(len(data)))
