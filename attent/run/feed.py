"""A feed: batches out, losses in, for trainers that own their loop. Rules F1 to F8 of docs/spec.md."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.columns import costs_from, groups_from
from attent.errors import CourseError, PlanError, TraceError
from attent.learner import Ids, Numbers
from attent.plan.cost import warn_if_losing
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch
from attent.run.course import Course, Done, Lesson, Score, Train
from attent.run.feed_state import read_back, written
from attent.run.finite import check_finite, check_skipped
from attent.run.folder import header_of
from attent.run.given_losses import read_ids, read_losses
from attent.run.recorder import recorder_of
from attent.run.records import EpochRecord
from attent.run.teaching_checks import check_given
from attent.run.trace import Trace, replayed

_ENDLESS = 100  # epochs asked for beyond the plan's end


class Feed:
    """A plan under way for a trainer that owns its loop: it gives a pass's batches and takes their losses back.

    All batches of a pass are known when it begins, and the next pass's only once every loss of it is recorded. So a
    loader may look ahead as far as it likes, and losses may come in any order.

    Args:
        plan: the timeline.
        n: number of training examples; ids run from 0 to n - 1.
        run: folder to write the run to, as ``attent.teach`` does; None: in memory. The state is kept by the trainer.
        resume: go on with the run in that folder, from the state given to ``load_state``; begin one if there is none.
        groups: each example's group, shape (n,), for a policy that goes by groups: whole numbers from 0, or texts, by
            which reasons name them.
        costs: what each example costs (tokens, pixels), shape (n,), above 0: for records, and for a policy that asks
            for costs.
        watch: what says how the model does on examples that it must not forget, one finite number of each, lower is
            better: float64, shape (m,). Called before a pass, for a policy that asks for it; it must change nothing.
        reference: a reference model's loss of each example, float64, shape (n,), subtracted before ranking.
        replay: the trace whose scores a plan that replays goes by.
        keep_scores: write the scores of every selection; None: up to 100,000 examples.
        versions: of the packages the trainer runs on, kept in the run's header.
        recipe: the run's name, kept there too.
        fingerprint: of the data, kept there and in the state: other data are then refused on resume.
        write: whether this process writes the folder; False on all ranks but one.

    Raises:
        PlanError: an argument is impossible. TraceError: the folder holds another run, or one not to be resumed.

    Example:
        >>> import attent
        >>> feed = attent.Feed(attent.Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5, select=attent.Hard()), 4)
        >>> while not feed.finished:
        ...     for ids in feed.batches():
        ...         record = feed.record(1.0 + ids, ids)  # stands for a step and its losses
        >>> feed.trace().ids(1).tolist()
        [2, 3]
    """

    def __init__(
        self,
        plan: Plan,
        n: int,
        *,
        run: str | Path | None = None,
        resume: bool = False,
        groups: Any = None,
        costs: Any = None,
        watch: Callable[[], Numbers] | None = None,
        reference: Numbers | None = None,
        replay: Trace | None = None,
        keep_scores: bool | None = None,
        versions: Mapping[str, str] | None = None,
        recipe: str | None = None,
        fingerprint: str | None = None,
        write: bool = True,
    ) -> None:
        if not isinstance(plan, Plan):
            raise PlanError(f"a feed takes first the plan, then the number of examples: plan is {checks.shown(plan)}")
        check_given(run=run, replay=replay, versions=versions, recipe=recipe)
        if not isinstance(fingerprint, str | None):
            raise PlanError(f"fingerprint must be a text, got {checks.shown(fingerprint)}")
        if resume and run is None:
            raise TraceError("resume needs the run to go on with: Feed(..., run=folder, resume=True)")
        self.plan, self.n, self.fingerprint = plan, n, fingerprint
        self._scores = None if replay is None else replayed(replay, plan, n)
        self._reference = reference
        self._grouped = None if groups is None else groups_from(groups, n)
        self._costs = None if costs is None else costs_from(costs, n)
        self._watch = watch
        self._course = self._new_course()
        self._recorder = recorder_of(
            header_of(plan, n, versions, recipe, fingerprint),
            plan,
            run if write else None,
            resume=resume,
            keep_scores=keep_scores if write else False,
            own_checkpoints=True,
        )
        self._lesson: Lesson | None = None
        self._place: Ids  # by id, where its number goes; -1: not asked for
        self._losses: Numbers
        self._got: npt.NDArray[np.bool_]
        self._skipped = 0  # steps of the pass that the trainer left out
        if not resume:
            warn_if_losing(plan, n)

    @property
    def epoch(self) -> int:
        """Index of the pass under way, ``plan.epochs`` when finished."""
        return self._course.epoch

    @property
    def row(self) -> Epoch:
        """The timeline's row of the pass under way: phase, k, steps, batch_size (the last row when finished)."""
        return self._course.row

    @property
    def finished(self) -> bool:
        """Whether every pass of the plan is recorded."""
        return self._course.epoch == len(self._course.timeline)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run: the length of a learning-rate schedule."""
        return sum(row.steps for row in self._course.timeline)

    @property
    def done(self) -> int:
        """Batches of the pass that are recorded completely, counted from its start without a gap."""
        if not isinstance(self._lesson, Train):
            return 0
        return int(np.argmin(self._got)) // self.row.batch_size  # a pass that lacks nothing has ended

    def to_score(self) -> Ids | None:
        """Return the ids whose deviations, in evaluation mode, must be recorded before the pass begins, or None."""
        lesson = self._now()
        return lesson.ids.copy() if isinstance(lesson, Score) else None

    def batches(self) -> list[Ids]:
        """Return the pass's batches, int64, the same on every call until the pass ends; none when finished.

        Raises CourseError while there are ids to score, ScoreError where the scores cannot be ranked.
        """
        lesson = self._train()
        return [] if lesson is None else [ids.copy() for ids in lesson.batches]

    def weights(self) -> list[Numbers] | None:
        """Return each batch's weights, float64, in step with ``batches()``; None where all weigh the same."""
        lesson = self._train()
        return None if lesson is None or lesson.weights is None else [weights.copy() for weights in lesson.weights]

    def record(self, numbers: Any, ids: Any, skipped: int = 0, *, scaled: bool = False) -> EpochRecord | None:
        """Take the scores asked for, or losses of examples trained; return the pass's record once it is complete.

        numbers: one per id, any floating-point array, tensor or list that NumPy can read, shape (len(ids),): the
        unweighted losses of the training forward. ids: whole numbers, of this pass, each once in a pass, in any order.
        skipped: steps on them that the trainer left out, as a loss or the gradient was not finite (rule P8). scaled: a
        loss scaler left them out, as it does to find its scale: a gradient's overflow then stops no run.

        Raises CourseError for other ids, ScoreError for other numbers, TraceError if the folder cannot be written;
        of a call that is refused nothing is kept.
        """
        lesson = self._now()
        if isinstance(lesson, Done):
            raise CourseError("record() after the plan's last pass: stop where feed.finished says so")
        named = read_ids(ids, self.n)
        losses = read_losses(numbers, len(named))
        skipped = checks.whole("skipped", skipped, 0, error=CourseError)
        loop = ", and leave a step out whose losses or gradient are not finite"
        check_finite(losses, named, self.plan, self.epoch, "record() was given", loop)
        places = self._place[named]
        if (places < 0).any():
            asked = "asked to be scored" if isinstance(lesson, Score) else f"in pass {self.epoch}"
            raise CourseError(f"example {named[places < 0][0]} is not {asked}: record what feed.batches() gave")
        if self._got[places].any():
            twice = named[self._got[places]][0]
            raise CourseError(f"the loss of example {twice} is recorded already in pass {self.epoch}")
        steps = len(lesson.batches) if isinstance(lesson, Train) else 0
        check_skipped(self._skipped + skipped, steps, self.plan, self.epoch, scaled or not skipped)
        self._losses[places] = losses
        self._got[places] = True
        self._skipped += skipped
        if not self._got.all():
            return None
        try:
            return self._complete(lesson)
        except BaseException:
            self._losses[places], self._got[places] = np.nan, False
            self._skipped -= skipped
            raise

    def state(self) -> dict[str, Any]:
        """Return two texts that any checkpoint can hold: ``load_state`` goes on from them, in mid-pass too."""
        begun = self._lesson is not None and self._got.any()
        return written(
            self._course.state(),
            {"losses": self._losses, "got": self._got, "skipped": np.array([self._skipped], np.int64)} if begun else {},
            self.fingerprint,
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a feed with the same plan, n and data.

        A run folder forgets what it holds of later passes. Raises CourseError naming what differs or is damaged,
        TraceError if the folder lacks passes before it; nothing is changed then.
        """
        arrays, begun = read_back(state, self.fingerprint)
        course = self._new_course()
        course.load_state(arrays)
        if begun:
            begun = {"skipped": np.zeros(1, np.int64), **begun}  # states of attent 0.1.0 may lack it
            shape = _asked(course.next()).shape
            forms = {name: (array.dtype.name, array.shape) for name, array in begun.items()}
            if forms != {"losses": ("float64", shape), "got": ("bool", shape), "skipped": ("int64", (1,))}:
                raise CourseError("the feed's state holds losses of another pass than it stands in")
        self._recorder.take_up(course.epoch)
        self._course, self._lesson = course, None
        if begun:
            self._now()
            self._losses, self._got, self._skipped = begun["losses"], begun["got"], int(begun["skipped"][0])

    def trace(self) -> Trace:
        """Return what was taught in the passes recorded so far. Raises TraceError if it is not in this memory."""
        return self._recorder.trace()

    def _new_course(self) -> Course:
        # A pass is one lesson.
        steps = max(row.steps for row in self.plan.timeline(self.n))
        return Course(
            self.plan,
            self.n,
            segment_steps=steps,
            reference=self._reference,
            replay=self._scores,
            groups=None if self._grouped is None else self._grouped.groups,
            group_names=None if self._grouped is None else self._grouped.names,
            costs=self._costs,
            watch=self._watch,
        )

    def _now(self) -> Lesson:
        """Return the lesson at hand; a new one is written down and gets a place for the number of each id."""
        if self._lesson is None:
            if self._recorder.untaken:
                raise CourseError(
                    f"the run folder holds {self._recorder.untaken} passes and no state was given to go on from: call "
                    "feed.load_state(...) with that of your checkpoint, or begin a run in another folder"
                )
            lesson = self._recorder.timed("selecting", self._course.next)
            if isinstance(lesson, Train):
                self._recorder.chosen(self._course)
            asked = _asked(lesson)
            self._place = np.full(self.n, -1, np.int64)
            self._place[asked] = np.arange(len(asked))
            self._losses, self._got, self._skipped = np.full(len(asked), np.nan), np.zeros(len(asked), np.bool_), 0
            self._lesson, self._began = lesson, time.perf_counter()
        return self._lesson

    def _train(self) -> Train | None:
        lesson = self._now()
        if isinstance(lesson, Score):
            raise CourseError(
                f"{len(lesson.ids)} examples must be scored before pass {self.epoch} begins: "
                "record(scores, feed.to_score()) first"
            )
        return lesson if isinstance(lesson, Train) else None

    def _complete(self, lesson: Lesson) -> EpochRecord | None:
        phase = "scoring" if isinstance(lesson, Score) else "training"
        self._recorder.spent(phase, time.perf_counter() - self._began)
        before = self._course.state()
        record = self._course.record(self._losses, self._skipped, scaled=True)  # what is allowed was told with each
        if record is not None:
            try:
                record = self._recorder.ended(record)
            except BaseException:  # the folder cannot be written: the pass has not ended, and can be recorded again
                self._course = self._new_course()
                self._course.load_state(before)
                self._course.next()
                raise
        self._lesson = None
        if self.finished:
            self._recorder.close()
        return record


def epoch_beyond_end(epochs: int, before: int) -> int:
    """Warn that a plan of so many epochs has none left, and return how many were asked for beyond: ``before`` and one.

    Raises CourseError at the hundredth: a loop that waits for another batch would never end.
    """
    told = f"the plan is at its end after {epochs} epochs: there is nothing more to train"
    if before + 1 >= _ENDLESS:
        raise CourseError(f"{told}. {before + 1} more were asked for: let the loop stop where teacher.finished says so")
    warnings.warn(told, UserWarning, stacklevel=3)
    return before + 1


def _asked(lesson: Lesson) -> Ids:
    """Return the ids whose numbers a lesson asks for, in its order."""
    if isinstance(lesson, Done):
        return np.empty(0, np.int64)
    return lesson.ids if isinstance(lesson, Score) else np.concatenate(lesson.batches)
