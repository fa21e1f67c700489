"""Controls: plans that look at no score of training, which every policy must beat.

By chance, by group, for what is new, and from what is nearest to a target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attent.checks import shown
from attent.choose.grouped import Balanced, ByGroup, Tempered
from attent.choose.policies import Hard, InTurn, Random
from attent.choose.policy import Policy, asks_of_training
from attent.choose.rules import count
from attent.choose.sources import Replay, Reuse
from attent.errors import LearnerError
from attent.learner import Learner, Numbers
from attent.plan.plan import Plan

RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY = "random", "balanced", "tempered", "new-only", "replay"
FILTER = "filter"
CONTROLS = (RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY, FILTER)
SEVERAL = (REPLAY, FILTER)  # of which there are several arms, by their shares
REPLAY_SHARES = (0.25, 0.5)  # of what is new; each is an arm
FILTER_SHARES = (0.25, 0.5)  # of all examples, that are kept


class Known(NamedTuple):
    """What is known of a learner: the size of each group by name, which are new, and whether it has a `relevance`."""

    sizes: Mapping[int, int] = {}
    new: Sequence[int] = ()
    relevant: bool = False


class Control(NamedTuple):
    """A control: its name, its plan, and how it draws its examples, in words."""

    name: str
    plan: Plan
    how: str


def controls_of(name: str, plan: Plan, n: int, known: Known) -> list[Control]:
    """Return the controls of this name that cost what the plan costs in training, none where there can be none.

    By group: where groups are known, and not more of them than a pass has examples. ``new-only`` and ``replay``:
    where some groups are new and others are not; replay at each share that is more than the new ones have anyhow.
    ``filter``: where the learner has a `relevance`, by which the best share is kept; that is all that is ever taught.

    Example:
        >>> import attent
        >>> from attent.judging.controls import Known, controls_of
        >>> plan, known = attent.Plan.auto(epochs=3, batch_size=10), Known({0: 80, 1: 20}, [1])
        >>> [(each.name, each.plan.ratio, each.plan.epochs) for each in controls_of("replay", plan, 100, known)]
        [('replay-0.25', 0.8, 4), ('replay-0.5', 0.4, 8)]
    """
    if not _fewest(plan, n):
        return []
    if name == RANDOM:
        chance: Policy = InTurn() if asks_of_training(plan.select) else Random()
        epochs = plan.epochs - (plan.first_look < 1)  # where nothing is looked at, the first pass is whole
        return [Control(name, dataclasses.replace(plan, epochs=epochs, select=chance), "at random")]
    if name == FILTER:
        return [_filter(plan, n, share) for share in FILTER_SHARES] if known.relevant else []
    if len(known.sizes) < 2:
        return []
    if name in (BALANCED, TEMPERED):
        select: Policy = Balanced() if name == BALANCED else Tempered()
        how = "evenly by group" if name == BALANCED else "by the square root of each group's size"
        made = _in_place(plan, select)
        return [Control(name, made, how)] if len(known.sizes) <= _fewest(made, n) else []
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


def _fewest(plan: Plan, n: int) -> int:
    """Return how many examples the smallest pass that is chosen has, 0 where none is."""
    return min((row.k for row in plan.timeline(n) if row.select), default=0)


def relevance_of(learner: Learner, n: int) -> Numbers | None:
    """Return how near each example is to a target, by a learner's attribute ``relevance``, None where it has none.

    Higher is nearer: float64, shape (n,). Raises LearnerError where it is not one finite number for each example.
    """
    given = getattr(learner, "relevance", None)
    if given is None:
        return None
    try:
        found = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of other lengths, a tensor elsewhere
        raise LearnerError(f"relevance must be one number for each of the {n} examples: {error}") from error
    if found.shape != (n,) or found.dtype.kind not in "iuf":
        got = f"{found.dtype} of shape {found.shape}" if found.ndim else shown(given)
        raise LearnerError(f"relevance must be one number for each of the {n} examples, shape ({n},), got {got}")
    with np.errstate(over="ignore"):
        found = found.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise LearnerError(
            f"relevance must be finite, got {found[bad[0]]} for example {bad[0]}: give what is not to be kept the "
            "lowest number"
        )
    return found


def _filter(plan: Plan, n: int, share: float) -> Control:
    """Return epochs on the share that is nearest to the target, as many as cost alike: one selection for all."""
    epochs = max(1, round(plan.cost(n).examples_trained / count(share, n)))
    kept = Plan(
        epochs=epochs,
        batch_size=plan.batch_size,
        ratio=share,
        interval=epochs,
        select=Hard(),
        source=Replay(),
        seed=plan.seed,
        bucket=plan.bucket,
    )
    return Control(f"{FILTER}-{share:g}", kept, f"from the {100 * share:.0f} % nearest to the target")


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
