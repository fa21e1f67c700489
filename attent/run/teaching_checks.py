"""What ``teach`` may be given, checked before anything is written, or asked of the learner."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attent import checks
from attent.checks import shown
from attent.choose.policy import asks, may_go_by_groups
from attent.choose.sources import Proxy
from attent.errors import LearnerError, PlanError
from attent.learner import ChecksBatches, Costs, Groups, Ids, Learner, Numbers
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch, smallest_batch
from attent.run.trace import Trace


def check_learner_and_plan(learner: object, plan: object) -> None:
    """Raise PlanError unless the plan is one, and comes second."""
    if isinstance(learner, Plan):
        raise PlanError("teach takes first the learner, then the plan: teach(learner, plan)")
    if not isinstance(plan, Plan):
        raise PlanError(
            f"plan must be an attent.Plan, got {shown(plan)}: make one by attent.Plan.auto(epochs=..., "
            "batch_size=...), or of a dict by attent.Plan.from_dict"
        )


def check_given(*, run: object, replay: object, versions: object, recipe: object) -> None:
    """Raise PlanError unless these are a folder, a trace, versions by package, and a name; or None."""
    if not isinstance(run, str | Path | None):
        raise PlanError(f"run must be the path of a folder, or None, got {shown(run)}")
    if not isinstance(replay, Trace | None):
        raise PlanError(f"replay must be a trace, got {shown(replay)}: read a run's by attent.Trace.read(folder)")
    texts = isinstance(versions, Mapping) and all(isinstance(text, str) for pair in versions.items() for text in pair)
    if versions is not None and not texts:
        raise PlanError(f"versions must be texts by package, such as {{'torch': '2.4.0'}}, got {shown(versions)}")
    if not isinstance(recipe, str | None):
        raise PlanError(f"recipe must be a name, got {shown(recipe)}")


def check_loop(
    *, resume: object, listeners: object, stop: object, checkpoint_seconds: object, keep_scores: object
) -> None:
    """Raise PlanError naming the argument of the loop that is impossible."""
    if not isinstance(resume, bool):
        raise PlanError(f"resume must be True or False, got {shown(resume)}")
    if not isinstance(listeners, list | tuple) or not all(callable(listener) for listener in listeners):
        advice = f": write listeners=[{getattr(listeners, '__name__', 'listener')}]" if callable(listeners) else ""
        raise PlanError(f"listeners must be a list or tuple of functions, got {shown(listeners)}{advice}")
    if not callable(stop):
        raise PlanError(f"stop must be a function that returns whether to stop, got {shown(stop)}")
    checks.number("checkpoint_seconds", checkpoint_seconds, 0, math.inf)
    if not isinstance(keep_scores, bool | None):
        raise PlanError(f"keep_scores must be True, False or None, got {shown(keep_scores)}")


def check_batches(learner: Learner, timeline: Sequence[Epoch]) -> None:
    """Raise LearnerError naming the epoch whose last batch, the smallest there will be, cannot be trained."""
    if not isinstance(learner, ChecksBatches):
        return
    smallest, row = smallest_batch(timeline)
    try:
        learner.check_batches(min(row.batch_size, max(row.k for row in timeline)), smallest)
    except LearnerError as error:
        told = f"epoch {row.epoch} trains {row.k} examples in batches of {row.batch_size}, the last of {smallest}"
        raise LearnerError(f"{told}: {error}") from error


def scorer_of(plan: Plan, learner: Learner, scorer: Learner | None) -> Learner:
    """Return whom the run asks for scores. Raises PlanError where scorer and source do not belong together."""
    if isinstance(plan.source, Proxy) != (scorer is not None):
        raise PlanError(
            "scorer is asked by a plan with source=Proxy(), and only by one; "
            f"got source={plan.source!r} with{'out' if scorer is None else ''} a scorer"
        )
    if scorer is None:
        return learner
    if not isinstance(scorer, Learner) or len(scorer) != len(learner):
        got = f"{len(scorer)} examples" if isinstance(scorer, Learner) else type(scorer).__name__
        raise PlanError(f"must be a learner over the same {len(learner)} examples, got {got}", field="scorer")
    return scorer


def groups_of(learner: Learner, plan: Plan) -> Ids | None:
    """Return the groups that a plan may go by; None where it goes by none, or could but the learner has none."""
    if not isinstance(learner, Groups) or not may_go_by_groups(plan.select):
        return None
    try:
        return copy.copy(learner.groups())
    except LearnerError:  # one that has them for other tasks
        if "groups" in asks(plan.select):
            raise
        return None


def check_unchanged(learner: Learner, groups: Ids | None, costs: Numbers | None) -> None:
    """Raise LearnerError naming the first example whose group or cost is no longer what it was when the run began.

    groups, costs: what the learner then said, None where it was not asked.
    """
    if groups is not None and isinstance(learner, Groups):
        _check_unchanged("groups", groups, learner.groups())
    if costs is not None and isinstance(learner, Costs):
        _check_unchanged("costs", costs, learner.costs())


def _check_unchanged(name: str, began: Ids | Numbers, now: object) -> None:
    if isinstance(now, np.ndarray) and np.array_equal(began, now):
        return
    if not isinstance(now, np.ndarray) or now.shape != began.shape:
        got = f"shape {now.shape}" if isinstance(now, np.ndarray) else type(now).__name__
        raise LearnerError(f"{name}() changed during the run: it gave shape {began.shape} at first, then {got}")
    at = int(np.flatnonzero(began != now)[0])
    raise LearnerError(
        f"{name}() changed during the run: example {at} had {began[at]} at first, then {now[at]}. Keep them fixed, or "
        "start a new run"
    )
