"""What is asked of ``attent judge``, by flag, by file and by the folder of a judgement that goes on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from attent.cli.fields import JUDGE_FIELDS, OptionError, Value, check_known, read_value
from attent.cli.given import Given, Option, from_flags, read_toml
from attent.cli.settings import must_stay, run_values
from attent.errors import TraceError
from attent.judging.policies import named_arm
from attent.run.files import FORMAT, read_json, write_json

FILE = "judge-settings.json"
_MAY_CHANGE = ("folder", "arms", "lengths", "short", "seeds", "budget", "checkpoint_seconds", "segment_steps")


class JudgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that were given, policies by arm, the grid by option as text or values, and the recipe's options."""

    format: int = FORMAT
    attent: str = importlib.metadata.version("attent")
    values: dict[str, Any] = {}
    arms: dict[str, Any] = {}
    tune: dict[str, Any] = {}
    options: dict[str, Any] = {}


class Asked(msgspec.Struct, frozen=True):
    """What flags and file say: fields, own policies by name, and the tuning's grid."""

    given: Given
    arms: dict[str, Any] = {}
    tune: dict[str, Any] = {}

    def over(self, other: Asked) -> Asked:
        """Return both, this one winning where both say something."""
        return Asked(self.given.over(other.given), {**other.arms, **self.arms}, {**other.tune, **self.tune})


def judge_flags(
    run: Mapping[str, str | bool], settings: Sequence[str], arms: Sequence[str], tune: Sequence[str]
) -> Asked:
    """Return what the flags say. Raises OptionError naming the flag.

    Example:
        >>> from attent.cli.judge_settings import judge_flags
        >>> judge_flags({}, (), ["mine:default,ratio=0.3"], ["lr=1e-3,2e-3"]).tune
        {'lr': ['1e-3', '2e-3']}
    """
    own: dict[str, Any] = {}
    for text in arms:
        name, colon, words = text.partition(":")
        if not colon or not words.strip():
            raise OptionError(f"--arm must be NAME:preset,field=value,..., got {text!r}")
        own[name.strip()] = named_arm(text)[1]
    grid: dict[str, Any] = {}
    for text in tune:
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise OptionError(f"--tune must be option=value,value,..., got {text!r}")
        grid[name.strip()] = [value.strip() for value in values.split(",")]
    return Asked(from_flags({}, run, settings, JUDGE_FIELDS), own, grid)


def judge_file(path: Path) -> Asked:
    """Return what a TOML file says in its tables [judge], [recipe], [tune] and [arms.NAME]. Raises OptionError."""
    asked = Asked(Given(), {}, {})
    tables = ("judge", "recipe", "tune", "arms")
    for table, values in read_toml(path).items():
        if table not in tables or not isinstance(values, dict):
            kind = "is not a table" if table in tables else "is not known"
            raise OptionError(f"{table} in {path.name} {kind}; tables: [judge], [recipe], [tune], [arms.NAME]")
        if table == "judge":
            check_known(f"{path.name}: judge", values, JUDGE_FIELDS)
        for key, value in values.items():
            shown = f"{table}.{key} in {path.name}"
            if table == "judge":
                listed = ",".join(map(str, value)) if isinstance(value, list) else value
                asked.given.names[f"run.{key}"] = shown
                asked.given.run[key] = read_value(shown, JUDGE_FIELDS[key], listed, text=False)
            elif table == "recipe":
                asked.given.names[f"recipe.{key}"] = shown
                asked.given.options[key] = Option(value, text=False)
            elif table == "tune":
                asked.tune[key] = value if isinstance(value, list) else [value]
            else:
                asked.arms[key] = value
    return asked


def settle(asked: Asked, stored: JudgeSettings | None) -> JudgeSettings:
    """Return the settings: what is asked, over what is stored if a judgement goes on; options are not read yet.

    Raises OptionError where a value must stay as it was.
    """
    values: dict[str, Value] = run_values(asked.given)
    if stored is None:
        if "recipe" not in values:
            raise OptionError("which recipe? Give a name that `attent backends` lists, or package.module:function")
        return JudgeSettings(values=values, arms=asked.arms, tune=asked.tune)
    for key, value in values.items():
        if key not in _MAY_CHANGE:
            before = stored.values.get(key, False if JUDGE_FIELDS[key].kind == "switch" else None)
            must_stay(asked.given.shown("run", key), value, before)
    for name, table in asked.arms.items():
        must_stay(f"arm {name}", table, stored.arms.get(name, table))
    for key, grid in asked.tune.items():
        must_stay(f"--tune {key}", grid, stored.tune.get(key))
    return msgspec.structs.replace(stored, values={**stored.values, **values}, arms={**stored.arms, **asked.arms})


def folder_of(asked: Asked, resume: bool) -> tuple[Path | None, JudgeSettings | None]:
    """Return the folder named, and what it stores of a judgement to go on with. Raises OptionError or TraceError."""
    named = asked.given.run.get("folder")
    if named is None:
        if resume:
            raise OptionError("--resume needs the folder: attent judge --resume FOLDER")
        return None, None
    folder = Path(str(named))
    stored = read_json(folder / FILE, JudgeSettings, FORMAT)
    if stored is not None and not resume:
        raise TraceError(f"{folder} holds a judgement already: add --resume to go on with it, or name another folder")
    if stored is None and resume and "recipe" not in asked.given.run:
        raise TraceError(f"no judgement to go on with in {folder}: it has no {FILE}")
    if stored is None and any(path.exists() for path in (folder / "run.json", folder / "settings.json")):
        raise TraceError(f"{folder} holds a run that `attent judge` did not begin: name another folder")
    return folder, stored


def write_settings(folder: Path, settings: JudgeSettings) -> None:
    """Write the settings of a judgement. Raises TraceError if they cannot be written."""
    write_json(folder / FILE, settings)
