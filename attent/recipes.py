"""Recipes: functions that build a learner for a plan, found by name or as ``package.module:function``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attent.errors import RecipeError
from attent.learner import Learner

Recipe = Callable[..., Learner]
R = TypeVar("R", bound=Callable[..., Learner])


def recipe(**defaults: Any) -> Callable[[R], R]:
    """Mark a function as a recipe and give the plan fields that suit it when the user names none.

    A recipe takes the plan and returns a fresh learner, every random choice in it drawn from
    ``plan.seed``. Further keyword-only arguments with annotations and defaults are its options
    (``--set name=value``). The default plan is ``Plan.default(**defaults)``.

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
        return function

    return mark


def checked_learner(name: str, learner: object) -> Learner:
    """Return what a recipe returned; raise RecipeError naming the recipe if it is no learner."""
    if not isinstance(learner, Learner):
        needed = ("__len__", "score", "train", "state", "load_state")
        missing = [method for method in needed if not hasattr(learner, method)]
        raise RecipeError(
            f"recipe {name!r} must return a learner, got {type(learner).__name__} "
            f"without {', '.join(missing)}; see attent.Learner"
        )
    return learner
