"""``attent report`` and ``attent diff``: read run folders back."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from attent.choose import auto
from attent.cli.arms import AGAINST, TAUGHT
from attent.cli.phases import unit
from attent.cli.results import read_report
from attent.cli.tables import epochs_legend, epochs_table, plan_line
from attent.cli.teach_command import told
from attent.errors import TraceError
from attent.judging.judgement import read_judgement
from attent.judging.report import told as judgement_told
from attent.run.records import forward_share
from attent.run.trace import Trace, first_difference
from attent.tables import NOTHING

Tell = Callable[[str], None]


def show_report(folder: Path, *, tell: Tell = print) -> None:
    """Print each arm's epochs and, once an arm has finished, the table of the arms.

    Works on a judgement, on a run of ``attent teach``, on one arm of it, and on any run folder of ``attent.teach``,
    also while the run goes on. Raises TraceError if there is no run.
    """
    judgement = read_judgement(folder)
    if judgement is not None:
        tell(judgement_told(judgement))
        return
    arms, explained = arms_in(folder), False
    for name, path in arms.items():
        trace = Trace.read(path)
        tell(f"{name}: {_described(trace)}")
        if trace.records:
            tell(epochs_table(trace))
        for record in trace.records:
            if record.selection is not None and record.selection.why is not None:
                tell(f"{unit(trace.header.plan)} {record.epoch}: {auto.told(record.selection.why)}")
        if not explained and any(record.selection is not None for record in trace.records):
            tell(textwrap.fill(epochs_legend(trace.header.plan), 100))
            explained = True
        share = forward_share(trace.records)
        if share is not None:
            tell(f"scoring an example cost {share:.2f} of a trained one (measured in this run)")
        tell("")
    report = read_report(folder)
    if report is not None and report.arms:
        tell(told(report))


def arms_in(folder: Path) -> dict[str, Path]:
    """Return the run folders in a folder by the names of their arms, the taught one first.

    Raises TraceError if there is none.
    """
    if (folder / "run.json").exists():
        return {folder.name: folder}
    found = sorted(path.parent for path in folder.glob("*/run.json"))
    if not found:
        raise TraceError(f"no run in {folder}: neither it nor a folder in it has a run.json")
    order = {name: place for place, name in enumerate((TAUGHT, *AGAINST))}
    return {path.name: path for path in sorted(found, key=lambda path: order.get(path.name, len(order)))}


def show_difference(first: Path, second: Path, *, tell: Tell = print) -> bool:
    """Print where two runs first teach something else; return whether they differ. Of arms, the taught ones count.

    With a difference come the packages whose versions differ, since an upgrade is often why.
    """
    one, two = (Trace.read(_taught(folder)) for folder in (first, second))
    difference = first_difference(one, two)
    if difference is None:
        count = len(one.records)
        tell(f"the same {count} {unit(one.header.plan, count)}")
        return False
    tell(str(difference))
    for name in sorted(one.header.versions.keys() | two.header.versions.keys()):
        versions = [trace.header.versions.get(name, NOTHING) for trace in (one, two)]
        if versions[0] != versions[1]:
            tell(f"{name}: {versions[0]} in the first, {versions[1]} in the second")
    return True


def _taught(folder: Path) -> Path:
    arms = arms_in(folder)
    if len(arms) > 1 and TAUGHT not in arms:
        raise TraceError(f"{folder} has several runs and none is called {TAUGHT}: name one of {', '.join(arms)}")
    return next(iter(arms.values()))


def _described(trace: Trace) -> str:
    header = trace.header
    epochs = header.plan["epochs"]
    state = "finished" if trace.finished else f"{len(trace.records)} of {epochs} {unit(header.plan, epochs)} so far"
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    return (
        f"{header.recipe or 'no recipe'}, {header.n:,} examples, {state}\n"
        f"plan: {plan_line(header.plan)}\nattent {header.attent}, {versions}"
    )
