"""``teach``: the loop that takes a learner through a plan."""

from __future__ import annotations

import contextlib
import copy
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attent.errors import AttentError, LearnerError, ScoreError, TraceError
from attent.learner import ChecksSchedule, Costs, Learner, Numbers, Watches, checked_length
from attent.plan.cost import warn_if_losing
from attent.plan.plan import Plan
from attent.run.course import Course, Done, Score
from attent.run.folder import header_of
from attent.run.interrupts import Stop, stop_signals
from attent.run.pace import Pace
from attent.run.recorder import Recorder, recorder_of
from attent.run.records import EpochRecord
from attent.run.teaching_checks import (
    check_batches,
    check_given,
    check_learner_and_plan,
    check_loop,
    check_unchanged,
    groups_of,
    scorer_of,
)
from attent.run.trace import Trace, replayed
from attent.run.workers import workers_of


class Progress(NamedTuple):
    """Where a run stands; listeners get one after every lesson.

    ``loss`` is the mean over the epoch so far, None before its first batch. ``done`` is the share of all work
    behind, a scored example counted as a third of a trained one. ``record`` is set when an epoch has ended.
    """

    epoch: int
    epochs: int
    phase: str
    ratio: float
    k: int
    step: int
    steps: int
    loss: float | None
    done: float
    record: EpochRecord | None


Listener = Callable[[Progress], None]


def teach(
    learner: Learner,
    plan: Plan,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 30.0,
    segment_steps: int | None = None,
    keep_scores: bool | None = None,
    reference: Numbers | None = None,
    replay: Trace | None = None,
    scorer: Learner | None = None,
    versions: Mapping[str, str] | None = None,
    recipe: str | None = None,
) -> Trace:
    """Take a learner through a plan and return the trace of what was taught.

    Warns (``attent.CostWarning``) before a run whose scoring would make it cost more than training on all examples.

    Args:
        learner: what is taught; see ``attent.Learner``. A `attent.Workers` where several processes train together:
            each calls ``teach`` with the same arguments, and rank 0 writes the run folder.
        plan: the timeline.
        run: folder to keep the trace and checkpoints in; None keeps the trace in memory alone.
        resume: go on with the run in that folder; one that does not exist yet is begun.
        listeners: called with a ``Progress`` after every lesson.
        stop: asked after every lesson; once it says True, a checkpoint is written and the trace so far
            returned (``trace.finished`` is False).
        checkpoint_seconds: least seconds between two checkpoints; 0 writes one after every lesson.
        segment_steps: steps handed to ``learner.train`` at once; None: as many as take about a second, up to 64.
            Changes no id. More means fewer transfers of losses; between two, listeners and ``stop`` are asked.
        keep_scores: keep the scores of every selection in the trace; None: up to 100,000 examples.
        reference: a reference model's loss of each example, float64, shape (n,): subtracted before ranking, so
            that what cannot be learnt (wrong labels, noise) does not count as hard.
        replay: the trace whose scores a plan with ``source=Replay()`` goes by, draw for draw; it must have kept
            them, and made as many selections.
        scorer: another learner over the same examples, asked for the scores of a plan with ``source=Proxy()``. It is
            not trained, so it is not part of the state.
        versions: of the packages the learner runs on, recorded in the run's header.
        recipe: the learner's name, recorded there too.

    Raises:
        PlanError, CourseError: an argument is impossible; no run is begun then.
        LearnerError: the learner broke its contract. ScoreError: scores that cannot be ranked.
        WorkersError: processes that train together disagree, or one of them is gone.
        TraceError: the folder cannot be written, or holds another run. In each case what was recorded
            stays readable, and the run can be resumed from its last checkpoint.
        KeyboardInterrupt: of a run in a folder after the step under way, with a checkpoint; the second Ctrl-C at once.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.default(epochs=2, batch_size=64)
        >>> attent.teach(vit_digits(plan), plan).finished
        True
    """
    workers = workers_of(learner)
    with workers.telling():  # what one process alone is given wrongly
        check_learner_and_plan(learner, plan)
        check_given(run=run, replay=replay, versions=versions, recipe=recipe)
        check_loop(
            resume=resume,
            listeners=listeners,
            stop=stop,
            checkpoint_seconds=checkpoint_seconds,
            keep_scores=keep_scores,
        )
        if run is None and resume:
            raise TraceError("resume needs the run to go on with: teach(..., run=folder, resume=True)")
        n = checked_length(learner)
        asked = scorer_of(plan, learner, scorer)
        # Copies: a learner that changes its own array would else be compared with itself.
        groups = groups_of(learner, plan)
        costs = copy.copy(learner.costs()) if isinstance(learner, Costs) else None
        scores = None if replay is None else replayed(replay, plan, n)
        steps = 1 if segment_steps is None else segment_steps
        course = Course(
            plan,
            n,
            segment_steps=steps,
            reference=reference,
            replay=scores,
            groups=groups,
            group_names=getattr(learner, "group_names", None),
            costs=costs,
            watch=learner.watch if isinstance(learner, Watches) else None,
        )
        pace = Pace(course, asked, segment_steps)
        header = header_of(plan, n, versions, recipe)
        if isinstance(learner, ChecksSchedule) and not resume:
            learner.check_schedule(plan.total_steps(n), plan.epochs)
        check_batches(learner, course.timeline)
    recorder = workers.in_turn(
        lambda: recorder_of(header, plan, run, resume=resume, keep_scores=keep_scores, write=workers.rank == 0)
    )
    with contextlib.closing(recorder), _interrupts(run) as interrupted, workers.telling():
        recorder.begin(course, learner)
        workers.begun(course)
        if isinstance(learner, ChecksSchedule) and resume:
            learner.check_schedule(sum(row.steps for row in course.timeline[course.epoch :]) - course.step, plan.epochs)
        if not recorder.records:
            warn_if_losing(plan, n)
        total = sum(_work(row.k, row.scored) for row in course.timeline)
        behind = sum(_work(record.examples_trained, record.examples_scored) for record in recorder.records)
        saved_at = time.monotonic()
        with _explained(learner, recorder):
            while not isinstance(lesson := recorder.timed("selecting", course.next), Done):
                recorder.chosen(course)
                checked_length(learner, n)
                epoch, before, began = course.epoch, _skipped(learner), time.perf_counter()
                if isinstance(lesson, Score):
                    numbers = recorder.timed("scoring", asked.score, lesson.ids)
                else:
                    numbers = recorder.timed("training", learner.train, lesson.batches, lesson.weights)
                pace.took(lesson, workers.slowest(time.perf_counter() - began))
                after = _skipped(learner)
                skipped = None if before is None or after is None else after - before
                record = course.record(numbers, skipped, scaled=getattr(learner, "scales_losses", False))
                ended = course.epoch == len(course.timeline)
                # Before the last epoch is recorded: a run whose learner is not finite has not finished.
                state = recorder.state_of(learner) if ended else None
                if record is not None:
                    check_unchanged(learner, groups, costs)
                    record = recorder.ended(record)
                    behind += _work(record.examples_trained, record.examples_scored)
                progress = _progress(course, epoch, record, behind, total)
                for listener in listeners:
                    listener(progress)
                due = time.monotonic() - saved_at >= checkpoint_seconds
                stopping, due = workers.any(stop() or interrupted(), due)
                if stopping or ended or due:
                    workers.compare()
                    recorder.save(course, recorder.state_of(learner) if state is None else state)
                    saved_at = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt(f"stopped in epoch {course.epoch}, with a checkpoint in {run}")
                if stopping:
                    break
        workers.ended()
        return recorder.trace()


@contextlib.contextmanager
def _explained(learner: Learner, recorder: Recorder) -> Iterator[None]:
    """Tell with an error whose fault it is, and where what was recorded can be read."""
    try:
        yield
    except AttentError as error:
        if isinstance(error, LearnerError | ScoreError):
            error.add_note(f"The learner is a {type(learner).__module__}.{type(learner).__qualname__}.")
        if (note := recorder.note()) is not None:
            error.add_note(note)
        raise


def _interrupts(run: str | Path | None) -> contextlib.AbstractContextManager[Stop]:
    """Take Ctrl-C as a wish to stop with a checkpoint, where there is a folder and nobody else takes it."""
    if run is None or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return contextlib.nullcontext(Stop())
    return stop_signals([signal.SIGINT])


def _skipped(learner: Learner) -> int | None:
    return getattr(learner, "skipped", None)  # of several workers only where each counts them


def _progress(course: Course, index: int, record: EpochRecord | None, behind: float, total: float) -> Progress:
    row = course.timeline[index]
    under_way = course.trained if record is None else 0
    scored = (row.scored if course.scored else course.scoring) if record is None else 0
    return Progress(
        epoch=index,
        epochs=len(course.timeline),
        phase=row.phase,
        ratio=row.ratio,
        k=row.k,
        step=row.steps if record is not None else course.step,
        steps=row.steps,
        loss=record.loss if record is not None else course.mean_loss,
        done=min(1.0, (behind + _work(under_way, scored)) / total),
        record=record,
    )


def _work(trained: int, scored: int) -> float:
    return trained + scored / 3
