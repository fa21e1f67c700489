"""``attent teach``: run the arms of a recipe, or go on with them, and say what came of it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from attent.cli.arm_runs import arms_left, how_to_go_on, report_so_far, run_arms
from attent.cli.given import Given
from attent.cli.interrupts import stop_signals
from attent.cli.preparing import Job, prepare
from attent.cli.progress import watching
from attent.cli.results import Report, write_report
from attent.cli.settings import free_folder, write_settings
from attent.cli.tables import arms_table
from attent.cli.verdict import verdict
from attent.tables import percent

Tell = Callable[[str], None]


def teach(given: Given, *, resume: bool, tell: Tell = print) -> bool:
    """Run what was asked for; return whether it came to its end (a signal may stop it before).

    Nothing is trained or written unless everything asked for has been checked. Raises AttentError.
    """
    job = prepare(given, resume=resume)
    folder = job.folder or free_folder(job.settings.recipe)
    write_settings(folder, job.settings)
    report = report_so_far(job, folder)
    left = arms_left(job, report)
    print(_announcement(job, folder, list(left)), file=sys.stderr)
    work = {name: plan.cost(job.settings.n, job.settings.forward_share).epochs for name, plan in left.items()}
    with stop_signals() as stop, watching(work) as watch:
        report, stopped = run_arms(job, folder, report, watch, stop)
    if stopped is not None:
        print(f"Stopped {stopped}. Go on with: {how_to_go_on(folder)}", file=sys.stderr)
        return False
    write_report(folder, report)
    tell(told(report))
    tell(f"Run folder: {folder}")
    return True


def told(report: Report) -> str:
    """Return the table of the arms, what its columns mean, and what it says."""
    legend = [textwrap.fill(line, 100) for line in _legend(report)]
    said = [textwrap.fill(sentence, 100) for sentence in verdict(report)]
    return "\n".join([arms_table(report), "", *legend, "", *said])


def _legend(report: Report) -> list[str]:
    lines = [
        "forward: examples scored or trained; backward: examples trained; cost: in epochs on all "
        f"{report.n:,} examples, a scored example counting {report.forward_share:.2f} of a trained one; "
        f"saved: of {report.epochs} such epochs. Seconds are wall time, with whatever else the machine did."
    ]
    lines += [f"{name}: the same training as {twin}, run once." for name, twin in report.alike.items()]
    return lines


def _announcement(job: Job, folder: Path, left: list[str]) -> str:
    settings, plan = job.settings, next(iter(job.plans.values()))
    whose = "" if ":" in settings.recipe else f" ({settings.backend})"
    cost = plan.cost(settings.n, settings.forward_share)
    lines = [
        f"{settings.recipe}{whose}, {settings.n:,} examples; arms to run: {', '.join(left) or 'none'}; in {folder}"
    ]
    if cost.saving < 0 and plan.unit != "pass":
        lines.append(
            f"Note: this plan costs {cost.epochs:.2f} epochs on all examples, {percent(-cost.saving)} more than the "
            f"{plan.full_epochs} it is to shorten."
        )
    return "\n".join(lines)
