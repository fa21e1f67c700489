"""Rules R1 to R4: what a course teaches, and that it can stop and go on anywhere."""

from __future__ import annotations

import numpy as np
import pytest

import attent
from attent import Course, Done, Plan, Score, Train
from attent.choose.noise import ORDER, Noise, raw
from attent.choose.policy import choose
from attent.tests.toy import Toy, drive

PLANS = {
    "hard": Plan(epochs=7, batch_size=3, ratio=0.4, warm_up=1, cool_down=1),
    "soft fresh": Plan(epochs=6, batch_size=4, ratio=attent.linear(0.8, 0.2), select="soft", source="fresh"),
    "band cycles": Plan(epochs=9, batch_size=3, cycle=3, interval=2, select="band", reselect=True, warm_up=1),
    "corrected": Plan(epochs=6, batch_size=4, select="soft(correction=3.0)", warm_up=1, interval=2),
    "random": Plan(epochs=5, batch_size=7, select="random", ratio=0.3),
}


def test_epochs_teach_the_highest_scores_in_a_seeded_order():
    course, scores = Course(Plan(epochs=1, batch_size=2, ratio=0.5, seed=4), 6), np.array([5.0, 0, 4, 3, 1, 2])
    lesson = course.next()
    assert isinstance(lesson, Score)
    assert lesson.ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert course.next() is lesson
    course.record(scores)
    lesson = course.next()
    assert isinstance(lesson, Train)
    noise = raw(Noise(4, ORDER), 0, 6)
    expected = sorted([0, 2, 3], key=lambda i: noise[i])
    assert [batch.tolist() for batch in lesson.batches] == [expected[:2], expected[2:]]
    assert all(batch.dtype == np.int64 for batch in lesson.batches)
    record = course.record(np.array([1.0, 2.0, 6.0]))
    assert (record.loss, record.k, record.steps, record.examples_scored) == (3.0, 3, 2, 6)
    assert (record.selection.lowest_chosen, record.selection.highest_passed) == (3.0, 2.0)
    assert isinstance(course.next(), Done)


def test_reused_scores_are_the_latest_losses_with_their_ages():
    learner, plan = Toy(10), Plan(epochs=4, batch_size=5, ratio=0.5, warm_up=1)
    course = Course(plan, 10)
    drive(course, learner, lessons=1)
    last = (learner.data) ** 2
    assert course.seen.tolist() == [0] * 10
    assert np.argsort(-last)[0] in course.next().batches[0].tolist() + course.next().batches[-1].tolist()
    chosen = course.ids
    drive(course, learner, lessons=1)
    assert course.seen[chosen].tolist() == [1] * 5
    course.next()
    assert course.selection.age_max == 2
    assert course.selection.age_mean == 1.5
    drive(course, learner)
    assert learner.scored == 0


def test_every_epoch_covers_its_ids_once():
    learner, plan = Toy(23), Plan(epochs=6, batch_size=4, ratio=0.5, select="soft", warm_up=1)
    trace = attent.teach(learner, plan, segment_steps=2)
    at = 0
    for record in trace.records:
        batches = learner.trained[at : at + record.steps]
        assert sorted(sum(batches, [])) == trace.ids(record.epoch).tolist()
        at += record.steps
    orders = [learner.trained[0], learner.trained[at - 3]]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("name", PLANS)
def test_segments_change_nothing(name):
    traces = [attent.teach(Toy(21), PLANS[name], segment_steps=steps) for steps in (1, 2, 64)]
    for other in traces[1:]:
        assert attent.first_difference(traces[0], other) is None
        assert [r.loss for r in other.records] == pytest.approx([r.loss for r in traces[0].records], rel=1e-12)


@pytest.mark.parametrize("name", PLANS)
def test_stopped_after_any_lesson_and_resumed_it_is_the_same_run(name):
    plan = PLANS[name]
    whole = Toy(17)
    records = drive(Course(plan, 17, segment_steps=1), whole)
    lessons = 0
    counting = Course(plan, 17, segment_steps=1)
    other = Toy(17)
    while not isinstance(counting.next(), Done):
        drive(counting, other, lessons=1)
        lessons += 1
    assert lessons > 4
    for stop in range(lessons):
        first, course = Toy(17), Course(plan, 17, segment_steps=1)
        before = drive(course, first, lessons=stop)
        if stop % 2:
            course.next()  # handed out, never recorded
        state = {name: array.copy() for name, array in course.state().items()}
        second, resumed = Toy(17), Course(plan, 17, segment_steps=1)
        second.load_state(first.state())
        resumed.load_state(state)
        after = drive(resumed, second)
        assert before + after == records
        assert first.trained + second.trained == whole.trained
        assert first.weights + second.weights == whole.weights
        assert np.array_equal(second.guess, whole.guess)


def test_a_state_copies():
    course = Course(PLANS["hard"], 9)
    drive(course, Toy(9), lessons=1)
    state = course.state()
    before = state["scores"].copy()
    drive(course, Toy(9), lessons=1)
    assert np.array_equal(state["scores"], before)


def test_states_of_another_course_are_refused():
    state = Course(PLANS["hard"], 9).state()
    with pytest.raises(attent.CourseError, match="over 9 examples, this one has 8"):
        Course(PLANS["hard"], 8).load_state(state)
    other = Plan(epochs=7, batch_size=3, ratio=0.5, warm_up=1, cool_down=1, seed=1)
    with pytest.raises(attent.CourseError, match="seed was 0, is 1; the ratios or intervals of its rounds differ"):
        Course(other, 9).load_state(state)
    with pytest.raises(attent.CourseError, match="position, scores, seen is missing"):
        Course(PLANS["hard"], 9).load_state({})


def test_recording_out_of_order_is_refused():
    course = Course(PLANS["hard"], 9)
    with pytest.raises(attent.CourseError, match="call next"):
        course.record(np.zeros(9))
    drive(course, Toy(9))
    with pytest.raises(attent.CourseError, match="stop at Done"):
        course.record(np.zeros(9))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1.0] * 9, "must return a NumPy array, got builtins.list"),
        (np.zeros(8), r"must return shape \(9,\), one number per example, got shape \(8,\)"),
        (np.zeros((9, 1)), r"got shape \(9, 1\)"),
        (np.zeros(9, np.float32), "must return float64, got float32"),
        (np.r_[np.zeros(8), np.nan], r"1 of 9 numbers that are not finite in epoch 0: id \d \(nan\)"),
    ],
    ids=["list", "short", "matrix", "float32", "nan"],
)
def test_bad_numbers_change_nothing(numbers, words):
    course = Course(PLANS["hard"], 9)
    lesson = course.next()
    before = course.state()
    with pytest.raises(attent.AttentError, match=words):
        course.record(numbers)
    assert course.next() is lesson
    assert {k: v.tobytes() for k, v in course.state().items()} == {k: v.tobytes() for k, v in before.items()}


class Sick(Toy):
    """Examples 2 and 5 always have a loss that is not a number."""

    def _sick(self, ids, losses):
        return np.where(np.isin(ids, [2, 5]), np.nan, losses)

    def score(self, ids):
        return self._sick(ids, super().score(ids))

    def train(self, batches, weights=None):
        return self._sick(np.concatenate(batches), super().train(batches, weights))


@pytest.mark.filterwarnings("ignore::attent.CostWarning")
@pytest.mark.parametrize("selection", ["hard", "soft", "band"])
@pytest.mark.parametrize("source", ["reuse", "fresh"])
def test_drop_never_teaches_them_and_last_teaches_them_last(selection, source):
    def ids(policy, ratio):
        plan = Plan(epochs=2, batch_size=3, warm_up=1, ratio=ratio, select=selection, source=source, non_finite=policy)
        return attent.teach(Sick(10), plan).ids(1).tolist()

    assert not {2, 5} & set(ids("drop", 0.5))
    assert ids("drop", 0.9) == [0, 1, 3, 4, 6, 7, 8, 9]
    assert not {2, 5} & set(ids("last", 0.8))
    assert ids("last", 0.9) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert len(ids("last", 0.5)) == 5


def test_the_noise_of_an_example_does_not_depend_on_what_is_dropped():
    soft = attent.Soft(scaling="none")
    sick = np.array([0.1, 0.2, np.nan, 0.3, 0.1, np.inf, 0.4, 0.2])
    buried = np.where(np.isfinite(sick), sick, -1e9)
    for draw in range(20):
        found = choose(soft, sick, 3, Noise(0, draw), non_finite="drop")
        assert found.ids.tolist() == choose(soft, buried, 3, Noise(0, draw)).ids.tolist()


def test_correction_gives_each_batch_its_weights():
    learner = Toy(12)
    plan = Plan(epochs=2, batch_size=4, ratio=0.5, select="soft(scaling='none', correction=2.0)", warm_up=1)
    course = Course(plan, 12)
    drive(course, learner, lessons=1)
    lesson = course.next()
    p = attent.inclusion_probabilities(course.scores, 6, Noise(0, 0))
    expected = attent.correction_weights(p, 6, 2.0)
    for ids, weights in zip(lesson.batches, lesson.weights, strict=True):
        assert weights.tolist() == expected[ids].tolist()
