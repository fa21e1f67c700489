"""From a plan and scores to what is taught next: policy for bad scores, selection by name, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from attent import plugins
from attent.choose import rules as selection
from attent.choose.gumbel import correction_weights, inclusion_probabilities
from attent.choose.rules import infobatch
from attent.choose.noise import Noise
from attent.errors import PlanError
from attent.learner import Ids, Numbers
from attent.plan import schedules

if TYPE_CHECKING:
    from attent.plan.plan import Plan


class SelectionFunction(Protocol):
    """What a selection is to a plan. A plugin's or a user's own has this form too."""

    def __call__(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None, plan: Plan) -> Ids:
        """Return k of the ids (0 to n-1 where None), ascending; scores are finite, one per id."""
        ...


class Choice(NamedTuple):
    """What was chosen: ids ascending, their weights or None, and the scores at the cut."""

    ids: Ids
    weights: Numbers | None


BUILT_IN: dict[str, SelectionFunction] = {
    "hard": lambda scores, k, noise, ids, plan: selection.hard(scores, k, ids=ids),
    "soft": lambda scores, k, noise, ids, plan: selection.soft(
        scores, k, noise, temperature=plan.temperature, scaling=plan.scaling, ids=ids
    ),
    "random": lambda scores, k, noise, ids, plan: selection.random(scores, k, noise, ids=ids),
    "infobatch": lambda scores, k, noise, ids, plan: infobatch(scores, k, noise, ids=ids)[0],
    "band": lambda scores, k, noise, ids, plan: selection.band(scores, k, cap=plan.cap, ids=ids),
}


def find(name: str | SelectionFunction) -> SelectionFunction:
    """Return the selection function of this name, built in or a plugin's. Raises PlanError naming those known."""
    if not isinstance(name, str):
        if not callable(name):
            raise PlanError(f"selection must be a name or a function, got {name!r}")
        return name
    if name in BUILT_IN:
        return BUILT_IN[name]
    others: dict[str, SelectionFunction] = plugins.gather("attent_selections")
    if name not in others:
        raise PlanError(f"no selection {name!r}; known: {', '.join([*BUILT_IN, *sorted(others)])}")
    return others[name]


def name_of(name: str | SelectionFunction) -> str:
    """Return the name by which a selection is recorded.

    Example:
        >>> from attent.choose.choosing import name_of
        >>> name_of("hard")
        'hard'
    """
    if isinstance(name, str):
        return name
    return f"{getattr(name, '__module__', '?')}:{getattr(name, '__qualname__', type(name).__name__)}"


def parse_schedule(text: str) -> schedules.Schedule:
    """Return the schedule a text names, looking at plugins where it is not built in."""
    if text.split("(")[0].strip() in schedules.BUILT_IN or "(" not in text:
        return schedules.parse(text)
    others: dict[str, Callable[..., schedules.Schedule]] = plugins.gather("attent_schedules")
    return schedules.parse(text, others)


def choose(plan: Plan, scores: Numbers, k: int, draw: int, among: Ids | None = None) -> Choice:
    """Return the k examples that the plan teaches next, given the scores of all n.

    ``among``: the ids that may be chosen, ascending; None: all. Scores that are not finite are handled as
    ``plan.non_finite`` says. Raises ScoreError or PlanError.
    """
    noise = Noise(plan.seed, draw)
    if plan.selection == "random":  # it looks at no score, so none can be bad
        return Choice(selection.random(scores if among is None else scores[among], k, noise, ids=among), None)
    finite = selection.finite_ids(scores, plan.non_finite, among)
    if finite is None:
        finite = among
    known = scores if finite is None else scores[finite]
    wanted = min(k, len(known))
    weights = None
    if plan.selection == "infobatch":  # the one selection that gives weights of its own
        ids, weights = infobatch(known, wanted, noise, ids=finite)
    else:
        ids = _checked(find(plan.selection)(known, wanted, noise, finite, plan), wanted, finite, len(scores), plan)
    if plan.correction is not None:
        probabilities = inclusion_probabilities(
            known, wanted, noise, temperature=plan.temperature, scaling=plan.scaling, ids=finite
        )
        every = correction_weights(probabilities, wanted, plan.correction)
        weights = every[ids] if finite is None else every[np.searchsorted(finite, ids)]
    if wanted < k and plan.non_finite == "last":
        possible = np.arange(len(scores)) if among is None else among
        bad = possible[~np.isfinite(scores[possible])][: k - wanted]
        weights = None if weights is None else np.concatenate([weights, np.ones(len(bad))])
        ids = np.concatenate([ids, bad])
        order = np.argsort(ids, kind="stable")
        ids, weights = ids[order], None if weights is None else weights[order]
    return Choice(ids, weights)


def _checked(ids: object, k: int, allowed: Ids | None, n: int, plan: Plan) -> Ids:
    if plan.selection in BUILT_IN:
        return ids  # type: ignore[return-value]
    name = name_of(plan.selection)
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.shape != (k,):
        got = f"{ids.dtype} {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise PlanError(f"selection {name!r} must return int64 ids of shape ({k},), got {got}")
    if (ids[1:] <= ids[:-1]).any() or ids[0] < 0 or ids[-1] >= n:
        raise PlanError(f"selection {name!r} must return distinct ids in ascending order within [0, {n})")
    if allowed is not None and not np.isin(ids, allowed).all():
        raise PlanError(f"selection {name!r} returned ids that it was not given")
    return ids
