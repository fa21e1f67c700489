"""B: a backend is an installed plugin that is light to load and says what it needs."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

from attent import plugins
from attent.plugins import ABILITIES, Backend
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.subject import Subject, resolved

# What is loaded with attent's own hooks is nobody's framework.
_PROBE = """
import importlib, json, sys
import numpy, attent.plugins, attent.errors
def loaded(): return {name.partition(".")[0] for name in sys.modules}
before = loaded()
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(loaded() - before)))
"""


@needs("plugin")
def check_the_plugin_loads_under_its_name(subject: Subject) -> None:
    """B1: the entry point loads, its hooks are spelt right, and its backend bears the entry point's name."""
    found = plugins.backend(subject.name)  # raises PluginError, which names the fault
    if found != subject.backend:
        raise CheckFailed("B1", f"{found}", f"{subject.backend}", "attent_backend() called twice")


@needs("plugin")
def check_loading_imports_no_framework(subject: Subject) -> Margins:
    """B2: importing the plugin module imports none of the packages that the backend names."""
    backend = _backend(subject)
    target = next(plugin.target for plugin in plugins.listed() if plugin.name == subject.name)
    module = target.partition(":")[0]
    result = subprocess.run([sys.executable, "-c", _PROBE, module], capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        raise CheckFailed("B2", result.stderr.strip()[-300:], "an import without error", f"import {module}")
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    by_module = importlib.metadata.packages_distributions()
    named = {name.lower().replace("_", "-") for name in backend.packages}
    heavy = sorted(name for name in loaded if named & {d.lower().replace("_", "-") for d in by_module.get(name, [])})
    if heavy:
        raise CheckFailed("B2", f"{', '.join(heavy)} imported", "no framework", f"import {module} in a fresh process")
    return {"packages imported": float(len(loaded))}


@needs("plugin")
def check_what_the_backend_names_is_there(subject: Subject) -> None:
    """B3: its learner and reference resolve to callables, its packages are installed, its abilities are known."""
    backend = _backend(subject)
    for target in (backend.learner, backend.reference or ""):
        resolved(target, backend.name)  # raises PluginError naming the target
    for package in backend.packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise CheckFailed(
                "B3", f"the package {package!r}", "packages that are installed", "Backend.packages"
            ) from None
    unknown = [ability for ability in backend.abilities if ability not in ABILITIES]
    if unknown:
        raise CheckFailed("B3", f"the ability {unknown[0]!r}", f"abilities out of {ABILITIES}", "Backend.abilities")


def _backend(subject: Subject) -> Backend:
    assert subject.backend is not None  # these checks need a plugin
    return subject.backend
