"""A recipe's options: what its function takes beside the plan, and values converted to its annotations."""

from __future__ import annotations

import contextlib
import inspect
import tomllib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from attent.cli.fields import OptionError
from attent.cli.given import Given, Option
from attent.plugins import Recipe

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def option_types(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a recipe by name, with the type of each; ``Any`` where it says none.

    Example:
        >>> from attent.cli.recipe_options import option_types
        >>> from attent.reference.recipes import vit_digits
        >>> option_types(vit_digits)["depth"]
        <class 'int'>
    """
    try:
        hints = typing.get_type_hints(recipe)
    except (NameError, TypeError, AttributeError):  # names imported for type checkers only
        hints = {}
    return {one.name: hints.get(one.name, _type_of_default(one)) for one in _options(recipe)}


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
    for parameter in _options(recipe):
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


def _options(recipe: Recipe) -> list[inspect.Parameter]:
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
    raise OptionError(f"{shown} must be {inspect.formatannotation(kind)}, got {option.value!r}{detail}")


def _readings(option: Option, kind: Any) -> Iterator[tuple[Any, bool]]:
    """Yield what an option's value may mean, the likeliest first, and whether its type is then settled."""
    if not option.text:
        yield option.value, True
        return
    if kind is not str:
        with contextlib.suppress(tomllib.TOMLDecodeError):
            yield tomllib.loads(f"value = {option.value}")["value"], True
        with contextlib.suppress(ValueError):
            if kind is float:
                yield float(option.value), True
    yield option.value, False


def _type_of_default(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty or parameter.default is None:
        return Any
    return type(parameter.default)
