"""Compare whole taught runs of several backends, round by round: ids, error of what is ranked, gap at the cut.

Each folder is a run of ``attent teach RECIPE --set precision=float64`` on another backend; the first is what
the others are compared with. For every round: the distance between the last one chosen and the first one passed
over, and for each other run the largest difference of any number that is ranked (scores for hard, keys for soft)
and, where the ids are not equal, how many of those chosen differ. A round whose gap is at most ten times its
error is marked ambiguous: equal ids prove nothing there (rule L3).

    python lockstep.py numpy-run/seed-0/taught torch-run/seed-0/taught ...
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from attent import Plan, Trace, first_difference
from attent.learner import Numbers
from attent_conformance.checks.lockstep import MARGIN
from attent_conformance.runs import gap, keys


class Row(NamedTuple):
    """One round: the gap at the first run's cut, and for each other run its error and how many ids differ."""

    gap: float
    errors: list[float]
    differing: list[int]

    @property
    def ratio(self) -> float:
        """How many times the largest error fits into the gap."""
        return self.gap / max(self.errors) if max(self.errors) else np.inf


def ranked(trace: Trace, draw: int) -> Numbers:
    scores = trace.selections[draw].scores
    assert scores is not None, "these traces keep no scores"
    ordering = keys(Plan.from_dict(trace.header.plan), scores, draw)
    assert ordering is not None, "random looks at no score"
    return ordering


def compared(first: Trace, others: list[Trace], draw: int) -> Row:
    mine, ids = ranked(first, draw), first.selections[draw].ids
    return Row(
        gap(Plan.from_dict(first.header.plan), mine, len(ids)),
        [float(np.abs(ranked(other, draw) - mine).max()) for other in others],
        [len(np.setdiff1d(ids, other.selections[draw].ids)) for other in others],
    )


def line(draw: int, row: Row) -> str:
    notes = ["ambiguous"] if row.ratio <= MARGIN else []
    if any(row.differing):
        notes.append(f"ids that differ: {' '.join(map(str, row.differing))}")
    errors = " ".join(f"{error:12.1e}" for error in row.errors)
    return f"{draw:5} {row.gap:16.1e} {errors} {row.ratio:12.1e}  {', '.join(notes)}".rstrip()


def backend(trace: Trace) -> str:
    """Return the framework a run names first beside Python and NumPy, with the versions it recorded."""
    versions = {name: version for name, version in trace.header.versions.items() if name != "python"}
    return next((name for name in versions if name != "numpy"), "numpy")


def main() -> None:
    first, *others = (Trace.read(folder) for folder in sys.argv[1:])
    names = [backend(trace) for trace in (first, *others)]
    plan, versions = first.header.plan, {k: v for t in (first, *others) for k, v in t.header.versions.items()}
    print(f"{first.header.recipe}, {plan['selection']}: {names[0]} against {', '.join(names[1:])}")
    print("; ".join(f"{name} {version}" for name, version in versions.items()))
    for name, other in zip(names[1:], others, strict=True):
        difference = first_difference(first, other)
        print(f"{name}: {'equal ids in every epoch' if difference is None else difference}")
    steps = sum(record.steps for record in first.records)
    print(f"{len(first.selections)} rounds, {steps} steps, {first.header.n} examples")
    print(f"round   gap at the cut {' '.join(f'{name:>12}' for name in names[1:])}  gap / error")
    rows = {}
    for draw in first.selections:
        rows[draw] = compared(first, others, draw)
        print(line(draw, rows[draw]))
    print(
        f"largest error {max(max(row.errors) for row in rows.values()):.1e}, "
        f"smallest gap {min(row.gap for row in rows.values()):.1e}, "
        f"smallest gap over error of its round {min(row.ratio for row in rows.values()):.1e}"
    )
    apart = [draw for draw, row in rows.items() if any(row.differing)]
    doubtful = [draw for draw, row in rows.items() if row.ratio <= MARGIN]
    print(f"rounds with other ids: {apart or 'none'}; ambiguous rounds: {doubtful or 'none'}")


if __name__ == "__main__":
    main()
