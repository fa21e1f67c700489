"""A judgement for people: one table of arms, shown on a terminal and as Markdown, with legend, notes and verdict."""

from __future__ import annotations

import math

from attent.judging.arms import CONTROL, POLICY
from attent.judging.by_group import KNOWN, SUMMARIES, TRAINING, WORST
from attent.judging.controls import REPLAY
from attent.judging.curve import Estimate
from attent.judging.judgement import Judgement, Row
from attent.judging.replay import SHARE
from attent.judging.tuning import Tuning
from attent.judging.verdict import interval, percent
from attent.tables import NOTHING, Table, digits, quality, wrapped

_MARKED = "*: full training is surely better at that cost."


def told(found: Judgement) -> str:
    """Return tables, legend, notes and verdict for the terminal."""
    parts = []
    if found.tuning is not None:
        parts += [_tuning_table(found, found.tuning).text(), "", wrapped(_tuning_text(found, found.tuning)), ""]
    if found.replayed is not None:
        parts += [_tuning_table(found, found.replayed).text(), "", wrapped(_replay_text(found, found.replayed)), ""]
    if found.rows:
        table = _table(found).fitted()
        parts += [table.text(), "", *map(wrapped, _legend(found, table)), ""]
        if found.group_metrics:
            table = _group_table(found).fitted()
            parts += [table.text(), "", wrapped(_group_text(found, table)), ""]
    parts += [wrapped(f"Note: {note}") for note in found.notes]
    return "\n".join([*parts, wrapped(found.verdict)])


def report_text(found: Judgement) -> str:
    """Return the report as Markdown."""
    lines = [f"# {found.recipe}: does teaching pay?", "", f"**{found.verdict}**", ""]
    if found.rows:
        table = _table(found)
        lines += [table.markdown(), "", *_legend(found, table), ""]
        if found.group_metrics:
            table = _group_table(found)
            lines += [table.markdown(), "", _group_text(found, table), ""]
        for metric in (name for name in found.metrics[1:] if name in found.curves):
            savings = {row.arm: row.savings[metric]["full_epochs"] for row in found.rows if row.savings}
            told = "; ".join(f"{arm} {_in_words(saved)}" for arm, saved in savings.items())
            lines.append(f"Savings by {metric}, in full epochs: {told}.")
        lines.append("")
    if found.tuning is not None:
        lines += [_tuning_table(found, found.tuning).markdown(), "", _tuning_text(found, found.tuning), ""]
    if found.replayed is not None:
        lines += [_tuning_table(found, found.replayed).markdown(), "", _replay_text(found, found.replayed), ""]
    lines += [f"- {note}" for note in found.notes]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines += ["", f"attent {found.attent}, {versions}; {found.machine}."]
    return "\n".join(lines).rstrip() + "\n"


def _table(found: Judgement) -> Table:
    """Return the arms by cost, full training first, then controls, then policies, so that those are seen last."""
    metrics = found.metrics
    header = ["arm", "cost", "seconds", *metrics, "saved", "95 %", "by time"]
    rows = []
    for row in _in_order(found):
        seconds = row.costs["process_seconds"]
        saving = row.savings.get(metrics[0], {}) if metrics else {}
        saved = saving.get("full_epochs")
        by_time = saving.get("process_seconds")
        rows.append(
            [
                row.arm,
                f"{row.costs['full_epochs']:.2f}",
                NOTHING if seconds is None else digits(seconds),
                *(_value(row, metric) for metric in metrics),
                NOTHING if saved is None else percent(saved),
                NOTHING if saved is None else interval(saved) or NOTHING,
                NOTHING if by_time is None else percent(by_time),
            ]
        )
    # All are in the report and in judge.json.
    spare = ["by time", *reversed(metrics[2:]), "seconds", *metrics[1:2], "95 %"]
    return Table(header, rows, spare=spare)


def _in_order(found: Judgement) -> list[Row]:
    order = {CONTROL: 1, POLICY: 2}
    shown = [row for row in found.rows if row.kind in order or row.arm not in found.alike]
    return sorted(shown, key=lambda row: (order.get(row.kind, 0), _cost(row)))


def _group_table(found: Judgement) -> Table:
    """Return the arms by held-out quality of each group and of the distribution trained."""
    names = [name for name in found.group_metrics if any(name in row.quality for row in found.rows)]
    header = ["arm", *(name.partition(":")[2] for name in names)]
    rows = []
    for row in _in_order(found):
        worse = {name for name, ahead in row.ahead.items() if ahead.surely_below}
        values = [NOTHING if name not in row.quality else quality(row.quality[name]) for name in names]
        rows.append([row.arm, *(value + "*" * (name in worse) for name, value in zip(names, values, strict=True))])
    return Table(header, rows, spare=[name for name in reversed(header[1:]) if name not in SUMMARIES])


_BY_GROUP = {
    TRAINING: "training: groups weighed as in training",
    WORST: "worst: of the group that is",
    KNOWN: "known and new: by their shares",
}


def _group_text(found: Judgement, table: Table) -> str:
    """Return what the columns hold that are shown."""
    told = "; ".join(words for name, words in _BY_GROUP.items() if name in table.header)
    sentences = [f"Held-out {found.group_metrics[0].partition(':')[0]} by group.", *_sentence(told)]
    return " ".join([*sentences, _MARKED] if table.has("*") else sentences)


def _sentence(words: str) -> list[str]:
    return [f"{words[0].upper()}{words[1:]}."] if words else []


def _cost(row: Row) -> float:
    return row.costs["full_epochs"] or 0 if row.kind not in (CONTROL, POLICY) else math.inf


def _value(row: Row, metric: str) -> str:
    if metric not in row.quality:
        return NOTHING
    return quality(row.quality[metric]) + "*" * (metric in row.worse) + "!" * bool(row.failures)


def _in_words(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    ends = interval(estimate)
    return percent(estimate) + (f" ({ends})" if ends else "")


def _legend(found: Judgement, table: Table) -> list[str]:
    """Return what the columns hold that are shown, and what else is to be known of the arms."""
    how = "measured" if found.forward_share_measured else "as given or assumed"
    count = len(found.seeds)
    examples = f"{found.n:,} examples"
    if any(job.cost_of_all is not None for job in found.jobs):
        examples += ", counted by what each costs as the learner says"
    lines = [
        f"Means of {count} paired seed{'s' * (count != 1)}, batch size {found.batch_size}. Cost: in epochs on all "
        f"{examples}, a scored one counting {found.forward_share:.2f} ({how}) of a trained one"
        f"{'; seconds: of process time' * ('seconds' in table.header)}."
    ]
    if any(row.savings for row in found.rows):
        lines.append(
            f"Saved: of the cost at which full training reaches the same {found.metrics[0]}, read off its curve; >= "
            f"and <= where the curve ends{'; by time: of process time' * ('by time' in table.header)}."
        )
    if table.has("*"):
        lines.append(_MARKED)
    if table.has("!"):
        lines.append("!: a run failed and counts with the worst quality of all.")
    shares = [
        f"{row.arm} {100 * row.share_of_seconds['scoring']:.1f} and {100 * row.share_of_seconds['selecting']:.2f} %"
        for row in found.rows
        if row.kind == POLICY and row.share_of_seconds
    ]
    if shares:
        lines.append(f"Of their time scoring and selecting took: {', '.join(shares)}.")
    lines += [f"{name}: the same training as {twin}, run once." for name, twin in found.alike.items()]
    lines += [f"{arm.name}: {arm.note}." for arm in found.arms if arm.note and arm.name not in found.alike]
    return lines


def _tuning_table(found: Judgement, tuning: Tuning) -> Table:
    header = [*tuning.grid, tuning.metric, "epochs", "seconds", ""]
    rows = []
    for point, job in zip(tuning.points, tuning.jobs, strict=True):
        seconds = job.process_seconds
        rows.append(
            [
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in point.values()),
                "diverged" if job.failure else quality(job.quality.get(tuning.metric)),
                f"{job.full_epochs(found.n, found.forward_share):.3g}",
                NOTHING if seconds is None else digits(seconds),
                "chosen" if point == tuning.chosen else "",
            ]
        )
    return Table(header, rows, spare=["seconds", "epochs"])


def _tuning_text(found: Judgement, tuning: Tuning) -> str:
    return (
        f"The full-data baseline was tuned on seed {tuning.jobs[0].seed}, which is not judged, for "
        f"{_spent(found, tuning)}; all arms share what was found."
    )


def _replay_text(found: Judgement, replayed: Tuning) -> str:
    anyhow = f"{replayed.points[0][SHARE]:g}"
    return (
        f"The share of what is new in a pass of {REPLAY} was chosen on seed {replayed.jobs[0].seed}, which is not "
        f"judged, for {_spent(found, replayed)}; {anyhow} is the share that it has anyhow: all examples."
    )


def _spent(found: Judgement, tuning: Tuning) -> str:
    epochs = sum(job.full_epochs(found.n, found.forward_share) for job in tuning.jobs)
    seconds = [job.process_seconds for job in tuning.jobs]
    time = "" if None in seconds else f", {sum(s for s in seconds if s is not None):.1f} s of process time"
    return f"{round(epochs, 1):g} full epochs{time}"
