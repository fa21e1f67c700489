"""What a policy is, and how one is asked: the border between a course and whoever chooses. Rule S5 of docs/spec.md.

A policy is any frozen class with a method ``choose(scores, k, noise, ids)``. What it must know beyond these it names as
keyword-only arguments, out of `OFFERS`.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from attent import checks
from attent.choose.noise import Noise
from attent.choose.rules import NonFinite, finite_ids
from attent.choose.values import Makers, folded, from_table, parse, text_of
from attent.errors import AttentError, PlanError
from attent.learner import Ids, Numbers

OFFERS = {
    "losses": "float64, one per score: the loss seen last, as it is",
    "before": "float64, one per score: the loss seen before that, NaN where there is none",
    "ages": "whole numbers, one per score: the plan's epochs since a score was seen; a first pass that is cut is one",
    "turns": "whole numbers, one per score: epochs on all examples since an example was last trained",
    "whole": "whole number: examples of the coming epoch, and of the next where they are a first pass cut in two",
    "order": "Noise: of the order in which the coming epoch is trained, lowest first",
    "taught": "int64 ids last trained, ascending; None: all",
    "groups": "int64, one per score: the group of each example, as the learner names them",
    "costs": "float64, one per score: what each example costs, as the learner says, above 0",
    "watched": "float64, (2, m), lower is better: what the learner's watch() said before the run's first step, and "
    "says now, one number per watched example",
    "memory": "what the policy's last choice left in ``Choice.memory``, None before the first",
    "last": "bool: whether the coming epoch is the run's last",
    "progress": "float in [0, 1]: the share of the run's choices that lie behind, 0 at the first, 1 at the last",
    "ask": "function: ask('ages'), ask('turns'), ask('groups'), ask('opening') and ask('quarters') make these when "
    "called, for what does not need them every time; groups: None where none are known; opening: int64 ids, in order, "
    "of the first eighth, at least 60, of the run's first epoch, none once a second was trained; quarters: of its "
    "first and its last quarter, shape (2, n // 4), none once more than one pass was trained after it (a cut one is "
    "one); none of either where that epoch was not on all",
}
"""What a policy may ask for beyond scores, k, noise and ids, by the name of a keyword-only argument."""
_OF_TRAINING = ("losses", "before", "turns")  # only training tells these
_WHEN_ASKED = ("ages", "turns", "groups", "opening", "quarters")


class Choice(NamedTuple):
    """What is taught next: ids, int64, distinct and ascending; weights, float64, one per id, or None.

    ``how``: the way of choosing in a word or two, and ``why``: its reason as JSON-ready data, both recorded in the
    trace. ``memory``: what the next choice may need, JSON-ready. ``ranked``: the numbers that were ranked, where
    these are not the scores; float64, one per score.
    """

    ids: Ids
    weights: Numbers | None = None
    how: str | None = None
    why: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] | None = None
    ranked: Numbers | None = None


@runtime_checkable
class Policy(Protocol):
    """A way to choose. Frozen, compared by its fields, and checked when it is made; a dataclass is the usual form.

    ``choose(scores, k, noise, ids, *, ...)`` returns k ids or a `Choice`. scores: float64, finite, one per id, higher
    is more deviant. ids: int64, ascending; None: 0 to ``len(scores) - 1``. Further keyword-only arguments ask for
    what `OFFERS` lists. No array that it is given can be written to. Optional attributes: ``ranks = False``
    says that it looks at no score, so none is made; ``in_passes = True`` that a plan of it counts passes, and costs
    what it is given; ``first_look`` what share of the first pass is a pass of its own, so that it is asked again before
    the rest of it; ``hands_on`` names what it takes as ``**handed``, such as for a policy within it; and a method
    ``check_groups(sizes, fewest, most)`` raises PlanError, before a run, for groups of these sizes by name, or passes
    of this many examples, that it cannot go by; ``most`` counts what a pool may leave out as well.
    """

    @property
    def choose(self) -> Callable[..., Choice | Ids]:
        """The method."""
        ...


def asks(policy: Policy) -> frozenset[str]:
    """Return what a policy asks for beyond scores, k, noise and ids.

    Raises PlanError for what nobody offers, and where it cannot be called so.

    Example:
        >>> import attent
        >>> from attent.choose.policy import asks
        >>> sorted(asks(attent.Hard())), sorted(asks(attent.InTurn()))
        ([], ['turns'])
    """
    signature = inspect.signature(policy.choose)
    kinds = {one.name: one.kind for one in signature.parameters.values()}
    names = {name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY}
    if inspect.Parameter.VAR_KEYWORD in kinds.values():
        names |= set(getattr(policy, "hands_on", ()))
    for name in sorted(names - OFFERS.keys()):
        raise PlanError(f"policy {policy!r} asks for {name!r}, which is not offered; offered: {', '.join(OFFERS)}")
    try:
        signature.bind("scores", "k", "noise", "ids", **dict.fromkeys(names))
    except TypeError as error:
        raise PlanError(f"policy {policy!r} must take choose(scores, k, noise, ids, *, ...): {error}") from None
    return frozenset(names)


def may_go_by_groups(policy: Policy) -> bool:
    """Return whether a policy asks for groups, or may ask where they are known."""
    return not asks(policy).isdisjoint(("groups", "ask"))


def asks_of_training(policy: Policy) -> list[str]:
    """Return what a policy asks for that only training tells."""
    names = asks(policy)
    return [name for name in _OF_TRAINING if name in names or (name == "turns" and "ask" in names)]


def ranks(policy: Policy) -> bool:
    """Return whether a policy looks at scores."""
    return bool(getattr(policy, "ranks", True))


def in_passes(policy: Policy) -> bool:
    """Return whether a plan of the policy counts passes, which cost what the plan is given."""
    return bool(getattr(policy, "in_passes", False))


def first_look(policy: Policy) -> float:
    """Return the share of its first pass after which a policy is asked again, 1 where that pass is whole."""
    return checks.number("first_look", getattr(policy, "first_look", 1.0), 0, 1, open_below=True)


def choose(
    policy: Policy,
    scores: Numbers,
    k: int,
    noise: Noise,
    *,
    among: Ids | None = None,
    non_finite: NonFinite = "error",
    offers: Mapping[str, Any] | None = None,
) -> Choice:
    """Return what a policy teaches next, given the scores of all n examples: k of them.

    among: the ids that may be chosen, ascending; None: all. non_finite: what a score that is not finite means (rule
    S5). offers: what the policy asks for, arrays over all n. Raises ScoreError for scores that cannot be ranked,
    PlanError for a policy that returns other ids than it may.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose.policy import choose
        >>> choose(attent.Hard(), np.array([1.0, np.nan, 3.0]), 2, attent.Noise(0, 0), non_finite="drop").ids.tolist()
        [0, 2]
    """
    ids = among
    if ranks(policy):  # else no score is looked at, so none can be bad
        finite = finite_ids(scores, non_finite, among)
        ids = among if finite is None else finite
    known = scores if ids is None else scores[ids]
    wanted = min(k, len(known))

    def offered(held: Any) -> Any:
        return _read_only(_taken(held, len(scores), ids))

    given = {name: offered(held) for name, held in (offers or {}).items()}
    if "ask" in given:
        given["ask"] = functools.partial(_asked, given["ask"], offered)
    answer = _answer(policy, _read_only(known), wanted, noise, _read_only(ids), given)
    choice = checked_choice(policy, answer, wanted, ids, len(scores))
    if choice.ranked is not None and ids is not None:
        ranked = np.full(len(scores), np.nan)
        ranked[ids] = choice.ranked
        choice = choice._replace(ranked=ranked)
    if wanted == k or non_finite != "last":
        return choice
    possible = np.arange(len(scores)) if among is None else among
    bad = possible[~np.isfinite(scores[possible])][: k - wanted]
    every = np.concatenate([choice.ids, bad])
    order = np.argsort(every, kind="stable")
    weights = None if choice.weights is None else np.concatenate([choice.weights, np.ones(len(bad))])[order]
    return choice._replace(ids=every[order], weights=weights)


def _asked(ask: Callable[[str], Any], offered: Callable[[Any], Any], name: str) -> Any:
    if name not in _WHEN_ASKED:
        raise PlanError(f"ask() makes {', '.join(_WHEN_ASKED)}, got {name!r}: name others as arguments of choose()")
    return offered(ask(name))


def _answer(policy: Policy, scores: Numbers, k: int, noise: Noise, ids: Ids | None, given: Mapping[str, Any]) -> object:
    """Return what a policy says; whatever else than attent's own errors it raises is told under its name."""
    try:
        return policy.choose(scores, k, noise, ids, **given)
    except AttentError:
        raise
    except Exception as error:
        raise PlanError(f"policy {policy!r} raised {type(error).__name__}: {error}") from error


def checked_choice(policy: Policy, given: object, k: int, ids: Ids | None, n: int) -> Choice:
    """Return what a policy chose if it is k of the ids given (None: 0 to n-1), ascending, and can be kept.

    Raises PlanError naming the policy.
    """
    choice = given if isinstance(given, Choice) else Choice(given)  # type: ignore[arg-type]
    found, name = choice.ids, repr(policy)
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.shape != (k,):
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise PlanError(f"policy {name} must return int64 ids of shape ({k},), got {got}")
    if (found[1:] <= found[:-1]).any() or found[0] < 0 or found[-1] >= n:
        raise PlanError(f"policy {name} must return distinct ids in ascending order within [0, {n})")
    if ids is not None and not np.array_equal(ids[np.minimum(np.searchsorted(ids, found), len(ids) - 1)], found):
        raise PlanError(f"policy {name} returned ids that it was not given")
    weights = choice.weights
    if weights is not None and not (
        isinstance(weights, np.ndarray)
        and weights.dtype == np.float64
        and weights.shape == (k,)
        and np.isfinite(weights).all()
        and (weights >= 0).all()
    ):
        raise PlanError(f"policy {name} must return finite float64 weights of at least 0, of shape ({k},), or None")
    ranked, known = choice.ranked, n if ids is None else len(ids)
    if ranked is not None and not (
        isinstance(ranked, np.ndarray) and ranked.dtype == np.float64 and ranked.shape == (known,)
    ):
        raise PlanError(f"policy {name} must return ranked numbers as float64 of shape ({known},), or None")
    if not isinstance(choice.how, str | None):
        raise PlanError(f"policy {name} must return how as a text, or None, got {choice.how!r}")
    return choice._replace(why=_kept(name, "why", choice.why), memory=_kept(name, "memory", choice.memory))


def _kept(name: str, what: str, held: object) -> dict[str, Any] | None:
    """Return a mapping as a file gives it back, so that a run that is resumed goes on with the very same."""
    if held is None:
        return None
    try:
        kept = json.loads(json.dumps(dict(held), allow_nan=False))  # type: ignore[call-overload]
    except (TypeError, ValueError, RecursionError) as error:
        raise PlanError(f"policy {name} must return {what} as a JSON-ready mapping, or None: {error}") from None
    return kept  # type: ignore[no-any-return]


def _taken(held: Any, n: int, ids: Ids | None) -> Any:
    return held[ids] if ids is not None and isinstance(held, np.ndarray) and held.shape == (n,) else held


def _read_only(held: Any) -> Any:
    """Return a view that cannot be written to: what a policy is given is the course's own."""
    if not isinstance(held, np.ndarray):
        return held
    view = held.view()
    view.flags.writeable = False
    return view


def policy_of(given: object, known: Makers, further: Callable[[], Makers] = dict, field: str | None = None) -> Policy:
    """Return the policy that is given as one, as its text, or as a table with its ``name``, out of those known.

    ``further``: gives policies by name beyond these, asked only where they do not do. ``field``: of what it is a part,
    by its name there. Raises PlanError.
    """
    if isinstance(given, str):
        return _checked(_read(lambda makers: parse("policy", given, makers), known, further), field)
    if isinstance(given, Mapping):
        return _checked(_read(lambda makers: from_table("policy", given, makers), known, further), field)
    return _checked(given, field)


def shown(policy: object, known: Makers, further: Callable[[], Makers] = dict) -> str:
    """Return the text from which `policy_of` makes a policy again, as far as it has one."""
    return text_of(policy, known if type(policy) in known.values() else _with(known, further()))


def _read(read: Callable[[Makers], Any], known: Makers, further: Callable[[], Makers]) -> Any:
    try:
        return read(known)
    except PlanError:
        others = further()
        if not others:
            raise
        return read(_with(known, others))


def _with(known: Makers, others: Makers) -> Makers:
    """Return the policies by name, those known first, so that no other takes the name of one."""
    taken = {folded(name) for name in known}
    return {**known, **{name: maker for name, maker in others.items() if folded(name) not in taken}}


def _checked(given: object, field: str | None) -> Policy:
    if isinstance(given, type) or not callable(getattr(given, "choose", None)):
        hint = f": write {given.__name__}()" if isinstance(given, type) else ""
        raise PlanError(
            f"must be a policy such as Soft(temperature=0.3), or its text, got {checks.shown(given)}{hint}", field=field
        )
    for name, held in getattr(given, "__dict__", {}).items():
        if isinstance(held, np.ndarray):
            raise PlanError(
                "must hold what compares and prints whole, so that a run goes on with the policy it began with: "
                f"{name} of {type(given).__name__} is a NumPy array, make it a tuple"
            )
    policy: Policy = given  # type: ignore[assignment]
    return policy
