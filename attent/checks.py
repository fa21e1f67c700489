"""Checks of what is given: each returns the value as Python's own, or names the thing, the rule and the value.

For all distributions: ``error`` is the class to raise. Every error carries the name as ``field`` and the rest as
``rule``, so that whoever shows it may call the thing by another name.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from attent.errors import AttentError, PlanError

FINITE = sys.float_info.max
"""The upper end for a number that may be anything finite."""
_LARGEST = 2**63 - 1  # of whole numbers that have no other limit: what a run's files can hold
_BITS = 64  # more are no number that anything here can mean, and are not shown
_LETTERS = 200
T = TypeVar("T")


def whole(
    name: str, value: object, least: int, most: int | None = None, *, error: type[AttentError] = PlanError
) -> int:
    """Return a whole number from ``least`` to ``most`` (None: below 2**63), NumPy's as Python's. Booleans are none.

    Raises ``error`` for anything else.

    Example:
        >>> from attent.checks import whole
        >>> whole("seeds", 5, 1)
        5
    """
    rule = f"of at least {least}" if most is None else f"in [{least}, {most}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise error(f"must be a whole number {rule}, got {shown(value)}", field=name)
    found = int(value)
    if most is None and found > _LARGEST:
        raise error(f"must be below 2**63, got {shown(found)}", field=name)
    if found < least or (most is not None and found > most):
        raise error(f"must be a whole number {rule}, got {shown(found)}", field=name)
    return found


def number(
    name: str,
    value: object,
    low: float,
    high: float,
    *,
    open_below: bool = False,
    error: type[AttentError] = PlanError,
    rule: str | None = None,
) -> float:
    """Return a number from ``low`` (above it if ``open_below``) to ``high``; NaN is none, infinity only if ``high`` is.

    ``rule`` says the range in other words than its own. A whole number stays one, so that it prints as written. Raises
    ``error`` for anything else.

    Example:
        >>> from attent.checks import number
        >>> number("budget", 90, 0, float("inf"), open_below=True)
        90
    """
    if rule is None and high in (float("inf"), FINITE):
        rule = f"{'above' if open_below else 'at least'} {low:g}" + (" and finite" if high == FINITE else "")
    elif rule is None:
        rule = f"in {'(' if open_below else '['}{low:g}, {high:g}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise error(f"must be {rule}, got {shown(value)}", field=name)
    found = int(value) if isinstance(value, numbers.Integral) else float(value)
    beyond = isinstance(found, int) and abs(found) > FINITE  # no float is as large
    if beyond or not low <= found <= high or (open_below and found == low):
        raise error(f"must be {rule}, got {shown(found)}", field=name)
    return found


def one_of(name: str, value: object, choices: Sequence[T], *, error: type[AttentError] = PlanError) -> T:
    """Return the one of a few choices that the value equals, of the same type (True is not 1). Raises ``error``.

    Example:
        >>> from attent.checks import one_of
        >>> one_of("short", True, (None, True, False))
        True
    """
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    said = [choice if isinstance(choice, str) else repr(choice) for choice in choices]
    raise error(f"must be one of {', '.join(said)}, got {shown(value)}", field=name)


def flag(name: str, value: object, *, error: type[AttentError] = PlanError) -> bool:
    """Return True or False, NumPy's as Python's. Raises ``error`` for anything else.

    Example:
        >>> from attent.checks import flag
        >>> flag("tuned", True)
        True
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # NumPy's, without importing it
        return bool(value)
    raise error(f"must be true or false, got {shown(value)}", field=name)


def text(name: str, value: object, *, error: type[AttentError] = PlanError) -> str:
    """Return a text that is not empty. Raises ``error`` for anything else.

    Example:
        >>> from attent.checks import text
        >>> text("recipe", "vit-digits")
        'vit-digits'
    """
    if isinstance(value, str) and value:
        return value
    raise error(f"must be a text, got {shown(value)}", field=name)


def several(name: str, value: object, example: str, *, error: type[AttentError] = PlanError) -> list[Any]:
    """Return the items of a list, or of anything but text that can be iterated. Raises ``error`` for anything else.

    Example:
        >>> from attent.checks import several
        >>> several("lengths", (0.5, 1), "[0.5, 1]")
        [0.5, 1]
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise error(f"must be a list such as {example}, got {shown(value)}", field=name)
    return list(value)


def shown(value: object) -> str:
    """Return a value for a message: as Python writes it, but nothing very long, such as an integer of 5,000 digits.

    Example:
        >>> from attent.checks import shown
        >>> shown("x"), shown(10**5000)
        ("'x'", 'a number of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        said = repr(value)
    except Exception:  # a stranger's repr, or a number inside that has too many digits to be written
        return f"a {type(value).__name__}"
    return said if len(said) <= _LETTERS else f"{said[:_LETTERS]}..."
