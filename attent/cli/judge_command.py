"""``attent judge``: does teaching pay on a recipe, and with what certainty?"""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from attent.cli import recipe_lookup
from attent.cli.fields import OptionError
from attent.cli.given import Given, Option
from attent.cli.interrupts import stop_signals
from attent.cli.judge_settings import FILE, Asked, JudgeSettings, folder_of, settle, write_settings
from attent.cli.recipe_options import default_of, kept_options, read_options
from attent.cli.settings import free_folder, must_stay
from attent.judging.judge import judge, seconds_of
from attent.judging.policies import default_arms, read_policies
from attent.judging.report import told

Tell = Callable[[str], None]


def judge_recipe(asked: Asked, *, resume: bool, tell: Tell = print) -> bool:
    """Judge what is asked for; return whether it came to its end (a signal or the budget may stop it before).

    Raises AttentError.
    """
    folder, stored = folder_of(asked, resume)
    settings = settle(asked, stored)
    given, values = asked.given, settings.values
    found = recipe_lookup.find(values.get("backend", "numpy"), values["recipe"])
    options = _options(found, given, stored)
    settings = msgspec.structs.replace(settings, options=kept_options(options))
    names = _names(values["arms"]) if "arms" in values else [*default_arms(), *settings.arms]
    for name in names:
        if "arms" in values and names.count(name) > 1:
            raise OptionError(f"{given.shown('run', 'arms')} names {name} twice: name it once")
    arms = {name: settings.arms.get(name, name) for name in names}
    if settings.arms:
        read_policies(settings.arms)  # those that are not judged must make sense too
    numbers: dict[str, Any] = {
        key: values[key]
        for key in ("epochs", "batch_size", "seeds", "forward_share", "checkpoint_seconds", "segment_steps")
        if key in values
    }
    if "lengths" in values:
        numbers["lengths"] = _numbers(given.shown("run", "lengths"), values["lengths"], float)
    if "batch_sizes" in values:
        numbers["batch_sizes"] = _numbers(given.shown("run", "batch_sizes"), values["batch_sizes"], int)
    if settings.tune:
        numbers["tune"] = _grid(found, settings.tune)
    if "budget" in values:
        numbers["budget_seconds"] = seconds_of(str(values["budget"]))
    if "seed" in values:
        numbers["first_seed"] = values["seed"]
    made = folder is None
    folder = folder or free_folder(f"judge-{found.name.rpartition(':')[2]}")
    go_on = f"attent judge --resume {shlex.quote(str(folder))}"

    def begin() -> None:
        write_settings(folder, settings)
        print(f"{found.name}; arms {', '.join(arms)}; in {folder}", file=sys.stderr)
        idle = [name for name in settings.arms if name not in arms]
        if idle:
            print(f"Note: {', '.join(idle)}: defined, but not among --arms, so not judged.", file=sys.stderr)

    with stop_signals() as stop:
        try:
            judgement = judge(
                found.function,
                name=found.name,
                backend=values.get("backend", "numpy"),
                versions={name: importlib.metadata.version(name) for name in found.backend.packages},
                arms=arms,
                options=options,
                short=values.get("short"),
                tuned=bool(values.get("tuned", False)),
                run=folder,
                stop=stop,
                tell=lambda line: print(line, file=sys.stderr, flush=True),
                ready=begin,
                **numbers,
            )
        except (Exception, KeyboardInterrupt) as error:
            if (folder / FILE).exists():
                error.add_note(f"Go on with: {go_on}")
            elif made:
                folder.rmdir()  # nothing was begun
            raise
        stopped = stop()
    tell(told(judgement))
    tell(f"Folder: {folder}")
    if stopped:
        print(f"Stopped. Go on with: {go_on}", file=sys.stderr)
    elif not judgement.finished:
        print(f"The budget ended. With more time: {go_on} --budget TIME", file=sys.stderr)
    return not stopped


def _options(found: recipe_lookup.Found, given: Given, stored: JudgeSettings | None) -> dict[str, Any]:
    before = {key: Option(value, text=False) for key, value in (stored.options if stored else {}).items()}
    options = read_options(found.name, found.function, {**before, **given.options}, given)
    if stored is not None:
        for key in given.options:
            now = kept_options({key: options[key]})[key]
            must_stay(given.shown("recipe", key), now, stored.options.get(key, default_of(found.function, key)))
    return options


def _grid(found: recipe_lookup.Found, tune: Mapping[str, Any]) -> dict[str, list[Any]]:
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
