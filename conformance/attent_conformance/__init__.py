"""attent-conformance: proves that a backend of attent chooses the same examples as every other."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attent_conformance.failures import Ambiguous, CheckFailed, Skipped
    from attent_conformance.needs import Check
    from attent_conformance.pytest_suite import Suite, parametrize_with_checks
    from attent_conformance.subject import Subject
    from attent_conformance.suite import CHECKS, Result, examine, passed
    from attent_conformance.tasks import TASKS, Task, task

_HOME = {
    "attent_conformance.failures": ("Ambiguous", "CheckFailed", "Skipped"),
    "attent_conformance.needs": ("Check",),
    "attent_conformance.pytest_suite": ("Suite", "parametrize_with_checks"),
    "attent_conformance.subject": ("Subject",),
    "attent_conformance.suite": ("CHECKS", "Result", "examine", "passed"),
    "attent_conformance.tasks": ("TASKS", "Task", "task"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "CHECKS",
    "TASKS",
    "Ambiguous",
    "Check",
    "CheckFailed",
    "Result",
    "Skipped",
    "Subject",
    "Suite",
    "Task",
    "examine",
    "parametrize_with_checks",
    "passed",
    "task",
]


def __getattr__(name: str) -> Any:
    # Names are imported when first used, so that the command can set the number of threads before NumPy is loaded.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'attent_conformance' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
