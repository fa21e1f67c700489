"""A course's state is taken up at every lesson; where one bit of it has flipped it is refused and changes nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest

import attent
from attent import Course, Done, Plan, Score
from attent.run.state import digest_of_state, pack_json
from attent.tests.toy import Toy

# A warm-up of 4 steps, then passes of 2 steps (half of 10 examples by 3).
REUSE = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1)
PROGRESS = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=2, source="reuse(measure='progress')")
FRESH = Plan(epochs=3, batch_size=3, ratio=0.5, source="fresh")
POOL = Plan(epochs=5, batch_size=3, ratio=0.3, warm_up=1, source="pool(share=0.5)")
AUTO = Plan.auto(epochs=4, batch_size=3)
DROP = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1, non_finite="drop")
RANDOM = Plan(epochs=5, batch_size=3, ratio=0.5, select="random", source="fresh")
WEIGHTED = Plan(epochs=3, batch_size=3, ratio=0.5, select="soft(correction=2.0)", source="fresh")


def course_after(plan, lessons):
    course, learner = Course(plan, 10, segment_steps=1), Toy(10)
    for _ in range(lessons):
        lesson = course.next()
        scoring = isinstance(lesson, Score)
        course.record(learner.score(lesson.ids) if scoring else learner.train(lesson.batches, lesson.weights))
    course.next()
    return course


def refused(course, state):
    """A course refuses a state and stands where it stood; return the words."""
    before = course.state()
    with pytest.raises(attent.CourseError) as error:
        course.load_state(state)
    assert {k: v.tobytes() for k, v in course.state().items()} == {k: v.tobytes() for k, v in before.items()}
    return str(error.value)


# (plan, lessons): what the state then holds beside position, scores, seen and digest.
STATES = {
    "before anything": (REUSE, 0),
    "in an epoch (ids)": (REUSE, 7),
    "at the end (ids)": (REUSE, 12),
    "weighted (ids, weights)": (WEIGHTED, 2),
    "auto (ids, before)": (AUTO, 6),
    "progress (ids, before)": (PROGRESS, 9),
}
DAMAGED = "the state is damaged: its digest does not match its content, which has changed since the course made it"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["position", "scores", "seen", "digest", "ids", "weights", "before"])
def test_a_flipped_bit_is_told_of(name, seed):
    draw = random.Random(f"{name} {seed}")
    plan, lessons = draw.choice([STATES[key] for key in STATES if name in course_after(*STATES[key]).state()])
    state = course_after(plan, lessons).state()
    bits = state[name].view(np.uint8)
    place = draw.randrange(8 * len(bits))
    bits[place // 8] ^= 1 << place % 8
    assert refused(Course(plan, 10), state).startswith(DAMAGED)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores": None}, "not a course's state: scores is missing"),
        ({"position": None, "digest": None}, "not a course's state: digest, position is missing"),
        ({"extra": np.ones(5)}, "not a course's state: extra is unknown"),
        ({"scores": [0.0] * 10}, "the state's scores must be one-dimensional float64, got list"),
        ({"ids": np.zeros(2)}, "the state's ids must be one-dimensional uint8, got float64 (2,)"),
        ({"seen": np.zeros((2, 5), np.int32)}, "the state's seen must be one-dimensional int32, got int32 (2, 5)"),
        ({"digest": np.zeros(1, np.uint8)}, DAMAGED),
        ({"ids": None}, DAMAGED),
        ({"weights": np.ones(5)}, DAMAGED),
        ({"scores": np.zeros(9)}, DAMAGED),
        ({"position": pack_json({})}, DAMAGED),
        ({"position": np.zeros(3, np.uint8)}, DAMAGED),
        ({"position": np.full(100_000, ord("["), np.uint8)}, DAMAGED),
    ],
    ids=["a gap", "two gaps", "unknown", "a list", "floats", "a table", "short digest", "no ids", "weights", "short", "{}", "NUL", "nested"],
)  # fmt: skip
def test_what_is_no_state_of_a_course_is_refused(changes, words):
    state = {**course_after(REUSE, 7).state(), **changes}
    assert refused(Course(REUSE, 10), {k: v for k, v in state.items() if v is not None}).startswith(words)


@pytest.mark.parametrize("value", [[], {}, {"n": 10}, {"n": "10"}], ids=["a list", "empty", "little", "text"])
def test_a_position_of_another_version_is_refused(value):
    """Its digest is right, but it has other fields."""
    state = course_after(REUSE, 7).state()
    state["position"] = pack_json(value)
    state["digest"] = digest_of_state(state)
    assert refused(Course(REUSE, 10), state).startswith("not a course's state: its position cannot be read: ")


def test_a_state_of_another_plan_or_n_is_refused():
    state = course_after(REUSE, 7).state()
    assert refused(Course(REUSE, 11), state) == "the state is of a course over 10 examples, this one has 11"
    other = Plan(epochs=5, batch_size=3, ratio=0.4, warm_up=1, seed=3)
    assert refused(Course(other, 10), state) == (
        "the state is of another plan: seed was 0, is 3; the ratios or intervals of its rounds differ"
    )


class Sick(Toy):
    """Every so often a loss is no number."""

    def train(self, batches, weights=None):
        losses, ids = super().train(batches, weights), np.concatenate(batches)
        return np.where((ids + len(self.trained)) % 7 == 0, [np.nan, np.inf][len(self.trained) % 2], losses)


PLANS = {
    "plain": REUSE,
    "scored before any training": Plan(epochs=4, batch_size=3, ratio=0.5),
    "fresh": FRESH,
    "fresh, an interval of two": Plan(epochs=5, batch_size=3, ratio=0.5, source="fresh", interval=2, warm_up=1),
    "fresh, cycles": Plan(epochs=7, batch_size=3, ratio=0.5, source="fresh", cycle=3, warm_up=1),
    "pool": POOL,
    "random": RANDOM,
    "refreshed": Plan(epochs=5, batch_size=3, ratio=0.3, warm_up=1, source="reuse(refresh=0.3)"),
    "coverage": Plan(epochs=5, batch_size=3, ratio=0.3, warm_up=1, select="in_turn(ties=hard)"),
    "progress": PROGRESS,
    "progress, refreshed": Plan(
        epochs=6, batch_size=3, ratio=0.3, warm_up=2, source="reuse(measure='progress', refresh=0.3)"
    ),
    "auto": AUTO,
    "auto, no cool-down": Plan.auto(epochs=3, batch_size=3),
    "auto, an interval of two": Plan(epochs=8, batch_size=3, ratio=0.5, warm_up=1, select="auto", interval=2),
    "full": Plan.full(epochs=2, batch_size=3),
    "sick, dropped": DROP,
    "sick, last": Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1, non_finite="last"),
    "sick, progress": Plan(
        epochs=5, batch_size=3, ratio=0.5, warm_up=2, source="reuse(measure='progress')", non_finite="last"
    ),
}


@pytest.mark.parametrize("n", [10, 70])
@pytest.mark.parametrize("name", PLANS)
def test_what_courses_come_to_is_taken_up_at_every_lesson(name, n):
    course, learner = Course(PLANS[name], n, segment_steps=1), (Sick if name.startswith("sick") else Toy)(n)
    while True:
        other = Course(PLANS[name], n, segment_steps=1)
        other.load_state(course.state())
        lesson, again = course.next(), other.next()
        assert type(again) is type(lesson)
        if isinstance(lesson, Done):
            break
        if isinstance(lesson, Score):
            assert again.ids.tolist() == lesson.ids.tolist()
            course.record(learner.score(lesson.ids))
        else:
            assert [ids.tolist() for ids in again.batches] == [ids.tolist() for ids in lesson.batches]
            course.record(learner.train(lesson.batches, lesson.weights))


@pytest.mark.parametrize("policy", ["drop", "last"])
def test_states_of_runs_with_bad_scores_are_taken_up(policy):
    """Under "drop" fewer than k are taught, and an epoch's loss may be no number."""

    class Nan(Toy):
        def train(self, batches, weights=None):
            return np.where(np.concatenate(batches) < 3, np.nan, super().train(batches, weights))

    plan = Plan(epochs=3, batch_size=2, ratio=0.9, warm_up=1, select="hard", non_finite=policy)
    course, learner = Course(plan, 10, segment_steps=1), Nan(10)
    for _ in range(7):
        course.record(learner.train(course.next().batches))
        other = Course(plan, 10, segment_steps=1)
        other.load_state(course.state())
        assert [ids.tolist() for ids in other.next().batches] == [ids.tolist() for ids in course.next().batches]
    assert course.ids.tolist() == ([3, 4, 5, 6, 7, 8, 9] if policy == "drop" else [0, 1, 3, 4, 5, 6, 7, 8, 9])
