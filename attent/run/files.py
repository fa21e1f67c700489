"""The files of a run: each written whole or not at all, with a checksum over its content that reading verifies."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save_file

from attent import checks
from attent.errors import LearnerError, TraceError
from attent.learner import Ids, Numbers, State
from attent.run.records import digest_of_arrays
from attent.run.state import pack_ids, unpack_ids

FORMAT = 2  # of everything that attent writes
T = TypeVar("T")
_SUM = "sha256"
WAY_OUT = "Restore it from a copy, or begin anew in another folder"
_LETTERS = 300  # of a path in a message
# What safetensors raises for a damaged header, and NumPy for dtypes that it lacks and for arrays that are too large.
_NO_ARRAYS = (OSError, ValueError, TypeError, AttributeError, OverflowError, MemoryError, safetensors.SafetensorError)


def write_whole(path: Path, write: Callable[[Path], None], aside: Path | None = None) -> None:
    """Write a file through ``write(temporary)``: it appears complete, or the old one stays.

    ``aside``: where the old one is kept, in place of what is there. Raises TraceError naming the file and the system's
    reason.
    """
    temporary = _partial(path)
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if aside is not None and path.exists():
                _set_aside(path, aside)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left of files that they were writing. Only who holds the folder's lock may."""
    for place in (folder, folder / "selections"):
        with _named(place):
            for path in place.iterdir() if place.is_dir() else ():
                if re.fullmatch(r".+\.\d+\.partial", path.name):
                    path.unlink()


def replace(path: Path, by: Path) -> None:
    """Put one file in the place of another."""
    with _named(path):
        os.replace(by, path)


def present(path: Path) -> bool:
    """Return whether something is there, a link that leads nowhere too. Raises TraceError where no one can tell."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL; a folder that is closed
        raise _unreadable(path, error) from None
    return True


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
    data = read_bytes(path) or b""
    lines = data.split(b"\n")[:-1]
    if len(lines) < count:
        raise TraceError(f"{path} has {len(lines)} epochs, the checkpoint has {count}: lines were removed")
    kept = sum(len(line) + 1 for line in lines[:count])
    if kept != len(data):
        with _named(path):
            os.truncate(path, kept)


def read_bytes(path: Path) -> bytes | None:
    """Return a file's bytes, None if there is no such file. Raises TraceError if it cannot be read."""
    try:
        _check_regular(path)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise _unreadable(path, error) from None


def sealed(value: Any) -> bytes:
    """Return a value whose JSON is an object as one line of JSON, with a checksum over the rest as last member.

    Example:
        >>> from attent.run.files import sealed, unsealed
        >>> line = sealed({"epoch": 3})
        >>> unsealed(line, dict, "trace.jsonl line 4")
        {'epoch': 3}
        >>> unsealed(line.replace(b"3", b"4", 1), dict, "trace.jsonl line 4")
        Traceback (most recent call last):
        ...
        attent.errors.TraceError: trace.jsonl line 4 is damaged: its checksum does not match its content...
    """
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    content.pop(_SUM, None)
    return msgspec.json.encode({**content, _SUM: _sum(content)})


def unsealed(data: bytes, kind: type[T], where: str) -> T:
    """Return what ``sealed`` was given. Raises TraceError naming ``where`` if data are damaged or not of this kind."""
    return _unsealed(data, kind, where, None)


def write_json(path: Path, value: Any) -> None:
    """Write a value with its checksum as JSON that is pleasant to read. Raises TraceError if it cannot be written."""
    with _named(path):  # a text may have no UTF-8
        data = msgspec.json.format(sealed(value), indent=2) + b"\n"

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_whole(path, write)


def read_json(path: Path, kind: type[T], format: int = FORMAT) -> T | None:
    """Return what ``write_json`` wrote, None if there is no such file.

    Raises TraceError naming the file if it is damaged or was edited, or is of another format than this one.
    """
    data = read_bytes(path)
    return None if data is None else _unsealed(data, kind, str(path), format)


def read_plain(path: Path) -> dict[str, Any]:
    """Return the object that a file of plain JSON holds, which has its own digest inside or needs none.

    Raises TraceError naming the file if it is missing or holds no JSON object.
    """
    data = read_bytes(path)
    if data is None:
        raise TraceError(f"there is no {path}")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path} is damaged: {error}. {WAY_OUT}") from None


def write_arrays(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], aside: Path | None = None
) -> None:
    """Write named arrays and their checksum as one safetensors file, whole or not at all.

    ``aside``: where the old one is kept.
    """
    # safetensors scrambles arrays that are not contiguous; nothing is copied that is contiguous and little-endian.
    ordered = {
        name: np.array(array, array.dtype.newbyteorder("<"), order="C", copy=None) for name, array in arrays.items()
    }
    told = {**metadata, _SUM: digest_of_arrays(ordered, metadata)}
    write_whole(path, lambda temporary: save_file(ordered, str(temporary), told), aside)


def read_arrays(path: Path) -> tuple[State, dict[str, str]]:
    """Return a safetensors file's arrays and metadata. Raises TraceError if it is missing, damaged or was edited."""
    arrays, metadata = unchecked_arrays(path)
    _check_sum(metadata.pop(_SUM, None), digest_of_arrays(arrays, metadata), str(path))
    return arrays, metadata


def unchecked_arrays(path: Path, of: str = "") -> tuple[State, dict[str, str]]:
    """Return the arrays whose names begin with ``of``, and the metadata, without a look at the checksum over all.

    For who has another one over these. Raises TraceError if the file is missing or no safetensors file.
    """
    try:
        _check_regular(path)
        with safetensors.safe_open(str(path), "numpy") as file:  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
            metadata: dict[str, str] = dict(file.metadata() or {})
            names = (name for name in file.keys() if name.startswith(of))  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, metadata
    except _NO_ARRAYS as error:
        raise _unreadable(path, error, f". {WAY_OUT}") from None


def keepable_state(state: object, owner: str) -> State:
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
    """Return the ids and, if kept, the scores of one selection. Raises TraceError if it is not of this draw and n."""
    path = selection_path(folder, draw)
    arrays, told = read_arrays(path)
    if told != {"n": str(n), "draw": str(draw)}:
        holds = f"draw {told['draw']} of {told['n']} examples" if {"draw", "n"} <= set(told) else "no selection"
        raise TraceError(f"{path} holds {holds}, expected draw {draw} of {n} examples. {WAY_OUT}")
    forms = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    ids, scores = {"ids": ("uint8", (-(-n // 8),))}, {"scores": ("float64", (n,))}
    if forms not in (ids, ids | scores):
        raise TraceError(f"{path} holds {forms}, expected {ids} and at most {scores} beside. {WAY_OUT}")
    return unpack_ids(arrays["ids"], n), arrays.get("scores")


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


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


def _set_aside(path: Path, aside: Path) -> None:
    """Move a file; it stays in its own place too until another takes it, where files can have two names."""
    second = _partial(aside)
    try:
        os.link(path, second)
    except OSError:
        os.replace(path, aside)
        return
    os.replace(second, aside)
    second.unlink(missing_ok=True)  # where both were one file already, it stays


def _check_regular(path: Path) -> None:
    """Raise OSError unless this is a file: reading a pipe or a device may never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError("is a folder, not a file" if stat.S_ISDIR(mode) else "is no regular file")


def _unreadable(path: Path, error: Exception, way_out: str = "") -> TraceError:
    return TraceError(f"cannot read {_shown(path)}: {getattr(error, 'strerror', None) or error}{way_out}")


def _shown(path: Path) -> str:
    return str(path) if len(str(path)) <= _LETTERS else f"{str(path)[:_LETTERS]}... ({len(str(path))} characters)"


def _unsealed(data: bytes, kind: type[T], where: str, format: int | None) -> T:
    try:
        content = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are not UTF-8
        raise TraceError(f"{where} is damaged: {error}. {WAY_OUT}") from None
    if not isinstance(content, dict):
        raise TraceError(f"{where} is damaged: it must be a JSON object, got {type(content).__name__}. {WAY_OUT}")
    found = content.get("format", format)
    if found != format and format is not None:  # first: another format may have other checksums
        raise TraceError(
            f"{where} has format {checks.shown(found)}, this attent reads format {format}: "
            "go on with the attent that wrote it, or begin anew in another folder"
        )
    _check_sum(content.pop(_SUM, None), _sum(content), where)
    try:
        return msgspec.convert(content, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise TraceError(f"{where} cannot be read: {error}. {WAY_OUT}") from None


def _sum(content: dict[str, Any]) -> str:
    """Return the checksum of a JSON object: of one spelling of it, whatever the order, the spaces and the digits."""
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _check_sum(told: object, found: str, where: str) -> None:
    if told is None:
        raise TraceError(f"{where} has no checksum ({_SUM!r}): it is damaged, or of another attent. {WAY_OUT}")
    if told != found:
        raise TraceError(
            f"{where} is damaged: its checksum does not match its content, which has changed since attent wrote it. "
            f"{WAY_OUT}"
        )


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, safetensors.SafetensorError) as error:  # ValueError: a NUL in its name
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        # safetensors words the system's error itself.
        full = full or any(words in str(error) for words in ("No space left", "quota exceeded", "File too large"))
        advice = ". What was written before is kept; make room and go on with resume=True (--resume)" if full else ""
        reason = getattr(error, "strerror", None) or error  # the system's error names the path, however long
        raise TraceError(f"cannot write {_shown(path)}: {reason}{advice}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
