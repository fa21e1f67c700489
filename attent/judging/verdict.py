"""What is concluded: from all that has finished to the judgement, with its verdict in a few sentences."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from attent import __version__
from attent.judging.arms import CONTROL, FULL, POLICY, SHORT, Arm, Question, alike
from attent.judging.by_group import TRAINING, other_distribution
from attent.judging.controls import FILTER, REPLAY
from attent.judging.curve import Estimate
from attent.judging.jobs import JobResult, Precheck
from attent.judging.judgement import Curve, Judgement, Row, complete_seeds, measured_forward_share, rows_of
from attent.judging.tuning import Tuning
from attent.plan.plan import Plan
from attent.tables import digits

LEAST_SEEDS = 5  # with fewer an interval is too narrow to be called certain
_ROUNDING = 1e-9


class Finished(NamedTuple):
    """What a referee has come to so far. ``tuned``: the tuning has finished, or none was wanted."""

    check: Precheck
    made: Mapping[str, tuple[Plan, Arm]]
    tuned: bool
    tuning: Tuning | None
    replayed: Tuning | None
    jobs: Sequence[JobResult]
    left_out: Sequence[str]
    options: Mapping[str, Any]
    batch_size: int
    budget_over: bool
    notes: Sequence[str]


def conclude(question: Question, so_far: Finished) -> Judgement:
    """Return the judgement of what has finished."""
    n, metrics, jobs = so_far.check.n, so_far.check.metrics, so_far.jobs
    twins = alike(so_far.made, n)
    arms = [arm for name, (_, arm) in so_far.made.items() if name not in so_far.left_out]
    seeds = complete_seeds(jobs, [arm.name for arm in arms], twins)
    measured = measured_forward_share(jobs)
    share = question.forward_share if question.forward_share is not None else measured or 1 / 3
    every = [*metrics, *so_far.check.group_metrics]
    rows, curves = rows_of(arms, twins, jobs, seeds, every, n, share) if seeds else ([], {})
    doubts = [*_of_training(question, rows, so_far.check), *_doubts(so_far)]
    said, pays = verdict(question.recipe, rows, curves, metrics, len(seeds), doubts)
    if not so_far.tuned:
        said = "Nothing can be concluded: the tuning has not finished."
    if not seeds and so_far.budget_over:
        said += f" The budget of {question.budget_seconds:g} s is too small: give more, or less to run."
    order = list(so_far.made)
    return Judgement(
        attent=__version__,
        recipe=question.recipe,
        backend=question.backend,
        options=msgspec.to_builtins(dict(so_far.options), enc_hook=str),
        n=n,
        epochs=question.epochs,
        batch_size=so_far.batch_size,
        metrics=metrics,
        group_metrics=so_far.check.group_metrics,
        seeds=seeds,
        seeds_wanted=question.seeds,
        forward_share=share,
        forward_share_measured=question.forward_share is None and measured is not None,
        arms=arms,
        alike=twins,
        left_out=list(so_far.left_out),
        tuning=so_far.tuning,
        replayed=so_far.replayed,
        curves=curves,
        rows=rows,
        verdict=said,
        pays=pays,
        notes=[*so_far.notes, *_remarks(jobs)],
        finished=so_far.tuned and len(seeds) == question.seeds and not so_far.left_out,
        jobs=sorted(jobs, key=lambda job: (job.seed, order.index(job.arm))),
        versions={"python": platform.python_version(), "numpy": np.__version__, **question.versions},
        machine=f"{platform.machine()}, {platform.system()}",
    )


def _of_training(question: Question, rows: Sequence[Row], check: Precheck) -> list[str]:
    """Return that the main metric is of another distribution than the one trained, and what is saved by that one's."""
    full = next((row for row in rows if row.kind == FULL), None)
    if full is None or not check.metrics:
        return []
    main = check.metrics[0]
    told = other_distribution(main, question.metric_of, full.quality, check.group_metrics)
    if told is None:
        return []
    best, name = best_of(rows, main), f"{main}:{TRAINING}"
    saved = None if best is None else best.savings.get(name, {}).get("full_epochs")
    if best is None or saved is None:
        return [told]
    return [told, f"By {name} {best.arm} saves {percent(saved)} ({interval(saved) or 'no interval'})."]


def _doubts(so_far: Finished) -> list[str]:
    """Return what a reader of the verdict alone must know of what was compared."""
    doubts = []
    if so_far.check.differs is not None:
        doubts.append("The recipe is not deterministic: arms did not start alike.")
    if so_far.tuning is not None and so_far.tuning.edges:
        doubts.append(f"Full training may be better than it was tuned to be: {' and '.join(so_far.tuning.edges)}.")
    if so_far.replayed is not None and so_far.replayed.edges:
        doubts.append(f"{REPLAY} may be better than it was tuned to be: {' and '.join(so_far.replayed.edges)}.")
    return doubts


def _remarks(jobs: Sequence[JobResult]) -> list[str]:
    remarks = []
    for arm in dict.fromkeys(job.arm for job in jobs):
        failed = [job for job in jobs if job.arm == arm and job.failure is not None]
        if failed:
            told = ", ".join(f"{job.seed} (epoch {job.failed_epoch})" for job in failed)
            remarks.append(
                f"{arm} failed with seed {told} and counts there with the worst quality of all: {failed[0].failure}"
            )
        equal = sum(job.selections_of_equal_scores for job in jobs if job.arm == arm)
        made = sum(job.selections for job in jobs if job.arm == arm)
        if equal:
            remarks.append(f"{arm}: all scores were equal in {equal} of {made} selections: nothing to choose by.")
    return remarks


def best_of(rows: Sequence[Row], metric: str) -> Row | None:
    """Return the policy that saves most: among those worse in no metric, if any is; by the interval's low end."""
    policies = [row for row in rows if row.kind == POLICY and metric in row.savings]

    def merit(row: Row) -> tuple[bool, bool, float, float]:
        found = row.savings[metric]["full_epochs"]
        low = found.value if found.low is None else found.low
        return found.surely_above and not row.worse, found.surely_above, low, found.value

    return max(policies, key=merit, default=None)


def verdict(
    recipe: str,
    rows: Sequence[Row],
    curves: Mapping[str, Curve],
    metrics: Sequence[str],
    seeds: int,
    doubts: Sequence[str] = (),
) -> tuple[str, str | None]:
    """Return whether teaching pays and with what certainty, and the name of the arm that does for certain.

    ``doubts``: sentences about what was compared, said after what was found.
    """
    said, pays = _found(recipe, rows, curves, metrics, seeds)
    return " ".join([*said, *doubts]), pays


def _found(
    recipe: str, rows: Sequence[Row], curves: Mapping[str, Curve], metrics: Sequence[str], seeds: int
) -> tuple[list[str], str | None]:
    if not seeds:
        return ["Nothing can be concluded: there is no seed of which every arm has finished."], None
    if not metrics:
        return ["The learner does not judge itself (it has no evaluate), so whether teaching paid is not known."], None
    main = metrics[0]
    if all(main not in row.quality for row in rows):
        return [
            f"Nothing can be concluded: the main metric, {main}, is missing or not finite in every run. "
            "Has the held-out data more than one class?"
        ], None
    if not any(row.kind in (FULL, SHORT) for row in rows):
        told = "Whether teaching beats training on all examples is not known: no such arm was run."
        return [told, *_beside_controls(next(row for row in rows if row.kind == POLICY), rows, main, seeds)], None
    best = best_of(rows, main)
    if main not in curves or best is None:
        return ["Nothing can be concluded: no policy has finished, or no run took a measurable cost."], None
    curve = curves[main]
    beside = _beside_controls(best, rows, main, seeds)
    failed = [row.arm for row in rows if row.kind in (FULL, SHORT) and row.failures]
    if len(curve.best) > 1 and curve.best[0] == curve.best[-1]:
        if failed:
            return [f"Nothing can be concluded: runs of {', '.join(failed)} failed, which the curve needs."], None
        return [
            f"Nothing can be concluded: full training does not get better between {curve.costs[0]:.2f} and "
            f"{curve.costs[-1]:.2f} epochs ({main} {curve.best[0]:.4g} at once), so no saving can be read off. "
            "Try shorter lengths, or fewer epochs.",
            *_at_equal_cost(best, main, seeds),
            *beside,
        ], None
    said, pays = _saving(recipe, best, rows, metrics, seeds, failed)
    if not best.savings[main]["full_epochs"].surely_above:
        said += _at_equal_cost(best, main, seeds)
    beaten = any(ahead[main].surely_below for ahead in best.ahead_of.values() if main in ahead)
    return [*said, *beside], None if beaten else pays


def _saving(
    recipe: str, best: Row, rows: Sequence[Row], metrics: Sequence[str], seeds: int, failed: Sequence[str]
) -> tuple[list[str], str | None]:
    """Return what the best policy saves, in sentences, and its name if that is certain."""
    main = metrics[0]
    policies = sum(row.kind == POLICY for row in rows)
    found = best.savings[main]["full_epochs"]
    certain = certainty(found, seeds)
    among = f", the best of {policies} policies," if policies > 1 else ""
    if not found.surely_above:
        if seeds < 2:
            return [
                f"On {recipe}, {best.arm}{among} saves {percent(found)} with a single seed, which proves nothing: "
                "an interval needs at least 2."
            ], None
        return [
            f"On {recipe}, no policy saves with certainty: the best is {best.arm}, {percent(found)} ({certain}). "
            f"Train on all data{_or_as_drawn(rows, main, seeds)}."
        ], None
    cost, reached = best.costs["full_epochs"] or 0.0, "at least " if found.bound > 0 else ""
    said = [
        f"On {recipe}, {best.arm}{among} reaches in {cost:.2f} full epochs the {main} of "
        f"{reached}{cost / (1 - found.value):.2f}: it saves {percent(found)} ({certain})."
    ]
    if failed:
        return [*said, f"But runs of {', '.join(failed)} failed: against training that fails nothing is proved."], None
    if seeds < LEAST_SEEDS:
        return [*said, f"That is no proof yet: certainty needs at least {LEAST_SEEDS} seeds."], None
    others = [name for name in best.worse if name != main]
    if others:
        return [*said, f"But at that cost full training is better by {', '.join(others)}: no clear win."], None
    if len(metrics) > 1:
        said.append("No other metric is surely worse.")
    by_time = best.savings[main].get("process_seconds")
    if by_time is not None and not by_time.surely_above:
        said.append(f"By process time it is less certain: {percent(by_time)} ({interval(by_time)}).")
    return said, best.arm


def _or_as_drawn(rows: Sequence[Row], main: str, seeds: int) -> str:
    """Return which control saves most of those that surely save, in words; nothing where none does."""
    saving = [row for row in rows if row.kind == CONTROL and main in row.savings]
    surely = [row for row in saving if row.savings[main]["full_epochs"].surely_above and seeds >= LEAST_SEEDS]
    if not surely:
        return ""
    best = max(
        surely, key=lambda row: (row.savings[main]["full_epochs"].low or 0.0, row.savings[main]["full_epochs"].value)
    )
    found = best.savings[main]["full_epochs"]
    return f", or on what {best.arm} draws: it saves {percent(found)} ({certainty(found, seeds)})"


def _at_equal_cost(best: Row, main: str, seeds: int) -> list[str]:
    """Return how a policy does against full training that costs as much, which is the short arm where one was run."""
    ahead = best.ahead.get(main)
    if ahead is None:
        return []
    if abs(ahead.value) <= _ROUNDING * max(1.0, abs(best.quality[main])):
        return [f"At equal cost {best.arm} and full training have the same {main}."]
    surely = "surely " if ahead.surely_above or ahead.surely_below else ""
    than = f"{'better' if ahead.value > 0 else 'worse'} by {main} than full training"
    return [f"At equal cost {best.arm} is {surely}{than} (difference {_difference(ahead, seeds)})."]


def _beside_controls(best: Row, rows: Sequence[Row], main: str, seeds: int) -> list[str]:
    """Return how a policy does against the arms that draw their examples without looking at scores."""
    told = []
    for row in rows:
        ahead = best.ahead_of.get(row.arm, {}).get(main)
        if row.kind != CONTROL or ahead is None:
            continue
        which = "which keeps what is nearest to a target" if _filters(row.arm) else "which looks at no score"
        values = f"{main} {digits(row.quality[main], 4)} against {digits(best.quality[main], 4)}"
        values += f" (difference {_difference(ahead, seeds)})"
        if ahead.surely_below:
            told.append(f"But {row.arm}, {which}, does better than {best.arm}: {values}.")
        elif ahead.surely_above:
            told.append(f"{best.arm} also beats {row.arm}, {which}: {values}.")
        elif ahead.low is None:  # a single run
            than = "behind" if ahead.value > 0 else "ahead of" if ahead.value < 0 else "level with"
            told.append(f"{row.arm}, {which}, is {than} {best.arm}: {values}, which proves nothing.")
        else:
            told.append(f"{row.arm}, {which}, does about as well as {best.arm}: {values}.")
    return told


def _filters(arm: str) -> bool:
    return arm.startswith(f"{FILTER}-")  # the name of no policy


def _difference(ahead: Estimate, seeds: int) -> str:
    bound = ("at most ", "", "at least ")[ahead.bound + 1]
    if ahead.low is None or ahead.high is None:
        return f"{bound}{_rounded(ahead.value)}, in this single run"
    ends = f"{'<= ' * ahead.low_open}{_rounded(ahead.low)} to {'>= ' * ahead.high_open}{_rounded(ahead.high)}"
    return f"{bound}{_rounded(ahead.value)}, 95 %: {ends}, {seeds} seeds"


def _rounded(difference: float) -> str:
    return digits(round(difference, 12) + 0.0)  # what is but rounding is no difference, and -0 is 0


def certainty(found: Estimate, seeds: int) -> str:
    """Return the interval in words.

    Example:
        >>> from attent.judging.curve import Estimate
        >>> from attent.judging.verdict import certainty
        >>> certainty(Estimate(value=0.22, low=0.15, high=0.28, high_open=True), 5)
        '95 %: 15 to >= 28, 5 seeds'
    """
    if found.low is None or found.high is None:
        return "1 seed, no interval"
    return f"95 %: {interval(found)}, {seeds} seeds"


def interval(found: Estimate) -> str:
    """Return the interval's ends in percent, an open one as a bound."""
    if found.low is None or found.high is None:
        return ""
    low = f"{'<= ' * found.low_open}{round(100 * found.low)}"
    return f"{low} to {'>= ' * found.high_open}{round(100 * found.high)}"


def percent(found: Estimate) -> str:
    """Return a saving in percent, a bound as one.

    Example:
        >>> from attent.judging.curve import Estimate
        >>> from attent.judging.verdict import percent
        >>> percent(Estimate(value=0.23, bound=1)), percent(Estimate(value=-0.05, bound=-1))
        ('>= 23 %', '<= -5 %')
    """
    return f"{('<= ', '', '>= ')[found.bound + 1]}{round(100 * found.value)} %"
