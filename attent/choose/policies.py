"""Policies: ways to choose what is taught next, each a value with parameters of its own; by group: `choose/grouped.py`.

Rules S1 to S10, T8, T9 and T13 of docs/spec.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.choose import auto, rules
from attent.choose.gumbel import correction_weights, inclusion_probabilities, is_zero
from attent.choose.noise import Noise
from attent.choose.policy import Choice, Policy, asks, checked_choice, first_look, in_passes, policy_of, ranks, shown
from attent.choose.rules import Ages
from attent.choose.scaling import SCALINGS, Scaling
from attent.choose.scores import deviations
from attent.choose.stuck import stuck_group
from attent.choose.values import value
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
        weights = correction_weights(self.chances(scores, k, noise, ids), k, self.correction)
        return Choice(chosen, weights[chosen if ids is None else np.searchsorted(ids, chosen)])

    def chances(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Numbers:
        """Return each example's probability to be chosen, exactly, given the draw's threshold (rule S10)."""
        shape: dict[str, Any] = {"temperature": self.temperature, "scaling": self.scaling, "ids": ids}
        return inclusion_probabilities(scores, k, noise, **shape)


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

    def chances(self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None) -> Numbers:
        """Return each example's probability to be chosen: k / n."""
        return np.full(len(scores), k / len(scores))


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
        object.__setattr__(self, "ties", policy_of(self.ties, CHOOSING, field="ties"))
        weighs = isinstance(self.ties, InfoBatch) or getattr(self.ties, "correction", None) is not None
        if asks(self.ties) or weighs:
            raise PlanError(
                "must be a policy that asks for nothing further and gives no weights, got "
                f"{shown(self.ties, CHOOSING)}",
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
class PerCost:
    """Another policy, which ranks scores per cost (tokens, pixels, seconds) in place of scores: benefit per token.

    inner: the policy; also its text. A score below 0 is multiplied by the cost, so that of what is equally bad the
    dearer ranks lower. It needs a learner with ``costs()``. How many are chosen it does not change. Around `Auto` the
    signs go by losses as they are: whether to teach is not asked per cost, only what.

    Example:
        >>> import numpy as np, attent
        >>> given = {"costs": np.array([1.0, 4.0, 2.0])}
        >>> attent.PerCost().choose(np.array([2.0, 4.0, 3.0]), 2, attent.Noise(0, 0), **given).ids.tolist()
        [0, 2]
    """

    inner: Policy = Hard()

    def __post_init__(self) -> None:
        """Check the parameter."""
        object.__setattr__(self, "inner", policy_of(self.inner, CHOOSING, field="inner"))
        by_losses = set() if isinstance(self.inner, Auto) else {"losses"}  # whose losses are for its signs alone
        if not ranks(self.inner) or (by_losses | {"costs"}) & asks(self.inner):
            raise PlanError(f"must be a policy that goes by scores, got {shown(self.inner, CHOOSING)}", field="inner")

    @property
    def hands_on(self) -> frozenset[str]:
        """What the inner policy asks for."""
        return asks(self.inner)

    @property
    def in_passes(self) -> bool:
        """Whether plans count passes: as with the inner policy."""
        return in_passes(self.inner)

    @property
    def first_look(self) -> float:
        """The share of the first pass after which it is asked again: as with the inner policy."""
        return first_look(self.inner)

    def choose(
        self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, costs: Numbers, **handed: Any
    ) -> Choice:
        """Return what the inner policy chooses by scores per cost."""
        ranked = np.where(scores < 0, scores * costs, scores / costs)
        chosen = self.inner.choose(ranked, k, noise, ids, **handed)
        chosen = chosen if isinstance(chosen, Choice) else Choice(chosen)
        return chosen if chosen.ranked is not None else chosen._replace(ranked=ranked)


@value
class Auto:
    """Before each pass the losses seen so far decide between the hardest, a soft choice, and all in turn.

    bonus: standard deviations added per epoch since a score was seen, in passes on the hardest, at least 0: what was
    skipped may have been forgotten. soft: the soft choice while it is tried, when wrong labels may be among the
    hardest; proved: the soft choice once what it teaches is learnt. The signs and thresholds: `attent.choose.auto`.
    A first try begins with a third of what it would teach, drawn evenly, which says whether that is learnt by heart.
    keep: by how much the mean of what is watched (`attent.Watches`) may be above its lowest so far before a pass, in
    its unit, at least 0: beyond that all are in turn until it is back. None: nothing is watched.

    Example:
        >>> import attent
        >>> attent.Auto(bonus=0.1)
        Auto(bonus=0.1)
    """

    in_passes: ClassVar[bool] = True
    first_look: ClassVar[float] = 1 / 3

    bonus: float = 0.0
    soft: Soft = Soft()
    keep: float | None = None
    proved: Soft = Soft(temperature=0.3)

    def __post_init__(self) -> None:
        """Check the parameters."""
        checks.number("bonus", self.bonus, 0, LARGEST_BONUS)
        if self.keep is not None:
            checks.number("keep", self.keep, 0, checks.FINITE, rule="at least 0, or None")
        for field in ("soft", "proved"):
            given = policy_of(getattr(self, field), CHOOSING, field=field)
            object.__setattr__(self, field, given)
            if not isinstance(given, Soft) or given.correction is not None:
                raise PlanError(f"must be a soft policy without correction, got {shown(given, CHOOSING)}", field=field)

    @property
    def hands_on(self) -> frozenset[str]:
        """What is watched, where something must be kept."""
        return frozenset() if self.keep is None else frozenset({"watched"})

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
        whole: int,
        ask: Callable[[str], Any],
        **handed: Any,
    ) -> Choice:
        """Return k, chosen as the losses say, how and why."""
        stand = auto.Stand() if memory is None else auto.Stand(**memory)
        begun = stand.how if stand.begun else None
        opening = ask("opening") if stand.first is None else None
        quarters = None if stand.how is None or stand.looked else ask("quarters")
        decision = auto.decide(before, losses, taught, stand, opening, quarters)
        groups = ask("groups")
        if groups is not None and opening is not None and len(opening) and decision.stand.first is not None:
            decision = auto.unless_stuck(decision, stuck_group(losses, groups, ask("quarters")))
        if k < whole:
            decision = auto.begun(decision)
        if self.keep is not None:
            decision = auto.keeping(decision, handed["watched"], self.keep)
        if last:
            decision = auto.at_the_end(decision)
        found = decision.stand.how
        ranked = deviations(scores, bonus=self.bonus, ages=ask("ages")) if found == "hard" else scores
        if found is None:
            chosen, how = rules.first_in_turn(ask("turns"), k, order, ids=ids), "in turn"
            return Choice(chosen, None, how, decision.why, decision.stand._asdict(), ranked)
        taken = taught if found == begun else None  # by the pass's first part: it takes no example twice
        if found == "hard":
            chosen, how = _hardest(ranked, whole, ids, taken), "hardest"
        else:
            soft = self.soft if decision.stand.tries else self.proved
            if taken is not None:  # those that are left alone scale the choice
                left = _left(len(scores), ids, taken)
                scores, ids = scores[left], np.flatnonzero(left) if ids is None else ids[left]
            chosen, how = soft.choose(scores, whole, noise, ids).ids, "soft"
        if k < whole:  # drawn evenly, so that what is tried is judged by a part that is like the whole
            chosen = rules.random(np.zeros(len(chosen)), k, order, ids=chosen)
        return Choice(chosen, None, how, decision.why, decision.stand._asdict(), ranked)


def _hardest(ranked: Numbers, k: int, ids: Ids | None, taken: Ids | None) -> Ids:
    """Return the k hardest but for those that are taken, ascending, without a second copy of what is ranked."""
    if taken is None:
        return rules.hard(ranked, k, ids=ids)
    leading = rules.hard(ranked, k + len(taken))
    leading = leading[_left(len(ranked), ids, taken)[leading]]
    leading = leading[rules.hard(ranked[leading], k)]
    return leading if ids is None else ids[leading]


def _left(n: int, ids: Ids | None, taken: Ids) -> npt.NDArray[np.bool_]:
    """Return which are not taken: bool, shape (n,)."""
    left = np.ones(n, np.bool_)
    left[taken if ids is None else np.searchsorted(ids, taken)] = False
    return left


LARGEST_BONUS = 1e6
CHOOSING: dict[str, Callable[..., Policy]] = {
    "hard": Hard,
    "soft": Soft,
    "random": Random,
    "band": Band,
    "infobatch": InfoBatch,
    "in_turn": InTurn,
    "auto": Auto,
    "per_cost": PerCost,
}
"""Those that may choose within another policy, as far as that takes them."""
