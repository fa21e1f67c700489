"""``attent plan``: what a plan will do and cost, before anything is spent."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from attent.cli import recipe_lookup
from attent.cli.fields import OptionError
from attent.cli.given import Given
from attent.cli.plan_making import make_plan
from attent.cli.recipe_options import read_options
from attent.cli.settings import run_values
from attent.cli.tables import plan_line, timeline_table
from attent.learner import checked_length
from attent.plan.plan import Plan
from attent.tables import percent

Tell = Callable[[str], None]


def show_plan(given: Given, n: int | None, *, tell: Tell = print) -> None:
    """Print the timeline and the cost of a plan over n examples; with a recipe, over as many as its data has.

    Nothing is trained. Raises AttentError where recipe and n are both missing, or a value is impossible.
    """
    run = run_values(given)
    if "recipe" in run:
        found = recipe_lookup.find(run.get("backend", "numpy"), run["recipe"])
        options = read_options(found.name, found.function, given.options, given)
        plan = make_plan(given.plan, found.suggested, given)
        n = checked_length(recipe_lookup.build(found, plan, options)) if n is None else n
    elif given.options:
        raise OptionError("an option of a recipe (--set) needs a recipe")
    elif n is None:
        raise OptionError("give a recipe, or the number of examples by --n")
    else:
        plan = make_plan(given.plan, {}, given)
    fields = plan.to_dict()
    table = timeline_table(plan.timeline(n), fields)
    tell(f"{plan_line(fields)}\n\n{table}\n")
    tell(cost_text(plan, n, run.get("forward_share", 1 / 3)))


def cost_text(plan: Plan, n: int, forward_share: float) -> str:
    """Return the steps, the predicted cost, and whether the plan saves anything at all."""
    cost = plan.cost(n, forward_share)
    full = Plan.full(epochs=plan.full_epochs, batch_size=plan.batch_size).total_steps(n)
    lines = [
        f"{plan.total_steps(n):,} optimiser steps (on all examples: {full:,}), {cost.examples_trained:,} examples "
        f"trained, {cost.examples_scored:,} scored.",
    ]
    where = f"a scored example counting {forward_share:.2f} of a trained one (--forward-share)"
    if plan.unit == "pass":
        lines.append(
            f"Cost: {cost.epochs:.2f} epochs on all examples, all that it was given: an adaptive plan decides "
            "as it goes what fills them, and is to reach more, not to cost less."
        )
    elif cost.saving > 0:
        lines.append(
            f"Cost: {cost.epochs:.2f} epochs on all examples instead of {plan.full_epochs}, "
            f"{percent(cost.saving)} saved, {where}."
        )
    elif cost.saving == 0:
        lines.append("This plan saves nothing: it costs exactly what training on all examples costs.")
    else:
        lines.append(
            f"This plan costs MORE than it saves: {cost.epochs:.2f} epochs on all examples against {plan.full_epochs}, "
            f"{percent(-cost.saving)} more, {where}. A scoring pass before an epoch pays only where 1 - ratio is "
            "above that; keep selections for longer (--interval), or take the losses of training (--source reuse)."
        )
    return "\n".join(textwrap.fill(line, 100) for line in lines)
