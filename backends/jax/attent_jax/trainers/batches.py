"""Batches by ids: from arrays, from a function of ids, or the ids themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from attent import checks
from attent.errors import LearnerError, PlanError
from attent.learner import Ids


def fetcher(data: Any, n: int | None = None) -> tuple[Callable[[Ids], Any], int]:
    """Return a function of ids that gives a batch, and the number of examples; see `attent_jax.Teacher`.

    Raises PlanError for what cannot be indexed by examples.

    Example:
        >>> import numpy as np
        >>> from attent_jax.trainers.batches import fetcher
        >>> fetch, n = fetcher({"x": np.arange(3) * 10})
        >>> n, fetch(np.array([2, 0]))
        (3, {'x': array([20,  0])})
    """
    if callable(data):
        if n is None:
            raise PlanError("a function of ids does not tell how many examples there are: give n=, got None")
        return lambda ids: _fetched(data, ids), checks.whole("n", n, 1)
    if n is not None:
        raise PlanError("n is for a function of ids; arrays tell their own length")
    data, n = _read(data)
    if data is None:
        return lambda ids: ids, n
    if isinstance(data, dict):
        return lambda ids: {name: each[ids] for name, each in data.items()}, n
    return lambda ids: tuple(each[ids] for each in data), n


def _fetched(fetch: Callable[[Ids], Any], ids: Ids) -> Any:
    """Return a user's batch of ids, a list as a tuple. Raises LearnerError naming an example that fails."""
    try:
        batch = fetch(ids)
    except Exception as error:
        raise LearnerError(_failed(fetch, ids, error)) from error
    lengths = {np.shape(each)[:1] for each in jax.tree.leaves(batch)}
    if lengths != {(len(ids),)}:
        got = sorted(length[0] if length else 0 for length in lengths)
        raise LearnerError(f"the function of ids was asked for {len(ids)} examples, its arrays have {got}")
    if isinstance(batch, dict) and "weights" in batch:
        raise LearnerError('the batch has "weights", which is what it calls the plan\'s: give them another name')
    return tuple(batch) if isinstance(batch, list) else batch


def _failed(fetch: Callable[[Ids], Any], ids: Ids, error: Exception) -> str:
    for each in ids:
        try:
            fetch(np.array([each]))
        except Exception as own:
            return f"example {each} cannot be fetched: {type(own).__name__}: {own}"
    return f"examples {ids.tolist()} cannot be fetched at once: {type(error).__name__}: {error}"


def _read(data: Any) -> tuple[Any, int]:
    """Return a dict or tuple of arrays, or None, and the number of examples. Raises PlanError for anything else."""
    if isinstance(data, int) and not isinstance(data, bool):
        return None, data
    parts = data if isinstance(data, dict) else dict(enumerate(data)) if isinstance(data, tuple) else {}
    if not parts:
        raise PlanError(
            "data must be a dict or tuple of arrays whose first axis numbers the examples, a function of ids with n=, "
            f"or the number of examples, got {type(data).__qualname__}"
        )
    for name, part in parts.items():
        if not hasattr(part, "shape") or not np.ndim(part):
            raise PlanError(
                f"data[{name!r}] is a {type(part).__qualname__}, and an array is wanted whose first axis numbers the "
                "examples: numpy.asarray makes one of a list of numbers. For anything else give a function "
                "of ids that returns a batch, and n="
            )
        if np.dtype(part.dtype).kind in "OSUM":
            raise PlanError(
                f"data[{name!r}] has dtype {part.dtype}, which no jitted step takes: leave it out, or give a function "
                "of ids that returns a batch, and n="
            )
    lengths = {np.shape(part)[0] for part in parts.values()}
    if len(lengths) > 1:
        raise PlanError(f"the arrays of data differ in their number of examples: {sorted(lengths)}")
    if isinstance(data, dict) and "weights" in data:
        raise PlanError('data has "weights", which is what a batch calls the plan\'s: give them another name')
    return data, lengths.pop()
