"""The JSON files of a run folder: written whole or not at all, read back with their types checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from attent.errors import TraceError
from attent.run.files import write_whole

T = TypeVar("T")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON that is pleasant to read. Raises TraceError if it cannot be written."""
    data = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_whole(path, write)


def read_json(path: Path, kind: type[T], format: int) -> T | None:
    """Return what ``write_json`` wrote, None if there is no such file.

    Raises TraceError naming the file if it is damaged, or of another format than this one.
    """
    try:
        value = msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise TraceError(f"{path} is damaged: {error}") from None
    found = getattr(value, "format", format)
    if found != format:
        raise TraceError(f"{path} has format {found}, this attent reads format {format}")
    return value
