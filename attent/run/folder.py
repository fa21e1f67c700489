"""A run on disk: header, trace, selections and the checkpoint it can go on from. Rules R1 to R4 of docs/spec.md."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from attent.errors import TraceError
from attent.learner import Ids, Numbers, State
from attent.plan.plan import Plan
from attent.run.files import (
    append_line,
    checked_state,
    keep_lines,
    locked,
    read_arrays,
    write_arrays,
    write_selection,
    write_whole,
)
from attent.run.records import EpochRecord, Seconds
from attent.run.state import plan_difference
from attent.run.trace import FORMAT, Header, read_header, read_records

CHECKPOINT = "checkpoint.safetensors"


class Checkpoint(NamedTuple):
    """A moment to go on from: the course, the learner, epochs recorded, and the seconds of the epoch under way."""

    course: State
    learner: State
    epochs: int
    seconds: Seconds


class _Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint file tells beside its arrays."""

    epochs: Annotated[int, msgspec.Meta(ge=0)]
    seconds: Seconds


def header_of(plan: Plan, n: int, versions: Mapping[str, str] | None = None, recipe: str | None = None) -> Header:
    """Return the header of a run of this plan over n examples, with the versions of attent, NumPy and Python."""
    own = {"python": platform.python_version(), "numpy": importlib.metadata.version("numpy")}
    return Header(
        format=FORMAT,
        attent=importlib.metadata.version("attent"),
        n=n,
        plan=plan.to_dict(),
        rounds=[list(row) for row in plan.rounds()],
        unit=plan.unit,
        versions={**own, **(versions or {})},
        recipe=recipe,
    )


class RunFolder:
    """The folder of one run: ``run.json``, ``trace.jsonl``, ``selections/``, ``checkpoint.safetensors``.

    Every file is whole at every moment, so a run killed at any time can be read and continued.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder, self.header = folder, header

    @classmethod
    def create(cls, folder: Path, header: Header) -> RunFolder:
        """Begin a run. Raises TraceError if the folder holds one already, or cannot be written."""
        if (folder / "run.json").exists():
            raise TraceError(f"{folder} holds a run already: go on with it by resume=True, or name another folder")
        for left in ("trace.jsonl", "selections", CHECKPOINT):
            if (folder / left).exists():
                raise TraceError(f"{folder} holds {left} of a run whose run.json is gone: name another folder")
        data = msgspec.json.format(msgspec.json.encode(header), indent=2)
        write_whole(folder / "run.json", lambda path: _write(path, data))
        return cls(folder, header)

    @classmethod
    def open(cls, folder: Path, header: Header, plan: Plan) -> tuple[RunFolder, Checkpoint | None]:
        """Go on with a run: return it and its checkpoint, None where it stopped before the first one.

        Raises TraceError, having changed nothing, if the run is of another plan, n, recipe or version.
        """
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
        difference = plan_difference(old.plan, old.rounds, plan)
        if difference:
            raise TraceError(f"{folder} is of another plan: {difference}")
        checkpoint = _read_checkpoint(folder / CHECKPOINT)
        if checkpoint is None and read_records(folder / "trace.jsonl"):
            raise TraceError(f"{folder} cannot be continued: its {CHECKPOINT} is gone. Its trace can still be read")
        return cls(folder, old), checkpoint

    def records(self, checkpoint: Checkpoint, epoch: int) -> list[EpochRecord]:
        """Return the epochs recorded before a checkpoint whose course stands in ``epoch``; what follows stays there.

        Raises TraceError if the checkpoint tells another number of epochs, or if epochs of the trace are gone.
        """
        if checkpoint.epochs != epoch:
            raise TraceError(
                f"{self.folder / CHECKPOINT} is damaged: it tells of {checkpoint.epochs} epochs recorded, but its "
                f"course stands in epoch {epoch}. The trace can still be read; start a new run in another folder"
            )
        records = read_records(self.folder / "trace.jsonl", epoch)
        if len(records) < epoch:
            raise TraceError(
                f"{self.folder / 'trace.jsonl'} has {len(records)} epochs, the checkpoint has {epoch}: "
                "lines were removed"
            )
        return records

    def cut(self, epochs: int) -> None:
        """Forget what was recorded after this many epochs: it is taught again."""
        keep_lines(self.folder / "trace.jsonl", epochs)

    def append(self, record: EpochRecord) -> None:
        """Record an epoch at its end."""
        append_line(self.folder / "trace.jsonl", msgspec.json.encode(record))

    def add_selection(self, draw: int, ids: Ids, scores: Numbers | None) -> None:
        """Keep a selection. One of the same draw, from before a resume, is replaced by its equal."""
        write_selection(self.folder, draw, ids, self.header.n, scores)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in place of the last one."""
        arrays = {f"course/{name}": array for name, array in checkpoint.course.items()}
        learner = checked_state(checkpoint.learner, "learner")
        arrays.update({f"learner/{name}": array for name, array in learner.items()})
        told = {"epochs": checkpoint.epochs, "seconds": msgspec.to_builtins(checkpoint.seconds)}
        write_arrays(self.folder / CHECKPOINT, arrays, {"attent": json.dumps(told)})


def _read_checkpoint(path: Path) -> Checkpoint | None:
    if not path.exists():
        return None
    arrays, metadata = read_arrays(path)
    parts: dict[str, State] = {"course": {}, "learner": {}}
    for name, array in arrays.items():
        owner, _, rest = name.partition("/")
        if owner not in parts:
            raise TraceError(
                f"{path} is not a checkpoint: its array {name!r} is neither the course's nor the learner's"
            )
        parts[owner][rest] = array
    if "attent" not in metadata:
        raise TraceError(f"{path} is not a checkpoint: its metadata has no entry 'attent'")
    try:
        told = msgspec.json.decode(metadata["attent"], type=_Told)
    except msgspec.DecodeError as error:
        raise TraceError(f"{path} is damaged: its metadata cannot be read: {error}") from None
    return Checkpoint(parts["course"], parts["learner"], told.epochs, told.seconds)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from teaching in a folder. Raises TraceError if one is; its end frees the folder."""
    lock = locked(folder / "lock")
    if lock is None:
        raise TraceError(f"another process is teaching in {folder}: wait for it, stop it, or name another folder")
    with lock:
        yield


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
