"""What a check needs of its subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attent_conformance.subject import Subject

Margins = dict[str, float]
Function = Callable[[Subject], Margins | None]
_NEEDS: dict[Function, tuple[str, ...]] = {}


def needs(*abilities: str) -> Callable[[Function], Function]:
    """Mark a check as applying only to subjects with these abilities; ``plugin``: to installed backends.

    Example:
        >>> @needs("float64")
        ... def check_nothing(subject):
        ...     "P1: nothing."
        >>> Check(check_nothing).needs
        ('float64',)
    """

    def mark(function: Function) -> Function:
        _NEEDS[function] = abilities
        return function

    return mark


@dataclass(frozen=True)
class Check:
    """A check function with the rule that its docstring begins with."""

    function: Function

    @property
    def name(self) -> str:
        """The function's name without ``check_``."""
        return self.function.__name__.removeprefix("check_")

    @property
    def rule(self) -> str:
        """The number of the rule."""
        return (self.function.__doc__ or "").partition(":")[0]

    @property
    def says(self) -> str:
        """What the check says holds, in a line."""
        return (self.function.__doc__ or "").partition(": ")[2].partition("\n")[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of its subject."""
        return _NEEDS.get(self.function, ())
