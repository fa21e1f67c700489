"""What a damaged state says of the examples seen is refused, naming one; what courses come to is taken up."""

import math

import numpy as np
import pytest

import attent
from attent import Course, Done, Plan, Score
from attent.tests.toy import Toy

# A warm-up of 4 steps, then passes of 2 steps (half of 10 examples by 3), each state taken after so many lessons.
REUSE = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1)
PROGRESS = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=2, source="reuse(measure='progress')")
FRESH = Plan(epochs=3, batch_size=3, ratio=0.5, source="fresh")
POOL = Plan(epochs=5, batch_size=3, ratio=0.3, warm_up=1, source="pool(share=0.5)")
AUTO = Plan.auto(epochs=4, batch_size=3)
DROP = Plan(epochs=5, batch_size=3, ratio=0.5, warm_up=1, non_finite="drop")
RANDOM = Plan(epochs=5, batch_size=3, ratio=0.5, select="random", source="fresh")
LOSSES = 1.0 + np.arange(10)


def course_after(plan, lessons):
    course = Course(plan, 10, segment_steps=1)
    for _ in range(lessons):
        lesson = course.next()
        ids = lesson.ids if isinstance(lesson, Score) else np.concatenate(lesson.batches)
        course.record(LOSSES[ids] * 0.9**course.epoch)
    course.next()
    return course


SEEN_5 = "seen must be in [{}, {}], by the state's place, got {} for example 5"


@pytest.mark.parametrize(
    ("plan", "lessons", "name", "value", "words"),
    [
        (REUSE, 0, "seen", 0, SEEN_5.format(-1, -1, 0)),
        (REUSE, 2, "seen", 1, SEEN_5.format(-1, 0, 1)),
        (REUSE, 2, "seen", -2, SEEN_5.format(-1, 0, -2)),
        (REUSE, 4, "seen", 1, SEEN_5.format(0, 0, 1)),
        (REUSE, 5, "seen", 1_000_000, SEEN_5.format(0, 1, 1_000_000)),
        (REUSE, 5, "seen", -1, SEEN_5.format(0, 1, -1)),
        (REUSE, 12, "seen", 5, SEEN_5.format(0, 4, 5)),
        (FRESH, 1, "seen", -1, SEEN_5.format(0, 0, -1)),
        (FRESH, 3, "seen", 1, SEEN_5.format(0, 0, 1)),
        (FRESH, 4, "seen", 0, SEEN_5.format(1, 1, 0)),
        (POOL, 4, "seen", 0, SEEN_5.format(-1, -1, 0)),
        (POOL, 5, "seen", 2, SEEN_5.format(-1, 1, 2)),
        (RANDOM, 3, "seen", 0, SEEN_5.format(-1, -1, 0)),
        (AUTO, 6, "seen", -1, SEEN_5.format(0, 2, -1)),
        (REUSE, 5, "scores", math.nan, "scores must be finite where they were seen, got nan for example 5"),
        (REUSE, 5, "scores", -math.inf, "scores must be finite where they were seen, got -inf for example 5"),
        (REUSE, 0, "scores", 1.0, "scores must be NaN where none was seen, got 1.0 for example 5"),
        (DROP, 0, "scores", math.inf, "scores must be NaN where none was seen, got inf for example 5"),
        (AUTO, 4, "before", 2.0, "before must be NaN where there is no earlier loss, got 2.0 for example 5"),
        (AUTO, 8, "before", math.nan, "before must be finite where there is an earlier loss, got nan for example 5"),
        (AUTO, 8, "before", math.inf, "before must be finite where there is an earlier loss, got inf for example 5"),
        (PROGRESS, 0, "before", 2.0, "before must be NaN where there is no earlier loss, got 2.0 for example 5"),
        (PROGRESS, 4, "before", math.nan, "before must be finite where there is an earlier loss, got nan for example 5"),
    ],
)  # fmt: skip
def test_what_cannot_have_been_seen_is_refused_and_changes_nothing(plan, lessons, name, value, words):
    state, course = course_after(plan, lessons).state(), Course(plan, 10)
    course.load_state(state)
    state[name][5] = value
    before = course.state()
    with pytest.raises(attent.CourseError) as error:
        course.load_state(state)
    assert str(error.value) == f"the state's {words}"
    assert {k: v.tobytes() for k, v in course.state().items()} == {k: v.tobytes() for k, v in before.items()}


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
    "adaptive, an interval of two": Plan(epochs=8, batch_size=3, ratio=0.5, warm_up=1, adaptive=True, interval=2),
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
