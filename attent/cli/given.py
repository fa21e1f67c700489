"""What a user asked for, by flag and by file, before any of it is acted on."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attent.cli.fields import (
    JUDGE_FIELDS,
    PLAN_FIELDS,
    RUN_FIELDS,
    TEACH_FIELDS,
    Field,
    OptionError,
    Value,
    check_known,
    flag_of,
    read_value,
)
from attent.errors import AttentError

# The tables of a file, by command, each with the fields it may have; None: what they are is not known here.
TABLES: dict[str, dict[str, Mapping[str, Field] | None]] = {
    "teach": {"plan": PLAN_FIELDS, "recipe": None, "run": TEACH_FIELDS},
    "judge": {"judge": JUDGE_FIELDS, "recipe": None, "tune": None, "arms": None},
}


_LETTERS, _PARTS = 1_000_000, 100


class Option(NamedTuple):
    """A recipe's option as it was given: a flag's text, or a value that has a type already."""

    value: Any
    text: bool


@dataclasses.dataclass(frozen=True)
class Given:
    """Fields of the plan and the run, options of the recipe, own policies, and the tuning's grid.

    ``names``: how the user knows each, by table and key.
    """

    plan: dict[str, Value] = dataclasses.field(default_factory=dict)
    run: dict[str, Value] = dataclasses.field(default_factory=dict)
    options: dict[str, Option] = dataclasses.field(default_factory=dict)
    arms: dict[str, Any] = dataclasses.field(default_factory=dict)
    tune: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)

    def shown(self, table: str, key: str) -> str:
        """Return how the user knows a key: ``--ratio``, or ``plan.ratio in FILE``; its flag where it was not given."""
        fields = {"plan": PLAN_FIELDS, "run": RUN_FIELDS}.get(table, {})
        return self.names.get(f"{table}.{key}") or (flag_of(key, fields[key]) if key in fields else key)

    def told(self, error: AttentError, table: str) -> OptionError:
        """Return an error about a table's field in the user's words."""
        if error.field is None:
            return OptionError(str(error))
        keys = (error.field,) if isinstance(error.field, str) else error.field
        return OptionError(f"{' + '.join(self.shown(table, key) for key in keys)} {error.rule}")

    def over(self, other: Given) -> Given:
        """Return both, this one winning where both say something."""
        pairs = ((getattr(other, field.name), getattr(self, field.name)) for field in dataclasses.fields(self))
        return Given(*({**below, **above} for below, above in pairs))


def from_flags(
    plan: Mapping[str, str | bool],
    run: Mapping[str, str | bool],
    settings: Sequence[str] = (),
    arms: Sequence[str] = (),
    tune: Sequence[str] = (),
) -> Given:
    """Return what the flags say. Raises OptionError naming the flag.

    ``settings``, ``arms``, ``tune``: the texts of ``--set``, ``--arm``, ``--tune``.

    Example:
        >>> from attent.cli.given import from_flags
        >>> from_flags({"ratio": "0.4"}, {}, ["width=16"]).options["width"].value
        '16'
    """
    given = Given()
    for table, fields, values, into in (("plan", PLAN_FIELDS, plan, given.plan), ("run", RUN_FIELDS, run, given.run)):
        for key, value in values.items():
            given.names[f"{table}.{key}"] = shown = flag_of(key, fields[key])
            into[key] = read_value(shown, fields[key], value, text=True)
    for text in settings:
        name, value = _pair("--set", text, "name=value")
        given.names[f"recipe.{name}"] = f"--set {name}"
        given.options[name] = Option(value, text=True)
    for text in arms:
        name, _ = _pair("--arm", text, "NAME:preset,field=value,...", ":")
        given.arms[name] = text
    for text in tune:
        name, values_of = _pair("--tune", text, "option=value,value,...")
        given.tune[name] = [value.strip() for value in values_of.split(",")]
    return given


def _pair(flag: str, text: str, form: str, between: str = "=") -> tuple[str, str]:
    name, found, value = text.partition(between)
    if not found or not name.strip() or (between == ":" and not value.strip()):
        raise OptionError(f"{flag} must be {form}, got {text!r}")
    return name.strip(), value.strip()


def from_file(path: Path, command: str = "teach") -> Given:
    """Return what a TOML file says in the tables of a command (`TABLES`).

    Raises OptionError naming the file and the key with its path, such as ``plan.ratio``.
    """
    given, tables = Given(), TABLES[command]
    for table, values in _read_toml(path).items():
        if table not in tables or not isinstance(values, dict):
            kind = "is not a table" if table in tables else "is not known"
            known = ", ".join(f"[{name}.NAME]" if name == "arms" else f"[{name}]" for name in tables)
            raise OptionError(f"{table} in {path.name} {kind}; tables: {known}")
        fields = tables[table]
        if fields is not None:
            check_known(f"{path.name}: {table}", values, fields)
        for key, value in values.items():
            kept = "run" if table == "judge" else table
            given.names[f"{kept}.{key}"] = shown = f"{table}.{key} in {path.name}"
            if table == "recipe":
                given.options[key] = Option(value, text=False)
            elif table == "tune":
                given.tune[key] = value if isinstance(value, list) else [value]
            elif table == "arms":
                given.arms[key] = value
            elif fields is not None:
                into = given.plan if table == "plan" else given.run
                into[key] = read_value(shown, fields[key], value, text=False)
    return given


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        if len(text) > _LETTERS or any(_key(line).count(".") > _PARTS for line in text.splitlines()):
            # The parser takes memory by the square of a key's parts.
            raise ValueError(f"a file has at most {_LETTERS:,} letters, and a key at most {_PARTS} parts")
        return tomllib.loads(text)
    except OSError as error:
        raise OptionError(f"--config: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8, numbers of too many digits
        raise OptionError(f"--config: {path} is not TOML: {error}") from None


def _key(line: str) -> str:
    """Return of a line what may be its key: what stands before the first sign of equality, all where that is quoted."""
    key = line.partition("=")[0]
    return line if "'" in key or '"' in key else key
