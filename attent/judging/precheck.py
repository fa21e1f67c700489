"""Before anything is spent: is there held-out data, and does the recipe build the same learner twice?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from attent.errors import LearnerError
from attent.judging.jobs import Build
from attent.judging.metrics import quality_of
from attent.learner import Numbers, checked_length
from attent.plan.plan import Plan
from attent.run.course import Course, Train

_LOOKED_AT = 32
_ROUNDING = 1e-5


class Precheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: examples, metrics (the main one first), and in words what differs between two builds."""

    n: int
    metrics: list[str]
    differs: str | None = None
    differs_by_rounding: bool = False


def precheck(name: str, build: Build, plan: Plan, options: Mapping[str, Any]) -> Precheck:
    """Build the learner twice, and compare scores and the losses of the first step. ``plan``: full training.

    Raises LearnerError if the learner has no held-out data.

    Example:
        >>> import attent
        >>> from attent.judging.precheck import precheck
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.full(epochs=2, batch_size=32)
        >>> precheck("vit-digits", lambda plan, options: vit_digits(plan), plan, {}).metrics
        ['accuracy', 'loss']
    """
    learner = build(plan, options)
    n = checked_length(learner)
    quality = quality_of(learner)
    if not quality:
        raise LearnerError(
            f"recipe {name!r} has no held-out data: its learner needs evaluate() returning quality by metric name, "
            "the main one first (attent.Evaluates); without it nothing can be judged"
        )
    first = _numbers(build, plan, options, n, learner=learner)
    del learner  # its memory is needed for the second
    second = _numbers(build, plan, options, n)
    problem, rounding = None, False
    for what in first:
        one, other = first[what], second[what]
        if np.array_equal(one, other, equal_nan=True):
            continue
        largest = float(np.nanmax(np.abs(one - other), initial=0.0))
        if np.allclose(one, other, rtol=_ROUNDING, atol=0, equal_nan=True):
            rounding = True
            continue
        problem = (
            f"recipe {name!r} is not deterministic: built twice for one plan and seed, {what} differ by up to "
            f"{largest:.3g}. Arms do not start alike, so differences between them are partly chance; draw every "
            "random number from plan.seed"
        )
        break
    return Precheck(n=n, metrics=list(quality), differs=problem, differs_by_rounding=rounding and problem is None)


def _numbers(build: Build, plan: Plan, options: Mapping[str, Any], n: int, learner: Any = None) -> dict[str, Numbers]:
    learner = build(plan, options) if learner is None else learner
    checked_length(learner, n)
    ids = np.arange(min(n, _LOOKED_AT), dtype=np.int64)
    lesson = Course(plan, n, segment_steps=1).next()
    assert isinstance(lesson, Train)  # full training scores nothing
    return {
        "the scores of the first examples": learner.score(ids),
        "the losses of the first step": learner.train(lesson.batches, None),
        "the scores after the first step": learner.score(ids),
    }
