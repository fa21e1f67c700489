"""A run on disk: header, trace, selections and the checkpoint it can go on from. Rules R1 to R8 of docs/spec.md."""

from __future__ import annotations

import contextlib
import json
import platform
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np

from attent import __version__
from attent.errors import CourseError, TraceError, TraceWarning
from attent.learner import Ids, Numbers, State
from attent.plan.plan import Plan
from attent.run.extension import lengthens, plan_difference
from attent.run.files import (
    FORMAT,
    WAY_OUT,
    append_line,
    keep_lines,
    locked,
    present,
    read_arrays,
    read_selection,
    remove_partials,
    replace,
    sealed,
    selection_path,
    unchecked_arrays,
    write_arrays,
    write_json,
    write_selection,
)
from attent.run.records import EpochRecord, Seconds, Selected, digest_of
from attent.run.state import Position, check_digest, unpack_position
from attent.run.trace import Header, read_header, read_records

CHECKPOINT = "checkpoint.safetensors"
EARLIER = "checkpoint.earlier.safetensors"
CHECKPOINTS = (CHECKPOINT, EARLIER)
DAMAGED = "checkpoint.damaged.safetensors"


class Checkpoint(NamedTuple):
    """A moment to go on from: the course, the learner, epochs recorded, and the seconds of the epoch under way."""

    course: State
    learner: State
    epochs: int
    seconds: Seconds


class _Told(msgspec.Struct, frozen=True):
    """What a checkpoint file tells beside its arrays."""

    epochs: int
    seconds: Seconds


def header_of(
    plan: Plan,
    n: int,
    versions: Mapping[str, str] | None = None,
    recipe: str | None = None,
    fingerprint: str | None = None,
) -> Header:
    """Return the header of a run of this plan over n examples, with the versions of attent, NumPy and Python."""
    own = {"python": platform.python_version(), "numpy": np.__version__}
    return Header(
        format=FORMAT,
        attent=__version__,
        n=n,
        plan=plan.to_dict(),
        rounds=[list(row) for row in plan.rounds()],
        unit=plan.unit,
        versions={**own, **{name: str(version) for name, version in (versions or {}).items()}},  # some are subclasses
        recipe=recipe,
        fingerprint=fingerprint,
    )


class RunFolder:
    """The folder of one run: ``run.json``, ``trace.jsonl``, ``selections/``, and the last two checkpoints.

    Every file is whole at every moment, so a run killed at any time can be read and continued, and has a checksum, so
    a bit that flips on the disk is told of instead of teaching something else. Where the last checkpoint is damaged the
    one before it is taken.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder, self.header = folder, header
        self._damaged = False  # the last checkpoint

    @classmethod
    def create(cls, folder: Path, header: Header) -> RunFolder:
        """Begin a run. Raises TraceError if the folder holds one already, or cannot be written."""
        if present(folder / "run.json"):
            raise TraceError(f"{folder} holds a run already: go on with it by resume=True, or name another folder")
        for left in ("trace.jsonl", "selections", *CHECKPOINTS):
            if present(folder / left):
                raise TraceError(f"{folder} holds {left} of a run whose run.json is gone: name another folder")
        write_json(folder / "run.json", header)
        return cls(folder, header)

    @classmethod
    def open(cls, folder: Path, header: Header, plan: Plan) -> RunFolder:
        """Go on with a run. Raises TraceError if it is of another plan, n, recipe, data fingerprint or version."""
        old = read_header(folder)
        if old.attent != header.attent:
            raise TraceError(
                f"{folder} was written by attent {old.attent}, this is {header.attent}: "
                "go on with that version, or start a new run"
            )
        if old.n != header.n:
            raise TraceError(f"{folder} is of a run over {old.n} examples, this one has {header.n}")
        if old.recipe != header.recipe:
            raise TraceError(f"{folder} is of recipe {old.recipe!r}, not {header.recipe!r}")
        if old.fingerprint != header.fingerprint:
            raise TraceError(f"{folder} is of data with fingerprint {old.fingerprint!r}, not {header.fingerprint!r}")
        difference = plan_difference(old.plan, old.rounds, plan)
        if difference and not lengthens(old.plan, plan):  # whether it can be made longer its checkpoint will say
            raise TraceError(f"{folder} is of another plan: {difference}")
        return cls(folder, old)

    def lengthen(self, header: Header) -> None:
        """Take up a longer plan, which the run's checkpoint has been found to go on by."""
        if header.plan["epochs"] > self.header.plan["epochs"]:
            self.header = msgspec.structs.replace(self.header, plan=header.plan, rounds=header.rounds)
            write_json(self.folder / "run.json", self.header)

    def checkpoint(self) -> Checkpoint | None:
        """Return what ``save`` kept last, None where the run stopped before.

        Where it is damaged or gone: what was kept before it, with a TraceWarning. Raises TraceError if there is none.
        """
        newest, earlier = (self.folder / name for name in CHECKPOINTS)
        try:
            found = _read_checkpoint(newest)
            if found is None and present(earlier):
                raise TraceError(f"{newest} is gone")
        except TraceError as error:
            if not present(earlier):
                raise
            found, self._damaged = _taken_instead(earlier, error, present(newest)), True
        if found is None and read_records(self.folder / "trace.jsonl"):
            raise TraceError(
                f"{self.folder} cannot be continued: its {CHECKPOINT} is gone. Its trace can still be read"
            )
        return found

    def recorded(self) -> int:
        """Return the epochs recorded, of a run whose trainer keeps its state itself. Raises TraceError for another."""
        if any(present(self.folder / name) for name in CHECKPOINTS):
            raise TraceError(f"{self.folder} is a run of attent.teach, which goes on with it; name another folder")
        return len(read_records(self.folder / "trace.jsonl"))

    def records(self, checkpoint: Checkpoint, epoch: int) -> list[EpochRecord]:
        """Return the epochs recorded before a checkpoint whose course stands in ``epoch``; what follows stays there.

        Raises TraceError if the checkpoint tells another number of epochs, or if epochs of the trace or files of
        selections made before it are gone.
        """
        if checkpoint.epochs != epoch:
            raise TraceError(
                f"{self.folder / CHECKPOINT} is damaged: it tells of {checkpoint.epochs} epochs recorded, but its "
                f"course stands in epoch {epoch}. The trace can still be read; start a new run in another folder"
            )
        found = self.first_records(epoch)
        position = unpack_position(checkpoint.course["position"])
        if position.draw:  # of the epoch under way too
            self._check_selection(position.draw - 1, position.selection)
        return found

    def first_records(self, epochs: int) -> list[EpochRecord]:
        """Return the first so many epochs of the trace. Raises TraceError if they are gone, or what they taught is."""
        records = read_records(self.folder / "trace.jsonl", epochs)
        if len(records) < epochs:
            raise TraceError(
                f"{self.folder / 'trace.jsonl'} has {len(records)} epochs, the checkpoint has {epochs}: "
                "lines were removed, or it is another run's"
            )
        for record in records:
            if record.selection is not None:
                self._check_selection(record.selection.draw, record.selection)
        return records

    def _check_selection(self, draw: int, made: Selected | None) -> None:
        """Raise TraceError if the file of a selection is gone, damaged, or of other ids than were made."""
        path = selection_path(self.folder, draw)
        if not present(path):
            raise TraceError(
                f"{path} is gone: without it nothing tells what draw {draw} taught. Restore it from a copy, or "
                "begin a new run in another folder"
            )
        ids, _ = read_selection(self.folder, draw, self.header.n)
        if made is not None and made.digest != digest_of(ids):
            raise TraceError(f"{path} holds other ids than draw {draw} of this run taught. {WAY_OUT}")

    def cut(self, epochs: int) -> None:
        """Forget what was recorded after this many epochs: it is taught again."""
        if self._damaged:  # else the next save would keep it in place of the one that is whole
            newest, earlier, damaged = (self.folder / name for name in (*CHECKPOINTS, DAMAGED))
            if present(newest):  # it may be whole, and the disk have failed in reading it
                replace(damaged, newest)
            replace(newest, earlier)
            self._damaged = False
        keep_lines(self.folder / "trace.jsonl", epochs)

    def append(self, record: EpochRecord) -> None:
        """Record an epoch at its end."""
        append_line(self.folder / "trace.jsonl", sealed(record))

    def add_selection(self, draw: int, ids: Ids, scores: Numbers | None) -> None:
        """Keep a selection. One of the same draw, from before a resume, is replaced by its equal."""
        write_selection(self.folder, draw, ids, self.header.n, scores)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and the last one in place of the one before it.

        Whoever asked the learner for its state has checked that it can be kept (`keepable_state`).
        """
        arrays = {f"course/{name}": array for name, array in checkpoint.course.items()}
        arrays.update({f"learner/{name}": array for name, array in checkpoint.learner.items()})
        told = {"epochs": checkpoint.epochs, "seconds": msgspec.to_builtins(checkpoint.seconds)}
        write_arrays(self.folder / CHECKPOINT, arrays, {"attent": json.dumps(told)}, aside=self.folder / EARLIER)


def position_in(folder: Path) -> Position | None:
    """Return where the course of a folder's last checkpoint stands that is whole, None where there is none.

    The learner's part is not read. Raises TraceError or CourseError where it cannot be read.
    """
    for name in CHECKPOINTS:
        if not present(folder / name):
            continue
        try:
            arrays, _ = unchecked_arrays(folder / name, "course/")
            course = {name.removeprefix("course/"): array for name, array in arrays.items()}
            check_digest(course)
            return unpack_position(course["position"])
        except (TraceError, CourseError):
            if name == EARLIER or not present(folder / EARLIER):
                raise
    return None


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that nobody will go on with."""
    for name in (*CHECKPOINTS, DAMAGED):
        (folder / name).unlink(missing_ok=True)


def _taken_instead(path: Path, error: TraceError, kept: bool) -> Checkpoint:
    """Return the checkpoint before one that cannot be read, with a warning. Raises TraceError if neither can be."""
    why = str(error).replace(f". {WAY_OUT}", "")
    try:
        found = _read_checkpoint(path)
    except TraceError as second:
        raise TraceError(f"{why}; nor can the one before it be taken: {second}") from None
    assert found is not None  # it is there
    warnings.warn(
        f"{why}. The run goes on from the checkpoint before it, {path.name}, of epoch {found.epochs}: "
        f"what came after it is taught again{f'. The other is kept as {DAMAGED}' * kept}",
        TraceWarning,
        stacklevel=2,
    )
    return found


def _read_checkpoint(path: Path) -> Checkpoint | None:
    if not present(path):
        return None
    arrays, metadata = read_arrays(path)
    if "attent" not in metadata:
        raise TraceError(f"{path} is not a checkpoint: its metadata has no entry 'attent'")
    try:
        told = msgspec.json.decode(metadata["attent"], type=_Told)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path} is not a checkpoint: its entry 'attent' cannot be read: {error}") from None
    course, learner = (
        {name.removeprefix(owner): array for name, array in arrays.items() if name.startswith(owner)}
        for owner in ("course/", "learner/")
    )
    return Checkpoint(course, learner, told.epochs, told.seconds)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from teaching in a folder. Raises TraceError if one is; its end frees the folder."""
    with taken(folder):
        yield


def taken(folder: Path) -> IO[bytes]:
    """Return the lock of a folder: no other process can teach in it until the lock is closed, or this process ends.

    Raises TraceError if another one is teaching there.
    """
    lock = locked(folder / "lock")
    if lock is None:
        raise TraceError(f"another process is teaching in {folder}: wait for it, stop it, or name another folder")
    try:
        remove_partials(folder)
    except BaseException:
        lock.close()
        raise
    return lock
