"""The arms of a comparison: the taught one, and what it must be held against."""

from __future__ import annotations

import dataclasses

from attent.choose.policies import InTurn, Random
from attent.choose.policy import asks_of_training
from attent.cli.fields import OptionError
from attent.plan.cost import full_plan, short_plan
from attent.plan.plan import Plan

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
        "random": lambda: dataclasses.replace(plan, select=InTurn() if asks_of_training(plan.select) else Random()),
    }
    return {TAUGHT: plan, **{name: makers[name]() for name in against}}
