"""``attent backends``: the installed plugins, whether each loads, and what it offers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from attent import plugins
from attent.errors import PluginError
from attent.plugins import Backend
from attent.tables import NOTHING, aligned

Tell = Callable[[str], None]
_OFFERS = ("attent_recipes", "attent_policies", "attent_schedules")


def show_backends(*, tell: Tell = print) -> None:
    """Print every plugin with its distribution and recipes; one that cannot be loaded with the reason.

    Imports plugins, which import no framework until they are used: a framework that is installed but broken
    is first noticed when its backend is asked for.
    """
    rows, problems = [], []
    for plugin in plugins.listed():
        try:
            backend = "no"
            if plugins.call(plugin.name, "attent_backend") is not None:
                backend = "yes"
                problems += _absent(plugins.backend(plugin.name))
            given = {hook: sorted(plugins.call(plugin.name, hook) or {}) for hook in _OFFERS}
        except PluginError as error:
            problems.append(str(error))
            rows.append([plugin.name, plugin.distribution, NOTHING, "cannot be loaded, see below"])
            continue
        recipes = ", ".join(given.pop("attent_recipes"))
        others = [f"{hook.removeprefix('attent_')}: {', '.join(names)}" for hook, names in given.items() if names]
        rows.append(
            [
                plugin.name,
                plugin.distribution,
                backend,
                "; ".join(filter(None, [recipes, *others])) or NOTHING,
            ]
        )
    tell(aligned(["plugin", "distribution", "backend", "recipes"], rows, left=4))
    for problem in dict.fromkeys(problems):
        tell(f"\n{problem}")


def _absent(backend: Backend) -> list[str]:
    return [
        f"backend {backend.name!r} runs on {package}, which is not installed here"
        for package in backend.packages
        if not any(importlib.metadata.distributions(name=package))
    ]
