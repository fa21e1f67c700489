"""The arms of a judgement: full training at several lengths, its equal-cost control, and the policies."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from attent.errors import PlanError
from attent.judging.policies import FULL, KEPT, POLICY, SHORT, Policy, policy_plan
from attent.plan.cost import on_all, same_training, short_plan
from attent.plan.plan import Plan

DEFAULT_LENGTHS = (0.4, 0.55, 0.75, 1.0)


class Arm(msgspec.Struct, frozen=True):
    """What an arm is: ``full`` at a share of the epochs, its equal-cost control ``short``, or a ``policy``.

    ``of``: the policy whose cost a control has.
    """

    name: str
    kind: str
    plan: dict[str, Any]
    length: float | None = None
    note: str | None = None
    of: str | None = None

    @property
    def folder(self) -> str:
        """Where its jobs are kept: a control's by its policy, as it is another one's once arms are added."""
        return self.name if self.of is None else f"{SHORT}-{self.of}"


def plans_of(
    policies: Mapping[str, Policy],
    *,
    n: int,
    epochs: int,
    batch_size: int,
    seed: int,
    lengths: Iterable[float],
    short: bool | None,
    forward_share: float,
    suggested: Mapping[str, Any],
) -> dict[str, tuple[Plan, Arm]]:
    """Return plan and description of every arm by name: the longest full training first, then policies, short, lengths.

    ``short``: full training at the cost of the last policy (None), of every policy (True), or of none (False).

    Raises PlanError for an arm that cannot be built.

    Example:
        >>> from attent.judging.arms import plans_of
        >>> from attent.judging.policies import read_policies
        >>> made = plans_of(read_policies(["default"]), n=100, epochs=6, batch_size=10, seed=0, lengths=[0.5, 1],
        ...     short=None, forward_share=1 / 3, suggested={})
        >>> {name: plan.cost(100).examples_trained for name, (plan, arm) in made.items()}
        {'full': 600, 'default': 360, 'short': 360, 'full-0.5': 300}
    """
    base = Plan.full(epochs=epochs, batch_size=batch_size, seed=seed)
    base = dataclasses.replace(base, **{key: suggested[key] for key in KEPT if key in suggested})
    made: dict[str, tuple[Plan, Arm]] = {}

    def add(name: str, kind: str, plan: Plan, **further: Any) -> None:
        told = {key: value for key, value in plan.to_dict().items() if key != "seed"}
        made[name] = (plan, Arm(name, kind, told, **further))

    first, *others = sorted(checked_lengths(lengths), reverse=True)
    add(full_name(first), FULL, on_all(base, n, first * epochs * n), length=first)
    for name, policy in policies.items():
        plan, note = policy_plan(name, policy, epochs=epochs, batch_size=batch_size, seed=seed, suggested=suggested)
        add(name, POLICY, plan, note=note)
    *before, last = policies
    for name in () if short is False else (last, *(before if short else ())):
        plan = short_plan(made[name][0], n, forward_share)
        if all(plan != earlier for earlier, arm in made.values() if arm.kind == SHORT):
            own = SHORT if name == last else f"{SHORT}-{name}"
            scored = made[name][0].cost(n).examples_scored
            share = f", a scored one counted as {forward_share:.2g} of a trained one" if scored else ""
            add(own, SHORT, plan, note=f"all examples at the cost of {name}{share}", of=name)
    for length in others:
        add(full_name(length), FULL, on_all(base, n, length * epochs * n), length=length)
    return made


def alike(made: Mapping[str, tuple[Plan, Arm]], n: int) -> dict[str, str]:
    """Return for each arm that trains like another that one's name; it is not run twice.

    A policy that trains like full training gives way to it, which the curve needs. Policies count as alike
    only where their plans are equal: what they decide while they run is not in a timeline.

    Example:
        >>> from attent.judging.arms import alike, plans_of
        >>> from attent.judging.policies import read_policies
        >>> made = plans_of(read_policies(["mine:full"]), n=20, epochs=2, batch_size=5, seed=0, lengths=[0.5, 1],
        ...     short=False, forward_share=1 / 3, suggested={})
        >>> alike(made, 20)
        {'mine': 'full'}
    """
    twins: dict[str, str] = {}
    order = sorted(made, key=lambda name: made[name][1].kind == POLICY)
    for name in order:
        plan, arm = made[name]
        for other in order:
            earlier, its = made[other]
            if other == name:
                break
            if other in twins:
                continue
            if plan == earlier or (POLICY not in (arm.kind, its.kind) and same_training(plan, earlier, n)):
                twins[name] = other
                break
    return twins


def checked_lengths(lengths: Iterable[float]) -> list[float]:
    """Return the lengths, ascending. Raises PlanError for fewer than two, or one that is no share of the epochs."""
    given = list(lengths)
    for length in given:
        if not (isinstance(length, int | float) and math.isfinite(length) and 0 < length <= 10):
            raise PlanError(f"a length must be a share of the epochs in (0, 10], got {length!r}")
    found = sorted(set(given))
    for one, other in itertools.pairwise(found):
        if full_name(one) == full_name(other):
            raise PlanError(f"lengths must differ in their first three digits, got {one!r} and {other!r}")
    if len(found) < 2:
        raise PlanError(
            f"lengths must be at least 2, got {len(found)}: a saving is read off the curve between them, "
            "such as 0.4,0.55,0.75,1"
        )
    return found


def full_name(length: float) -> str:
    """Return the name of full training at a length: ``full``, ``full-0.4``."""
    return FULL if length == 1 else f"{FULL}-{length:.3g}"
