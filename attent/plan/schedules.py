"""Schedules: plain callables from progress in [0, 1] to a value. Ratios say how much, intervals how long.

Progress is 0 at the first taught round and 1 at the last. Any callable will do; those here are values too:
they compare equal, print as written, and go into a run folder and back.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from attent import checks, plugins
from attent.choose import values
from attent.errors import PlanError

Schedule = Callable[[float], float]
Shape = Literal["constant", "linear", "cosine"]


@dataclasses.dataclass(frozen=True)
class Ramp:
    """From ``start`` to ``end``, rising or falling; made by `constant`, `linear` and `cosine`."""

    shape: Shape
    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """Return the value at ``progress`` in [0, 1], rounded to 12 decimals.

        Rounding keeps the last bit of a platform's cosine out of k.
        """
        if self.shape == "constant":
            return self.start
        done = progress if self.shape == "linear" else (1.0 - math.cos(math.pi * progress)) / 2.0
        return round(self.start + (self.end - self.start) * done, 12)

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"constant({self.start})" if self.shape == "constant" else f"{self.shape}({self.start}, {self.end})"


@dataclasses.dataclass(frozen=True)
class Steps:
    """``values[i]`` while progress is in [boundaries[i-1], boundaries[i]); made by `step`."""

    values: tuple[float, ...]
    boundaries: tuple[float, ...]

    def __call__(self, progress: float) -> float:
        """Return the value at ``progress`` in [0, 1]."""
        return self.values[sum(progress >= boundary for boundary in self.boundaries)]

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"step({list(self.values)}, {list(self.boundaries)})"


def constant(value: float) -> Ramp:
    """Return the schedule v(p) = value.

    Example:
        >>> from attent.plan.schedules import constant
        >>> constant(0.4)(0.7)
        0.4
    """
    return Ramp("constant", _number("value", value), value)


def linear(start: float, end: float) -> Ramp:
    """Return v(p) = start + (end - start) * p.

    Example:
        >>> from attent.plan.schedules import linear
        >>> linear(0.8, 0.2)(0.5)
        0.5
    """
    return Ramp("linear", _number("start", start), _number("end", end))


def cosine(start: float, end: float) -> Ramp:
    """Return v(p) = start + (end - start) * (1 - cos(pi p)) / 2: slow at both ends.

    Example:
        >>> from attent.plan.schedules import cosine
        >>> cosine(0.2, 0.8)(0.5), cosine(0.8, 0.2)(0.25)
        (0.5, 0.712132034356)
    """
    return Ramp("cosine", _number("start", start), _number("end", end))


def step(values: list[float] | tuple[float, ...], boundaries: list[float] | tuple[float, ...]) -> Steps:
    """Return v(p) = values[i], i the number of boundaries at or below p.

    Raises PlanError unless there is one more value than boundaries and these ascend within (0, 1].

    Example:
        >>> from attent.plan.schedules import step
        >>> [step([0.2, 0.5, 0.8], [0.3, 0.6])(p) for p in (0.0, 0.3, 1.0)]
        [0.2, 0.5, 0.8]
    """
    if len(values) != len(boundaries) + 1:
        raise PlanError(f"step needs one more value than boundaries, got {len(values)} and {len(boundaries)}")
    if any(not 0 < b <= 1 for b in boundaries) or list(boundaries) != sorted(set(boundaries)):
        raise PlanError(f"boundaries must ascend within (0, 1], got {list(boundaries)}")
    return Steps(tuple(_number("values", v) for v in values), tuple(map(float, boundaries)))


def parse(text: str, known: Mapping[str, Callable[..., Schedule]] | None = None) -> Schedule:
    """Return the schedule that a text such as ``cosine(0.2, 0.8)`` or ``0.4`` names.

    ``known`` adds schedules by name (plugins) to the built-in ones. Raises PlanError saying what is known.

    Example:
        >>> from attent.plan.schedules import parse
        >>> parse("cosine(0.2, 0.8)"), parse("0.4")
        (cosine(0.2, 0.8), constant(0.4))
    """
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
            return constant(ast.literal_eval(text.strip()))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        if isinstance(error, PlanError):
            raise
    schedule: Schedule = values.parse("schedule", text, {**BUILT_IN, **(known or {})})
    return schedule


BUILT_IN: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step,
}


def read(given: Any) -> Any:
    """Return a number or schedule as it is; a text, such as TOML and the command line give, is read, plugins' too.

    Example:
        >>> from attent.plan.schedules import read
        >>> read("cosine(0.2, 0.8)")(0.5), read(0.4)
        (0.5, 0.4)
    """
    if not isinstance(given, str):
        return given
    further = "(" in given and given.split("(")[0].strip() not in BUILT_IN
    return parse(given, plugins.gather("attent_schedules") if further else None)


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= checks.FINITE:
        raise PlanError(f"a schedule's {name} must be a finite number, got {checks.shown(value)}")
    return float(value)
