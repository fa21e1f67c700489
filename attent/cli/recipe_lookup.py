"""Recipes by name: a backend's own, or a function of the user's as ``package.module:function``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attent import plugins
from attent.errors import RecipeError
from attent.learner import Learner
from attent.plan.plan import Plan
from attent.plugins import Backend, Recipe, checked_learner


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
