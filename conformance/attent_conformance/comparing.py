"""Comparing numbers and states, and saying where they first differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.learner import Ids, Numbers, State
from attent_conformance.failures import CheckFailed


def relative_error(found: Numbers, expected: Numbers) -> float:
    """Return the largest |found - expected| / |expected|, infinite where found is not finite.

    Example:
        >>> import numpy as np
        >>> relative_error(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
        1.0
    """
    if len(found) == 0:
        return 0.0
    errors = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-300)
    return float(np.where(np.isfinite(errors), errors, np.inf).max())


def require_close(rule: str, found: Numbers, expected: Numbers, ids: Ids, tolerance: float, where: str) -> float:
    """Return the relative error. Raises CheckFailed naming the worst ids where it exceeds ``tolerance``."""
    if found.shape != expected.shape:
        raise CheckFailed(rule, f"shape {found.shape}", f"shape {expected.shape}", where)
    error = relative_error(found, expected)
    if error > tolerance:
        distance = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-300)
        worst = np.argsort(-np.where(np.isnan(distance), np.inf, distance), kind="stable")[:3]
        told = "; ".join(f"id {ids[i]}: {float(found[i])!r} against {float(expected[i])!r}" for i in worst)
        raise CheckFailed(
            rule, f"relative error {error:.2e}", f"at most {tolerance:.0e}", f"{where}; {told} (got against expected)"
        )
    return error


def require_same_state(rule: str, found: State, expected: State, where: str) -> None:
    """Raise CheckFailed naming the first array that differs in a bit."""
    name = different_array(found, expected)
    if name is not None:
        raise CheckFailed(rule, f"state()[{name!r}] changed", "a state equal bit for bit", where)


def different_array(one: Mapping[str, npt.NDArray[Any]], two: Mapping[str, npt.NDArray[Any]]) -> str | None:
    """Return the name of the first array that is missing on a side or differs in dtype, shape or a bit.

    Example:
        >>> import numpy as np
        >>> different_array({"a": np.zeros(2)}, {"a": np.array([0.0, 1.0])})
        'a'
    """
    for name in [*one, *(name for name in two if name not in one)]:
        if name not in one or name not in two:
            return name
        a, b = np.asarray(one[name]), np.asarray(two[name])
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            return name
    return None


def copied(state: Mapping[str, npt.NDArray[Any]]) -> State:
    """Return a state with every array copied, so that later changes of a live one show."""
    return {name: np.array(array) for name, array in state.items()}
