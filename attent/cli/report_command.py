"""``attent report`` and ``attent diff``: read run folders back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attent.choose import auto
from attent.cli.phases import counted, shown_phases
from attent.cli.plan_command import plan_line
from attent.errors import TraceError
from attent.judging.arms import FULL, POLICY, SHORT
from attent.judging.controls import CONTROLS
from attent.judging.judgement import FILE, read_judgement
from attent.judging.report import told
from attent.plan.plan import Unit
from attent.run.files import WAY_OUT, present
from attent.run.records import forward_share
from attent.run.trace import Trace, first_difference
from attent.tables import NOTHING, Table, digits, quality, wrapped

Tell = Callable[[str], None]


def show_report(folder: Path, *, tell: Tell = print) -> None:
    """Print each run's epochs, and of a judgement its tables.

    Of a folder of `attent teach` or `judge` the epochs are those of its first seed, where it is of one policy. Works on
    a seed's folder and on any run folder of ``attent.teach`` too, also while the run goes on. Raises TraceError if
    there is no run.
    """
    judgement = read_judgement(folder)
    if judgement is None or sum(arm.kind == POLICY for arm in judgement.arms) == 1:
        _show_epochs(arms_in(folder), tell)
    if judgement is None:
        return
    try:
        words = told(judgement)
    except (AttributeError, LookupError, TypeError, ValueError, AssertionError, OverflowError) as error:
        # Whoever edits a judgement can make parts of it contradict each other, with a checksum that holds.
        what = f"{type(error).__name__}: {error}"
        raise TraceError(
            f"{folder / FILE} cannot be shown, its parts do not fit together ({what}). {WAY_OUT}"
        ) from error
    tell(words)


def _show_epochs(arms: Mapping[str, Path], tell: Tell) -> None:
    explained = False
    for name, path in arms.items():
        trace = Trace.read(path)
        tell(_described(name, trace))
        table = epochs_table(trace).fitted()
        if trace.records:
            tell(table.text())
        before = ""
        for record in trace.records:
            reason = auto.told(record.selection.why or {}) if record.selection is not None else ""
            if reason not in ("", before):
                tell(wrapped(f"{trace.header.unit} {record.epoch}: {reason}"))
            before = reason
        if not explained and any(record.selection is not None for record in trace.records):
            tell(wrapped(epochs_legend(trace.header.plan, trace.header.unit, table.header)))
            explained = True
        costs = [record.cost_trained for record in trace.records if record.cost_trained is not None]
        if costs and len(costs) == len(trace.records):  # else only a part of the run knew them
            scoring = sum(record.cost_scored or 0.0 for record in trace.records)
            scored = f" and scored {scoring:,.6g}" if scoring else ""
            total = f"trained {sum(costs):,.6g}{scored} in all"
            tell(wrapped(f"cost: of what was trained, in the unit of the learner's costs; {total}"))
        share = forward_share(trace.records)
        if share is not None:
            tell(wrapped(f"scoring an example cost {share:.2f} of a trained one (measured in this run)"))
        tell("")


def arms_in(folder: Path) -> dict[str, Path]:
    """Return the run folders in a folder, or in its first seed's, by the names of their arms, policies first.

    Raises TraceError if there is none.
    """
    if present(folder / "run.json"):
        return {folder.name: folder}
    seeds = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    found = next(filter(None, (sorted(path.glob("*/run.json")) for path in (folder, *seeds))), [])
    if not found:
        raise TraceError(f"no run in {folder}: neither it nor a folder in it has a run.json")
    return {path.parent.name: path.parent for path in sorted(found, key=lambda path: _beside(path.parent.name))}


def _beside(arm: str) -> bool:
    """Return whether an arm, by its folder's name, is one that policies are held against."""
    return any(arm == name or arm.startswith(f"{name}-") for name in (FULL, SHORT, *CONTROLS))


def show_difference(first: Path, second: Path, *, tell: Tell = print) -> bool:
    """Print where two runs first teach something else; return whether they differ. Of arms, the one taught counts.

    With a difference come the packages whose versions differ, since an upgrade is often why.
    """
    one, two = (Trace.read(_taught(folder)) for folder in (first, second))
    difference = first_difference(one, two)
    if difference is None:
        count = len(one.records)
        tell(f"the same {count} {counted(one.header.unit, count)}")
        return False
    tell(str(difference))
    for name in sorted(one.header.versions.keys() | two.header.versions.keys()):
        versions = [trace.header.versions.get(name, NOTHING) for trace in (one, two)]
        if versions[0] != versions[1]:
            tell(f"{name}: {versions[0]} in the first, {versions[1]} in the second")
    return True


def _taught(folder: Path) -> Path:
    arms = arms_in(folder)
    taught = [name for name in arms if not _beside(name)] or [name for name in arms if name == FULL] or list(arms)
    if len(taught) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in arms.values())
        raise TraceError(f"{folder} has several runs: name one of {names}")
    return arms[taught[0]]


def _described(name: str, trace: Trace) -> str:
    header = trace.header
    epochs = header.plan["epochs"]
    state = "finished" if trace.finished else f"{len(trace.records)} of {epochs} {counted(header.unit, epochs)} so far"
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    lines = [
        f"{name}: {header.recipe or 'no recipe'}, {header.n:,} examples, {state}",
        f"plan: {plan_line(header.plan, header.unit)}",
        f"attent {header.attent}, {versions}",
    ]
    if skipped := sum(record.steps_skipped for record in trace.records):
        steps = sum(record.steps for record in trace.records)
        lines.append(f"{skipped} of {steps:,} steps were skipped: a loss or the gradient was not finite")
    return "\n".join(map(wrapped, lines))


def epochs_table(trace: Trace) -> Table:
    """Return one row per recorded epoch: ratio, examples kept, mean loss, the scores chosen from, seconds.

    Where the learner knows costs, what the examples kept cost too. `epochs_legend` says what the columns hold.
    """
    plan = trace.header.plan
    costs = any(record.cost_trained is not None for record in trace.records)
    header = ["phase", "ratio", "kept", *["cost"] * costs, "loss", "score min", "mean", "max", "age", "seconds"]
    rows = []
    for record, phase in zip(trace.records, shown_phases(plan, trace.records), strict=True):
        made = record.selection
        scores: tuple[float | None, ...] = (None,) * 4
        if made is not None:
            scores = (made.score_min, made.score_mean, made.score_max, made.age_mean)
        spent = record.seconds.scoring + record.seconds.selecting + record.seconds.training
        rows.append([
            str(record.epoch), phase, f"{record.ratio:.2f}", f"{record.k:,}",
            *[NOTHING if record.cost_trained is None else f"{record.cost_trained:,.6g}"] * costs, quality(record.loss),
            *(NOTHING if value is None else digits(value) for value in scores), digits(spent),
        ])  # fmt: skip
    return Table([trace.header.unit, *header], rows, left=2, spare=["seconds", "age", "score min", "max", "ratio"])


def epochs_legend(plan: Mapping[str, Any], unit: Unit = "epoch", shown: Sequence[str] = ("age",)) -> str:
    """Return what the columns of `epochs_table` that are shown hold, for a plan that chooses; ``unit``: what it counts.

    Example:
        >>> import attent
        >>> from attent.cli.report_command import epochs_legend
        >>> epochs_legend(attent.Plan.default(epochs=4, batch_size=10).to_dict()).split("; ")[2]
        "score: over all examples, the loss last seen, less a reference's if one was given"
    """
    name, many = unit, counted(unit, 2)
    score = "the loss last seen"
    if "progress" in plan["source"]:
        score = "the decrease of the loss since it was first seen"
    score += ", less a reference's if one was given"
    if plan["select"].startswith("per_cost"):
        score += ", over what the example costs"
    if "bonus" in plan["source"] + plan["select"]:
        where = ", in passes on the hardest" if name == "pass" else ","
        score += f"{where} in standard deviations from its mean (hence below 0), plus a bonus for each {name} unseen"
    age = f"; age: {many} since it was seen, on average" * ("age" in shown)
    kept = f"{name}: counted from 0, as in trace.ids(epoch); kept: examples taught"
    return f"{kept}; score: over all examples, {score}{age}."
