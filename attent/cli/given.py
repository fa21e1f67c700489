"""What a user asked for, by flag and by file, before any of it is acted on."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attent.cli.fields import (
    PLAN_FIELDS,
    RUN_FIELDS,
    Field,
    OptionError,
    Value,
    check_known,
    flag_of,
    read_value,
)

_TABLES: dict[str, Mapping[str, Field] | None] = {"plan": PLAN_FIELDS, "recipe": None, "run": RUN_FIELDS}


class Option(NamedTuple):
    """A recipe's option as it was given: a flag's text, or a value that has a type already."""

    value: Any
    text: bool


@dataclasses.dataclass(frozen=True)
class Given:
    """Fields of the plan and the run, options of the recipe, and how the user knows each (``shown``)."""

    plan: dict[str, Value] = dataclasses.field(default_factory=dict)
    run: dict[str, Value] = dataclasses.field(default_factory=dict)
    options: dict[str, Option] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)

    def shown(self, table: str, key: str) -> str:
        """Return how the user knows a key: ``--ratio``, or ``plan.ratio in FILE``; else the bare key."""
        return self.names.get(f"{table}.{key}", key)

    def over(self, other: Given) -> Given:
        """Return both, this one winning where both say something."""
        return Given(
            {**other.plan, **self.plan},
            {**other.run, **self.run},
            {**other.options, **self.options},
            {**other.names, **self.names},
        )


def from_flags(
    plan: Mapping[str, str | bool],
    run: Mapping[str, str | bool],
    settings: Sequence[str] = (),
    run_fields: Mapping[str, Field] = RUN_FIELDS,
) -> Given:
    """Return what the flags say; ``settings`` are the texts of ``--set``. Raises OptionError naming the flag.

    Example:
        >>> from attent.cli.given import from_flags
        >>> from_flags({"ratio": "0.4"}, {}, ["width=16"]).options["width"].value
        '16'
    """
    given = Given()
    for table, fields, values, into in (
        ("plan", PLAN_FIELDS, plan, given.plan),
        ("run", run_fields, run, given.run),
    ):
        for key, value in values.items():
            given.names[f"{table}.{key}"] = shown = flag_of(key, fields[key])
            into[key] = read_value(shown, fields[key], value, text=True)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise OptionError(f"--set must be name=value, got {setting!r}")
        name = name.strip()
        given.names[f"recipe.{name}"] = f"--set {name}"
        given.options[name] = Option(text.strip(), text=True)
    return given


def from_file(path: Path) -> Given:
    """Return what a TOML file says in its tables [plan], [recipe] and [run].

    Raises OptionError naming the file and the key with its path, such as ``plan.ratio``.
    """
    given = Given()
    for table, values in read_toml(path).items():
        if table not in _TABLES or not isinstance(values, dict):
            kind = "is not a table" if table in _TABLES else "is not known"
            raise OptionError(f"{table} in {path.name} {kind}; tables: {', '.join(f'[{name}]' for name in _TABLES)}")
        fields = _TABLES[table]
        if fields is not None:
            check_known(f"{path.name}: {table}", values, fields)
        for key, value in values.items():
            given.names[f"{table}.{key}"] = shown = f"{table}.{key} in {path.name}"
            if fields is None:
                given.options[key] = Option(value, text=False)
            else:
                into = given.plan if table == "plan" else given.run
                into[key] = read_value(shown, fields[key], value, text=False)
    return given


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's tables. Raises OptionError naming the file if it cannot be read."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise OptionError(f"--config: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config: {path} is not TOML: {error}") from None
