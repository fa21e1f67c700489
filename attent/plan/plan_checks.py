"""What each field of a plan may be, and which go together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from attent.choose import choosing
from attent.choose.rules import NON_FINITE
from attent.choose.scaling import SCALINGS
from attent.choose.scores import Measure
from attent.errors import PlanError

if TYPE_CHECKING:
    from attent.plan.plan import Plan

Source = Literal["reuse", "fresh", "pool", "replay"]
_LARGEST_BONUS = 1e6
_MOST_EPOCHS = 1_000_000
_MOST = 2**63 - 1  # of whole numbers that have no other limit: what a run's files can hold
_BITS = 64  # more are no number that anything here can mean, and are not shown


def check_fields(plan: Plan) -> None:
    """Raise PlanError naming the first field whose value is impossible."""
    check_epochs(plan.epochs)
    whole("batch_size", plan.batch_size, 1)
    whole("warm_up", plan.warm_up, 0)
    whole("cool_down", plan.cool_down, 0)
    whole("seed", plan.seed, 0, 2**64 - 1)
    if plan.warm_up + plan.cool_down > plan.epochs:
        raise PlanError(
            f"warm_up + cool_down must be at most epochs ({plan.epochs}), got {plan.warm_up} + {plan.cool_down}"
        )
    if plan.cycle is not None:
        whole("cycle", plan.cycle, 1)
    _one_of("source", plan.source, get_args(Source))
    _one_of("measure", plan.measure, get_args(Measure))
    between("bonus", plan.bonus, 0, _LARGEST_BONUS, f"in [0, {_LARGEST_BONUS:g}]")
    between("refresh", plan.refresh, 0, 1, "in [0, 1]")
    between("pool", plan.pool, 0, 1, "in (0, 1]", open_below=True)
    _one_of("scaling", plan.scaling, SCALINGS)
    _one_of("non_finite", plan.non_finite, NON_FINITE)
    between("temperature", plan.temperature, 0, math.inf, "at least 0")
    between("cap", plan.cap, 0, 1, "in (0, 1]", open_below=True)
    for name in ("reselect", "coverage", "keep_steps", "adaptive"):
        if not isinstance(getattr(plan, name), bool):
            raise PlanError(f"{name} must be true or false, got {getattr(plan, name)!r}")
    if not callable(plan.ratio):
        between("ratio", plan.ratio, 0, 1, "in (0, 1]", open_below=True)
    if not callable(plan.interval):
        whole("interval", plan.interval, 1)
    if plan.correction is not None:
        between("correction", plan.correction, 0, math.inf, "above 0, or None", open_below=True)
    choosing.find(plan.selection)


def check_together(plan: Plan) -> None:
    """Raise PlanError where fields that are each possible are not so together, naming both."""
    uses_reuse = ("coverage", "refresh", "bonus", "adaptive")
    for name in uses_reuse:
        if getattr(plan, name) and plan.source != "reuse":
            raise PlanError(
                f"{name} goes by when an example was last trained, which only source='reuse' remembers; "
                f"got {name}={getattr(plan, name)!r} with source={plan.source!r}"
            )
    for name in ("coverage", "adaptive"):
        if getattr(plan, name) and plan.refresh:
            raise PlanError(f"{name} goes by what was trained, refresh by what was scored: set one of them")
        if getattr(plan, name) and plan.non_finite != "error":
            raise PlanError(
                f"{name} gives every example its turn: it needs non_finite='error', got {plan.non_finite!r}"
            )
    if plan.coverage and plan.selection != "random" and plan.warm_up < 1:
        raise PlanError(
            "coverage goes by what was trained: with a selection that ranks scores warm_up must be at least 1"
        )
    if plan.adaptive and plan.cycle is not None:
        raise PlanError(f"adaptive decides itself when all are taught: it needs cycle None, got {plan.cycle}")
    if plan.measure == "progress" and (plan.source != "reuse" or plan.warm_up < 2):
        raise PlanError(
            "measure='progress' is the decrease between two sights of an example in training: it needs "
            f"source='reuse' and warm_up of at least 2, got {plan.source!r} and {plan.warm_up}"
        )
    if plan.measure == "progress" and plan.adaptive:
        raise PlanError("adaptive goes by losses, measure='progress' by their decrease: set one of them")
    for name in ("coverage", "adaptive"):
        if getattr(plan, name) and (plan.correction is not None or plan.selection == "infobatch"):
            raise PlanError(
                f"{name} teaches examples in their turn, which the weights of correction and 'infobatch' do not "
                "know: set one of them"
            )
    if plan.source == "pool" and plan.rounds():
        highest = max(each.ratio for each in plan.rounds())
        if plan.pool < highest:
            raise PlanError(f"pool must be at least the highest ratio ({highest:g}), got {plan.pool}")
    if plan.adaptive and (plan.warm_up < 1 or plan.selection == "random"):
        raise PlanError(
            "adaptive goes by losses seen in training: it needs warm_up of at least 1 and a selection other than "
            f"'random', got {plan.warm_up} and {choosing.name_of(plan.selection)!r}"
        )
    if plan.correction is not None and (
        plan.selection not in ("soft", "random") or (plan.selection == "soft" and plan.temperature == 0)
    ):
        raise PlanError(
            "correction needs a selection that is random: 'soft' with a temperature above 0, or 'random'; "
            f"got {choosing.name_of(plan.selection)!r} at temperature {plan.temperature}"
        )


def check_epochs(epochs: object) -> None:
    """Raise PlanError unless these can be a plan's epochs: every one of them is laid out."""
    whole("epochs", epochs, 1)
    if isinstance(epochs, int) and epochs > _MOST_EPOCHS:
        raise PlanError(f"epochs must be at most {_MOST_EPOCHS:,}, since every one is laid out, got {_shown(epochs)}")


def whole(name: str, value: object, least: int, most: int | None = None, *, beyond: str = "") -> None:
    """Raise PlanError unless the value is a whole number from ``least`` to ``most``.

    ``beyond`` is added to the message where it is out of these.
    """
    value = value.item() if isinstance(value, np.generic) else value
    limit = f"at least {least}" if most is None else f"in [{least}, {most}]"
    if isinstance(value, bool) or not isinstance(value, int):
        raise PlanError(f"{name} must be a whole number {limit}, got {value!r}")
    if value < least or (most is not None and value > most):
        raise PlanError(f"{name} must be {limit}, got {_shown(value)}{beyond}")
    if most is None and value > _MOST:
        raise PlanError(f"{name} must be below 2**63, got {_shown(value)}")


def between(name: str, value: object, low: float, high: float, rule: str, *, open_below: bool = False) -> None:
    """Raise PlanError unless the value is a number from ``low`` to ``high``; ``rule`` says so in words."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise PlanError(f"{name} must be {rule}, got {_shown(value)}")
    if not number or not low <= value <= high or (open_below and value == low):  # type: ignore[operator]
        raise PlanError(f"{name} must be {rule}, got {value!r}")


def _shown(value: int) -> str:
    return str(value) if value.bit_length() <= _BITS else f"a number of {value.bit_length()} bits"


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PlanError(f"{name} must be one of {', '.join(known)}, got {value!r}")
