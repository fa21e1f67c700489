"""The groups of one seed, whose sizes may be others than those of the first: what its plans for what is new go by."""

from __future__ import annotations

from pathlib import Path

import msgspec

from attent.judging.by_group import group_sizes, new_groups
from attent.judging.controls import Known
from attent.learner import Learner
from attent.run.files import FORMAT, read_json, write_json

_FILE = "groups.json"


class _Groups(msgspec.Struct, frozen=True):
    format: int
    sizes: dict[int, int]
    new: list[int]


def kept_groups(folder: Path | None) -> Known | None:
    """Return the groups that a seed's folder keeps, None where it keeps none. Raises TraceError for a damaged file."""
    found = None if folder is None else read_json(folder / _FILE, _Groups, FORMAT)
    return None if found is None else Known(found.sizes, found.new)


def look_at_groups(learner: Learner, folder: Path | None) -> Known:
    """Return the groups of a seed's learner, and keep them in the seed's folder."""
    sizes = group_sizes(learner)
    found = _Groups(FORMAT, sizes, new_groups(learner, sizes) if sizes else [])
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _FILE, found)
    return Known(found.sizes, found.new)
