"""Policies that go by groups: each gives its share, which another policy chooses. Rules T10 to T12 of docs/spec.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np

from attent import checks
from attent.choose.gumbel import correction_weights, is_zero
from attent.choose.noise import Noise
from attent.choose.policies import CHOOSING, InfoBatch, InTurn, Random, Soft
from attent.choose.policy import Choice, Policy, asks, checked_choice, policy_of, ranks, shown
from attent.choose.rules import Ages
from attent.choose.shares import (
    Members,
    Seen,
    Share,
    between,
    check_shares,
    checked_share,
    counts_of,
    members_of,
    weights_of,
)
from attent.choose.values import value
from attent.errors import PlanError
from attent.learner import Ids, Numbers

_TOLD = 20  # groups of which the trace says how many were taken


@value
class ByGroup:
    """Of each group its share, chosen within the group by another policy.

    inner: that policy; one that decides over a whole run, or goes by groups itself, is refused. share: ``"even"``,
    ``"size"``, a power of the size in [0, 1], one number per group from 0 (or a mapping from group to number; 0: never
    taught), ``"loss"``: size times mean score, which with a reference is the excess loss; or ``"speed"``: size times
    the mean fall between the last two sights. to: the share at the run's end, on a straight line from ``share`` at its
    first choice; None: as at first. floor: of "loss" and "speed", the part that goes by size, in (0, 1]. correction:
    the largest weight given to make the chosen stand for all examples (rule S10), for an inner ``Random`` or ``Soft``.

    Each group with a share gives at least one example; none gives more than it has. Whole numbers by the largest
    remainder (rule T12). Plans of it count passes. Sources: excess loss as in DoReMi (arXiv 2305.10429), learning speed
    as in ADO (arXiv 2410.11820), both without their averages over time.

    Example:
        >>> import numpy as np, attent
        >>> groups, scores = np.array([0, 0, 0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0, 0.1, 0.2])
        >>> attent.ByGroup(attent.Hard()).choose(scores, 2, attent.Noise(0, 0), groups=groups).ids.tolist()
        [3, 5]
    """

    in_passes: ClassVar[bool] = True

    inner: Policy = InTurn()
    share: Share = "even"
    to: Share | None = None
    floor: float = 0.1
    correction: float | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        inner = policy_of(self.inner, CHOOSING, field="inner")
        object.__setattr__(self, "inner", inner)
        object.__setattr__(self, "share", checked_share("share", self.share))
        if {"groups", "memory", "taught", "ask"} & asks(inner):
            raise PlanError(
                f"must be a policy that can choose within a group, got {shown(inner, CHOOSING)}", field="inner"
            )
        if self.to is not None:
            object.__setattr__(self, "to", checked_share("to", self.to))
        checks.number("floor", self.floor, 0, 1, open_below=True)
        if self.correction is None:
            return
        checks.number("correction", self.correction, 0, math.inf, open_below=True, rule="above 0, or None")
        if not isinstance(inner, Random | Soft) or getattr(inner, "correction", None) is not None:
            rule = (
                f"needs Random() or Soft() without a correction of its own within groups, got {shown(inner, CHOOSING)}"
            )
            raise PlanError(rule, field="correction")
        if isinstance(inner, Soft) and is_zero(inner.temperature):
            raise PlanError("needs a choice that is random: a temperature above 0", field="correction")

    @property
    def ranks(self) -> bool:
        """Whether scores are looked at: within groups, or for the shares."""
        return ranks(self.inner) or "loss" in (self.share, self.to)

    @property
    def hands_on(self) -> frozenset[str]:
        """What the inner policy and the shares ask for."""
        speed = {"losses", "before"} if "speed" in (self.share, self.to) else set()
        return asks(self.inner) | speed | ({"progress"} if self.to is not None else set())

    def check_groups(self, sizes: Mapping[int, int], fewest: int, most: int) -> None:
        """Raise PlanError where these groups, and passes of this many examples, do not go with the shares."""
        check_shares("share", self.share, sizes, fewest, most)
        if self.to is not None:
            check_shares("to", self.to, sizes, fewest, most)

    def choose(
        self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, groups: Ids, **handed: Any
    ) -> Choice:
        """Return k, of each group its share."""
        members = members_of(groups)
        seen = Seen(scores, handed.get("losses"), handed.get("before"))
        weights = weights_of(self.share, members, seen, self.floor)
        if self.to is not None:
            weights = between(weights, weights_of(self.to, members, seen, self.floor), handed["progress"])
        counts = counts_of(weights, members.sizes, k)
        given = {name: handed[name] for name in asks(self.inner)}
        choice = _within(self.inner, members, counts, scores, noise, ids, given)
        if self.correction is not None:
            choice = choice._replace(weights=self._weights(members, counts, scores, noise, ids, choice.ids))
        taught = zip(members.names.tolist(), counts, strict=True)
        why = {f"group {name}": many for name, many in taught} if len(counts) <= _TOLD else {"groups": len(counts)}
        return choice._replace(how="by group", why=why)

    def _weights(
        self, members: Members, counts: list[int], scores: Numbers, noise: Noise, ids: Ids | None, chosen: Ids
    ) -> Numbers:
        """Return the weights that make the chosen stand for all: (k / n) over the chance to be chosen in a group."""
        chances = np.full(len(scores), np.nan)  # of a group that gives nothing none is chosen
        for places, many in zip(members.places, counts, strict=True):
            if many:
                named = places if ids is None else ids[places]
                chances[places] = self.inner.chances(scores[places], many, noise, named)  # type: ignore[attr-defined]
        weights = correction_weights(chances, len(chosen), cast(float, self.correction))
        return weights[chosen if ids is None else np.searchsorted(ids, chosen)]


@value
class Tempered:
    """Of each group a share that goes as its size to the power alpha, those trained longest ago first.

    alpha: in [0, 1]: 1 is in proportion, 0 is `Balanced`. to: alpha at the run's end, the shares going there on a
    straight line; None: as at first. The same as ``ByGroup(share=alpha)``. Source: temperature sampling of languages,
    Devlin 2018, multilingual BERT; Arivazhagan et al. 2019, arXiv 1907.05019.

    Example:
        >>> import numpy as np, attent
        >>> groups, never = np.repeat([0, 1], [90, 10]), np.zeros(100, np.int64)
        >>> chosen = attent.Tempered().choose(np.zeros(100), 20, attent.Noise(0, 0), groups=groups, turns=never)
        >>> np.bincount(groups[chosen.ids]).tolist()
        [15, 5]
    """

    ranks: ClassVar[bool] = False
    in_passes: ClassVar[bool] = True

    alpha: float = 0.5
    to: float | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        checks.number("alpha", self.alpha, 0, 1)
        if self.to is not None:
            checks.number("to", self.to, 0, 1)

    @property
    def hands_on(self) -> frozenset[str]:
        """What is asked for beyond groups."""
        return self._by_group().hands_on

    def check_groups(self, sizes: Mapping[int, int], fewest: int, most: int) -> None:
        """Raise PlanError where a pass has fewer examples than there are groups."""
        self._by_group().check_groups(sizes, fewest, most)

    def choose(
        self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, groups: Ids, **handed: Any
    ) -> Choice:
        """Return k, of each group its share."""
        return self._by_group().choose(scores, k, noise, ids, groups=groups, **handed)._replace(how="tempered")

    def _by_group(self) -> ByGroup:
        return ByGroup(share=self.alpha, to=self.to)


@value
class Balanced:
    """As many of each group as of any other, those trained longest ago first: the control wherever groups are known.

    A group that is smaller than its share is taken whole, and the rest is spread evenly over the others; what cannot be
    spread evenly goes to the lower groups. It needs a learner with ``groups()``. Plans of it count passes. The same as
    ``ByGroup()``.

    Example:
        >>> import numpy as np, attent
        >>> groups, never = np.array([0, 0, 0, 0, 1, 1]), np.zeros(6, np.int64)
        >>> attent.Balanced().choose(np.zeros(6), 4, attent.Noise(0, 0), groups=groups, turns=never).ids.tolist()
        [1, 3, 4, 5]
    """

    ranks: ClassVar[bool] = False
    in_passes: ClassVar[bool] = True

    def check_groups(self, sizes: Mapping[int, int], fewest: int, most: int) -> None:
        """Raise PlanError where a pass has fewer examples than there are groups."""
        check_shares("share", "even", sizes, fewest, most)

    def choose(
        self, scores: Numbers, k: int, noise: Noise, ids: Ids | None = None, *, groups: Ids, turns: Ages
    ) -> Choice:
        """Return k, evenly by group."""
        members = members_of(groups)
        counts = counts_of([1] * len(members.sizes), members.sizes, k)
        choice = _within(InTurn(), members, counts, scores, noise, ids, {"turns": turns})
        return choice._replace(how="balanced", why={"groups": len(counts)})


def _within(
    inner: Policy,
    members: Members,
    counts: list[int],
    scores: Numbers,
    noise: Noise,
    ids: Ids | None,
    given: Mapping[str, Any],
) -> Choice:
    """Return what a policy chooses within each group, so many of it; its weights are kept, its reasons are not."""
    n = len(scores)
    most = n if ids is None else int(ids[-1]) + 1
    chosen, weights = [], []
    for places, many in zip(members.places, counts, strict=True):
        if not many:
            continue
        named = places if ids is None else ids[places]
        offers = {
            name: held[places] if isinstance(held, np.ndarray) and held.shape == (n,) else held
            for name, held in given.items()
        }
        answer = inner.choose(scores[places], many, noise, named, **offers)
        found = checked_choice(inner, answer, many, named, most)
        chosen.append(found.ids)
        weights.append(np.ones(many) if found.weights is None else found.weights)
    every, held = np.concatenate(chosen), np.concatenate(weights)
    order = np.argsort(every, kind="stable")
    weighs = isinstance(inner, InfoBatch) or bool((held != 1).any())
    return Choice(every[order], held[order] if weighs else None)
