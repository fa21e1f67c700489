"""The arms of a comparison: the taught one, and what it must be held against."""

from __future__ import annotations

import dataclasses

from attent.cli.fields import OptionError
from attent.plan import Plan

TAUGHT = "taught"
AGAINST = ("full", "short", "random")


def names_against(text: str, shown: str = "--against") -> tuple[str, ...]:
    """Return the arms that a text such as ``full,short`` names, each once. Raises OptionError naming those known.

    Example:
        >>> from attent.cli.arms import names_against
        >>> names_against("full, short"), names_against("none")
        (('full', 'short'), ())
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == ("none",):
        return ()
    for name in names:
        if name not in AGAINST:
            raise OptionError(f"{shown} must be some of {', '.join(AGAINST)}, or none, got {name!r}")
    return names


def arm_plans(plan: Plan, n: int, against: tuple[str, ...], forward_share: float) -> dict[str, Plan]:
    """Return the plan of each arm by name, the taught one first.

    Example:
        >>> import attent
        >>> from attent.cli.arms import arm_plans
        >>> plan = attent.Plan(epochs=4, batch_size=10, ratio=0.5, warm_up=1)
        >>> [(row.k, row.steps) for row in arm_plans(plan, 100, ("short",), 1 / 3)["short"].timeline(100)]
        [(100, 10), (100, 10), (50, 5)]
    """
    makers = {
        "full": lambda: full_plan(plan),
        "short": lambda: short_plan(plan, n, forward_share),
        "random": lambda: dataclasses.replace(plan, selection="random"),
    }
    return {TAUGHT: plan, **{name: makers[name]() for name in against}}


def full_plan(plan: Plan) -> Plan:
    """Return as many epochs on all examples, with the same batch size and seed."""
    return _on_all(plan, plan.epochs)


def short_plan(plan: Plan, n: int, forward_share: float) -> Plan:
    """Return the training on all examples that costs what the plan costs, as long as its own schedule.

    Whole epochs first; what remains is a last epoch on that share of the examples, drawn at random. Less than
    half a batch is left out, since a step on a few examples is mostly noise; so the costs differ by less than
    half a batch. A recipe gives this plan a complete learning-rate schedule of its own.
    """
    cost = plan.cost(n, forward_share)
    examples = max(1, round(cost.examples_trained + cost.examples_scored * forward_share))
    epochs, rest = divmod(examples, n)
    if epochs and rest < min(plan.batch_size, n) / 2:
        return _on_all(plan, epochs)
    return dataclasses.replace(_on_all(plan, epochs + 1), warm_up=epochs, ratio=rest / n, selection="random")


def same_training(one: Plan, other: Plan, n: int) -> bool:
    """Return whether two plans train alike: equal, or both on all examples throughout."""
    if one == other:
        return True
    alike = (one.epochs, one.batch_size, one.seed) == (other.epochs, other.batch_size, other.seed)
    return alike and all(row.k == n for plan in (one, other) for row in plan.timeline(n))


def _on_all(plan: Plan, epochs: int) -> Plan:
    everything = Plan.full(epochs=epochs, batch_size=plan.batch_size, seed=plan.seed)
    return dataclasses.replace(everything, non_finite=plan.non_finite)
