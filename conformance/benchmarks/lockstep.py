"""Compare whole taught runs of several backends, round by round: error of what is ranked, gap at the cut.

Each folder is a run of ``attent teach RECIPE --set precision=float64`` on another backend; the first is what
the others are compared with. For every round: the largest difference of any number that is ranked (scores for
hard, keys for soft) and the distance between the last one chosen and the first one passed over.

    python lockstep.py numpy-run/taught torch-run/taught ...
"""

from __future__ import annotations

import sys

import numpy as np

from attent import Noise, Plan, Trace, first_difference
from attent.gumbel_top_k import Keys
from attent.learner import Numbers
from attent.scaling import scale


def ranked(trace: Trace, draw: int) -> Numbers:
    plan = Plan.from_dict(trace.header.plan)
    scores = trace.selections[draw].scores
    assert scores is not None, "these traces keep no scores"
    if plan.selection == "hard":
        return scores
    keys = Keys(scale(scores, plan.scaling), Noise(plan.seed, draw), plan.temperature)
    return keys.exact(np.arange(len(scores)))


def main() -> None:
    first, *others = (Trace.read(folder) for folder in sys.argv[1:])
    for folder, other in zip(sys.argv[2:], others, strict=True):
        difference = first_difference(first, other)
        print(f"{folder}: {'equal ids in every epoch' if difference is None else difference}")
    steps = sum(record.steps for record in first.records)
    print(f"{len(first.selections)} rounds, {steps} steps\nround  largest error  gap at the cut")
    rows = []
    for draw in first.selections:
        mine = ranked(first, draw)
        error = max(float(np.abs(ranked(other, draw) - mine).max()) for other in others)
        k = len(first.selections[draw].ids)
        ordered = np.sort(mine)[::-1]
        rows.append((error, float(ordered[k - 1] - ordered[k])))
        print(f"{draw:5}  {rows[-1][0]:13.1e}  {rows[-1][1]:14.1e}")
    errors, gaps = zip(*rows, strict=True)
    print(
        f"largest error {max(errors):.1e}, smallest gap {min(gaps):.1e}, smallest gap over error of its round "
        f"{min(g / e if e else float('inf') for e, g in rows):.1e}"
    )


if __name__ == "__main__":
    main()
