"""Sources: where the scores of a choice come from, each a value with parameters of its own. Rules T5 and T7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attent import checks
from attent.choose.policies import LARGEST_BONUS
from attent.choose.rules import count
from attent.choose.scores import MEASURES, Measure
from attent.choose.values import from_table, parse, text_of, value
from attent.errors import PlanError


class Scored(NamedTuple):
    """How many examples are scored before the first selection of a run that has not trained yet, and before others."""

    first: int
    others: int


@value
class Reuse:
    """The losses already seen in training steps, which cost nothing; each example's latest, however old.

    measure: what is ranked: ``loss``, or ``progress``, its decrease since it was first seen. bonus: standard deviations
    added to a score per epoch since it was seen, at least 0. refresh: share of the examples scored before each
    selection, those seen longest ago, in [0, 1].

    Example:
        >>> import attent
        >>> attent.Reuse(bonus=0.1)
        Reuse(bonus=0.1)
    """

    measure: Measure = "loss"
    bonus: float = 0.0
    refresh: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        checks.one_of("measure", self.measure, MEASURES)
        checks.number("bonus", self.bonus, 0, LARGEST_BONUS)
        checks.number("refresh", self.refresh, 0, 1)

    def scored(self, n: int) -> Scored:
        """Return how many of n examples are scored before selections."""
        return Scored(n, count(self.refresh, n) if self.refresh else 0)


@value
class Fresh:
    """A scoring pass over all examples before each selection.

    Example:
        >>> import attent
        >>> attent.Fresh().scored(100)
        Scored(first=100, others=100)
    """

    def scored(self, n: int) -> Scored:
        """Return how many of n examples are scored before selections."""
        return Scored(n, n)


@value
class Pool:
    """A scoring pass over a share of the examples, in (0, 1], drawn at random for each selection, which is among those.

    Example:
        >>> import attent
        >>> attent.Pool(share=0.6).scored(100)
        Scored(first=60, others=60)
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the parameter."""
        checks.number("share", self.share, 0, 1, open_below=True)

    def scored(self, n: int) -> Scored:
        """Return how many of n examples are scored before selections."""
        return Scored(count(self.share, n), count(self.share, n))


@value
class Proxy:
    """Scores of another learner, smaller or from earlier: ``attent.teach(learner, plan, scorer=other)``.

    share: of the examples scored before each selection, in (0, 1]; below 1 a pool drawn at random, as `Pool`.
    Source: Coleman et al. 2020, Selection via Proxy, arXiv 1906.11829.

    Example:
        >>> import attent
        >>> attent.Proxy()
        Proxy()
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameter."""
        checks.number("share", self.share, 0, 1, open_below=True)

    def scored(self, n: int) -> Scored:
        """Return how many of n examples are scored before selections."""
        return Scored(count(self.share, n), count(self.share, n))


@value
class Replay:
    """The scores of an earlier run, draw for draw: ``attent.teach(learner, plan, replay=trace)``.

    Example:
        >>> import attent
        >>> attent.Replay().scored(100)
        Scored(first=0, others=0)
    """

    def scored(self, n: int) -> Scored:
        """Return how many of n examples are scored before selections: none."""
        return Scored(0, 0)


Source = Reuse | Fresh | Pool | Proxy | Replay
BUILT_IN = {"reuse": Reuse, "fresh": Fresh, "pool": Pool, "proxy": Proxy, "replay": Replay}


def share_of(source: Source) -> float:
    """Return the share of the examples that a selection is made among."""
    return source.share if isinstance(source, Pool | Proxy) else 1.0


def source_of(given: object) -> Source:
    """Return the source that is given as one, as its text, or as a table with its ``name``. Raises PlanError.

    Example:
        >>> from attent.choose.sources import source_of
        >>> source_of("reuse(bonus=0.1)"), source_of({"name": "pool", "share": 0.6})
        (Reuse(bonus=0.1), Pool(share=0.6))
    """
    found: Any = given
    if isinstance(given, str):
        found = parse("source", given, BUILT_IN)
    elif isinstance(given, Mapping):
        found = from_table("source", given, BUILT_IN)
    if not isinstance(found, Source):
        hint = f": write {found.__name__}()" if isinstance(found, type) else ""
        raise PlanError(f"must be a source such as Reuse(), or its text, got {checks.shown(found)}{hint}")
    return found


def shown(source: Source) -> str:
    """Return the text from which `source_of` makes a source again.

    Example:
        >>> from attent.choose.sources import Reuse, shown
        >>> shown(Reuse(bonus=0.1))
        'reuse(bonus=0.1)'
    """
    return text_of(source, BUILT_IN)
