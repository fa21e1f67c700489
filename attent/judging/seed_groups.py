"""What the learner of one seed says of its examples, which may be other for another seed, and is one for all its arms.

The sizes of its groups are kept, as plans for what is new go by them; groups and relevance are compared by digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from attent.errors import LearnerError
from attent.judging.by_group import group_sizes, groups_known, new_groups
from attent.judging.controls import Known, relevance_of
from attent.learner import Learner
from attent.run.files import FORMAT, read_json, write_json
from attent.run.records import digest_of_arrays

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


def said_of(learner: Learner, n: int, *, relevance: bool) -> dict[str, str]:
    """Return the digests of a learner's groups and, if asked for, of its relevance, by name; those that it has."""
    found = {"groups": groups_known(learner), "relevance": relevance_of(learner, n) if relevance else None}
    return {name: digest_of_arrays({name: numbers}) for name, numbers in found.items() if numbers is not None}


def check_said(before: Mapping[str, str], now: Mapping[str, str], seed: int) -> None:
    """Raise LearnerError where two arms of a seed, or one and a first look, were told of other groups or relevance.

    before, now: what `said_of` returned.
    """
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise LearnerError(
                f"the learner's {name} changed between two arms of seed {seed}, which cannot be compared then: let it "
                "follow from plan.seed alone; if you changed the recipe, judge in another folder"
            )
