"""What a course has seen of each example, and whether a state that says so can be: else it would teach other ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attent.choose import policy
from attent.choose.order import Mask
from attent.choose.sources import Reuse
from attent.errors import CourseError
from attent.learner import Numbers
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch
from attent.run.course_position import Position


def keeps_before(plan: Plan) -> bool:
    """Return whether a course keeps an earlier loss of each example: the one before the latest, or the first seen."""
    progress = isinstance(plan.source, Reuse) and plan.source.measure == "progress"
    return progress or "before" in policy.asks(plan.select)


def check_scores(
    at: Position,
    scores: Numbers,
    seen: npt.NDArray[np.int32],
    before: Numbers | None,
    timeline: Sequence[Epoch],
    plan: Plan,
) -> None:
    """Raise CourseError naming an example of which a course standing ``at`` cannot have seen what is said.

    scores and, of a plan that keeps it, before: float64, shape (n,), NaN where there is none yet. seen: the epoch in
    which a score was seen, -1 where none was.
    """
    least, latest = _last_seen(at, timeline, plan)
    _require((seen >= least) & (seen <= latest), seen, f"seen must be in [{least}, {latest}], by the state's place")
    _require((seen >= 0) | np.isnan(scores), scores, "scores must be NaN where none was seen")
    finite = plan.non_finite == "error"
    if finite:
        _require((seen < 0) | np.isfinite(scores), scores, "scores must be finite where they were seen")
    if before is None:
        return
    # An adaptive plan trains all in epoch 0 and keeps the loss before the latest; progress keeps the first, trained
    # before any scoring.
    has = seen >= (1 if keeps_before(plan) else 0)
    _require(has | np.isnan(before), before, "before must be NaN where there is no earlier loss")
    if finite:
        _require(~has | np.isfinite(before), before, "before must be finite where there is an earlier loss")


def _last_seen(at: Position, timeline: Sequence[Epoch], plan: Plan) -> tuple[int, int]:
    """Return the first and the last epoch in which the latest score of an example can have been seen; -1: in none."""
    least = latest = -1
    for row in timeline[: at.epoch + 1]:
        done = row.epoch < at.epoch
        scored = row.scored if done or at.scored else 0
        trained = isinstance(plan.source, Reuse) and (done or at.step > 0)
        if scored or trained:
            latest = row.epoch
        if scored == at.n or (trained and done and row.k == at.n):
            least = row.epoch
    return least, latest


def _require(right: Mask, got: npt.NDArray[np.int32] | Numbers, rule: str) -> None:
    wrong = np.flatnonzero(~right)
    if len(wrong):
        raise CourseError(f"the state's {rule}, got {got[wrong[0]]} for example {wrong[0]}")
