"""The built-in policies: ways to choose what is taught next, each a value with parameters of its own.

Rules S1 to S10, T8, T9 and T10 of docs/spec.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from attent import checks
from attent.choose import auto, rules
from attent.choose.gumbel import correction_weights, inclusion_probabilities, is_zero
from attent.choose.noise import Noise
from attent.choose.policy import Choice, Policy, asks, checked_choice, ranks
from attent.choose.rules import Ages
from attent.choose.scaling import SCALINGS, Scaling
from attent.choose.scores import deviations
from attent.choose.values import folded, from_table, parse, text_of, value
from attent.errors import PlanError
from attent.learner import Ids, Numbers


@value
class Hard:
    """The k highest scores.

    Example:
        >>> import numpy as np, attent
        >>> attent.Hard().choose(np.array([0.1, 0.9, 0.5]), 2, attent.Noise(0, 0)).ids.tolist()
        [1, 2]
    """

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Choice:
        """Return the k highest."""
        return Choice(rules.hard(scores, k, ids=ids))


@value
class Soft:
    """k drawn without replacement with odds softmax(scaled score / temperature): Gumbel-top-k, see `attent.soft`.

    temperature: at least 0: 0 is `Hard`, infinity is `Random`. scaling: of the scores before it: ``none``, ``std``
    or ``rank``. correction: the largest weight given to make the chosen stand for all, above 0; None: no weights.

    Example:
        >>> import attent
        >>> attent.Soft(temperature=0.3)
        Soft(temperature=0.3)
    """

    temperature: float = 1.0
    scaling: Scaling = "std"
    correction: float | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        checks.number("temperature", self.temperature, 0, math.inf)
        if self.scaling is None:  # the word none, unquoted
            object.__setattr__(self, "scaling", "none")
        checks.one_of("scaling", self.scaling, SCALINGS)
        if self.correction is None:
            return
        checks.number("correction", self.correction, 0, math.inf, open_below=True, rule="above 0, or None")
        if is_zero(self.temperature):
            raise PlanError("needs a choice that is random: a temperature above 0", field="correction")

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Choice:
        """Return k drawn, with weights under a correction."""
        shape: dict[str, Any] = {"temperature": self.temperature, "scaling": self.scaling, "ids": ids}
        chosen = rules.soft(scores, k, noise, **shape)
        if self.correction is None:
            return Choice(chosen)
        weights = correction_weights(inclusion_probabilities(scores, k, noise, **shape), k, self.correction)
        return Choice(chosen, weights[chosen if ids is None else np.searchsorted(ids, chosen)])


@value
class Random:
    """k drawn evenly without replacement; scores are not looked at, and none are made.

    Example:
        >>> import numpy as np, attent
        >>> attent.Random().choose(np.zeros(6), 3, attent.Noise(0, 0)).ids.tolist()
        [3, 4, 5]
    """

    ranks: ClassVar[bool] = False

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Choice:
        """Return k drawn evenly."""
        return Choice(rules.random(scores, k, noise, ids=ids))


@value
class Band:
    """The k highest scores at or below the ``cap`` quantile, in (0, 1]: against wrong labels, which score highest.

    Example:
        >>> import numpy as np, attent
        >>> attent.Band(cap=0.8).choose(np.array([9.0, 1.0, 5.0, 4.0, 3.0]), 2, attent.Noise(0, 0)).ids.tolist()
        [2, 3]
    """

    cap: float = 0.9

    def __post_init__(self) -> None:
        """Check the parameter."""
        checks.number("cap", self.cap, 0, 1, open_below=True)

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Choice:
        """Return the k highest of the band."""
        return Choice(rules.band(scores, k, cap=self.cap, ids=ids))


@value
class InfoBatch:
    """All that score at least the mean, some of the others at random with weights that stand for the rest.

    Source: Qin et al. 2024, InfoBatch, arXiv 2303.04947; see `attent.choose.rules.infobatch`.

    Example:
        >>> import numpy as np, attent
        >>> chosen = attent.InfoBatch().choose(np.array([0.0, 9.0, 0.0, 0.0, 0.0]), 3, attent.Noise(0, 0))
        >>> chosen.ids.tolist(), chosen.weights.tolist()
        ([1, 3, 4], [1.0, 2.0, 2.0])
    """

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Choice:
        """Return k, with their weights."""
        return Choice(*rules.infobatch(scores, k, noise, ids=ids))


@value
class InTurn:
    """Those trained longest ago first; ``ties`` chooses among the ones that tie: sampling without replacement.

    ties: a policy that asks for nothing further and gives no weights; also its text. Source: Okanovic et al. 2023, RS2,
    arXiv 2305.18424.

    Example:
        >>> import attent
        >>> attent.InTurn(ties=attent.Hard())
        InTurn(ties=Hard())
    """

    ties: Policy = Random()

    def __post_init__(self) -> None:
        """Check the parameter."""
        object.__setattr__(self, "ties", policy_of(self.ties))
        weighs = isinstance(self.ties, InfoBatch) or getattr(self.ties, "correction", None) is not None
        if asks(self.ties) or weighs:
            raise PlanError(
                f"must be a policy that asks for nothing further and gives no weights, got {shown(self.ties)}",
                field="ties",
            )

    @property
    def ranks(self) -> bool:
        """Whether scores are looked at: where ties are chosen by them."""
        return ranks(self.ties)

    def choose(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, turns: Ages) -> Choice:
        """Return the k trained longest ago."""
        most = len(scores) if ids is None else int(ids[-1]) + 1

        def pick(tied: Ids, many: int) -> Ids:
            named = tied if ids is None else ids[tied]
            found = checked_choice(self.ties, self.ties.choose(scores[tied], many, noise, named), many, named, most).ids
            return found if ids is None else np.searchsorted(ids, found)

        chosen = rules.in_turn(turns, k, pick)
        return Choice(chosen if ids is None else ids[chosen])


@value
class Balanced:
    """As many of each group as of any other, those trained longest ago first: the control wherever groups are known.

    A group that is smaller than its share is taken whole, and the rest is spread evenly over the others; what cannot be
    spread evenly goes to the lower groups. It needs a learner with ``groups()``. Plans of it count passes.

    Example:
        >>> import numpy as np, attent
        >>> groups, never = np.array([0, 0, 0, 0, 1, 1]), np.zeros(6, np.int64)
        >>> attent.Balanced().choose(np.zeros(6), 4, attent.Noise(0, 0), groups=groups, turns=never).ids.tolist()
        [1, 3, 4, 5]
    """

    ranks: ClassVar[bool] = False
    in_passes: ClassVar[bool] = True

    def choose(
        self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, groups: Ids, turns: Ages
    ) -> Choice:
        """Return k, evenly by group."""
        named = np.arange(len(scores), dtype=np.int64) if ids is None else ids
        names, member = np.unique(groups, return_inverse=True)
        sizes = np.bincount(member)
        taken = []
        for group, many in enumerate(rules.even_shares(sizes, k).tolist()):
            if many:
                inside = np.flatnonzero(member == group)

                def pick(tied: Ids, count: int, inside: Ids = inside) -> Ids:
                    found = rules.random(scores[inside[tied]], count, noise, ids=named[inside[tied]])
                    return np.searchsorted(named[inside], found)

                taken.append(named[inside[rules.in_turn(turns[inside], many, pick)]])
        return Choice(np.sort(np.concatenate(taken)), how="balanced", why={"groups": len(names)})


@value
class Auto:
    """Before each pass the losses seen so far decide between the hardest, a soft choice, and all in turn.

    bonus: standard deviations added per epoch since a score was seen, in passes on the hardest, at least 0: what was
    skipped may have been forgotten. soft: the soft choice. The signs and thresholds: `attent.choose.auto`.

    Example:
        >>> import attent
        >>> attent.Auto(bonus=0.1)
        Auto(bonus=0.1)
    """

    in_passes: ClassVar[bool] = True

    bonus: float = 0.0
    soft: Soft = Soft()

    def __post_init__(self) -> None:
        """Check the parameters."""
        checks.number("bonus", self.bonus, 0, LARGEST_BONUS)
        object.__setattr__(self, "soft", policy_of(self.soft))
        if not isinstance(self.soft, Soft) or self.soft.correction is not None:
            raise PlanError(f"must be a soft policy without correction, got {shown(self.soft)}", field="soft")

    def choose(
        self,
        scores: Numbers,
        k: int,
        noise: Noise,
        ids: Ids | None = None,
        *,
        losses: Numbers,
        before: Numbers,
        order: Noise,
        taught: Ids | None,
        memory: Mapping[str, Any] | None,
        last: bool,
        ask: Callable[[str], Any],
    ) -> Choice:
        """Return k, chosen as the losses say, how and why."""
        stand = None if memory is None else auto.Stand(**memory)
        decision = auto.decide(before, losses, taught, stand)
        if last:
            decision = auto.at_the_end(decision)
        found = decision.stand.how
        ranked = deviations(scores, bonus=self.bonus, ages=ask("ages")) if found == "hard" else scores
        if found == "hard":
            chosen, how = rules.hard(ranked, k, ids=ids), "hardest"
        elif found == "soft":
            chosen, how = self.soft.choose(scores, k, noise, ids).ids, "soft"
        else:
            chosen, how = rules.first_in_turn(ask("turns"), k, order, ids=ids), "in turn"
        return Choice(chosen, None, how, decision.why, decision.stand._asdict(), ranked)


LARGEST_BONUS = 1e6
BUILT_IN: dict[str, Callable[..., Policy]] = {
    "hard": Hard,
    "soft": Soft,
    "random": Random,
    "band": Band,
    "infobatch": InfoBatch,
    "in_turn": InTurn,
    "balanced": Balanced,
    "auto": Auto,
}


def policy_of(given: object, further: Callable[[], Mapping[str, Callable[..., Any]]] = dict) -> Policy:
    """Return the policy that is given as one, as its text, or as a table with its ``name``.

    ``further``: gives policies by name beyond the built-in ones, asked only where those do not do. Raises PlanError.

    Example:
        >>> from attent.choose.policies import policy_of
        >>> policy_of("soft(temperature=0.3)")
        Soft(temperature=0.3)
    """
    if isinstance(given, str):
        return _checked(_read(lambda known: parse("policy", given, known), further))
    if isinstance(given, Mapping):
        return _checked(_read(lambda known: from_table("policy", given, known), further))
    return _checked(given)


def shown(policy: object, further: Callable[[], Mapping[str, Callable[..., Any]]] = dict) -> str:
    """Return the text from which `policy_of` makes a policy again, as far as it has one.

    Example:
        >>> from attent.choose.policies import Soft, shown
        >>> shown(Soft(temperature=0.3))
        'soft(temperature=0.3)'
    """
    return text_of(policy, BUILT_IN if type(policy) in BUILT_IN.values() else _with(further()))


def _read(read: Callable[[Mapping[str, Any]], Any], further: Callable[[], Mapping[str, Callable[..., Any]]]) -> Any:
    try:
        return read(BUILT_IN)
    except PlanError:
        others = further()
        if not others:
            raise
        return read(_with(others))


def _with(others: Mapping[str, Callable[..., Any]]) -> Mapping[str, Callable[..., Any]]:
    """Return the policies by name, the built-in ones first, so that no other takes the name of one."""
    taken = {folded(name) for name in BUILT_IN}
    return {**BUILT_IN, **{name: maker for name, maker in others.items() if folded(name) not in taken}}


def _checked(given: object) -> Policy:
    if isinstance(given, type) or not callable(getattr(given, "choose", None)):
        hint = f": write {given.__name__}()" if isinstance(given, type) else ""
        raise PlanError(f"must be a policy such as Soft(temperature=0.3), or its text, got {given!r}{hint}")
    for name, held in getattr(given, "__dict__", {}).items():
        if isinstance(held, np.ndarray):
            raise PlanError(
                "must hold what compares and prints whole, so that a run goes on with the policy it began with: "
                f"{name} of {type(given).__name__} is a NumPy array, make it a tuple"
            )
    policy: Policy = given  # type: ignore[assignment]
    return policy
