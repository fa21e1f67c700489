"""What a run folder remembers of how it was begun, so that ``--resume FOLDER`` needs nothing else."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import msgspec

from attent.cli.fields import OptionError
from attent.cli.given import Given
from attent.errors import TraceError
from attent.run.files import FORMAT, read_json, write_json

FILE = "settings.json"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Recipe, backend, the plan's fields as they were given, the recipe's options, and n, the number of examples."""

    format: int = FORMAT
    attent: str = importlib.metadata.version("attent")
    recipe: str
    backend: str = "numpy"
    n: int = 0
    plan: dict[str, int | float | str | bool] = {}
    options: dict[str, Any] = {}
    against: str = "full,short"
    forward_share: float = 1 / 3
    checkpoint_seconds: float = 30.0
    segment_steps: int = 64


def run_values(given: Given) -> dict[str, Any]:
    """Return the fields of the run that are given, but for its folder. Raises OptionError for an impossible number."""
    values: dict[str, Any] = {key: value for key, value in given.run.items() if key != "folder"}
    for key, least in (("forward_share", 0), ("checkpoint_seconds", 0), ("segment_steps", 1)):
        value = values.get(key, least)
        if isinstance(value, str) or not value >= least:  # infinity is kept as a word
            raise OptionError(f"{given.shown('run', key)} must be a finite number of at least {least}, got {value}")
    return values


def settle(given: Given, stored: Settings | None) -> Settings:
    """Return the settings of a run: what is given, over what is stored if it goes on; no options of the recipe yet.

    Raises OptionError where the recipe is missing, a value is impossible, or one that must stay is another
    now than when the run began.
    """
    run = run_values(given)
    if stored is None:
        if "recipe" not in run:
            raise OptionError("which recipe? Give a name that `attent backends` lists, or package.module:function")
        return Settings(plan=given.plan, **run)
    for key in ("recipe", "backend", "forward_share"):
        must_stay(given.shown("run", key), run.get(key, getattr(stored, key)), getattr(stored, key))
    return msgspec.structs.replace(stored, plan={**stored.plan, **given.plan}, **run)


def must_stay(shown: str, now: object, before: object) -> None:
    """Raise OptionError unless a value is what it was when the run began."""
    if now != before:
        raise OptionError(
            f"{shown} was {before!r} when this run began, now it is {now!r}: leave it out to go on, "
            "or begin a new run in another folder"
        )


def write_settings(folder: Path, settings: Settings) -> None:
    """Write a run folder's settings. Raises TraceError if they cannot be written."""
    write_json(folder / FILE, settings)


def read_settings(folder: Path) -> Settings | None:
    """Return a run folder's settings, None if it has none. Raises TraceError if they cannot be read."""
    return read_json(folder / FILE, Settings, FORMAT)


def free_folder(recipe: str) -> Path:
    """Make and return ``runs/RECIPE-N``, with the first N that is free. Raises TraceError if it cannot be made."""
    name = re.sub(r"[^\w.-]+", "-", recipe.rpartition(":")[2]) or "run"
    number = 0
    while True:
        number += 1
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise TraceError(f"cannot make {folder}: {error.strerror}; name another folder by --run") from None
        return folder
