"""``attent teach`` and ``attent judge``: one plan, or several policies, before one referee, and how either goes on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from attent import __version__, checks
from attent.cli import recipe_lookup
from attent.cli.fields import PLAN_FIELDS, RUN_FIELDS, SAME_ON_RESUME, OptionError, Value, check_known, read_value
from attent.cli.given import Given, Option
from attent.cli.progress import watching
from attent.cli.recipe_lookup import Found, asked_plan, default_of, kept_options, preset_without_one, read_options
from attent.errors import PlanError, TraceError, TraceWarning
from attent.judging.arms import DEFAULT_AGAINST, DEFAULT_ARMS, POLICY, TEACH_AGAINST, named_arm, read_policies
from attent.judging.judge import judge, seconds_of
from attent.judging.judgement import Judgement
from attent.judging.referee import PICTURE
from attent.judging.report import told
from attent.plan.plan import Plan
from attent.plan.presets import SHARED
from attent.run.files import FORMAT, WAY_OUT, present, read_json, write_json
from attent.run.interrupts import stop_signals
from attent.tables import percent

Tell = Callable[[str], None]
Command = Literal["teach", "judge"]
FAILED = 1
FILE = "settings.json"
TAUGHT = "taught"
_LENGTHS: dict[str, list[float]] = {"epoch": [1], "pass": [1, 1.5, 2]}  # of teach, by what the plan counts
_HINT = "`attent backends` lists others, and your own is package.module:function"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a folder was begun, so that ``--resume FOLDER`` needs nothing else: what was given, by flag and by file."""

    format: int = FORMAT
    attent: str = __version__
    command: Command
    run: dict[str, Any] = {}
    plan: dict[str, Any] = {}
    arms: dict[str, Any] = {}
    tune: dict[str, list[Any]] = {}
    options: dict[str, Any] = {}


def run_command(command: Command, given: Given, *, resume: bool, tell: Tell = print) -> int:
    """Run what was asked for, or go on with it, and return the exit code: 0, or 1 taught in vain.

    Stopped by a signal: 128 + its number.

    Nothing is trained or written unless everything asked for has been checked. Raises AttentError.
    """
    folder, stored = _folder_of(command, given, resume)
    settings = _settled(command, given, stored)
    found = recipe_lookup.find(settings.run.get("backend", "numpy"), settings.run["recipe"])
    settings, asked = _asked(settings, stored, found, given)
    chosen = folder
    folder = _free_folder(command, found.name) if folder is None else folder
    go_on = f"attent {settings.command} --resume {shlex.quote(str(folder))}"
    plan = asked["arms"].get(TAUGHT)

    def begin(n: int, arms: list[str]) -> None:
        write_json(folder / FILE, settings)
        whose = "" if ":" in found.name else f" ({found.backend.name})"
        print(f"{found.name}{whose}, {n:,} examples; arms {', '.join(arms)}; in {folder}", file=sys.stderr)
        for line in _remarks(settings, plan, n, asked):
            print(f"Note: {line}", file=sys.stderr)

    with stop_signals() as stop, watching() as (tell_line, watch), _warnings_told(tell_line):
        try:
            judgement = judge(
                found.function,
                name=found.name,
                backend=found.backend.name,
                versions={name: importlib.metadata.version(name) for name in found.backend.packages},
                run=folder,
                stop=stop,
                tell=tell_line,
                watch=watch,
                ready=begin,
                **asked,
            )
        except (Exception, KeyboardInterrupt) as error:
            if (folder / FILE).exists():
                error.add_note(f"The folder is {folder}. Go on with: {go_on}")
                raise
            if chosen is None:
                with contextlib.suppress(OSError):  # nothing was begun
                    folder.rmdir()
                    folder.parent.rmdir()
            if isinstance(error, PlanError):
                raise given.told(error, "run") from error
            raise
        stopped = stop()
    tell(told(judgement))
    if (folder / PICTURE).exists():
        tell(f"Picture: {folder / PICTURE}")
    tell(f"Folder: {folder}")
    if stopped:
        print(f"Stopped. Go on with: {go_on}", file=sys.stderr)
        return stop.code
    if not judgement.finished:
        print(f"The budget ended. With more time: {go_on} --budget TIME", file=sys.stderr)
    return FAILED if settings.command == "teach" and _failed(judgement) else 0


@contextlib.contextmanager
def _warnings_told(tell_line: Callable[[str], None]) -> Iterator[None]:
    """Have what is wrong with a run folder told as a line like any other, not as a warning of Python's."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, TraceWarning):
                tell_line(f"Warning: {message}")
            else:
                others(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _failed(judgement: Judgement) -> bool:
    return any(row.failures for row in judgement.rows if row.kind == POLICY)


def _folder_of(command: Command, given: Given, resume: bool) -> tuple[Path | None, Settings | None]:
    """Return the folder named, and what it stores of a run to go on with."""
    named = given.run.get("folder")
    if named is None:
        if resume:
            raise OptionError(f"--resume needs the folder: attent {command} --resume FOLDER")
        return None, None
    folder = Path(str(named))
    stored = _stored(folder)
    if stored is not None and not resume:
        raise TraceError(f"{folder} holds a run already: add --resume to go on with it, or name another folder")
    if stored is None and resume and "recipe" not in given.run:
        raise TraceError(f"no run to go on with in {folder}: it has no {FILE}")
    runs = [folder / "run.json", *folder.glob("*/run.json"), *(() if resume else folder.glob("*/*/run.json"))]
    if stored is None and any(map(present, runs)):
        raise TraceError(f"{folder} holds a run that `attent {command}` did not begin: name another folder")
    return folder, stored


def _stored(folder: Path) -> Settings | None:
    """Return the settings that a folder keeps. Raises TraceError or OptionError where they are none that were given."""
    stored = read_json(folder / FILE, Settings, FORMAT)
    if stored is None:
        return None
    read: dict[str, dict[str, Value]] = {}
    for table, values, fields in (("run", stored.run, RUN_FIELDS), ("plan", stored.plan, PLAN_FIELDS)):
        check_known(f"{folder / FILE}: {table}", values, fields)
        shown = {key: f"{table}.{key} in {folder / FILE}" for key in values}
        read[table] = {key: read_value(shown[key], fields[key], value, text=False) for key, value in values.items()}
    if "recipe" not in stored.run:
        raise TraceError(f"{folder / FILE} names no recipe. {WAY_OUT}")
    return msgspec.structs.replace(stored, **read)


def _settled(command: Command, given: Given, stored: Settings | None) -> Settings:
    """Return what is given, over what is stored if a run goes on. Raises OptionError where a value must stay."""
    run = {key: value for key, value in given.run.items() if key != "folder"}
    if stored is None:
        if "recipe" not in run:
            raise OptionError(f"which recipe? For example `attent {command} known-digits`; {_HINT}")
        return Settings(command=command, run=run, plan=dict(given.plan), arms=dict(given.arms), tune=dict(given.tune))
    for key in SAME_ON_RESUME:
        if key in run:
            _must_stay(given.shown("run", key), run[key], _stored_value(stored, key))
    judged = _names(stored.run["arms"]) if "arms" in stored.run else DEFAULT_ARMS if stored.command == "judge" else ()
    for name, policy in given.arms.items():  # a preset that was judged by its name is one too
        _must_stay(f"arm {name}", policy, stored.arms.get(name, name if name in judged else policy))
    for key, grid in given.tune.items():
        _must_stay(given.shown("tune", key), grid, stored.tune.get(key))
    return msgspec.structs.replace(
        stored, run={**stored.run, **run}, plan={**stored.plan, **given.plan}, arms={**stored.arms, **given.arms}
    )


def _stored_value(stored: Settings, key: str) -> Value | None:
    if stored.command == "teach" and key in SHARED:
        return stored.plan.get(key)
    unsaid: dict[str, Value] = {"backend": "numpy", "tuned": stored.command == "teach"}
    value: Value | None = stored.run.get(key, unsaid.get(key))
    return value


def _must_stay(shown: str, now: object, before: object) -> None:
    if now != before:
        was = "was not given" if before is None else f"was {checks.shown(before)}"
        raise OptionError(
            f"{shown} {was} when this run began, now it is {checks.shown(now)}: leave it out to go on, "
            "or begin a new run in another folder"
        )


def _asked(settings: Settings, stored: Settings | None, found: Found, given: Given) -> tuple[Settings, dict[str, Any]]:
    """Return the settings as they are kept, and what is asked of `judge`. Raises AttentError."""
    options = _options(found, given, stored)
    run = settings.run
    asked: dict[str, Any] = {key: run[key] for key in ("forward_share", "checkpoint_seconds", "segment_steps")
                             if key in run}  # fmt: skip
    arms = _arms(settings, given)
    if settings.command == "teach":
        fields, suggested = settings.plan, found.suggested
        plan = asked_plan(fields, suggested, given).plan
        if stored is not None:
            before = asked_plan(stored.plan, suggested, given).plan
            for key, value in given.plan.items():
                if plan != before:
                    _must_stay(given.shown("plan", key), value, stored.plan.get(key, before.to_dict().get(key)))
        preset = preset_without_one({key: value for key, value in fields.items() if key != "preset"}, suggested)
        whole = {key: suggested[key] for key in SHARED if key in suggested}
        settings = msgspec.structs.replace(settings, plan={"preset": preset, "seed": plan.seed, **whole, **fields})
        asked |= {"epochs": plan.full_epochs, "batch_size": plan.batch_size, "first_seed": plan.seed, "teach": True}
        asked |= {"tuned": True, "lengths": _LENGTHS[plan.unit], "arms": {**arms, TAUGHT: plan}}
    else:
        for key in SHARED:
            if key not in run and key in found.suggested:
                run = {**run, key: found.suggested[key]}  # so that it goes on as it began
        settings = msgspec.structs.replace(settings, run=run)
        asked |= {key: run[key] for key in ("epochs", "batch_size") if key in run}
        asked |= {"first_seed": run.get("seed"), "tuned": bool(run.get("tuned", False)), "arms": arms}
        if settings.tune:
            asked["tune"] = _grid(found, settings.tune)
        if "batch_sizes" in run:
            asked["batch_sizes"] = _numbers(given.shown("run", "batch_sizes"), run["batch_sizes"], int)
    if "lengths" in run:
        asked["lengths"] = _numbers(given.shown("run", "lengths"), run["lengths"], float)
    if "budget" in run:
        asked["budget_seconds"] = seconds_of(str(run["budget"]))
    usual = TEACH_AGAINST if settings.command == "teach" else DEFAULT_AGAINST
    against = _names(run.get("against", ",".join(usual)))
    asked["against"] = () if against == ["none"] else against
    asked["options"], asked["seeds"] = options, run.get("seeds")
    return msgspec.structs.replace(settings, options=kept_options(options)), asked


def _arms(settings: Settings, given: Given) -> dict[str, Any]:
    """Return the policies that are judged, by name; of teach those beside the plan that is taught."""
    own = {name: named_arm(policy)[1] if isinstance(policy, str) and ":" in policy else policy
           for name, policy in settings.arms.items()}  # fmt: skip
    if "arms" in settings.run:
        names = _names(settings.run["arms"])
    else:
        names = [*(DEFAULT_ARMS if settings.command == "judge" else ()), *own]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{given.shown('run', 'arms')} names {name} twice: name it once")
    if own:
        read_policies(own)  # those that are not judged must make sense too
    return {name: own.get(name, name) for name in names}


def _remarks(settings: Settings, plan: Plan | None, n: int, asked: Mapping[str, Any]) -> list[str]:
    idle = [name for name in settings.arms if name not in asked["arms"]]
    remarks = [f"{', '.join(idle)}: defined, but not among --arms, so not judged."] if idle else []
    if plan is not None and plan.unit == "epoch":
        cost = plan.cost(n, asked.get("forward_share", 1 / 3))
        if cost.saving < 0:
            remarks.append(
                f"this plan costs {cost.epochs:.2f} epochs on all examples, {percent(-cost.saving)} more than the "
                f"{plan.full_epochs} it is to shorten."
            )
    return remarks


def _options(found: Found, given: Given, stored: Settings | None) -> dict[str, Any]:
    before = {key: Option(value, text=False) for key, value in (stored.options if stored else {}).items()}
    options = read_options(found.name, found.function, {**before, **given.options}, given)
    if stored is not None:
        for key in given.options:
            now = kept_options({key: options[key]})[key]
            _must_stay(given.shown("recipe", key), now, stored.options.get(key, default_of(found.function, key)))
            if key not in stored.options:  # said now, unsaid before, and the same
                del options[key]
    return options


def _grid(found: Found, tune: Mapping[str, Any]) -> dict[str, list[Any]]:
    grid: dict[str, list[Any]] = {}
    for key, values in tune.items():
        shown = Given(names={f"recipe.{key}": f"--tune {key}"})
        grid[key] = [
            read_options(found.name, found.function, {key: Option(value, isinstance(value, str))}, shown)[key]
            for value in values
        ]
    return grid


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(shown: str, text: str, kind: type[float] | type[int]) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        what = "numbers" if kind is float else "whole numbers"
        raise OptionError(f"{shown} must be {what} separated by commas, got {text!r}") from None


def _free_folder(command: Command, recipe: str) -> Path:
    """Make and return ``runs/RECIPE-N``, with the first N that is free. Raises TraceError if it cannot be made."""
    name = re.sub(r"[^\w.-]+", "-", recipe.rpartition(":")[2]) or "run"
    name = name if command == "teach" else f"{command}-{name}"
    folder = Path("runs")
    try:
        folder.mkdir(exist_ok=True)  # else a link that leads nowhere would look like a number that is taken
        for number in itertools.count(1):
            folder = Path("runs") / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise TraceError(f"cannot make {folder}: {error.strerror}; name another folder by --run") from None
    return folder
