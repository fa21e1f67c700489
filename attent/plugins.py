"""Plugins, found by entry point and loaded by name, one by one: one that is broken harms no other."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any, NamedTuple

import pluggy

from attent import hookspecs
from attent.errors import PluginError
from attent.hookspecs import Backend

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
        names = ", ".join(sorted({plugin.name for plugin in listed()}))
        raise PluginError(f"no plugin {name!r}. Installed: {names}.")
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
        known = ", ".join(hook for hook in dir(hookspecs) if hook.startswith("attent_"))
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
    manager.add_hookspecs(hookspecs)
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


def backend(name: str) -> Backend:
    """Return the backend of this name. Raises PluginError if there is none, or the plugin is no backend."""
    try:
        given = call(name, "attent_backend")
    except PluginError as error:
        if str(error).startswith("no plugin"):
            names = ", ".join(sorted({plugin.name for plugin in listed()}))
            raise PluginError(f"no backend {name!r}. Installed: {names}.") from None
        raise
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
