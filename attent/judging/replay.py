"""The share of the control `replay`: of a few, the one that did best on a seed that is judged nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from attent.judging.controls import Known, shares_to_try
from attent.judging.jobs import JobResult
from attent.judging.tuning import Tuning, tune

SHARE = "share"


def choose_share(
    n: int, known: Known, metric: str, run: Callable[[int, Mapping[str, Any]], JobResult | None]
) -> Tuning | None:
    """Run every share that can be tried and return the best by the metric; None if it was stopped before its end.

    Of equals the lowest is chosen. Of the edges only the upper is told: below the share that the new have anyhow there
    is no other that takes all of them. ``run`` is called with a share's place and ``{"share": ...}``.

    Example:
        >>> from attent.judging.controls import Known
        >>> from attent.judging.jobs import JobResult
        >>> from attent.judging.replay import choose_share
        >>> def run(place, point):
        ...     return JobResult(arm="", seed=0, plan={}, options={}, epochs=1, steps=1, examples_scored=0,
        ...         examples_trained=10, quality={"loss": abs(point["share"] - 0.25)})
        >>> found = choose_share(100, Known({0: 80, 1: 20}, [1]), "loss", run)
        >>> found.chosen, found.grid, found.edges
        ({'share': 0.25}, {'share': [0.2, 0.25, 0.5, 0.75]}, [])
    """
    shares = shares_to_try(n, known)
    found = tune({SHARE: shares}, metric, run)
    if found is None or found.chosen[SHARE] == shares[-1]:
        return found
    return msgspec.structs.replace(found, edges=[])


def share_of(found: Tuning) -> float:
    """Return the share that was chosen, as `Known.replayed` has it: 0 where it is the one that the new have anyhow."""
    return 0.0 if found.chosen == found.points[0] else float(found.chosen[SHARE])
