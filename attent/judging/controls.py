"""Controls: plans that look at no score of training, which every policy must beat.

By chance, by group, for what is new, and from what is nearest to a target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attent.checks import shown
from attent.choose.grouped import Balanced, ByGroup, Tempered
from attent.choose.policies import Hard, InTurn, Random
from attent.choose.policy import Policy, asks_of_training
from attent.choose.rules import count
from attent.choose.sources import Replay, Reuse
from attent.errors import LearnerError, PlanError
from attent.learner import Learner, Numbers
from attent.plan.cost import on_all
from attent.plan.plan import Plan
from attent.plan.schedules import constant

RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY = "random", "balanced", "tempered", "new-only", "replay"
FILTER = "filter"
CONTROLS = (RANDOM, BALANCED, TEMPERED, NEW_ONLY, REPLAY, FILTER)
SEVERAL = (REPLAY, FILTER)  # of which there are several arms, by their shares
REPLAY_SHARES = (0.1, 0.25, 0.5, 0.75)  # of what is new, that are tried beside the one that it has anyhow
_APART = 1.2  # times what the new have anyhow: a lower share would be nearly all examples again
FILTER_SHARES = (0.25, 0.5)  # of all examples, that are kept


class Known(NamedTuple):
    """What is known of a learner: the size of each group by name, which are new, and whether it has a `relevance`.

    ``replayed``: the share of what is new that was found best to replay with, 0: the one that it has anyhow; None: not
    looked for yet.
    """

    sizes: Mapping[int, int] = {}
    new: Sequence[int] = ()
    relevant: bool = False
    replayed: float | None = None


class Control(NamedTuple):
    """A control: its name, its plan, and how it draws its examples, in words."""

    name: str
    plan: Plan
    how: str


def controls_of(name: str, plan: Plan, n: int, known: Known) -> list[Control]:
    """Return the controls of this name that cost what the plan costs in training, none where there can be none.

    By group: where groups are known, and not more of them than a pass has examples. ``new-only`` and ``replay``:
    where some groups are new and others are not; ``replay-SHARE`` where that share is more than the new ones have
    anyhow, and ``replay`` at the share that was found, the largest that is tried before. ``filter``: where the learner
    has a `relevance`, by which the best share is kept; that is all that is ever taught.

    Example:
        >>> import attent
        >>> from attent.judging.controls import Known, controls_of
        >>> plan, known = attent.Plan.auto(epochs=3, batch_size=10), Known({0: 80, 1: 20}, [1], replayed=0.5)
        >>> made = [*controls_of("replay", plan, 100, known), *controls_of("replay-0.25", plan, 100, known)]
        >>> [(each.name, each.plan.ratio, each.plan.epochs) for each in made]
        [('replay', 0.4, 8), ('replay-0.25', 0.8, 4)]
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
    new = _many_new(known)
    if not 0 < new < n:
        return []
    if name == NEW_ONLY:
        how = "from what is new alone"
        return [Control(name, _of_new(plan, n, known, 1.0), how)] if len(known.new) <= new else []
    share = fixed_share(name)
    if share is not None:
        return [_replay(name, plan, n, known, share)] if _can_be(share, n, known) else []
    if known.replayed is not None:  # of another seed, whose new ones may be more or fewer
        return [_replay(name, plan, n, known, known.replayed)]
    tried = shares_to_try(n, known)
    return [_replay(name, plan, n, known, tried[-1])] if tried else []


def asked_controls(against: Iterable[str]) -> list[str]:
    """Return the names of the controls among what policies are held against, in the order of `CONTROLS`.

    Example:
        >>> from attent.judging.controls import asked_controls
        >>> asked_controls(["full", "replay-0.5", "filter", "balanced", "replay"])
        ['balanced', 'replay-0.5', 'replay', 'filter']
    """
    kinds = {name: REPLAY if fixed_share(name) is not None else name for name in against}
    return [name for kind in CONTROLS for name in kinds if kinds[name] == kind]


def fixed_share(name: str) -> float | None:
    """Return the share that the name of a control ``replay-SHARE`` says, None for other names.

    Raises PlanError for a share that is none.

    Example:
        >>> from attent.judging.controls import fixed_share
        >>> fixed_share("replay-0.25"), fixed_share("replay")
        (0.25, None)
    """
    kind, _, told = name.partition("-")
    if kind != REPLAY or not told:
        return None
    try:
        share = float(told)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise PlanError(
            f"must name a share of what is new in (0, 1), as replay-0.25 does, got {shown(name)}", field="against"
        )
    return share


def goes_by_new(name: str) -> bool:
    """Return whether a control takes as many examples as are new.

    Example:
        >>> from attent.judging.controls import goes_by_new
        >>> goes_by_new("new-only"), goes_by_new("replay-0.5"), goes_by_new("random")
        (True, True, False)
    """
    return name in (NEW_ONLY, REPLAY) or fixed_share(name) is not None


def left_out(against: Iterable[str], made: Iterable[str], n: int, known: Known) -> list[str]:
    """Return in words which controls are asked for and cannot be, beside the names of the arms that were made.

    Those of which a learner knows nothing are not among them.

    Example:
        >>> from attent.judging.controls import Known, left_out
        >>> left_out(["full", "replay-0.25"], ["full"], 9, Known({0: 3, 1: 6}, [1]))[0]
        'replay-0.25 left out: of 9 examples 6 are new, of 2 groups in all, so no shorter pass has such a share.'
    """
    missing, groups, new = set(asked_controls(against)) - set(made), len(known.sizes), _many_new(known)
    told = []
    evenly = [name for name in (BALANCED, TEMPERED) if name in missing]
    if evenly and groups:
        told.append(f"{' and '.join(evenly)} left out: there are {groups} groups, more than a pass has examples.")
    mixed = [name for name in asked_controls(against) if name in missing and goes_by_new(name) and name != NEW_ONLY]
    if mixed and new:
        told.append(
            f"{' and '.join(mixed)} left out: of {n:,} examples {new:,} are new, of {groups} groups in all, so no "
            "shorter pass has such a share."
        )
    return told


def shares_to_try(n: int, known: Known) -> list[float]:
    """Return the shares of what is new that `replay` is tried with, ascending: first the one that it has anyhow.

    None where nothing is new, or all is, and where no other can be. Those hardly above the first are not tried.

    Example:
        >>> from attent.judging.controls import Known, shares_to_try
        >>> shares_to_try(1000, Known({0: 910, 1: 90}, [1])), shares_to_try(10, Known({0: 1, 1: 9}, [1]))
        ([0.09, 0.25, 0.5, 0.75], [])
    """
    new = _many_new(known)
    apart = [share for share in REPLAY_SHARES if 0 < new < n and share >= _APART * new / n]
    others = [share for share in apart if _can_be(share, n, known)]
    return [round(new / n, 4), *others] if others else []


def _can_be(share: float, n: int, known: Known) -> bool:
    """Return whether a pass of this share is shorter than all, and has as many examples as there are groups."""
    new = _many_new(known)
    return share > new / n and len(known.sizes) <= round(new / share) < n


def _many_new(known: Known) -> int:
    return sum(known.sizes[group] for group in known.new)


def _replay(name: str, plan: Plan, n: int, known: Known, share: float) -> Control:
    """Return passes of this share; where the new have as much anyhow, and with 0, all examples at the plan's cost."""
    if _can_be(share, n, known):
        return Control(name, _of_new(plan, n, known, share), f"{100 * share:.3g} % from what is new")
    how = f"as they are, {100 * _many_new(known) / n:.3g} % from what is new"
    return Control(name, on_all(plan, n, plan.cost(n).examples_trained), how)


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


def _of_new(plan: Plan, n: int, known: Known, share: float) -> Plan:
    """Return passes of which this share is all that is new and the rest is known, as many as cost alike."""
    new = _many_new(known)
    k = min(n, round(new / share))
    weights = {
        group: share * size / new if group in known.new else (1 - share) * size / (n - new)
        for group, size in known.sizes.items()
    }
    made = Plan(
        epochs=max(1, round(plan.cost(n).examples_trained / k)),
        batch_size=plan.batch_size,
        ratio=k / n,
        select=ByGroup(share=weights),  # type: ignore[arg-type]  # a mapping is taken
        seed=plan.seed,
        bucket=plan.bucket,
    )
    taken = sum(size for group, size in known.sizes.items() if weights[group])
    if max(row.k for row in made.timeline(n)) > taken:
        # Passes that are whole parts of an epoch are cut between batches: some are then larger than all that is new.
        made = dataclasses.replace(made, ratio=constant(k / n))
    return made
