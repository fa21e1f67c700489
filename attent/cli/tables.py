"""Tables as plain text: the arms of a run, its epochs, and the timeline of a plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attent.cli.phases import shown_phase, shown_phases, unit
from attent.cli.results import ArmResult, Report
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch
from attent.run.records import Seconds
from attent.run.trace import Trace
from attent.tables import NOTHING, aligned, percent, quality


def arms_table(report: Report) -> str:
    """Return one row per finished arm: examples forward and backward, seconds by phase, quality, saving.

    An arm that trains like another, which was run once for both, has that one's numbers.
    """
    metrics = list(dict.fromkeys(name for arm in report.arms for name in arm.quality))
    header = ["arm", "forward", "backward", "scoring s", "selecting s", "training s", *metrics, "cost", "saved"]
    named = [
        (name, arm)
        for arm in report.arms
        for name in (arm.name, *(name for name, twin in report.alike.items() if twin == arm.name))
    ]
    return aligned(header, [_arm_row(report, name, arm, metrics) for name, arm in named])


def _arm_row(report: Report, name: str, arm: ArmResult, metrics: Sequence[str]) -> list[str]:
    return [
        name,
        f"{arm.forward:,}",
        f"{arm.examples_trained:,}",
        *_seconds(arm.seconds),
        *(quality(arm.quality[name]) if name in arm.quality else NOTHING for name in metrics),
        f"{report.full_epochs(arm):.2f}",
        percent(report.saving(arm)),
    ]


def _seconds(seconds: Seconds) -> list[str]:
    return [f"{value:.2f}" for value in (seconds.scoring, seconds.selecting, seconds.training)]


def epochs_table(trace: Trace) -> str:
    """Return one row per recorded epoch: ratio, examples kept, mean loss, the scores chosen from, seconds.

    `epochs_legend` says what the columns hold.
    """
    plan = trace.header.plan
    header = [
        unit(plan), "phase", "ratio", "kept", "loss", "score min", "mean", "max", "age",
        "scoring s", "selecting s", "training s",
    ]  # fmt: skip
    rows = []
    for record, phase in zip(trace.records, shown_phases(plan, trace.records), strict=True):
        made = record.selection
        scores: tuple[float | None, ...] = (None,) * 4
        if made is not None:
            scores = (made.score_min, made.score_mean, made.score_max, made.age_mean)
        rows.append([
            str(record.epoch), phase, f"{record.ratio:.2f}", f"{record.k:,}", quality(record.loss),
            *(NOTHING if value is None else f"{value:.3g}" for value in scores),
            *_seconds(record.seconds),
        ])  # fmt: skip
    return aligned(header, rows, left=2)


def epochs_legend(plan: Mapping[str, Any]) -> str:
    """Return what the columns of `epochs_table` hold, for a plan that chooses.

    Example:
        >>> import attent
        >>> from attent.cli.tables import epochs_legend
        >>> epochs_legend(attent.Plan.default(epochs=4, batch_size=10).to_dict()).split("; ")[2]
        "score: over all examples, the loss last seen, less a reference's if one was given"
    """
    name, many = unit(plan), unit(plan, 2)
    score = "the loss last seen"
    if "progress" in plan["source"]:
        score = "the decrease of the loss since it was first seen"
    score += ", less a reference's if one was given"
    if "bonus" in plan["source"] + plan["select"]:
        score += f", in standard deviations plus the bonus for each {name} since it was seen"
    return (
        f"{name}: counted from 0, as in trace.ids(epoch); kept: examples taught; score: over all examples, {score}; "
        f"age: {many} since it was seen, on average."
    )


def timeline_table(rows: Sequence[Epoch], plan: Mapping[str, Any] | None = None) -> str:
    """Return the timeline, epochs alike and in a row as one line: ``3-7``, with ``k`` and steps from least to most.

    With the plan's ``to_dict`` epochs and phases are called what `attent.cli.phases` calls them.

    Example:
        >>> import attent
        >>> from attent.cli.tables import timeline_table
        >>> print(timeline_table(attent.Plan(epochs=4, batch_size=10, warm_up=1).timeline(100)))
        epochs  phase    ratio    k  score  select  steps
        0       warm-up   1.00  100      -       -     10
        1-3     taught    0.40   40      -     yes      4
    """
    lines = []
    for _, group in itertools.groupby(rows, key=lambda row: (row.phase, row.ratio, row.score, row.select)):
        alike = list(group)
        first = alike[0]
        lines.append([
            _range(first.epoch, alike[-1].epoch), first.phase if plan is None else shown_phase(plan, first.phase),
            f"{first.ratio:.2f}", _range(*_ends(r.k for r in alike)),
            "yes" if first.score else NOTHING, "yes" if first.select else NOTHING,
            _range(*_ends(row.steps for row in alike)),
        ])  # fmt: skip
    return aligned([unit(plan or {}, 2), "phase", "ratio", "k", "score", "select", "steps"], lines, left=2)


def _ends(values: Iterable[int]) -> tuple[int, int]:
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,}-{last:,}"


def plan_line(fields: Mapping[str, object]) -> str:
    """Return a plan on one line: its ``to_dict`` without what is as usual.

    Example:
        >>> import attent
        >>> from attent.cli.tables import plan_line
        >>> plan_line(attent.Plan(epochs=4, batch_size=10, warm_up=1).to_dict())
        'epochs 4, batch_size 10, ratio 0.4, select hard(), source reuse(), warm_up 1, seed 0'
    """
    if fields["warm_up"] == fields["epochs"]:
        return f"epochs {fields['epochs']} on all examples, batch_size {fields['batch_size']}, seed {fields['seed']}"
    usual = Plan(epochs=1, batch_size=1).to_dict()
    for name in ("epochs", "batch_size", "ratio", "select", "source", "seed"):
        del usual[name]
    told = (
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
        if name not in usual or value != usual[name]
    )
    return f"{unit(fields, 2)}{', '.join(told).removeprefix('epochs')}"
