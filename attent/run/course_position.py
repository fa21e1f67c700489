"""Where a course stands, and whether a state that says so can be: what does not add up would teach other ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from attent.errors import CourseError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch
from attent.run.records import Selected, digest_of

Natural = Annotated[int, msgspec.Meta(ge=0)]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A course's place in its timeline: the numbers of its state, of which the arrays are the rest."""

    n: int
    plan: dict[str, Any]
    rounds: list[list[Any]]
    epoch: Natural
    step: Natural
    draw: Natural
    scored: bool
    chosen: bool
    loss_sum: float
    trained: Natural
    memory: dict[str, Any] | None
    given: str | None  # digest of the reference, or of the scores to replay
    selection: Selected | None


def read_position(value: object) -> Position:
    """Return a state's position. Raises CourseError naming the field that is missing, unknown or of another type."""
    try:
        return msgspec.convert(value, Position)
    except msgspec.ValidationError as error:
        raise CourseError(f"not a course's state: its position cannot be read: {error}") from None


def check_position(
    at: Position, ids: Ids | None, weights: Numbers | None, timeline: Sequence[Epoch], plan: Plan
) -> None:
    """Raise CourseError unless position, ids and weights are ones that a course over ``timeline`` comes to."""
    if at.epoch > len(timeline):
        raise CourseError(f"the state stands in epoch {at.epoch}, but the plan has {len(timeline)} epochs")
    row = timeline[at.epoch] if at.epoch < len(timeline) else None
    if at.chosen and row is None:
        raise CourseError("the state has chosen what to teach after the plan's last epoch")
    behind = list(timeline[: at.epoch + at.chosen])
    _require("has made {} selections", at.draw, sum(one.select for one in behind))
    _check_taught(ids, weights, behind, at.n, plan)
    taught = at.n if ids is None else len(ids)
    size = plan.batch_size if row is None else row.batch_size
    steps = math.ceil(taught / size) if at.chosen else 1
    if at.step >= steps:
        raise CourseError(f"the state has taken {at.step} steps of its epoch, which has {steps if at.chosen else 0}")
    _require("has trained {} examples of its epoch", at.trained, at.step * size)
    scores = row is not None and row.score
    if at.scored != scores and (at.scored or at.chosen):
        raise CourseError(
            f"the state says that epoch {at.epoch} was {'' if at.scored else 'not '}scored, and it cannot have been"
        )
    _check_selection(at.selection, ids, at.draw, made=at.chosen and row is not None and row.select)


def _check_taught(ids: Ids | None, weights: Numbers | None, behind: Sequence[Epoch], n: int, plan: Plan) -> None:
    last = next((row for row in reversed(behind) if row.select or row.k == n), None)
    most = last.k if last is not None and last.select else None
    got = None if ids is None else len(ids)
    # Under "drop" some of the k may have been left out.
    dropped = plan.non_finite == "drop" and most is not None and got is not None and 1 <= got < most
    if got != most and not dropped:
        told = ["all" if count is None else count for count in (got, most)]
        raise CourseError(f"the state teaches {told[0]} examples, by its place the plan teaches {told[1]}")
    if weights is not None and not np.isfinite(weights).all():
        raise CourseError("the state's weights must be finite")


def _check_selection(selection: Selected | None, ids: Ids | None, draw: int, *, made: bool) -> None:
    if (selection is not None) != made:
        raise CourseError(f"the state has {'no' if made else 'a'} selection for its epoch; the plan has it otherwise")
    if selection is None or ids is None:
        return
    _require("has the selection of draw {}", selection.draw, draw - 1)
    if selection.digest != digest_of(ids):
        raise CourseError(f"the state's ids are not those of its selection: digest {digest_of(ids)}")


def _require(what: str, got: int, expected: int) -> None:
    if got != expected:
        raise CourseError(f"the state {what.format(got)}, by its place it must be {expected}")
