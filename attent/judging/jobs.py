"""One job of a judgement: a learner taught by one plan, what that cost and how good it became. Resumable."""

from __future__ import annotations

import importlib.metadata
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from attent.choose.policy import ranks
from attent.errors import CostWarning, ScoreError, TraceError
from attent.judging.metrics import quality_of
from attent.learner import Learner, checked_length
from attent.plan.plan import Plan
from attent.run.folder import CHECKPOINT
from attent.run.json_files import read_json, write_json
from attent.run.records import EpochRecord, Seconds
from attent.run.teaching import Progress, teach
from attent.run.trace import read_header, read_records

Build = Callable[[Plan, Mapping[str, Any]], Learner]
FORMAT = 1
_FILE, _SPENT = "job.json", "spent.json"


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One finished job. ``failure`` says in words why its quality counts as the worst of all, and from which epoch.

    Seconds of the process and of the clock span all of teaching, scoring and selecting included, and neither
    building nor judging; None where a killed process took them with it.
    """

    format: int = FORMAT
    arm: str
    seed: int
    plan: dict[str, Any]
    options: dict[str, Any]
    epochs: int
    steps: int
    examples_scored: int
    examples_trained: int
    quality: dict[str, float | None]
    seconds: Seconds = Seconds()
    process_seconds: float | None = None
    wall_seconds: float | None = None
    selections: int = 0
    selections_of_equal_scores: int = 0
    failure: str | None = None
    failed_epoch: int | None = None

    def full_epochs(self, n: int, forward_share: float) -> float:
        """Return the cost in epochs on all n examples, a scored example counting ``forward_share`` of a trained one."""
        return (self.examples_trained + forward_share * self.examples_scored) / n


class Spent(msgspec.Struct, frozen=True):
    """What an unfinished job has cost so far."""

    process_seconds: float
    wall_seconds: float


class Setting(NamedTuple):
    """What all jobs of a judgement share."""

    build: Build
    n: int
    recipe: str
    versions: Mapping[str, str] = {}
    stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 30.0
    segment_steps: int = 64


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
    now = {"recipe": recipe, "n": n, "attent": importlib.metadata.version("attent")}
    asked = (told, "", now), (kept.plan, "", plan.to_dict()), (kept.options, "option ", _builtins(options))
    for was, what, is_now in asked:
        for key in {**was, **is_now}:
            if was.get(key) != is_now.get(key):
                raise TraceError(
                    f"{folder} was judged with {what}{key} {was.get(key)!r}, now it is {is_now.get(key)!r}: "
                    "name another folder, or ask for the same again"
                )
    return msgspec.structs.replace(kept, arm=arm)


def run_job(
    setting: Setting, arm: str, plan: Plan, options: Mapping[str, Any], folder: Path | None
) -> JobResult | None:
    """Teach a fresh learner by a plan and return what came of it; None if it was stopped before its end.

    With a folder the job goes on where an earlier process left it, and its result is kept there.
    """
    learner = setting.build(plan, options)
    checked_length(learner, setting.n)
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
                listeners=[keep],
                stop=setting.stop,
                checkpoint_seconds=setting.checkpoint_seconds,
                segment_steps=setting.segment_steps,
                keep_scores=False,
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
    if failure is not None:
        # What it would have cost: a run that fails early is not to look cheap.
        cost = plan.cost(setting.n)
        result = msgspec.structs.replace(
            result,
            failure=failure,
            failed_epoch=len(records),
            examples_scored=cost.examples_scored,
            examples_trained=cost.examples_trained,
        )
    else:
        quality = quality_of(learner)
        main = next(iter(quality.values()), None)
        if main is None:
            result = msgspec.structs.replace(
                result, failure="the held-out quality is not finite", failed_epoch=plan.epochs - 1
            )
        result = msgspec.structs.replace(result, quality=quality)
    if folder is not None:
        write_json(folder / _FILE, result)
        (folder / CHECKPOINT).unlink(missing_ok=True)  # nothing is left to go on with
    return result


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
        selections=len(made),
        selections_of_equal_scores=sum(
            ranks(plan.select) and one.score_min is not None and one.score_min == one.score_max for one in made
        ),
    )


def _builtins(options: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = msgspec.to_builtins(dict(options), enc_hook=str)
    return kept


def _spent_before(folder: Path | None) -> Spent | None:
    """Return what earlier processes spent on a job, None where one was killed and nobody knows."""
    if folder is None or not (folder / "run.json").exists():
        return Spent(0.0, 0.0)
    kept = read_json(folder / _SPENT, Spent, FORMAT)
    (folder / _SPENT).unlink(missing_ok=True)  # if this process is killed, it is no longer true
    return kept


def _added(before: Spent | None, process_seconds: float, wall_seconds: float) -> Spent | None:
    if before is None:
        return None
    return Spent(before.process_seconds + process_seconds, before.wall_seconds + wall_seconds)
