"""R: a run stopped anywhere and resumed is the run that was not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attent.learner import Ids, Learner, Numbers, State
from attent.plan.plan import Plan
from attent.run.course import Course, Done, Score
from attent_conformance.comparing import copied, different_array
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.subject import Subject
from attent_conformance.tasks import task

# Between lessons of four batches: in the middle of the warm-up, and of a round.
_STOPS = (2, 4)


class _Lesson(NamedTuple):
    epoch: int
    step: int
    batches: list[Ids]
    numbers: Numbers


class _Run(NamedTuple):
    lessons: list[_Lesson]
    state: State


@needs("float64")
def check_a_resumed_run_teaches_the_same_ids(subject: Subject) -> Margins:
    """R1: stopped between lessons, mid-epoch too, and resumed, a run trains the same batches."""
    whole, resumed = _runs(subject)
    for one, two in zip(whole.lessons, resumed.lessons, strict=True):
        for mine, theirs in zip(one.batches, two.batches, strict=True):
            if not np.array_equal(mine, theirs):
                where = f"task 'classes', epoch {one.epoch}, from step {one.step} on, stops after lessons {_STOPS}"
                raise CheckFailed("R1", f"batch {theirs.tolist()}", f"{mine.tolist()}", where)
    return {"stops": float(len(_STOPS)), "lessons": float(len(whole.lessons))}


@needs("float64")
def check_a_resumed_run_ends_with_the_same_parameters(subject: Subject) -> Margins:
    """R2: losses and the last state of a resumed run are the uninterrupted one's, on the CPU bit for bit."""
    whole, resumed = _runs(subject)
    tolerance = 0.0 if subject.exact else 1e-9
    worst = 0.0
    for one, two in zip(whole.lessons, resumed.lessons, strict=True):
        error = float(np.abs(one.numbers - two.numbers).max()) if one.numbers.shape == two.numbers.shape else np.inf
        worst = max(worst, error)
        if not error <= tolerance:
            at = int(np.abs(one.numbers - two.numbers).argmax()) if np.isfinite(error) else 0
            raise CheckFailed(
                "R2",
                f"loss {float(two.numbers[at])!r}",
                f"{float(one.numbers[at])!r}, as without a stop",
                f"task 'classes', epoch {one.epoch}, from step {one.step} on, number {at} of the lesson",
            )
    name = different_array(whole.state, resumed.state)
    if subject.exact and name is not None:
        raise CheckFailed("R2", f"another state()[{name!r}]", "states equal bit for bit", "end of the resumed run")
    return {"largest difference": worst}


def _runs(subject: Subject) -> tuple[_Run, _Run]:
    return subject.kept("runs", lambda: (_run(subject, ()), _run(subject, _STOPS)))


def _run(subject: Subject, stops: tuple[int, ...]) -> _Run:
    plan = Plan(epochs=6, batch_size=8, ratio=0.4, warm_up=1, cool_down=1, seed=3)

    def fresh() -> tuple[Learner, Course]:
        learner = subject.learner(task("classes"), dtype="float64")
        return learner, Course(plan, len(learner), segment_steps=4)

    learner, course = fresh()
    lessons: list[_Lesson] = []
    while not isinstance(lesson := course.next(), Done):
        if len(lessons) in stops:
            kept = course.state(), copied(learner.state())
            learner, course = fresh()
            course.load_state(kept[0])
            learner.load_state(kept[1])
            lesson = course.next()
            assert not isinstance(lesson, Done)  # it was none before the stop
        epoch, step = course.epoch, course.step
        if isinstance(lesson, Score):
            batches, numbers = [lesson.ids], learner.score(lesson.ids)
        else:
            batches, numbers = lesson.batches, learner.train(lesson.batches, lesson.weights)
        course.record(numbers)
        lessons.append(_Lesson(epoch, step, batches, numbers))
    return _Run(lessons, copied(learner.state()))
