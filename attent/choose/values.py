"""Values: frozen, compared by what they hold, printed as they are written, and read back from that text or a table.

Policies, sources and schedules are values. ``soft(temperature=0.3)``, ``Soft(temperature=0.3)`` and the table
``{"name": "soft", "temperature": 0.3}`` are one and the same.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import math
import numbers
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import numpy as np

from attent import checks
from attent.errors import AttentError, PlanError

T = TypeVar("T")
Makers = Mapping[str, Callable[..., Any]]
_WORDS = {"inf": math.inf, "none": None, "None": None, "true": True, "True": True, "false": False, "False": False}


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a class a value: a frozen dataclass whose ``repr`` leaves out what is as usual.

    NumPy's numbers and fractions are taken as Python's. A ``__post_init__`` checks the fields.

    Example:
        >>> from attent.choose.values import value
        >>> @value
        ... class Margin:
        ...     width: float = 0.1
        >>> Margin(), Margin(0.2), Margin(0.2) == Margin(width=0.2)
        (Margin(), Margin(width=0.2), True)
    """
    check = cls.__dict__.get("__post_init__")

    def post_init(self: Any) -> None:
        for field in dataclasses.fields(self):
            held = getattr(self, field.name)
            if isinstance(held, np.generic):
                object.__setattr__(self, field.name, held.item())
            elif isinstance(held, numbers.Real) and not isinstance(held, int | float):  # a fraction
                object.__setattr__(self, field.name, float(held))
        if check is not None:
            check(self)

    cls.__post_init__ = post_init  # type: ignore[attr-defined]
    cls.__repr__ = lambda self: written(self, type(self).__name__, repr)  # type: ignore[method-assign]
    return dataclasses.dataclass(frozen=True, repr=False)(cls)


def written(held: Any, name: str, show: Callable[[Any], str]) -> str:
    """Return a dataclass as the call that makes it, without the fields that are as usual."""
    fields = [
        f"{field.name}={show(getattr(held, field.name))}"
        for field in dataclasses.fields(held)
        if getattr(held, field.name) != field.default
    ]
    return f"{name}({', '.join(fields)})"


def text_of(held: Any, known: Makers) -> str:
    """Return the text from which `parse` makes the value again.

    ``known``: makers by name. Another class is named by where it is: ``package.module:Class(...)``, in quotes where it
    is a parameter.

    Example:
        >>> from attent.choose.policies import CHOOSING, InTurn, Soft
        >>> from attent.choose.values import text_of
        >>> text_of(InTurn(ties=Soft(temperature=0.3)), CHOOSING)
        'in_turn(ties=soft(temperature=0.3))'
    """
    if isinstance(held, float) and math.isinf(held):
        return "inf" if held > 0 else "-inf"
    if not dataclasses.is_dataclass(held) or isinstance(held, type):
        if isinstance(held, str | bool | int | float | complex | bytes | list | tuple | dict | set | None):
            return repr(held)
        # Of a class that is no dataclass: what it holds tells two of its objects apart, in a run that is resumed too.
        fields = {} if isinstance(held, type) or callable(held) else getattr(held, "__dict__", {})
        parameters = ", ".join(f"{name}={text_of(one, known)}" for name, one in fields.items())
        return f"{_place(held)}({parameters})" if parameters else _place(held)
    if callable(held):  # a schedule prints as the call that makes it
        return repr(held)
    name = next((name for name, maker in known.items() if maker is type(held)), _place(type(held)))

    def inside(one: Any) -> str:
        text = text_of(one, known)
        return repr(text) if dataclasses.is_dataclass(one) and ":" in text.partition("(")[0] else text

    return written(held, name, inside)


def _place(held: Any) -> str:
    named = held if hasattr(held, "__qualname__") else type(held)
    return f"{named.__module__}:{named.__qualname__}"


def parse(kind: str, text: str, known: Makers) -> Any:
    """Return the value that a text such as ``soft(temperature=0.3)`` names; a bare name is a call without arguments.

    kind: what it is, for errors: ``policy``, ``source`` or ``schedule``. Names may be written in any case, with or
    without underscores. ``package.module:Class(...)`` imports a class of the user's; the current directory counts.
    Raises PlanError naming what is known, the parameter, or the value.

    Example:
        >>> from attent.choose.built_in import BUILT_IN
        >>> from attent.choose.values import parse
        >>> parse("policy", "soft(temperature=0.3)", BUILT_IN), parse("policy", "Hard", BUILT_IN)
        (Soft(temperature=0.3), Hard())
    """
    place = re.fullmatch(r"\s*([\w.]+):([\w.]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if place is not None:
        return _called(
            kind, _imported(kind, place[1], place[2]), f"made{place[3] or '()'}", f"{place[1]}:{place[2]}", known
        )
    name = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if name is None:
        raise _unreadable(kind, text)
    return _called(kind, find(kind, name[1], known), f"made{name[2] or '()'}", name[1], known)


def from_table(kind: str, table: Mapping[str, Any], known: Makers) -> Any:
    """Return the value of a table with a ``name`` and parameters, such as TOML holds. Raises PlanError as `parse` does.

    Example:
        >>> from attent.choose.built_in import BUILT_IN
        >>> from attent.choose.values import from_table
        >>> from_table("policy", {"name": "soft", "temperature": 0.3}, BUILT_IN)
        Soft(temperature=0.3)
    """
    fields = dict(table)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise PlanError(
            f"a {kind} as a table needs its name, such as {{name = 'soft'}}, got {checks.shown(dict(table))}"
        )
    module, colon, attribute = name.partition(":")
    maker = _imported(kind, module, attribute) if colon else find(kind, name, known)
    # The words that TOML lacks; its own true and false are no words.
    arguments = {key: _WORDS.get(held, held) if isinstance(held, str) else held for key, held in fields.items()}
    return _made(kind, maker, name, [], arguments)


def find(kind: str, name: str, known: Makers) -> Callable[..., Any]:
    """Return the maker of this name. Raises PlanError naming those known."""
    for one, maker in known.items():
        if folded(one) == folded(name):
            return maker
    own = "" if kind == "source" else "; your own as package.module:Class(...)"
    raise PlanError(f"no {kind} {checks.shown(name)}; known: {', '.join(known)}{own}")


def folded(name: str) -> str:
    """Return a name as it is compared: in lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def _called(kind: str, maker: Callable[..., Any], text: str, name: str, known: Makers) -> Any:
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # of text such as 1if
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(kind, text.replace("made", name, 1)) from None
    called = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)  # once: not soft(1)(2)
    given = [word.arg for word in tree.keywords] if isinstance(tree, ast.Call) else []
    if not isinstance(tree, ast.Call) or not called or None in given or len(set(given)) < len(given):
        raise _unreadable(kind, text.replace("made", name, 1))
    places = [_argument(kind, one, known) for one in tree.args]
    words = {str(word.arg): _argument(kind, word.value, known) for word in tree.keywords}
    return _made(kind, maker, name, places, words)


def _argument(kind: str, tree: ast.expr, known: Makers) -> Any:
    try:
        text = ast.unparse(tree)
    except RecursionError:
        raise PlanError(f"a {kind} is nested too deep to be read") from None
    if isinstance(tree, ast.Name):
        if tree.id in _WORDS:
            return _WORDS[tree.id]
        return parse(kind, text, known) if any(folded(one) == folded(text) for one in known) else text
    if isinstance(tree, ast.Call):
        return parse(kind, text, known)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) and text == "-inf":
        return -math.inf
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise _unreadable(kind, text) from None


def _made(kind: str, maker: Callable[..., Any], name: str, places: list[Any], words: Mapping[str, Any]) -> Any:
    try:
        signature = inspect.signature(maker)
    except (TypeError, ValueError) as error:  # some that are written in C tell none
        raise PlanError(f"{kind} {name!r}: {error}") from None
    try:
        signature.bind(*places, **words)
    except TypeError as error:
        taken = ", ".join(signature.parameters)
        raise PlanError(f"{kind} {name!r}: {error}; it takes: {taken or 'nothing'}") from None
    try:
        return maker(*places, **words)
    except AttentError:
        raise
    except TypeError as error:
        raise PlanError(f"{kind} {name!r}: {error}") from None
    except Exception as error:  # whatever a user's class raises is reported under its name
        raise PlanError(f"{kind} {name!r}: {type(error).__name__}: {error}") from error


def _imported(kind: str, module: str, attribute: str) -> Callable[..., Any]:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a user's module raises is reported under its name
        raise PlanError(f"{kind} {module}:{attribute} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise PlanError(f"{kind} {module}:{attribute} must be a class or a function, got {type(found).__name__}")
    if (inspect.isclass(found) or inspect.isroutine(found)) and _home(found) in sys.stdlib_module_names:
        # A text may come from a file: none makes Python's own library act, as os:system(...) would.
        raise PlanError(f"{kind} {module}:{attribute} is of Python's own library: name a class of your own")
    return found  # type: ignore[no-any-return]


def _home(found: Any) -> str:
    return str(getattr(found, "__module__", None) or "builtins").partition(".")[0]


def _unreadable(kind: str, text: str) -> PlanError:
    reads = {"schedule": "0.4 or cosine(0.2, 0.8)", "source": "reuse(bonus=0.1)"}.get(kind, "soft(temperature=0.3)")
    return PlanError(f"a {kind} reads like {reads}, got {text[:80]!r}")
