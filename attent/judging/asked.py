"""Checks of what ``attent.judge`` is given: each returns the value, or names the argument, the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from attent.errors import PlanError


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number of at least ``least``. Raises PlanError for anything else.

    Example:
        >>> from attent.judging.asked import whole
        >>> whole("seeds", 5, 1)
        5
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def number(name: str, value: object, least: float, *, above: bool = False) -> float:
    """Return a finite number of at least ``least``, or above it. Raises PlanError for anything else.

    Example:
        >>> from attent.judging.asked import number
        >>> number("budget_seconds", 90, 0, above=True)
        90
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PlanError(f"{name} must be a finite number, got {value!r}")
    if value < least or (above and value == least):
        raise PlanError(f"{name} must be {'above' if above else 'at least'} {least}, got {value!r}")
    return value


def several(name: str, value: object, what: str) -> list[Any]:
    """Return the items of a list (or of anything but text that can be iterated). Raises PlanError for anything else.

    Example:
        >>> from attent.judging.asked import several
        >>> several("lengths", (0.5, 1), "[0.5, 1]")
        [0.5, 1]
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise PlanError(f"{name} must be a list such as {what}, got {value!r}")
    return list(value)


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> Any:
    """Return a value that must be one of a few. Raises PlanError for another.

    Example:
        >>> from attent.judging.asked import one_of
        >>> one_of("tuned", True, (True, False))
        True
    """
    if not any(value is one for one in allowed):
        raise PlanError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    return value


def grid_of(tuned: bool, tune: object, batch_sizes: object, batch_size_key: str) -> dict[str, list[Any]] | None:
    """Return the values to try by option, None where the recipe is tuned already; empty: the default grid.

    Raises PlanError for values that are no list, for an empty list, and where both are said.

    Example:
        >>> from attent.judging.asked import grid_of
        >>> grid_of(False, {"lr": [0.1, 0.2]}, None, "batch_size")
        {'lr': [0.1, 0.2]}
    """
    if tuned and (tune is not None or batch_sizes is not None):
        raise PlanError("tuned says that no grid is run, and tune or batch_sizes names one: give one or the other")
    if tuned:
        return None
    if tune is not None and not isinstance(tune, Mapping):
        raise PlanError(f"tune must be a table such as {{'learning_rate': [1e-3, 2e-3]}}, got {tune!r}")
    grid = {key: several(f"tune[{key!r}]", values, "[1e-3, 2e-3]") for key, values in (tune or {}).items()}
    if batch_sizes is not None:
        grid[batch_size_key] = [
            whole("batch_sizes", size, 1) for size in several("batch_sizes", batch_sizes, "[8, 16]")
        ]
    for key, values in grid.items():
        if not values:
            raise PlanError(f"the grid of {key} must have at least one value, got none")
    return grid
