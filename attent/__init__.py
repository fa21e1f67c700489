"""attent: train attention models on the examples they have not understood yet, in any framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"  # of the distribution too: pyproject.toml reads it here

if TYPE_CHECKING:
    from attent.choose.grouped import Balanced, ByGroup, Tempered
    from attent.choose.gumbel import correction_weights, inclusion_probabilities
    from attent.choose.noise import Noise
    from attent.choose.policies import Auto, Band, Hard, InfoBatch, InTurn, PerCost, Random, Soft
    from attent.choose.policy import Choice, Policy
    from attent.choose.rules import band, hard, random, soft
    from attent.choose.sources import Fresh, Pool, Proxy, Replay, Reuse
    from attent.errors import (
        AttentError,
        CostWarning,
        CourseError,
        LearnerError,
        PlanError,
        PluginError,
        RecipeError,
        ScoreError,
        TraceError,
        TraceWarning,
        WorkersError,
    )
    from attent.judging.judge import judge
    from attent.judging.judgement import Judgement
    from attent.learner import Costs, Evaluates, Groups, Learner, Watches
    from attent.plan.plan import Plan
    from attent.plan.schedules import constant, cosine, linear, step
    from attent.plugins import Backend, hookimpl, recipe
    from attent.run.course import Course, Done, Score, Train
    from attent.run.feed import Feed
    from attent.run.teaching import Progress, teach
    from attent.run.trace import Trace, first_difference
    from attent.run.workers import Workers

_HOME = {
    "attent.choose.grouped": ("Balanced", "ByGroup", "Tempered"),
    "attent.choose.gumbel": ("correction_weights", "inclusion_probabilities"),
    "attent.choose.noise": ("Noise",),
    "attent.choose.policies": ("Auto", "Band", "Hard", "InTurn", "InfoBatch", "PerCost", "Random", "Soft"),
    "attent.choose.policy": ("Choice", "Policy"),
    "attent.choose.rules": ("band", "hard", "random", "soft"),
    "attent.choose.sources": ("Fresh", "Pool", "Proxy", "Replay", "Reuse"),
    "attent.errors": (
        "AttentError", "CostWarning", "CourseError", "LearnerError", "PlanError", "PluginError", "RecipeError",
        "ScoreError", "TraceError", "TraceWarning", "WorkersError",
    ),
    "attent.judging.judge": ("judge",),
    "attent.judging.judgement": ("Judgement",),
    "attent.learner": ("Costs", "Evaluates", "Groups", "Learner", "Watches"),
    "attent.plan.plan": ("Plan",),
    "attent.plan.schedules": ("constant", "cosine", "linear", "step"),
    "attent.plugins": ("Backend", "hookimpl", "recipe"),
    "attent.run.course": ("Course", "Done", "Score", "Train"),
    "attent.run.feed": ("Feed",),
    "attent.run.teaching": ("Progress", "teach"),
    "attent.run.trace": ("Trace", "first_difference"),
    "attent.run.workers": ("Workers",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AttentError", "Auto", "Backend", "Balanced", "Band", "ByGroup", "Choice", "CostWarning", "Costs", "Course",
    "CourseError", "Done", "Evaluates", "Feed", "Fresh", "Groups", "Hard", "InTurn", "InfoBatch", "Judgement",
    "Learner", "LearnerError", "Noise", "PerCost", "Plan", "PlanError", "PluginError", "Policy", "Pool", "Progress",
    "Proxy", "Random", "RecipeError", "Replay", "Reuse", "Score", "ScoreError", "Soft", "Tempered", "Trace",
    "TraceError", "TraceWarning", "Train", "Watches", "Workers", "WorkersError", "band", "constant",
    "correction_weights", "cosine", "first_difference", "hard", "hookimpl", "inclusion_probabilities", "judge",
    "linear", "random", "recipe", "soft", "step", "teach",
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
