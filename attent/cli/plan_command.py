"""``attent plan``: what a plan will do and cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attent.cli import recipe_lookup
from attent.cli.fields import OptionError
from attent.cli.given import Given
from attent.cli.plan_making import make_plan
from attent.cli.recipe_options import read_options
from attent.cli.settings import run_values
from attent.cli.tables import percent, timeline_table
from attent.learner import checked_length
from attent.plan import Plan

Tell = Callable[[str], None]


def show_plan(given: Given, n: int | None, *, tell: Tell = print) -> None:
    """Print the timeline and the cost of a plan over n examples; with a recipe, over as many as its data has.

    Nothing is trained. Raises AttentError where recipe and n are both missing, or a value is impossible.
    """
    run = run_values(given)
    suggested: dict[str, Any] = {}
    found = None
    if "recipe" in run:
        found = recipe_lookup.find(run.get("backend", "numpy"), run["recipe"])
        suggested = found.suggested
        options = read_options(found.name, found.function, given.options, given)
    elif n is None or given.options:
        raise OptionError("options by --set need a recipe" if given.options else "give a recipe, or n by --n")
    plan = make_plan(given.plan, suggested, given)
    if n is None and found is not None:
        n = checked_length(recipe_lookup.build(found, plan, options))
    tell(plan_text(plan))
    tell("")
    tell(timeline_table(plan.timeline(n)))
    tell("")
    tell(cost_text(plan, n, run.get("forward_share", 1 / 3)))


def plan_text(plan: Plan) -> str:
    """Return a plan on one line: the fields that are not as ``Plan`` has them anyway.

    Example:
        >>> import attent
        >>> from attent.cli.plan_command import plan_text
        >>> plan_text(attent.Plan(epochs=4, batch_size=10, warm_up=1))
        'epochs 4, batch_size 10, ratio 0.4, selection hard, source reuse, warm_up 1, seed 0'
    """
    usual = Plan(epochs=1, batch_size=1).to_dict()
    return described_plan(plan.to_dict(), usual)


def described_plan(fields: Mapping[str, object], usual: Mapping[str, object]) -> str:
    """Return recorded fields of a plan on one line, leaving out those that are as usual and not basic."""
    basic = ("epochs", "batch_size", "ratio", "selection", "source", "seed")
    return ", ".join(f"{key} {value}" for key, value in fields.items() if key in basic or value != usual.get(key))


def cost_text(plan: Plan, n: int, forward_share: float) -> str:
    """Return the steps, the predicted cost, and whether the plan saves anything at all."""
    cost = plan.cost(n, forward_share)
    full = Plan.full(epochs=plan.epochs, batch_size=plan.batch_size).total_steps(n)
    lines = [
        f"{plan.total_steps(n):,} optimiser steps (on all examples: {full:,}), {cost.examples_trained:,} examples "
        f"trained, {cost.examples_scored:,} scored.",
    ]
    where = f"a scored example counting {forward_share:.2f} of a trained one (--forward-share)"
    if cost.saving > 0:
        lines.append(
            f"Cost: {cost.epochs:.2f} epochs on all examples instead of {plan.epochs}, {percent(cost.saving)} saved, "
            f"{where}."
        )
    elif cost.saving == 0:
        lines.append("This plan saves nothing: it costs exactly what training on all examples costs.")
    else:
        lines.append(
            f"This plan costs MORE than it saves: {cost.epochs:.2f} epochs on all examples against {plan.epochs}, "
            f"{percent(-cost.saving)} more, {where}. A scoring pass before an epoch pays only where 1 - ratio is "
            "above that; keep selections for longer (--interval), or take the losses of training (--source reuse)."
        )
    return "\n".join(lines)
