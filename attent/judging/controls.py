"""Controls: plans that look at no score, which every policy must beat. By chance, by group, and for what is new."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attent.choose.grouped import Balanced, ByGroup, Tempered
from attent.choose.policies import InTurn, Random
from attent.choose.policy import Policy, asks_of_training
from attent.choose.sources import Reuse
from attent.plan.plan import Plan

RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY = "random", "balanced", "tempered", "new-only", "replay"
CONTROLS = (RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY)
REPLAY_SHARES = (0.25, 0.5)  # of what is new; each is an arm


class Known(NamedTuple):
    """What is known of a learner's groups: the size of each by name, and which of them are new."""

    sizes: Mapping[int, int] = {}
    new: Sequence[int] = ()


class Control(NamedTuple):
    """A control: its name, its plan, and how it draws its examples, in words."""

    name: str
    plan: Plan
    how: str


def controls_of(name: str, plan: Plan, n: int, known: Known) -> list[Control]:
    """Return the controls of this name that cost what the plan costs in training, none where there can be none.

    By group: where groups are known, and not more of them than a pass has examples. ``new-only`` and ``replay``:
    where some groups are new and others are not; replay at each share that is more than the new ones have anyhow.

    Example:
        >>> import attent
        >>> from attent.judging.controls import Known, controls_of
        >>> plan, known = attent.Plan.auto(epochs=3, batch_size=10), Known({0: 80, 1: 20}, [1])
        >>> [(each.name, each.plan.ratio, each.plan.epochs) for each in controls_of("replay", plan, 100, known)]
        [('replay-0.25', 0.8, 4), ('replay-0.5', 0.4, 8)]
    """
    fewest = min((row.k for row in plan.timeline(n) if row.select), default=0)
    if not fewest:
        return []
    if name == RANDOM:
        chance: Policy = InTurn() if asks_of_training(plan.select) else Random()
        return [Control(name, dataclasses.replace(plan, select=chance), "at random")]
    if len(known.sizes) < 2:
        return []
    if name in (BALANCED, TEMPERED):
        select: Policy = Balanced() if name == BALANCED else Tempered()
        how = "evenly by group" if name == BALANCED else "by the square root of each group's size"
        return [Control(name, _in_place(plan, select), how)] if len(known.sizes) <= fewest else []
    new = sum(known.sizes[group] for group in known.new)
    if not 0 < new < n:
        return []
    total = plan.cost(n).examples_trained
    if name == NEW_ONLY:
        how = "from what is new alone"
        return [Control(name, _of_new(plan, n, total, known, 1.0), how)] if len(known.new) <= new else []
    shares = [share for share in REPLAY_SHARES if share > new / n and len(known.sizes) <= round(new / share)]
    return [
        Control(f"{name}-{share:g}", _of_new(plan, n, total, known, share), f"{100 * share:.0f} % from what is new")
        for share in shares
    ]  # fmt: skip


def _in_place(plan: Plan, select: Policy) -> Plan:
    if plan.unit == "pass":
        made = Plan.balanced(epochs=plan.full_epochs, batch_size=plan.batch_size, seed=plan.seed, select=select)
        return dataclasses.replace(made, bucket=plan.bucket)
    return dataclasses.replace(plan, select=select, source=Reuse(), non_finite="error", reselect=False)


def _of_new(plan: Plan, n: int, total: int, known: Known, share: float) -> Plan:
    """Return passes of which this share is all that is new and the rest is known, as many as cost alike."""
    new = sum(known.sizes[group] for group in known.new)
    k = min(n, round(new / share))
    weights = {
        group: share * size / new if group in known.new else (1 - share) * size / (n - new)
        for group, size in known.sizes.items()
    }
    return Plan(
        epochs=max(1, round(total / k)),
        batch_size=plan.batch_size,
        ratio=k / n,
        select=ByGroup(share=weights),  # type: ignore[arg-type]  # a mapping is taken
        seed=plan.seed,
        bucket=plan.bucket,
    )
