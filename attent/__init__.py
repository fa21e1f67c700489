"""attent: train attention models on the examples they have not understood yet, in any framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attent.choose.gumbel import correction_weights, inclusion_probabilities
    from attent.choose.noise import Noise
    from attent.choose.rules import band, hard, random, soft
    from attent.errors import (
        AttentError,
        CourseError,
        LearnerError,
        PlanError,
        PluginError,
        RecipeError,
        ScoreError,
        TraceError,
    )
    from attent.judging.judge import judge
    from attent.judging.judgement import Judgement
    from attent.learner import Evaluates, Learner
    from attent.plan.plan import Plan
    from attent.plan.schedules import constant, cosine, incremental, linear, step
    from attent.plugins import Backend, hookimpl, recipe
    from attent.run.course import Course, Done, Score, Train
    from attent.run.teaching import Progress, teach
    from attent.run.trace import Trace, first_difference

_HOME = {
    "attent.choose.gumbel": ("correction_weights", "inclusion_probabilities"),
    "attent.run.course": ("Course", "Done", "Score", "Train"),
    "attent.errors": (
        "AttentError", "CostWarning", "CourseError", "LearnerError", "PlanError", "PluginError", "RecipeError",
        "ScoreError", "TraceError",
    ),
    "attent.plugins": ("Backend", "hookimpl", "recipe"),
    "attent.judging.judge": ("judge",),
    "attent.judging.judgement": ("Judgement",),
    "attent.learner": ("Evaluates", "Learner"),
    "attent.choose.noise": ("Noise",),
    "attent.plan.plan": ("Plan",),
    "attent.plan.schedules": ("constant", "cosine", "incremental", "linear", "step"),
    "attent.choose.rules": ("band", "hard", "random", "soft"),
    "attent.run.teaching": ("Progress", "teach"),
    "attent.run.trace": ("Trace", "first_difference"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AttentError", "Backend", "CostWarning", "Course", "CourseError", "Done", "Evaluates", "Judgement", "Learner",
    "LearnerError", "Noise", "Plan", "PlanError", "PluginError", "Progress", "RecipeError", "Score", "ScoreError",
    "Trace", "TraceError", "Train", "band", "constant", "correction_weights", "cosine", "first_difference", "hard",
    "hookimpl", "inclusion_probabilities", "incremental", "judge", "linear", "random", "recipe", "soft", "step",
    "teach",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Names are imported when first used: `import attent` costs a millisecond and not even NumPy.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'attent' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
