"""Plugins: the hooks they may implement, their loading by name, and recipes.

Plugins are found by entry point (group ``attent``; the entry point's name is the plugin's) and loaded one by one, so
one that is broken harms no other. A plugin is a module with some of the hooks, each marked with
``attent.hookimpl``. Keep its imports light: name heavy things as ``"module:function"`` and they are imported only
when used.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pluggy

from attent.errors import MissingPluginError, PluginError

if TYPE_CHECKING:  # plugins are listed without NumPy
    from attent.learner import Learner

hookspec = pluggy.HookspecMarker("attent")
hookimpl = pluggy.HookimplMarker("attent")


# Precisions; weights per example; padded sequences; losses per token; several weighted tasks.
ABILITIES = ("float64", "float32", "weights", "lengths", "next-token", "tasks")


class Backend(NamedTuple):
    """One framework's way to be taught.

    name: of the backend, equal to the entry point's. learner: ``"module:class"`` of its learner.
    packages: distributions whose versions a run records. reference: ``"module:function"`` of a function with
    the signature of ``attent.reference.NumpyLearner`` that returns the same learner on this framework, which
    is what `attent-conformance` examines. abilities: what that function can do, out of `ABILITIES`; what is
    left out is skipped, visibly. workers: ``"module:function"`` of a backend that teaches on several processes (rules
    W): ``function(rank, world, addresses)`` joins them, each of which has an address ``"host:port"``, and returns a
    function with the signature of ``reference`` that returns an `attent.Workers`.
    """

    name: str
    learner: str
    packages: tuple[str, ...] = ()
    reference: str | None = None
    abilities: tuple[str, ...] = ABILITIES
    workers: str | None = None


@hookspec
def attent_backend() -> Backend:  # type: ignore[empty-body]
    """Return the backend that this plugin is."""


@hookspec
def attent_recipes() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return recipes by name, each as ``"module:function"``."""


@hookspec
def attent_policies() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return policies by name, each a class whose instances are `attent.Policy`; its parameters are its own."""


@hookspec
def attent_schedules() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return schedule makers by name: ``maker(*numbers)`` returns a callable of progress in [0, 1]."""


GROUP = "attent"


class Listed(NamedTuple):
    """A plugin as its distribution declares it; nothing of it has been imported."""

    name: str
    target: str
    distribution: str


def listed() -> tuple[Listed, ...]:
    """Return the installed plugins by name, importing none.

    Example:
        >>> from attent import plugins
        >>> plugins.listed()[0].name in [plugin.name for plugin in plugins.listed()]
        True
    """
    found = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
        # An editable install can be listed twice; the same target from the same distribution is one plugin.
        found[point.name, point.value, distribution] = Listed(point.name, point.value, distribution)
    return tuple(sorted(found.values()))


def load(name: str) -> Any:
    """Return the plugin module of this name, imported and checked.

    Raises PluginError: none of this name (it lists those installed), two of them, an import that fails, a
    hook that is misspelt or takes other arguments.
    """
    found = [plugin for plugin in listed() if plugin.name == name]
    if not found:
        raise MissingPluginError(f"no plugin {name!r}. Installed: {_installed()}.")
    if len(found) > 1:
        both = " and ".join(f"{plugin.target} of {plugin.distribution}" for plugin in found)
        raise PluginError(f"plugin {name!r} is there twice: {both}. Uninstall one.")
    return _loaded(found[0])


@functools.cache
def _loaded(plugin: Listed) -> Any:
    module, _, attribute = plugin.target.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            target = getattr(target, part)
    except Exception as error:  # whatever a stranger's import raises is reported under its name
        raise PluginError(
            f"plugin {plugin.name!r} ({plugin.target} of {plugin.distribution}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    manager = _manager()
    try:
        manager.register(target, plugin.name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"plugin {plugin.name!r} ({plugin.distribution}): {error}") from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        said = str(error).partition(" in plugin ")[0]  # without the module's repr
        known = ", ".join(hook for hook in globals() if hook.startswith("attent_"))
        raise PluginError(f"plugin {plugin.name!r} ({plugin.distribution}): {said}; known: {known}") from error
    unmarked = [hook for hook in dir(target) if hook.startswith("attent_") and not _is_hook(target, hook)]
    if unmarked:
        raise PluginError(
            f"plugin {plugin.name!r} ({plugin.distribution}): {unmarked[0]} is not marked with attent.hookimpl"
        )
    return target


def _is_hook(target: Any, name: str) -> bool:
    value = getattr(target, name)
    return not callable(value) or hasattr(value, "attent_impl")


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("attent")
    manager.add_hookspecs(sys.modules[__name__])
    return manager


def call(name: str, hook: str) -> Any:
    """Return what one plugin's hook gives, or None if it does not implement it. Raises PluginError if it raises."""
    plugin = load(name)
    manager = _manager()
    manager.register(plugin, name)
    try:
        results = getattr(manager.hook, hook)()
    except Exception as error:
        raise PluginError(f"plugin {name!r}: {hook} raised {type(error).__name__}: {error}") from error
    return results[0] if results else None


def _installed() -> str:
    return ", ".join(sorted({plugin.name for plugin in listed()}))


def gather(hook: str) -> dict[str, Any]:
    """Return what all plugins give through a hook that returns a mapping by name.

    A broken plugin is passed over (``problems`` reports it). Raises PluginError for a name given twice.
    """
    found: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for name in sorted({plugin.name for plugin in listed()}):
        try:
            given = call(name, hook) or {}
        except PluginError:
            continue
        for key, value in given.items():
            if key in found:
                raise PluginError(f"{hook}: {key!r} is given by plugins {owner[key]!r} and {name!r}. Uninstall one.")
            found[key], owner[key] = value, name
    return found


def problems() -> dict[str, str]:
    """Return what is wrong with each plugin that cannot be loaded, by plugin name."""
    found = {}
    for name in sorted({plugin.name for plugin in listed()}):
        try:
            load(name)
        except PluginError as error:
            found[name] = str(error)
    return found


def _backends() -> list[str]:
    """Return the names of the installed plugins that are backends, as far as they can be loaded."""
    found = []
    for plugin in listed():
        with contextlib.suppress(PluginError):
            if call(plugin.name, "attent_backend") is not None:
                found.append(plugin.name)
    return found


def backend(name: str) -> Backend:
    """Return the backend of this name. Raises PluginError if there is none, or the plugin is no backend."""
    try:
        given = call(name, "attent_backend")
    except MissingPluginError:
        how = f": pip install attent-{name}, or in a clone of attent pip install ./backends/{name}"
        raise MissingPluginError(
            f"no backend {name!r}. Installed: {', '.join(_backends())}. A backend is a distribution of its own"
            + (how if re.fullmatch(r"[a-z][a-z0-9_-]*", name) else "")
        ) from None
    if not isinstance(given, Backend):
        raise PluginError(f"plugin {name!r} is no backend: attent_backend must return an attent.Backend")
    if given.name != name:
        raise PluginError(f"plugin {name!r}: its backend calls itself {given.name!r}; both names must be one")
    for field in ("packages", "abilities"):
        value = getattr(given, field)
        # A text is a sequence too: of its letters.
        if not isinstance(value, tuple | list) or not all(isinstance(one, str) for one in value):
            raise PluginError(f"plugin {name!r}: {field} of its backend must be a tuple of texts, got {value!r}")
    return given


Recipe = Callable[..., "Learner"]
R = TypeVar("R", bound=Callable[..., "Learner"])


def recipe(*, seeds: int | None = None, metric_of: str | None = None, **defaults: Any) -> Callable[[R], R]:
    """Mark a function as a recipe and give the plan fields that suit it when the user names none.

    A recipe takes the plan and returns a fresh learner, every random choice in it drawn from
    ``plan.seed``. Further keyword-only arguments with annotations and defaults are its options
    (``--set name=value``). ``seeds``: how many paired seeds `attent teach` and `attent.judge` run when not told.
    ``metric_of``: of which distribution the main metric is: ``"training"``, or in a word another, such as ``"even"``,
    which a judgement then names.

    Example:
        >>> import attent
        >>> @attent.recipe(epochs=12, batch_size=32)
        ... def mine(plan, *, width: int = 32):
        ...     '''A model of mine on data of mine.'''
        >>> mine.plan_defaults
        {'epochs': 12, 'batch_size': 32}
    """

    def mark(function: R) -> R:
        function.plan_defaults = defaults  # type: ignore[attr-defined]
        function.seeds = seeds  # type: ignore[attr-defined]
        function.metric_of = metric_of  # type: ignore[attr-defined]
        return function

    return mark
