"""The files of a run, each written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load_file, save_file

from attent.errors import LearnerError, TraceError
from attent.learner import Ids, Numbers, State
from attent.run.state import pack_ids, unpack_ids


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file through ``write(temporary)``: it appears complete, or the old one stays.

    Raises TraceError naming the file and the system's reason.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append one line and see it onto the disk. A failed attempt leaves no half line behind."""
    with _named(path), path.open("ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


def keep_lines(path: Path, count: int) -> None:
    """Cut a file of lines down to its first ``count``. Raises TraceError if it has fewer."""
    data = path.read_bytes() if path.exists() else b""
    lines = data.split(b"\n")[:-1]
    if len(lines) < count:
        raise TraceError(f"{path} has {len(lines)} epochs, the checkpoint has {count}: lines were removed")
    kept = sum(len(line) + 1 for line in lines[:count])
    if kept != len(data):
        with _named(path):
            os.truncate(path, kept)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write named arrays as one safetensors file, whole or not at all."""
    # safetensors scrambles arrays that are not contiguous, and wants the machine's own byte order.
    ordered = {name: np.array(array, order="C", copy=None) for name, array in arrays.items()}
    write_whole(path, lambda temporary: save_file(ordered, str(temporary), metadata))


def read_arrays(path: Path) -> tuple[State, dict[str, str]]:
    """Return a safetensors file's arrays and metadata. Raises TraceError if it is missing or damaged."""
    try:
        with safetensors.safe_open(str(path), "numpy") as file:  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
            metadata = dict(file.metadata() or {})
        return load_file(str(path)), metadata
    except (OSError, safetensors.SafetensorError) as error:
        raise TraceError(f"cannot read {path}: {error}") from None


def read_array(path: Path, name: str) -> npt.NDArray[Any]:
    """Return one array of a safetensors file, reading no other. Raises TraceError if it is missing or damaged."""
    try:
        with safetensors.safe_open(str(path), "numpy") as file:  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
            array: npt.NDArray[Any] = file.get_tensor(name)
            return array
    except (OSError, safetensors.SafetensorError) as error:
        raise TraceError(f"cannot read {path}: {error}") from None


def checked_state(state: object, owner: str) -> State:
    """Return a learner's state if a run folder can hold it; raise LearnerError naming what it cannot hold."""
    if not isinstance(state, dict):
        raise LearnerError(f"{owner}.state() must return a dict of NumPy arrays, got {type(state).__name__}")
    for name, array in state.items():
        if not isinstance(name, str):
            raise LearnerError(f"{owner}.state() must have text as names, got {name!r}")
        if not isinstance(array, np.ndarray):
            raise LearnerError(f"{owner}.state()[{name!r}] must be a NumPy array, got {type(array).__name__}")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise LearnerError(
                f"{owner}.state()[{name!r}] has dtype {array.dtype}, which cannot be kept; "
                "use booleans, integers or floats of up to 64 bits (view complex numbers as pairs of floats)"
            )
    return state


def selection_path(folder: Path, draw: int) -> Path:
    """Return where a run folder keeps the selection of this draw."""
    return folder / "selections" / f"{draw:06d}.safetensors"


def write_selection(folder: Path, draw: int, ids: Ids, n: int, scores: Numbers | None) -> None:
    """Write one selection: the ids as bits, and the scores if given."""
    arrays: State = {"ids": pack_ids(ids, n)}
    if scores is not None:
        arrays["scores"] = scores
    write_arrays(selection_path(folder, draw), arrays, {"n": str(n), "draw": str(draw)})


def read_selection(folder: Path, draw: int, n: int) -> tuple[Ids, Numbers | None]:
    """Return the ids and, if kept, the scores of one selection."""
    path = selection_path(folder, draw)
    arrays, _ = read_arrays(path)
    bits, scores = arrays.get("ids"), arrays.get("scores")
    if bits is None or bits.dtype != np.uint8 or bits.shape != (-(-n // 8),):
        got = "none" if bits is None else f"{bits.dtype} {bits.shape}"
        raise TraceError(f"{path} is damaged: its ids must be uint8 of shape ({-(-n // 8)},), got {got}")
    if scores is not None and (scores.dtype != np.float64 or scores.shape != (n,)):
        raise TraceError(
            f"{path} is damaged: its scores must be float64 of shape ({n},), got {scores.dtype} {scores.shape}"
        )
    return unpack_ids(bits, n), scores


def locked(path: Path) -> IO[bytes] | None:
    """Return the file, locked until it is closed or its process ends; None if another process holds it."""
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    try:
        if os.name == "posix":
            fcntl = importlib.import_module("fcntl")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt = importlib.import_module("msvcrt")
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        # safetensors words the system's error itself.
        full = full or any(words in str(error) for words in ("No space left", "quota exceeded", "File too large"))
        advice = ". What was written before is kept; make room and go on with resume=True (--resume)" if full else ""
        raise TraceError(f"cannot write {path}: {error}{advice}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
