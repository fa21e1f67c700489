"""A course's state that was damaged is refused by what does not add up, and changes nothing."""

import numpy as np
import pytest

import attent
from attent.plan.plan import Plan
from attent.run.course import Course, Score
from attent.run.state import pack_ids, pack_json, unpack_json
from attent.tests.toy import Toy

PLAN = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1, select="hard")
ADAPTIVE = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1, selection="hard", adaptive=True)
WEIGHTED = Plan(epochs=3, batch_size=3, ratio=0.5, select="soft(correction=2.0)", source="fresh")


def state_after(lessons, plan=PLAN):
    course, learner = Course(plan, 10, segment_steps=1), Toy(10)
    for _ in range(lessons):
        lesson = course.next()
        scoring = isinstance(lesson, Score)
        course.record(learner.score(lesson.ids) if scoring else learner.train(lesson.batches, lesson.weights))
    course.next()
    return course.state()


def moved(lessons=7, of=PLAN, /, **changes):
    """A state in the middle of epoch 2 (after 7 lessons), with other numbers in its position."""
    state = state_after(lessons, of)
    fields = {**unpack_json(state["position"]), **changes}
    return {**state, "position": pack_json({name: value for name, value in fields.items() if value != "gone"})}


def with_arrays(**arrays):
    return {name: array for name, array in {**state_after(7), **arrays}.items() if array is not None}


def weighted(**arrays):
    return {name: array for name, array in {**state_after(2, WEIGHTED), **arrays}.items() if array is not None}


DAMAGED = {
    "no JSON": (with_arrays(position=np.zeros(3, np.uint8)), "its position is not JSON"),
    "a list": (with_arrays(position=pack_json([1])), "Expected `object`, got `array`"),
    "a field gone": (moved(step="gone"), "missing required field `step`"),
    "a field unknown": (moved(steps=1), "unknown field `steps`"),
    "a text for a number": (moved(epoch="2"), r"Expected `int`, got `str` - at `\$.epoch`"),
    "below zero": (moved(step=-1), r"Expected `int` >= 0 - at `\$.step`"),
    "no plan": (moved(plan=3), r"Expected `object`, got `int` - at `\$.plan`"),
    "no selection record": (moved(selection={"k": 1}), "missing required field `draw`"),
    "an epoch behind the end": (moved(epoch=99), "stands in epoch 99, but the plan has 5 epochs"),
    "chosen at the end": (moved(epoch=5), "has chosen what to teach after the plan's last epoch"),
    "another epoch": (moved(epoch=3), "has made 2 selections, by its place it must be 3"),
    "another draw": (moved(draw=7), "has made 7 selections, by its place it must be 2"),
    "not chosen": (moved(chosen=False), "has made 2 selections, by its place it must be 1"),
    "steps behind the end": (moved(step=2), "has taken 2 steps of its epoch, which has 2"),
    "other examples trained": (moved(trained=5), "has trained 5 examples of its epoch, by its place it must be 3"),
    "scored without need": (moved(scored=True), "says that epoch 2 was scored"),
    "not scored": (moved(2, WEIGHTED, scored=False), "says that epoch 0 was not scored"),
    "selection lost": (moved(selection=None), "has no selection for its epoch"),
    "ids lost": (with_arrays(ids=None), "teaches all examples, by its place the plan teaches 5"),
    "ids cut short": (with_arrays(ids=np.zeros(1, np.uint8)), r"ids have shape \(1,\), expected \(2,\)"),
    "too few ids": (with_arrays(ids=pack_ids(np.array([4]), 10)), "teaches 1 examples, by its place the plan teaches 5"),
    "other ids": (with_arrays(ids=pack_ids(np.arange(5), 10)), "ids are not those of its selection: digest 281b"),
    "float ids": (with_arrays(ids=np.zeros(2)), r"ids must be one-dimensional uint8, got float64 \(2,\)"),
    "scores cut short": (with_arrays(scores=np.zeros(9)), r"scores have shape \(9,\), expected \(10,\)"),
    "scores in a list": (with_arrays(scores=[0.0] * 10), "scores must be one-dimensional float64, got list"),
    "needless weights": (with_arrays(weights=np.ones(5)), r"weights have shape \(5,\), expected none"),
    "an array unknown": (with_arrays(extra=np.ones(5)), "extra is unknown"),
    "decides without being adaptive": (moved(how="hard", first=1.0), "how 'hard', tries 0, first 1.0, but the plan de"),
    "adaptive, more tries than there are": (moved(7, ADAPTIVE, tries=3), r"Expected `int` <= 2 - at `\$.tries`"),
    "adaptive, chooses before first sight": (moved(7, ADAPTIVE, how="hard", first=None), "a choice needs the mean loss at first"),
    "adaptive, first sight of nothing": (moved(7, ADAPTIVE, first=float("nan")), "first nan: a choice needs the mean loss"),
    "adaptive, tries nothing": (moved(7, ADAPTIVE, how=None, tries=1), "how None, tries 1, first .*tries need a choice"),
    "adaptive, first sight of 0": (moved(7, ADAPTIVE, first=0.0), "first 0.0: a choice needs the mean loss at first sight, above 0"),
    "adaptive, first sight below 0": (moved(7, ADAPTIVE, first=-5.0), "first -5.0: a choice needs the mean loss"),
    "adaptive, first sight too early": (moved(2, ADAPTIVE, how=None, first=1.0), "first 1.0, but nothing has been decided"),
    "weights lost": (weighted(weights=None), r"weights have none, expected \(5,\)"),
    "weights cut short": (weighted(weights=np.ones(4)), r"weights have shape \(4,\), expected \(5,\)"),
    "weights not finite": (weighted(weights=np.full(5, np.nan)), "weights must be finite"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_state_is_refused_and_changes_nothing(what):
    state, message = DAMAGED[what]
    plan = WEIGHTED if what.startswith(("weights", "not scored")) else ADAPTIVE if what.startswith("adaptive") else PLAN
    course = Course(plan, 10)
    before = course.state()
    with pytest.raises(attent.CourseError, match=message):
        course.load_state(state)
    assert {k: v.tobytes() for k, v in course.state().items()} == {k: v.tobytes() for k, v in before.items()}


@pytest.mark.parametrize("policy", ["drop", "last"])
def test_states_of_runs_with_bad_scores_are_taken_up(policy):
    """Under "drop" fewer than k are taught, and an epoch's loss may be no number."""

    class Sick(Toy):
        def train(self, batches, weights=None):
            return np.where(np.concatenate(batches) < 3, np.nan, super().train(batches, weights))

    plan = Plan(epochs=3, batch_size=2, ratio=0.9, warm_up=1, select="hard", non_finite=policy)
    course, learner = Course(plan, 10, segment_steps=1), Sick(10)
    for _ in range(7):
        course.record(learner.train(course.next().batches))
        other = Course(plan, 10, segment_steps=1)
        other.load_state(course.state())
        assert [ids.tolist() for ids in other.next().batches] == [ids.tolist() for ids in course.next().batches]
    assert course.ids.tolist() == ([3, 4, 5, 6, 7, 8, 9] if policy == "drop" else [0, 1, 3, 4, 5, 6, 7, 8, 9])
