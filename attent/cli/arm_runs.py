"""The arms of a run, one after the other, each in a subfolder of the run folder."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
import warnings
from pathlib import Path

import msgspec

from attent.cli import recipe_lookup
from attent.cli.going_on import goes_on_from
from attent.cli.interrupts import Stop
from attent.cli.phases import unit
from attent.cli.preparing import Job
from attent.cli.progress import Watch
from attent.cli.results import Report, read_report, result_of, write_report
from attent.errors import CostWarning, LearnerError
from attent.judging.metrics import quality_of
from attent.learner import Learner, checked_length
from attent.plan.plan import Plan
from attent.run.teaching import teach
from attent.run.trace import Trace


def how_to_go_on(folder: Path) -> str:
    """Return the command that goes on with a run."""
    return f"attent teach --resume {shlex.quote(str(folder))}"


def report_so_far(job: Job, folder: Path) -> Report:
    """Return the report of the arms that have finished, none of them if the run only begins."""
    kept = read_report(folder)
    if kept is not None:
        return msgspec.structs.replace(kept, alike=job.alike)
    return Report(
        attent=importlib.metadata.version("attent"),
        recipe=job.settings.recipe,
        backend=job.settings.backend,
        options=job.settings.options,
        n=job.settings.n,
        epochs=next(iter(job.plans.values())).full_epochs,
        forward_share=job.settings.forward_share,
        alike=job.alike,
    )


def arms_left(job: Job, report: Report) -> dict[str, Plan]:
    """Return the arms that have not finished, by name."""
    finished = {arm.name for arm in report.arms}
    return {name: plan for name, plan in job.plans.items() if name not in finished}


def run_arms(job: Job, folder: Path, report: Report, watch: Watch, stop: Stop) -> tuple[Report, str | None]:
    """Run or go on with every arm that is not in the report.

    Returns the report with them, and in words where it stopped (None: it did not). ``report.json`` holds every
    finished arm at every moment. An error is given a note that says how to go on.
    """
    learner, job.learner = job.learner, None
    try:
        for name, plan in arms_left(job, report).items():
            if stop():
                return report, f"before arm {name}"
            if learner is None:
                learner = recipe_lookup.build(job.found, plan, job.options)
            trace = _run_arm(job, folder, name, plan, learner, watch, stop)
            if not trace.finished:
                one = unit(plan.to_dict())
                return report, f"in {one} {len(trace.records) + 1} of {plan.epochs} of arm {name}"
            result = result_of(name, trace, _quality(name, learner))
            report = msgspec.structs.replace(report, arms=[*report.arms, result], versions=trace.header.versions)
            write_report(folder, report)
            learner = None  # its memory is needed for the next
    except (Exception, KeyboardInterrupt) as error:
        error.add_note(f"The run folder is {folder}. Go on with: {how_to_go_on(folder)}")
        raise
    return report, None


def _run_arm(job: Job, folder: Path, name: str, plan: Plan, learner: Learner, watch: Watch, stop: Stop) -> Trace:
    checked_length(learner, job.settings.n)
    told = goes_on_from(folder / name, plan, job.settings.n)
    if told is not None:
        print(f"{name}: {told}", file=sys.stderr)
    # The command tells the cost itself, before and after
    with warnings.catch_warnings(action="ignore", category=CostWarning):
        return teach(
            learner,
            plan,
            run=folder / name,
            resume=True,
            listeners=[watch(name, plan)],
            stop=stop,
            checkpoint_seconds=job.settings.checkpoint_seconds,
            segment_steps=job.settings.segment_steps,
            versions=job.versions,
            recipe=job.settings.recipe,
        )


def _quality(name: str, learner: Learner) -> dict[str, float | None]:
    try:
        return quality_of(learner)
    except LearnerError as error:  # what was trained is worth a table all the same
        print(f"attent: the quality of arm {name} is unknown: {error}", file=sys.stderr)
        return {}
