"""From what a user gave and a recipe suggests to a plan, with errors that name the flag or key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from attent.cli.fields import PLAN_FIELDS, OptionError, Value
from attent.cli.given import Given
from attent.errors import PlanError
from attent.plan.plan import Plan

_PRESETS: dict[str, Callable[..., Plan]] = {
    "default": Plan.default,
    "auto": Plan.auto,
    "rs2": Plan.rs2,
    "infobatch": Plan.infobatch,
    "paper": Plan.paper,
    "official": Plan.official,
    "official-simple": Plan.official_simple,
    "full": Plan.full,
}
_KEPT_BY_PRESETS = ("epochs", "batch_size", "non_finite", "seed")  # of a recipe's suggestions


def make_plan(fields: Mapping[str, Value], suggested: Mapping[str, Any], given: Given) -> Plan:
    """Return the plan of these fields (see ``PLAN_FIELDS``) over the preset and what the recipe suggests.

    The preset ``default`` is ``Plan.default`` with the recipe's suggestions; any other decides for itself
    and takes from the recipe only epochs, batch size, ``non_finite`` and seed. Raises OptionError naming
    the flag or key as ``given`` knows it.

    Example:
        >>> from attent.cli.given import from_flags
        >>> from attent.cli.plan_making import make_plan
        >>> given = from_flags({"epochs": "20", "ratio": "cosine(0.2, 0.8)"}, {})
        >>> make_plan(given.plan, {"batch_size": 32}, given).ratio
        cosine(0.2, 0.8)
    """
    preset = str(fields.get("preset", "default"))
    if preset not in _PRESETS:
        raise OptionError(f"{given.shown('plan', 'preset')} must be one of {', '.join(_PRESETS)}, got {preset!r}")
    if "cycles" in fields and preset != "official":
        raise OptionError(f"{given.shown('plan', 'cycles')} belongs to the preset official, not to {preset}")
    kept = suggested if preset == "default" else {k: v for k, v in suggested.items() if k in _KEPT_BY_PRESETS}
    values = {**kept, **{key: _parsed(key, value, given) for key, value in fields.items() if key != "preset"}}
    for key in ("epochs", "batch_size"):
        if key not in values:
            raise OptionError(f"--{key.replace('_', '-')} is needed: no recipe suggests a value")
    if preset == "full":
        for key in fields:
            if key not in ("preset", *_KEPT_BY_PRESETS):
                raise OptionError(f"{given.shown('plan', key)} has no meaning with the preset full: leave it out")
        values["warm_up"] = values["epochs"]
    if values.get("source") == "replay":
        raise OptionError(
            f"{given.shown('plan', 'source')} replay needs the trace of an earlier run, which only Python can give: "
            "attent.teach(learner, plan, replay=attent.Trace.read(folder))"
        )
    try:
        return Plan(**values) if preset == "full" else _PRESETS[preset](**values)
    except PlanError as error:
        raise OptionError(_renamed(str(error), given)) from error


def _parsed(key: str, value: Value, given: Given) -> Any:
    shown = given.shown("plan", key)
    try:
        pass
    except PlanError as error:
        raise OptionError(f"{shown}: {error}") from error
    if value == "none" and PLAN_FIELDS[key].optional:
        return None
    return math.inf if value == "inf" and PLAN_FIELDS[key].kind == "number" else value


def _renamed(message: str, given: Given) -> str:
    """Return a plan's message with its fields, named before the rule, as the user knows them."""
    rule = re.search(r" (must|needs) ", message)
    head, rest = (message[: rule.start()], message[rule.start() :]) if rule else ("", message)
    return re.sub(r"\w+", lambda word: given.shown("plan", word[0]), head) + rest
