"""Presets: plans by name. One table for Python, the command line and the judge, and one way from fields to a plan."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from attent import checks
from attent.choose.sources import Replay
from attent.errors import PlanError
from attent.plan.plan import Plan

PRESETS: dict[str, Callable[..., Plan]] = {
    "default": Plan.default,
    "auto": Plan.auto,
    "balanced": Plan.balanced,
    "rs2": Plan.rs2,
    "infobatch": Plan.infobatch,
    "paper": Plan.paper,
    "official": Plan.official,
    "official-simple": Plan.official_simple,
    "full": Plan.full,
}
"""The presets by name as typed."""
NEEDED = ("epochs", "batch_size")
SHARED = (*NEEDED, "seed", "bucket")  # what every preset takes from a recipe's suggestions; `default` takes all of them
_MEANT_WHERE_ALL_ARE_TAUGHT = (*SHARED, "warm_up", "cool_down", "non_finite")


class Made(NamedTuple):
    """A preset's plan, and in words what of a recipe's suggestions it cannot have."""

    plan: Plan
    note: str | None


def preset_of(name: str) -> str:
    """Return a preset's name as `PRESETS` has it, from that or with underscores. Raises PlanError naming those known.

    Example:
        >>> from attent.plan.presets import preset_of
        >>> preset_of("official_simple")
        'official-simple'
    """
    found = name.strip().replace("_", "-")
    if found not in PRESETS:
        raise PlanError(f"must be one of {', '.join(PRESETS)}, got {checks.shown(name)}", field="preset")
    return found


def fields_of(preset: str) -> tuple[str, ...]:
    """Return the names of the fields that a preset takes: those of `Plan`, and parameters of its own.

    Example:
        >>> from attent.plan.presets import fields_of
        >>> set(fields_of("official")) - set(fields_of("default"))
        {'cycles'}
    """
    parameters = inspect.signature(PRESETS[preset]).parameters.values()
    own = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    return tuple(dict.fromkeys([*(field.name for field in dataclasses.fields(Plan)), *own]))


def preset_plan(preset: str, fields: Mapping[str, Any], suggested: Mapping[str, Any] | None = None) -> Made:
    """Return a preset's plan with these fields changed, over what a recipe suggests.

    Fields have their types already, or are as text and TOML give them: a schedule as ``cosine(0.2, 0.8)``, a policy as
    ``soft(temperature=0.3)`` or as a table, ``none`` as a word.
    ``default`` takes all suggestions; the others decide for themselves and take epochs, batch size, seed, and
    ``non_finite`` where they can have it. Raises PlanError whose ``field`` is the one at fault.

    Example:
        >>> from attent.plan.presets import preset_plan
        >>> preset_plan("default", {"epochs": 20, "ratio": "cosine(0.2, 0.8)"}, {"batch_size": 32}).plan.ratio
        cosine(0.2, 0.8)
    """
    preset, suggested = preset_of(preset), dict(suggested or {})
    known = fields_of(preset)
    for key in fields:
        if key not in known:
            others = [name for name in PRESETS if key in fields_of(name)]
            if others:
                raise PlanError(f"belongs to the preset {others[0]}, not to {preset}", field=key)
            raise PlanError(f"is no field of a plan; known: {', '.join(known)}", field=key)
    bad = suggested.pop("non_finite", None)
    kept = suggested if preset == "default" else {key: suggested[key] for key in SHARED if key in suggested}
    values = {**kept, **{key: _typed(key, value) for key, value in fields.items()}}
    for key in NEEDED:
        if key not in values:
            raise PlanError("is needed: no recipe suggests a value", field=key)
    plan = _full(values) if preset == "full" else PRESETS[preset](**values)
    if isinstance(plan.source, Replay):
        raise PlanError(
            "replay() needs the trace of an earlier run, which only Python can give: "
            "attent.teach(learner, plan, replay=attent.Trace.read(folder))",
            field="source",
        )
    idle = [key for key in fields if key not in _MEANT_WHERE_ALL_ARE_TAUGHT]
    if idle and not plan.rounds():
        raise PlanError("changes nothing in a plan that trains on all examples in every epoch", field=idle[0])
    if bad is None or "non_finite" in fields or plan.non_finite == bad:
        return Made(plan, None)
    try:
        return Made(dataclasses.replace(plan, non_finite=bad), None)
    except PlanError:
        return Made(plan, f"non_finite {plan.non_finite} and not the recipe's {bad}, which it cannot have")


def _full(values: Mapping[str, Any]) -> Plan:
    plan = Plan.full(**{key: values[key] for key in SHARED if key in values})
    return dataclasses.replace(plan, **{key: value for key, value in values.items() if key not in SHARED})


def _typed(key: str, value: Any) -> Any:
    """Return a field's value as `Plan` takes it, which reads texts of schedules, policies and sources itself."""
    return None if key in ("cycle", "bucket", "keep") and isinstance(value, str) and value.lower() == "none" else value
