"""Which fields of a plan go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attent.choosing import name_of
from attent.errors import PlanError

if TYPE_CHECKING:
    from attent.plan import Plan


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
    if plan.coverage and plan.non_finite != "error":
        raise PlanError(f"coverage gives every example its turn: it needs non_finite='error', got {plan.non_finite!r}")
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
            f"'random', got {plan.warm_up} and {name_of(plan.selection)!r}"
        )
