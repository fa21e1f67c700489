"""``attent plan``: what a plan will do and cost, before anything is spent."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attent.checks import number
from attent.choose.sources import Replay
from attent.cli import recipe_lookup
from attent.cli.fields import OptionError
from attent.cli.given import Given
from attent.cli.phases import counted, shown_phase
from attent.cli.recipe_lookup import asked_plan, read_options
from attent.learner import Costs, Numbers, checked_length
from attent.plan.cost import InUnit, cost_in_unit
from attent.plan.plan import Plan, Unit
from attent.plan.timeline import MOST_FORWARD_SHARE, Epoch
from attent.run.given_scores import checked_given
from attent.run.teaching_checks import groups_of
from attent.tables import NOTHING, Table, percent, wrapped

Tell = Callable[[str], None]


def show_plan(given: Given, n: int | None, *, tell: Tell = print) -> None:
    """Print the timeline and the cost of a plan over n examples; with a recipe, over as many as its data has.

    Nothing is trained. Raises AttentError where recipe and n are both missing, or a value is impossible.
    """
    run: Mapping[str, Any] = given.run
    shown, asked = given.shown("run", "forward_share"), run.get("forward_share", 1 / 3)
    share = number(shown, asked, 0, MOST_FORWARD_SHARE, error=OptionError)
    costs = None
    if "recipe" in run:
        found = recipe_lookup.find(run.get("backend", "numpy"), run["recipe"])
        options = read_options(found.name, found.function, given.options, given)
        plan, note = asked_plan(given.plan, found.suggested, given)
        if n is None:
            learner = recipe_lookup.build(found, plan, options)
            n = checked_length(learner)
            costs = learner.costs() if isinstance(learner, Costs) else None
            if not isinstance(plan.source, Replay):  # what a run would be refused for
                checked_given(plan, n, None, None, groups_of(learner, plan), costs)
    elif given.options:
        raise OptionError("an option of a recipe (--set) needs a recipe")
    elif n is None:
        raise OptionError("give a recipe, for example known-digits, or the number of examples by --n")
    else:
        plan, note = asked_plan(given.plan, {}, given)
    fields = plan.to_dict()
    table = timeline_table(plan.timeline(n), plan)
    tell(f"{wrapped(plan_line(fields, plan.unit))}\n\n{table}\n")
    tell(cost_text(plan, n, share))
    if costs is not None:
        tell(wrapped(unit_text(plan, costs, share)))
    if note is not None:
        tell(wrapped(f"Note: {note}."))


def cost_text(plan: Plan, n: int, forward_share: float) -> str:
    """Return the steps, the predicted cost, and whether the plan saves anything at all."""
    cost = plan.cost(n, forward_share)
    full = Plan.full(epochs=plan.full_epochs, batch_size=plan.batch_size).total_steps(n)
    lines = [
        f"{plan.total_steps(n):,} optimiser steps (on all examples: {full:,}), {cost.examples_trained:,} examples "
        f"trained, {cost.examples_scored:,} scored.",
    ]
    where = f"a scored example counting {forward_share:.2f} of a trained one (--forward-share)"
    if plan.unit == "pass" and not cost.examples_scored:
        lines.append(
            f"Cost: {cost.epochs:.2f} epochs on all examples, all that it was given: such a plan is to reach more, "
            "not to cost less."
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
    return "\n".join(map(wrapped, lines))


def unit_text(plan: Plan, costs: Numbers, forward_share: float) -> str:
    """Return what a plan costs in the unit of the learner's costs, and its longest epoch or pass that is chosen.

    Example:
        >>> import attent, numpy as np
        >>> from attent.cli.plan_command import unit_text
        >>> plan = attent.Plan.auto(epochs=3, batch_size=10)
        >>> unit_text(plan, np.repeat([1.0, 3.0], 150), 1 / 3).partition(": ")[2]
        'about 1,800 (1,200 to 2,400 by what is chosen); the longest pass that is chosen about 200 (100 to 300).'
    """

    def told(cost: InUnit) -> str:
        least, about, most = (f"{number:,.6g}" for number in cost)
        return f"about {about}" + (f" ({least} to {most} by what is chosen)" if least != most else "")

    whole, chosen = cost_in_unit(plan, costs, forward_share)
    each = told(chosen).replace(" by what is chosen", "")
    longest = f"; the longest {plan.unit} that is chosen {each}" if chosen.most else ""
    return f"In the unit of the learner's costs: {told(whole)}{longest}."


def timeline_table(rows: Sequence[Epoch], plan: Plan | None = None) -> str:
    """Return the timeline, epochs alike and in a row as one line: ``3-7``, with ``k`` and steps from least to most.

    With the plan epochs and phases are called what `attent.cli.phases` calls them.

    Example:
        >>> import attent
        >>> from attent.cli.plan_command import timeline_table
        >>> print(timeline_table(attent.Plan(epochs=4, batch_size=10, warm_up=1).timeline(100)))
        epochs  phase    ratio    k  score  select  steps
        0       warm-up   1.00  100      -       -     10
        1-3     taught    0.40   40      -     yes      4
    """
    fields = None if plan is None else plan.to_dict()
    lines = []
    for _, group in itertools.groupby(rows, key=lambda row: (row.phase, row.ratio, row.score, row.select)):
        alike = list(group)
        first = alike[0]
        lines.append([
            _range(first.epoch, alike[-1].epoch), first.phase if fields is None else shown_phase(fields, first.phase),
            f"{first.ratio:.2f}", _range(*_ends(r.k for r in alike)),
            "yes" if first.score else NOTHING, "yes" if first.select else NOTHING,
            _range(*_ends(row.steps for row in alike)),
        ])  # fmt: skip
    header = [counted("epoch" if plan is None else plan.unit, 2), "phase", "ratio", "k", "score", "select", "steps"]
    return Table(header, lines, left=2, spare=["score", "select", "steps"]).text()


def _ends(values: Iterable[int]) -> tuple[int, int]:
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,}-{last:,}"


def plan_line(fields: Mapping[str, object], unit: Unit = "epoch") -> str:
    """Return a plan on one line: its ``to_dict`` without what is as usual; ``unit``: what its epochs are.

    Example:
        >>> import attent
        >>> from attent.cli.plan_command import plan_line
        >>> plan_line(attent.Plan(epochs=4, batch_size=10, warm_up=1).to_dict())
        'epochs 4, batch_size 10, ratio 0.4, select hard(), source reuse(), warm_up 1, seed 0'
    """
    if fields["warm_up"] == fields["epochs"]:
        return f"epochs {fields['epochs']} on all examples, batch_size {fields['batch_size']}, seed {fields['seed']}"
    usual = Plan(epochs=1, batch_size=1).to_dict()
    for name in ("epochs", "batch_size", "ratio", "select", "source", "seed"):
        del usual[name]
    told = (
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
        if name not in usual or value != usual[name]
    )
    return f"{counted(unit, 2)}{', '.join(told).removeprefix('epochs')}"
