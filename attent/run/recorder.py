"""Writing a run down as it goes: in memory, or in a run folder. ``teach`` and ``Feed`` share it."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from attent.errors import LearnerError, TraceError
from attent.learner import Learner, State
from attent.plan.plan import Plan
from attent.run.course import Course
from attent.run.files import keepable_state, present
from attent.run.finite import check_stays_finite, not_finite
from attent.run.folder import Checkpoint, RunFolder, taken
from attent.run.records import EpochRecord, Seconds
from attent.run.trace import Header, Taught, Trace

_KEEP_SCORES_UP_TO = 100_000
# The folders that feeds of this process write to: a notebook's cell run again takes its folder from the old feed.
_WRITING: weakref.WeakValueDictionary[str, FolderRecorder] = weakref.WeakValueDictionary()
P = ParamSpec("P")
T = TypeVar("T")


class Recorder:
    """Keeps a run in memory: its records, its selections, and the seconds of the epoch under way.

    ``keep_scores``: with the scores of every selection; None: up to 100,000 examples. Who records a run need not know
    whether it has a folder, which is then a `FolderRecorder`.
    """

    def __init__(self, header: Header, keep_scores: bool | None = None) -> None:
        self.header = header
        self.records: list[EpochRecord] = []
        self.seconds = Seconds()
        self.untaken = 0  # epochs in the folder that nobody has taken up yet
        self._keep = header.n <= _KEEP_SCORES_UP_TO if keep_scores is None else keep_scores
        self._selections: dict[int, Taught] = {}
        self._not_finite: frozenset[str] = frozenset()  # of the learner's arrays, when the run began
        self._stateless = False
        self._missing = 0  # epochs that another process had in its memory

    def timed(self, phase: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``call`` returns, and add its seconds to a phase of the epoch under way."""
        started = time.perf_counter()
        result = call(*args, **kwargs)
        self.spent(phase, time.perf_counter() - started)
        return result

    def spent(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase of the epoch under way: ``scoring``, ``selecting`` or ``training``."""
        self.seconds = msgspec.structs.replace(self.seconds, **{phase: getattr(self.seconds, phase) + seconds})

    def chosen(self, course: Course) -> None:
        """Keep the selection that the course made for its epoch, if it made one and nothing of it is trained yet."""
        if course.selection is not None and course.step == 0:
            assert course.ids is not None  # a selection leaves its ids
            scores = course.ranked.copy() if self._keep else None
            self._keep_selection(course.selection.draw, Taught(course.ids, scores))

    def ended(self, record: EpochRecord) -> EpochRecord:
        """Record an epoch at its end and return its record with the seconds spent."""
        record = msgspec.structs.replace(record, seconds=self.seconds)
        self._append(record)
        self.records.append(record)
        self.seconds = Seconds()
        return record

    def begin(self, course: Course, learner: Learner) -> None:
        """Take course and learner to where the run goes on: at its start."""
        try:
            self._not_finite = frozenset(not_finite(learner.state()))
        except LearnerError:  # it holds what cannot be kept, and in memory nothing is
            self._stateless = True

    def state_of(self, learner: Learner) -> State:
        """Return the learner's state. Raises LearnerError if an array was finite when the run began, and is no more."""
        if self._stateless:
            return {}
        state = learner.state()
        check_stays_finite(state, self._not_finite)
        return state

    def save(self, course: Course, state: State) -> None:
        """Keep a checkpoint of course and learner, where there is a place for one."""

    def take_up(self, epoch: int) -> None:
        """Stand at the epoch of a state that a trainer kept: what was recorded from there on is forgotten."""
        self._missing = epoch if epoch > len(self.records) else self._missing
        self.records, self.seconds = self.records[:epoch], Seconds()

    def trace(self) -> Trace:
        """Return the trace so far. Raises TraceError where epochs of it were never in this memory."""
        if self._missing:
            raise TraceError(
                f"the first {self._missing} epochs are not in this process' memory: keep a run that is resumed in a "
                "folder, by run=folder, and read it in the process that writes it"
            )
        return Trace(self.header, list(self.records), dict(self._selections))

    def note(self) -> str | None:
        """Return where the epochs recorded can be read."""
        return None

    def close(self) -> None:
        """Let others teach in the folder."""

    def _keep_selection(self, draw: int, taught: Taught) -> None:
        self._selections[draw] = taught

    def _append(self, record: EpochRecord) -> None:
        pass


class FolderRecorder(Recorder):
    """Keeps a run in a folder, in which no other process can teach until ``close()``.

    ``resume`` takes up the run in the folder, and begins one where there is none. ``own_checkpoints``: the trainer
    keeps its state itself, so that the folder has no checkpoint. Raises TraceError if the folder holds a run that is
    not to be resumed, or another one, or is being taught in.
    """

    def __init__(
        self,
        header: Header,
        keep_scores: bool | None,
        run: Path,
        plan: Plan,
        *,
        resume: bool,
        own_checkpoints: bool,
    ) -> None:
        super().__init__(header, keep_scores)
        self._checkpoint: Checkpoint | None = None
        place = _real(run)
        if own_checkpoints and (last := _WRITING.pop(place, None)) is not None:
            last.close()
        self._lock = taken(run)
        weakref.finalize(self, self._lock.close)
        if own_checkpoints:
            _WRITING[place] = self
        try:
            if not (resume and present(run / "run.json")):
                self._folder = RunFolder.create(run, header)
                return
            self._folder = RunFolder.open(run, header, plan)
            if own_checkpoints:
                self.untaken = self._folder.recorded()
            else:
                self._checkpoint = self._folder.checkpoint()
        except BaseException:
            self.close()
            raise

    def begin(self, course: Course, learner: Learner) -> None:
        """Take course and learner to the last checkpoint; where there is none, keep the first."""
        if self._checkpoint is None:
            # The learner as it came: a run stopped early goes on from here, whatever became of the learner.
            state = keepable_state(learner.state(), "learner")
            self._not_finite = frozenset(not_finite(state))
            self._folder.lengthen(self.header)  # it may have been killed before its first checkpoint
            self.save(course, state)
            return
        course.load_state(self._checkpoint.course)
        records = self._folder.records(self._checkpoint, course.epoch)
        learner.load_state(self._checkpoint.learner)
        self._not_finite = frozenset(not_finite(self._checkpoint.learner))
        self._folder.lengthen(self.header)
        self._folder.cut(course.epoch)  # last: whoever refuses the checkpoint has cost nothing
        self.records, self.seconds = records, self._checkpoint.seconds
        self._checkpoint = None

    def state_of(self, learner: Learner) -> State:
        """Return the learner's state, if it can be kept and is finite. Raises LearnerError."""
        state = keepable_state(learner.state(), "learner")
        check_stays_finite(state, self._not_finite)
        return state

    def save(self, course: Course, state: State) -> None:
        """Keep a checkpoint, and the last one in place of the one before it."""
        self._folder.save(Checkpoint(course.state(), state, len(self.records), self.seconds))

    def take_up(self, epoch: int) -> None:
        """Stand at the epoch of a state that a trainer kept. Raises TraceError if fewer epochs are recorded."""
        records = self._held().first_records(epoch)
        self._folder.lengthen(self.header)
        self._folder.cut(epoch)
        self.records, self.seconds, self.untaken = records, Seconds(), 0

    def trace(self) -> Trace:
        """Return the trace so far, as the folder holds it."""
        return Trace.read(self._folder.folder)

    def note(self) -> str | None:
        """Return where the epochs recorded can be read."""
        return f"Epochs recorded in {self._folder.folder}: {len(self.records)}."

    def close(self) -> None:
        """Let others teach in the folder."""
        self._lock.close()

    def _keep_selection(self, draw: int, taught: Taught) -> None:
        self._held().add_selection(draw, *taught)

    def _append(self, record: EpochRecord) -> None:
        if not self.records:  # a feed may begin anew, by a longer plan, what was killed in its first pass
            self._held().lengthen(self.header)
        self._held().append(record)

    def _held(self) -> RunFolder:
        if self._lock.closed:
            raise TraceError(f"{self._folder.folder} was taken by a later feed of this process: go on with that one")
        return self._folder


class Follower(Recorder):
    """Follows a run that another process writes in a folder: reads where it goes on, and writes nothing."""

    def __init__(self, header: Header, run: Path, plan: Plan, *, resume: bool) -> None:
        super().__init__(header, keep_scores=False)
        self._run = run
        self._folder = RunFolder.open(run, header, plan) if resume and present(run / "run.json") else None
        self._checkpoint = None if self._folder is None else self._folder.checkpoint()

    def begin(self, course: Course, learner: Learner) -> None:
        """Take course and learner to the checkpoint that the writing process goes on from too."""
        if self._folder is None or self._checkpoint is None:
            # Of a model that lies in parts on several processes all must take part in making a state.
            super().begin(course, learner)
            return
        course.load_state(self._checkpoint.course)
        self.records = self._folder.records(self._checkpoint, course.epoch)
        learner.load_state(self._checkpoint.learner)
        self._not_finite = frozenset(not_finite(self._checkpoint.learner))
        self._checkpoint = None

    def trace(self) -> Trace:
        """Return the trace so far: the folder's, or the records alone where this process cannot see it."""
        return Trace.read(self._run) if present(self._run / "run.json") else super().trace()

    def _keep_selection(self, draw: int, taught: Taught) -> None:
        pass


def _real(folder: Path) -> str:
    """Return the one name of a folder, through all links."""
    try:
        return os.path.realpath(folder)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise TraceError(f"cannot write {folder}: {error}") from None


def recorder_of(
    header: Header,
    plan: Plan,
    run: str | Path | None,
    *,
    resume: bool,
    keep_scores: bool | None,
    own_checkpoints: bool = False,
    write: bool = True,
) -> Recorder:
    """Return what writes a run down: in a folder, in memory where ``run`` is None. Raises TraceError as the folder.

    ``write``: False where another process writes the folder.
    """
    if run is None:
        return Recorder(header, keep_scores)
    if not write:
        return Follower(header, Path(run), plan, resume=resume)
    return FolderRecorder(header, keep_scores, Path(run), plan, resume=resume, own_checkpoints=own_checkpoints)
