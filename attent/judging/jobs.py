"""One job of a judgement: a learner taught by one plan, what it cost and how good it became. And what is checked first.

Every job with a folder is resumable: it goes on where an earlier process left it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from attent import __version__
from attent.checks import shown
from attent.choose.policy import ranks
from attent.choose.sources import Replay
from attent.errors import CostWarning, LearnerError, ScoreError, TraceError
from attent.judging.by_group import group_metrics, look
from attent.judging.controls import relevance_of
from attent.judging.seed_groups import check_said, said_of
from attent.learner import Costs, Learner, Numbers, Watches, checked_length
from attent.plan.plan import Plan
from attent.run.course import Course, Train
from attent.run.files import FORMAT, present, read_json, write_json
from attent.run.folder import forget_checkpoints, position_in
from attent.run.records import EpochRecord, Seconds
from attent.run.teaching import Listener, Progress, teach
from attent.run.trace import Trace, read_header, read_records

Build = Callable[[Plan, Mapping[str, Any]], Learner]
_FILE, _SPENT = "job.json", "spent.json"
NOTHING_SAID: Mapping[str, str] = {}
_LOOKED_AT = 32  # examples
_ROUNDING = 1e-5
_From0 = Annotated[float, msgspec.Meta(ge=0)]
_Above0 = Annotated[float, msgspec.Meta(gt=0)]


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One finished job. ``failure`` says in words why its quality counts as the worst of all, and from which epoch.

    ``cost_trained``, ``cost_scored`` and ``cost_of_all`` (all examples once) are in the learner's unit, such as tokens;
    None where it knows no costs. ``said``: digests of what the learner said of its examples, as far as it counts here
    (`attent.judging.seed_groups`). Seconds of the process and of the clock span all of teaching, scoring and selecting
    included, and neither building nor judging; None where a killed process took them with it.
    """

    format: int = FORMAT
    arm: str
    seed: int
    plan: dict[str, Any]
    options: dict[str, Any]
    epochs: int
    steps: int
    examples_scored: Annotated[int, msgspec.Meta(ge=0)]
    examples_trained: Annotated[int, msgspec.Meta(ge=1)]
    quality: dict[str, float | None]
    seconds: Seconds = Seconds()
    process_seconds: _From0 | None = None
    wall_seconds: _From0 | None = None
    selections: int = 0
    selections_of_equal_scores: int = 0
    cost_trained: _Above0 | None = None
    cost_scored: _From0 | None = None
    cost_of_all: _Above0 | None = None
    failure: str | None = None
    failed_epoch: int | None = None
    said: dict[str, str] = {}

    def full_epochs(self, n: int, forward_share: float) -> float:
        """Return the cost in epochs on all n examples, a scored example counting ``forward_share`` of a trained one.

        Where the learner knows what each example costs, in its costs in place of examples.
        """
        if self.cost_of_all is not None and self.cost_trained is not None and self.cost_scored is not None:
            return (self.cost_trained + forward_share * self.cost_scored) / self.cost_of_all
        return (self.examples_trained + forward_share * self.examples_scored) / n


class Spent(msgspec.Struct, frozen=True):
    """What an unfinished job has cost so far."""

    process_seconds: float
    wall_seconds: float


class Setting(NamedTuple):
    """What all jobs of a judgement share. ``keep``: the last checkpoint of every job, which holds what it learnt."""

    build: Build
    n: int
    recipe: str
    versions: Mapping[str, str] = {}
    stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 30.0
    segment_steps: int | None = None
    keep: bool = False


class Precheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: examples, metrics (the main one first), groups, and what differs.

    ``group_metrics``: quality by group, as `attent.judging.by_group` names it. ``sizes``: of each group; ``new``: which
    groups are; ``nameless``: metrics of groups that are none of these. ``relevant``: the learner has a `relevance`;
    ``watches``: a `watch()`; ``costs``: `costs()`. ``said``: digests of its groups and relevance. ``differs``: in
    words, between two builds; None also where only one was built.
    """

    format: int = FORMAT
    n: int
    metrics: list[str]
    group_metrics: list[str] = []
    sizes: dict[int, int] = {}
    new: list[int] = []
    nameless: list[str] = []
    relevant: bool = False
    watches: bool = False
    costs: bool = False
    said: dict[str, str] = {}
    differs: str | None = None


def precheck(
    name: str, build: Build, plan: Plan, options: Mapping[str, Any], *, compare: bool = True, silent: bool = False
) -> Precheck:
    """Build the learner, and where arms are to be compared again, and compare scores and the losses of the first step.

    ``plan``: full training. ``silent``: a learner without held-out data will do; else it raises LearnerError.

    Example:
        >>> import attent
        >>> from attent.judging.jobs import precheck
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.full(epochs=2, batch_size=32)
        >>> precheck("vit-digits", lambda plan, options: vit_digits(plan), plan, {}).metrics
        ['accuracy', 'loss']
    """
    learner = build(plan, options)
    n = checked_length(learner)
    looked = look(learner)
    if not looked.quality and not silent:
        raise LearnerError(
            f"recipe {name!r} has no held-out data: its learner needs evaluate() returning quality by metric name, "
            "the main one first (attent.Evaluates); without it nothing can be judged"
        )
    found = Precheck(
        n=n,
        metrics=[name for name in looked.quality if ":" not in name],
        group_metrics=group_metrics(looked.quality, looked.derived),
        sizes=looked.sizes,
        new=looked.new,
        nameless=looked.nameless,
        relevant=relevance_of(learner, n) is not None,
        watches=isinstance(learner, Watches),
        costs=isinstance(learner, Costs),
        said=said_of(learner, n, relevance=True),
    )
    if not compare:
        return found
    first = _numbers(learner, plan, n)
    del learner  # its memory is needed for the second
    return msgspec.structs.replace(found, differs=_difference(name, first, _numbers(build(plan, options), plan, n)))


def _difference(name: str, first: Mapping[str, Numbers], second: Mapping[str, Numbers]) -> str | None:
    for what, one in first.items():
        other = second[what]
        if not np.allclose(one, other, rtol=_ROUNDING, atol=0, equal_nan=True):
            largest = float(np.nanmax(np.abs(one - other), initial=0.0))
            return (
                f"recipe {name!r} is not deterministic: built twice for one plan and seed, {what} differ by up to "
                f"{largest:.3g}. Arms do not start alike, so differences between them are partly chance; draw every "
                "random number from plan.seed"
            )
    return None


def _numbers(learner: Learner, plan: Plan, n: int) -> dict[str, Numbers]:
    checked_length(learner, n)
    ids = np.arange(min(n, _LOOKED_AT), dtype=np.int64)
    lesson = Course(plan, n, segment_steps=1).next()
    assert isinstance(lesson, Train)  # full training scores nothing
    return {
        "the scores of the first examples": learner.score(ids),
        "the losses of the first step": learner.train(lesson.batches, None),
        "the scores after the first step": learner.score(ids),
    }


def finished(
    folder: Path, arm: str, plan: Plan, options: Mapping[str, Any], *, recipe: str, n: int
) -> JobResult | None:
    """Return the result kept in a job's folder under the arm's name of now, None if it has not finished.

    Raises TraceError if it is of another plan, of other options, recipe or n, or written by another attent.
    """
    kept = read_json(folder / _FILE, JobResult, FORMAT)
    if kept is None:
        return None
    header = read_header(folder)
    told = {"recipe": header.recipe, "n": header.n, "attent": header.attent}
    now = {"recipe": recipe, "n": n, "attent": __version__}
    asked = (told, "", now), (kept.plan, "", plan.to_dict()), (kept.options, "option ", _builtins(options))
    for was, what, is_now in asked:
        for key in {**was, **is_now}:
            if was.get(key) != is_now.get(key):
                raise TraceError(
                    f"{folder} was judged with {what}{key} {shown(was.get(key))}, now it is "
                    f"{shown(is_now.get(key))}: name another folder, or ask for the same again"
                )
    return msgspec.structs.replace(kept, arm=arm)


def run_job(
    setting: Setting,
    arm: str,
    plan: Plan,
    options: Mapping[str, Any],
    folder: Path | None,
    listeners: Sequence[Listener] = (),
    said: Mapping[str, str] = NOTHING_SAID,
) -> JobResult | None:
    """Teach a fresh learner by a plan and return what came of it; None if it was stopped before its end.

    With a folder the job goes on where an earlier process left it, and its result is kept there. ``said``: what
    learners of other arms said of their examples; raises LearnerError, before a step, where this one's says otherwise.
    """
    learner = setting.build(plan, options)
    checked_length(learner, setting.n)
    own = said_of(learner, setting.n, relevance=isinstance(plan.source, Replay))
    check_said(said, own, plan.seed)
    known = _known_scores(learner, plan, setting.n)
    before = _spent_before(folder)
    process, wall = time.process_time(), time.perf_counter()
    failure: str | None = None
    records: list[EpochRecord] = []

    def keep(progress: Progress) -> None:
        if progress.record is not None:
            records.append(progress.record)

    try:
        # What it costs is what is judged
        with warnings.catch_warnings(action="ignore", category=CostWarning):
            teach(
                learner,
                plan,
                run=folder,
                resume=folder is not None,
                listeners=[keep, *listeners],
                stop=setting.stop,
                checkpoint_seconds=setting.checkpoint_seconds,
                segment_steps=setting.segment_steps,
                keep_scores=False,
                replay=known,
                versions=setting.versions,
                recipe=setting.recipe,
            )
    except (ScoreError, FloatingPointError) as error:  # numbers that are not finite: the model diverged
        failure = str(error)
    spent = _added(before, time.process_time() - process, time.perf_counter() - wall)
    if folder is not None:
        records = read_records(folder / "trace.jsonl")  # those of earlier processes too
    if failure is None and len(records) < plan.epochs:
        if folder is not None and spent is not None:
            write_json(folder / _SPENT, spent)
        return None
    result = _result(arm, plan, options, records, spent, setting.n)
    result = msgspec.structs.replace(result, said=own)
    if isinstance(learner, Costs):
        result = msgspec.structs.replace(result, cost_of_all=float(learner.costs().sum()))
    if failure is not None:
        # What it would have cost: a run that fails early is not to look cheap.
        cost = plan.cost(setting.n)
        result = msgspec.structs.replace(
            result,
            failure=failure,
            failed_epoch=len(records),
            examples_scored=cost.examples_scored,
            examples_trained=cost.examples_trained,
            cost_of_all=None,  # in examples then: what it would have chosen is not known
        )
    else:
        looked = look(learner)
        quality = {**looked.quality, **looked.derived}
        if quality and next(iter(quality.values())) is None:
            result = msgspec.structs.replace(
                result, failure="the held-out quality is not finite", failed_epoch=plan.epochs - 1
            )
        result = msgspec.structs.replace(result, quality=quality)
    if folder is not None:
        write_json(folder / _FILE, result)
        if not setting.keep:
            forget_checkpoints(folder)  # nothing is left to go on with
    return result


def _known_scores(learner: Learner, plan: Plan, n: int) -> Trace | None:
    """Return the learner's relevance as what a plan with ``source=Replay()`` replays at each of its selections.

    Raises LearnerError where it has none.
    """
    if not isinstance(plan.source, Replay):
        return None
    relevance = relevance_of(learner, n)
    if relevance is None:  # the first seed's learner had one
        raise LearnerError(
            f"the learner of seed {plan.seed} has no relevance, and its plan goes by it: set it for every seed"
        )
    return Trace.of_scores(relevance, sum(row.select for row in plan.timeline(n)))


def goes_on_from(folder: Path, plan: Plan, n: int) -> str | None:
    """Return in words where a folder's run goes on from, None where it has not begun or cannot go on.

    After a sudden stop that is its last checkpoint, not where it was. Epochs count from 1, as in progress. Raises
    TraceError or CourseError where the folder's files cannot be read.
    """
    if not present(folder / "run.json"):
        return None
    recorded, position = len(read_records(folder / "trace.jsonl")), position_in(folder)
    anew = "no checkpoint yet: begins anew"
    if position is None:
        return None if recorded else anew  # with epochs but no checkpoint teach refuses it
    epoch, step = position.epoch, position.step
    if epoch == step == 0:
        return anew
    if epoch >= plan.epochs:  # what lies beyond the last teach refuses
        return "its training is done"
    place = f"step {step} of {plan.timeline(n)[epoch].steps}" if step else "its start"
    again = recorded - epoch
    unit = plan.unit
    told = f"goes on from its last checkpoint: {unit} {epoch + 1} of {plan.epochs}, {place}"
    return told if again < 1 else f"{told}; {again} recorded since {'is' if again == 1 else 'are'} taught again"


def _result(
    arm: str, plan: Plan, options: Mapping[str, Any], records: list[EpochRecord], spent: Spent | None, n: int
) -> JobResult:
    seconds = {phase: sum(getattr(one.seconds, phase) for one in records) for phase in Seconds.__struct_fields__}
    made = [record.selection for record in records if record.selection is not None]
    return JobResult(
        arm=arm,
        seed=plan.seed,
        plan=plan.to_dict(),
        options=_builtins(options),
        epochs=len(records),
        steps=sum(record.steps for record in records),
        examples_scored=sum(record.examples_scored for record in records),
        examples_trained=sum(record.examples_trained for record in records),
        quality={},
        seconds=Seconds(**seconds),
        process_seconds=None if spent is None else spent.process_seconds,
        wall_seconds=None if spent is None else spent.wall_seconds,
        cost_trained=_summed(record.cost_trained for record in records),
        cost_scored=_summed(record.cost_scored for record in records),
        selections=len(made),
        selections_of_equal_scores=sum(
            ranks(plan.select) and one.score_min is not None and one.score_min == one.score_max for one in made
        ),
    )


def _summed(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else math.fsum(cost for cost in known if cost is not None)


def _builtins(options: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = msgspec.to_builtins(dict(options), enc_hook=str)
    return kept


def _spent_before(folder: Path | None) -> Spent | None:
    """Return what earlier processes spent on a job, None where one was killed and nobody knows."""
    if folder is None or not present(folder / "run.json"):
        return Spent(0.0, 0.0)
    kept = read_json(folder / _SPENT, Spent, FORMAT)
    (folder / _SPENT).unlink(missing_ok=True)  # if this process is killed, it is no longer true
    return kept


def _added(before: Spent | None, process_seconds: float, wall_seconds: float) -> Spent | None:
    if before is None:
        return None
    return Spent(before.process_seconds + process_seconds, before.wall_seconds + wall_seconds)
