"""A run made longer: which plans go on from what another one has done so far. Rule R4 of docs/spec.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from attent import checks
from attent.choose import policy
from attent.errors import PlanError
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch

# What a longer plan has otherwise; rounds are compared as far as they were run.
_MAY_DIFFER = ("epochs", "warm_up", "cool_down")


def plan_difference(fields: Mapping[str, Any], rounds: list[list[Any]], plan: Plan) -> str | None:
    """Return in words how a recorded plan differs from ``plan``, or None.

    Schedules are compared by the rounds they gave, so a function is the same if it says the same.
    """
    mine = _recorded(plan)
    told = [
        f"{name} was {checks.shown(fields.get(name))}, is {checks.shown(mine[name])}"
        for name in mine
        if name not in ("ratio", "interval") and fields.get(name) != mine[name]
    ]
    if rounds != [list(row) for row in plan.rounds()]:
        told.append("the ratios or intervals of its rounds differ")
    return "; ".join(told) or None


def lengthens(fields: Mapping[str, Any], plan: Plan) -> bool:
    """Return whether ``plan`` has more epochs than a recorded one, and all else but its ends is as it was."""
    mine, epochs = _recorded(plan), fields.get("epochs")
    alike = all(fields.get(name) == mine[name] for name in mine if name not in ("ratio", "interval", *_MAY_DIFFER))
    return alike and isinstance(epochs, int) and plan.epochs > epochs


def continuation_difference(
    fields: Mapping[str, Any], rounds: list[list[Any]], plan: Plan, n: int, begun: int
) -> str | None:
    """Return in words why a course of a recorded plan cannot go on by ``plan``, None where it can.

    It can by the same plan, and by a longer one whose first ``begun`` epochs are those that were begun so far.

    Example:
        >>> import attent
        >>> from attent.run.extension import continuation_difference
        >>> short, long = (attent.Plan(epochs=epochs, batch_size=10, warm_up=1) for epochs in (4, 6))
        >>> rounds = [list(row) for row in short.rounds()]
        >>> continuation_difference(short.to_dict(), rounds, long, 100, begun=4) is None
        True
    """
    difference = plan_difference(fields, rounds, plan)
    if difference is None or not lengthens(fields, plan):
        return difference
    try:
        before = dataclasses.replace(plan, **{name: fields[name] for name in _MAY_DIFFER})
    except (PlanError, KeyError):
        return difference
    if plan_difference(fields, rounds, before) is not None:
        return f"{difference}: a schedule or a ratio of its own"
    for was, now in zip(before.timeline(n)[:begun], plan.timeline(n), strict=False):
        if was != now:
            return (
                f"{difference}: epoch {was.epoch} was {_told(was)}, and in the longer plan it is {_told(now)}. A run "
                "can be made longer where its epochs so far are the same: with the ratio a number and no cool-down, or "
                "while it has not come to the epochs that differ"
            )
    if "progress" in policy.asks(plan.select) and any(row.select for row in before.timeline(n)[:begun]):
        return f"{difference}: {plan.select!r} chose by how much of the shorter run lay behind"
    if begun >= before.epochs and "last" in policy.asks(plan.select) and before.timeline(n)[-1].select:
        return f"{difference}: {plan.select!r} chose its last epoch as the last one"
    return None


def _recorded(plan: Plan) -> dict[str, Any]:
    """Return a plan's fields as they are read back, with what is only written where it is used."""
    return {"bucket": None, **json.loads(json.dumps(plan.to_dict()))}


def _told(row: Epoch) -> str:
    return f"{row.phase} on {row.k} examples"
