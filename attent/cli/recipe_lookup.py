"""Recipes by name, a backend's own or a user's ``package.module:function``, and the options and plan asked of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import sys
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from attent import checks, plugins
from attent.cli.fields import OptionError, Value
from attent.cli.given import Given, Option
from attent.errors import PlanError, RecipeError
from attent.learner import Learner, checked_learner
from attent.plan.plan import Plan
from attent.plan.presets import SHARED, Made, preset_plan
from attent.plugins import Backend, Recipe

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_NO_POLICY = (*SHARED, "non_finite", "keep", "per_cost")  # the last two are of auto itself


class Found(NamedTuple):
    """A recipe ready to be called: its name, the function, the plan fields it suggests, and the backend."""

    name: str
    function: Recipe
    suggested: dict[str, Any]
    backend: Backend


def find(backend_name: str, name: str) -> Found:
    """Return the recipe of this name. The current directory counts as importable.

    Raises RecipeError saying what cannot be imported and why, and which recipes there are; PluginError
    if there is no such backend.

    Example:
        >>> from attent.cli.recipe_lookup import find
        >>> find("numpy", "vit-digits").suggested
        {'epochs': 12, 'batch_size': 32}
    """
    backend = plugins.backend(backend_name)
    own: Mapping[str, str] = plugins.call(backend_name, "attent_recipes") or {}
    known = f"recipes of {backend_name}: {', '.join(sorted(own)) or 'none'}"
    if ":" not in name and name not in own:
        raise RecipeError(f"no recipe {name!r}; {known}; your own as package.module:function")
    try:
        function = _imported(name, own.get(name, name), known)
    except RecipeError as error:
        fault = error.__cause__
        if name in own and isinstance(fault, ImportError):
            needs = ", ".join(backend.packages)
            error.add_note(f"Backend {backend_name!r} needs {needs}; other backends work without. See: attent backends")
        raise
    suggested = dict(getattr(function, "plan_defaults", {}))
    fields = {field.name for field in dataclasses.fields(Plan)}
    for key in suggested:
        if key not in fields:
            raise RecipeError(f"recipe {name!r} suggests {key!r}, which is no field of a plan")
    return Found(name, function, suggested, backend)


def build(found: Found, plan: Plan, options: Mapping[str, Any]) -> Learner:
    """Return a fresh learner of the recipe. Raises RecipeError if what it returns is no learner."""
    return checked_learner(found.name, found.function(plan, **options))


def asked_plan(fields: Mapping[str, Value], suggested: Mapping[str, Any], given: Given) -> Made:
    """Return the plan of these fields (see ``PLAN_FIELDS``) over their preset and what the recipe suggests.

    Without a preset it is ``auto``, or ``default`` where fields or suggestions say more than what every preset takes.
    Raises OptionError naming the flag or key as ``given`` knows it.

    Example:
        >>> from attent.cli.given import from_flags
        >>> from attent.cli.recipe_lookup import asked_plan
        >>> given = from_flags({"epochs": "20", "ratio": "cosine(0.2, 0.8)"}, {})
        >>> asked_plan(given.plan, {"batch_size": 32}, given).plan.ratio
        cosine(0.2, 0.8)
    """
    values = dict(fields)
    preset = str(values.pop("preset", preset_without_one(values, suggested)))
    try:
        return preset_plan(preset, values, suggested)
    except PlanError as error:
        raise given.told(error, "plan") from error


def preset_without_one(fields: Mapping[str, Value], suggested: Mapping[str, Any]) -> str:
    """Return the preset meant where none is named.

    Example:
        >>> from attent.cli.recipe_lookup import preset_without_one
        >>> preset_without_one({"epochs": 5, "keep": 0.1}, {"batch_size": 8}), preset_without_one({"ratio": 0.3}, {})
        ('auto', 'default')
    """
    return "auto" if all(key in _NO_POLICY for key in (*fields, *suggested)) else "default"


def option_types(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a recipe by name, with the type of each; ``Any`` where it says none.

    Example:
        >>> from attent.cli.recipe_lookup import option_types
        >>> from attent.reference.recipes import vit_digits
        >>> option_types(vit_digits)["depth"]
        <class 'int'>
    """
    try:
        hints = typing.get_type_hints(recipe)
    except (NameError, TypeError, AttributeError):  # names imported for type checkers only
        hints = {}
    return {one.name: hints.get(one.name, _type_of_default(one)) for one in _parameters(recipe)}


def read_options(name: str, recipe: Recipe, options: Mapping[str, Option], given: Given) -> dict[str, Any]:
    """Return the recipe's options converted to its annotations.

    A flag's text is read as the annotation wants it, lists and the like as in TOML. Raises OptionError
    naming the option as the user knows it: unknown (it lists those known), missing, or of another type.
    """
    types = option_types(recipe)
    values = {}
    for key, option in options.items():
        shown = given.shown("recipe", key)
        if key not in types:
            raise OptionError(f"{shown}: recipe {name!r} has no option {key!r}; known: {', '.join(types) or 'none'}")
        values[key] = _converted(shown, option, types[key])
    for parameter in _parameters(recipe):
        if parameter.name not in values and parameter.default is parameter.empty:
            raise OptionError(f"recipe {name!r} needs --set {parameter.name}=VALUE")
    return values


def kept_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return converted options as JSON-ready values, from which ``read_options`` makes them again."""
    kept: dict[str, Any] = msgspec.to_builtins(dict(values), enc_hook=str)
    return kept


def default_of(recipe: Recipe, name: str) -> Any:
    """Return the JSON-ready value that an option has where it is not given."""
    return kept_options({name: inspect.signature(recipe).parameters[name].default})[name]


def _imported(name: str, target: str, known: str) -> Recipe:
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise RecipeError(f"a recipe reads package.module:function, got {name!r}; {known}")
    if module.endswith(".py"):
        raise RecipeError(f"a recipe names a module, not a file: write {module[:-3].replace('/', '.')}:{attribute}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise RecipeError(
                f"recipe {name!r}: no module {error.name!r} in the current directory or installed; {known}"
            ) from error
        raise RecipeError(f"recipe {name!r}: importing {module} failed: {error}") from error
    except Exception as error:  # whatever a user's module raises is reported under its name
        raise RecipeError(
            f"recipe {name!r}: importing {module} failed: {type(error).__name__}: {error} (--debug shows where)"
        ) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            there = sorted(key for key, one in vars(value).items() if hasattr(one, "plan_defaults"))
            raise RecipeError(f"recipe {name!r}: {module} has no {part!r}; its recipes: {', '.join(there) or 'none'}")
        value = getattr(value, part)
    if not callable(value):
        raise RecipeError(f"recipe {name!r} must be a function, got {type(value).__name__}")
    parameters = inspect.signature(value).parameters.values()
    if not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        raise RecipeError(f"recipe {name!r} must take the plan as its first argument: def {attribute}(plan, *, ...)")
    return value  # type: ignore[no-any-return]


def _parameters(recipe: Recipe) -> list[inspect.Parameter]:
    after_plan = list(inspect.signature(recipe).parameters.values())[1:]
    return [parameter for parameter in after_plan if parameter.kind in _NAMED]


def _converted(shown: str, option: Option, kind: Any) -> Any:
    reason = ""
    for value, strict in _readings(option, kind):
        try:
            return msgspec.convert(value, kind, strict=strict, dec_hook=lambda of, value: of(value))
        except msgspec.ValidationError as error:
            reason = str(error)
        except TypeError as error:
            raise OptionError(f"{shown} cannot be set from outside: {error}") from error
    detail = "" if reason.startswith("Expected") and " - at " not in reason else f": {reason}"
    raise OptionError(f"{shown} must be {inspect.formatannotation(kind)}, got {checks.shown(option.value)}{detail}")


def _readings(option: Option, kind: Any) -> Iterator[tuple[Any, bool]]:
    """Yield what an option's value may mean, the likeliest first, and whether its type is then settled."""
    if not option.text:
        yield option.value, True
        return
    if kind is not str:
        with contextlib.suppress(ValueError, RecursionError):  # no TOML
            yield tomllib.loads(f"value = {option.value}")["value"], True
        with contextlib.suppress(ValueError):
            if kind is float:
                yield float(option.value), True
    yield option.value, False


def _type_of_default(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty or parameter.default is None:
        return Any
    return type(parameter.default)
