"""The table of a judgement, for the terminal and as Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from attent.judging.bootstrap import Estimate
from attent.judging.judgement import Judgement, Row
from attent.judging.policies import POLICY
from attent.judging.tuning import Tuning
from attent.judging.verdict import interval, percent
from attent.tables import NOTHING, aligned, quality

WIDTH = 100


def told(found: Judgement) -> str:
    """Return tables, legend, notes and verdict for a terminal of 100 columns."""
    parts = []
    if found.tuning is not None:
        parts += [aligned(*_tuning_table(found.tuning)), textwrap.fill(_tuning_text(found), WIDTH), ""]
    if found.rows:
        metrics = found.metrics
        table = aligned(*_table(found, metrics))
        while len(metrics) > 1 and max(map(len, table.splitlines())) > WIDTH:
            metrics = metrics[:-1]  # all are in the report
            table = aligned(*_table(found, metrics))
        parts += [table, "", *(textwrap.fill(line, WIDTH) for line in _legend(found)), ""]
    parts += [textwrap.fill(f"Note: {note}", WIDTH) for note in found.notes]
    return "\n".join([*parts, textwrap.fill(found.verdict, WIDTH)])


def report_text(found: Judgement) -> str:
    """Return the report as Markdown."""
    lines = [f"# {found.recipe}: does teaching pay?", "", f"**{found.verdict}**", ""]
    if found.rows:
        lines += [*_markdown(*_table(found, found.metrics)), "", *_legend(found), ""]
        lines += [
            f"Savings by {metric}, in full epochs: "
            + "; ".join(f"{row.arm} {_saved(row, metric)}" for row in found.rows if row.savings)
            + "."
            for metric in found.metrics[1:]
            if metric in found.curves
        ]
        lines.append("")
    if found.tuning is not None:
        lines += [*_markdown(*_tuning_table(found.tuning)), "", _tuning_text(found), ""]
    lines += [f"- {note}" for note in found.notes]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines += ["", f"attent {found.attent}, {versions}; {found.machine}."]
    return "\n".join(lines).rstrip() + "\n"


def _table(found: Judgement, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    header = ["arm", "cost", "process s", *metrics, "saved", "95 %", "by process time"]
    rows = []
    main = found.metrics[0]
    ordered = sorted(found.rows, key=lambda row: row.costs["full_epochs"] or 0 if row.kind != POLICY else math.inf)
    for row in ordered:
        seconds = row.costs["process_seconds"]
        saved, ends, by_time = NOTHING, NOTHING, NOTHING
        if main in row.savings:
            estimate = row.savings[main]["full_epochs"]
            saved, ends = percent(estimate), interval(estimate) or NOTHING
            by_time = _in_words(row.savings[main].get("process_seconds"))
        rows.append(
            [
                row.arm,
                f"{row.costs['full_epochs']:.2f}",
                NOTHING if seconds is None else f"{seconds:.2f}",
                *(_value(row, metric) for metric in metrics),
                saved,
                ends,
                by_time,
            ]
        )
    return header, rows


def _value(row: Row, metric: str) -> str:
    if metric not in row.quality:
        return NOTHING
    return quality(row.quality[metric]) + "*" * (metric in row.worse) + "!" * bool(row.failures)


def _saved(row: Row, metric: str) -> str:
    return _in_words(row.savings[metric]["full_epochs"])


def _in_words(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    ends = interval(estimate)
    return percent(estimate) + (f" ({ends})" if ends else "")


def _legend(found: Judgement) -> list[str]:
    how = "measured" if found.forward_share_measured else "as given or assumed"
    lines = [
        f"Means of {len(found.seeds)} paired seed{'s' * (len(found.seeds) != 1)}, batch size {found.batch_size}. Cost: "
        f"in epochs on all {found.n:,} examples, a scored one counting {found.forward_share:.2f} ({how}) of a trained "
        f"one. Saved: of the cost at which full training reaches the same {found.metrics[0]}, read off its curve; >= "
        "and <= where the curve ends."
    ]
    if any(row.worse for row in found.rows):
        lines.append("*: full training is surely better at that cost.")
    if any(row.failures for row in found.rows):
        lines.append("!: a run failed and counts with the worst quality of all.")
    shares = [
        f"{row.arm} {100 * row.share_of_seconds['scoring']:.1f} and {100 * row.share_of_seconds['selecting']:.2f} %"
        for row in found.rows
        if row.kind == POLICY and row.share_of_seconds
    ]
    if shares:
        lines.append(f"Of their time scoring and selecting took: {', '.join(shares)}.")
    lines += [f"{name}: the same training as {twin}, run once." for name, twin in found.alike.items()]
    lines += [f"{arm.name}: {arm.note}." for arm in found.arms if arm.note]
    return lines


def _tuning_table(tuning: Tuning) -> tuple[list[str], list[list[str]]]:
    header = [*tuning.grid, tuning.metric, "epochs", "process s", ""]
    rows = []
    for point, job in zip(tuning.points, tuning.jobs, strict=True):
        seconds = job.process_seconds
        rows.append(
            [
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in point.values()),
                "diverged" if job.failure else quality(job.quality.get(tuning.metric)),
                str(job.epochs),
                NOTHING if seconds is None else f"{seconds:.2f}",
                "chosen" if point == tuning.chosen else "",
            ]
        )
    return header, rows


def _tuning_text(found: Judgement) -> str:
    assert found.tuning is not None
    epochs = sum(job.epochs for job in found.tuning.jobs)
    seconds = [job.process_seconds for job in found.tuning.jobs]
    time = "" if None in seconds else f", {sum(s for s in seconds if s is not None):.1f} s of process time"
    return (
        f"The full-data baseline was tuned on seed {found.tuning.jobs[0].seed}, which is not judged, for {epochs} "
        f"full epochs{time}; all arms share what was found."
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *map(list, rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]
