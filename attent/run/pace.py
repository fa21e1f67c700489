"""How much is handed to a learner at once: about a second's worth, so that a run can be stopped between steps."""

from __future__ import annotations

from attent.learner import Learner
from attent.run.course import Course, Lesson, Score, Train

_SECONDS = 1.0
_MOST_STEPS = 64


class Pace:
    """Sets how large a course's lessons are, from how long they took: at first one step, or one forward of scoring.

    ``segment_steps``: steps of every lesson; None: as many as take about a second, up to 64. A scoring pass is cut
    where the learner tells its ``score_batch_size``, at whole multiples of it, so that every forward keeps its
    examples; no id and no number depends on how long anything takes.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> from attent.run.pace import Pace
        >>> plan = attent.Plan.full(epochs=1, batch_size=64)
        >>> course, learner = attent.Course(plan, 1437), vit_digits(plan)
        >>> pace = Pace(course, learner, None)
        >>> len(course.next().batches)
        1
        >>> pace.took(course.next(), 0.25)
        >>> course.segment_steps
        4
    """

    def __init__(self, course: Course, scorer: Learner, segment_steps: int | None) -> None:
        self._course, self._adapts = course, segment_steps is None
        if segment_steps is None:
            course.segment_steps = 1
        size = getattr(scorer, "score_batch_size", None)
        self._forward = size if isinstance(size, int) and size > 0 else None
        course.score_examples = self._forward

    def took(self, lesson: Lesson, seconds: float) -> None:
        """Take note of the seconds that a lesson took."""
        if isinstance(lesson, Train) and self._adapts:
            self._course.segment_steps = min(_MOST_STEPS, _fitting(len(lesson.batches), seconds))
        if isinstance(lesson, Score) and self._forward is not None:
            forwards = -(-len(lesson.ids) // self._forward)
            self._course.score_examples = self._forward * _fitting(forwards, seconds)


def _fitting(done: int, seconds: float) -> int:
    """Return how many fit into a second; at most eight times as many as were done, since the first may tell little."""
    return max(1, min(8 * done, int(_SECONDS * done / max(seconds, 1e-9))))
