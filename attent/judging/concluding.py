"""From all that has finished to the judgement, with its verdict and remarks."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from attent.judging.arms import Arm, alike
from attent.judging.jobs import JobResult
from attent.judging.judgement import Judgement, complete_seeds, measured_forward_share, rows_of
from attent.judging.precheck import Precheck
from attent.judging.question import Question
from attent.judging.tuning import Tuning
from attent.judging.verdict import verdict
from attent.plan.plan import Plan


class Finished(NamedTuple):
    """What a referee has come to so far. ``tuned``: the tuning has finished, or none was wanted."""

    check: Precheck
    made: Mapping[str, tuple[Plan, Arm]]
    tuned: bool
    tuning: Tuning | None
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
    rows, curves = rows_of(arms, twins, jobs, seeds, metrics, n, share) if seeds else ([], {})
    said, pays = verdict(question.recipe, rows, curves, metrics, len(seeds), _doubts(so_far))
    if not so_far.tuned:
        said = "Nothing can be concluded: the tuning has not finished."
    if not seeds and so_far.budget_over:
        said += f" The budget of {question.budget_seconds:g} s is too small: give more, or less to run."
    order = list(so_far.made)
    return Judgement(
        attent=importlib.metadata.version("attent"),
        recipe=question.recipe,
        backend=question.backend,
        options=msgspec.to_builtins(dict(so_far.options), enc_hook=str),
        n=n,
        epochs=question.epochs,
        batch_size=so_far.batch_size,
        metrics=metrics,
        seeds=seeds,
        seeds_wanted=question.seeds,
        forward_share=share,
        forward_share_measured=question.forward_share is None and measured is not None,
        arms=arms,
        alike=twins,
        left_out=list(so_far.left_out),
        tuning=so_far.tuning,
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


def _doubts(so_far: Finished) -> list[str]:
    """Return what a reader of the verdict alone must know of what was compared."""
    doubts = []
    if so_far.check.differs is not None:
        doubts.append("The recipe is not deterministic: arms did not start alike.")
    if so_far.tuning is not None and so_far.tuning.edges:
        doubts.append(f"Full training may be better than it was tuned to be: {' and '.join(so_far.tuning.edges)}.")
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
