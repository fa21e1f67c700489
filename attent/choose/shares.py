"""Shares of groups: how much of what is taught each group gives, and how many examples that is. Rules T10 to T12."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, cast, get_args

import numpy as np

from attent import checks
from attent.choose.scaling import tree_sum
from attent.errors import PlanError
from attent.learner import Ids, Numbers

Named = Literal["even", "size", "loss", "speed"]
Share = Named | float | tuple[float, ...]
_NAMED: tuple[Named, ...] = get_args(Named)
_UNIT = 10**12  # weights are whole multiples of a 10^-12th of the largest: equal on every machine
_MOST_GROUPS = 100_000  # that shares name one by one


class Members(NamedTuple):
    """The groups of the examples that may be chosen: their names, ascending, their sizes, and who is of each.

    ``places``: of each group the positions of its examples, ascending.
    """

    names: Ids
    sizes: list[int]
    places: list[Ids]


class Seen(NamedTuple):
    """What shares may follow, one number per example: scores, and the losses seen last and before (None: not asked)."""

    scores: Numbers
    losses: Numbers | None = None
    before: Numbers | None = None


def members_of(groups: Ids) -> Members:
    """Return who is of which group. O(n log n), whatever the number of groups.

    Example:
        >>> import numpy as np
        >>> from attent.choose.shares import members_of
        >>> found = members_of(np.array([7, 2, 7]))
        >>> found.names.tolist(), found.sizes, [places.tolist() for places in found.places]
        ([2, 7], [1, 2], [[1], [0, 2]])
    """
    order = np.argsort(groups, kind="stable")
    names, starts = np.unique(groups[order], return_index=True)
    places = np.split(order, starts[1:])
    return Members(names, [len(one) for one in places], places)


def checked_share(name: str, share: object) -> Share:
    """Return a share as it is kept: a name, a power in [0, 1], or a tuple of one number for each group from 0.

    Taken besides: a list, an array, and a mapping from group to number, of which what is not named has none. Raises
    PlanError.

    Example:
        >>> from attent.choose.shares import checked_share
        >>> checked_share("share", {0: 0.75, 2: 0.25}), checked_share("share", 0.5)
        ((0.75, 0.0, 0.25), 0.5)
    """
    if isinstance(share, str):
        return checks.one_of(name, cast(Named, share), _NAMED)
    if isinstance(share, Mapping):
        share = _listed(name, share)
    if isinstance(share, np.ndarray):
        share = share.tolist()
    if isinstance(share, Sequence):
        numbers = tuple(checks.number(f"{name}[{at}]", one, 0, checks.FINITE) for at, one in enumerate(share))
        if not any(numbers):
            raise PlanError(f"must give some group a share above 0, got {checks.shown(numbers)}", field=name)
        return numbers
    words = ", ".join(repr(one) for one in _NAMED)
    return checks.number(name, share, 0, 1, rule=f"{words}, a power in [0, 1], or one number per group")


def _listed(name: str, share: Mapping[object, object]) -> list[object]:
    found: dict[int, object] = {}
    for group, held in share.items():
        key = int(group) if isinstance(group, str) and group.isdecimal() else group  # TOML's keys are texts
        found[checks.whole(f"a group of {name}", key, 0, _MOST_GROUPS)] = held
    return [found.get(group, 0.0) for group in range(max(found, default=-1) + 1)]


def weights_of(share: Share, members: Members, seen: Seen, floor: float) -> list[int]:
    """Return the weight of each group in whole numbers: shares are to each other as they are.

    ``floor``: of the shares that follow, the part that goes by size. A group that ``share`` does not name has none.

    Example:
        >>> import numpy as np
        >>> from attent.choose.shares import Seen, members_of, weights_of
        >>> weights_of("size", members_of(np.array([0, 1, 1])), Seen(np.zeros(3)), 0.1)
        [1, 2]
    """
    if share in ("size", 1):
        return list(members.sizes)
    if share in ("even", 0):
        return [1] * len(members.sizes)
    if isinstance(share, tuple):
        return _whole([share[group] if group < len(share) else 0.0 for group in members.names.tolist()])
    if isinstance(share, str):
        return _whole(_following(share, members, seen, floor))
    largest = max(members.sizes)
    return _whole([(size / largest) ** share for size in members.sizes])


def between(first: Sequence[int], last: Sequence[int], progress: float) -> list[int]:
    """Return the weights on the straight line between two shares of the groups, ``progress`` in [0, 1] along it. Exact.

    Example:
        >>> from attent.choose.shares import between
        >>> between([1, 3], [1, 1], 0.0), between([1, 3], [1, 1], 0.5), between([1, 3], [1, 1], 1.0)
        ([2, 6], [6, 10], [4, 4])
    """
    along, of = Fraction(progress).as_integer_ratio()
    sums = sum(first), sum(last)
    return [
        (of - along) * one * sums[1] + along * other * sums[0] for one, other in zip(first, last, strict=True)
    ]  # fmt: skip


def _following(share: str, members: Members, seen: Seen, floor: float) -> list[float]:
    """Return size times what is followed, its mean over the group and never below 0, mixed with sizes alone."""
    means = [max(0.0, _mean(share, places, seen)) for places in members.places]
    total = sum(members.sizes)
    parts = [size * mean for size, mean in zip(members.sizes, means, strict=True)]
    whole = tree_sum(np.array(parts))
    if not 0 < whole < math.inf:
        return [float(size) for size in members.sizes]
    return [
        floor * size / total + (1 - floor) * part / whole for size, part in zip(members.sizes, parts, strict=True)
    ]  # fmt: skip


def _mean(share: str, places: Ids, seen: Seen) -> float:
    if share == "loss":
        return tree_sum(seen.scores[places]) / len(places)
    assert seen.losses is not None
    assert seen.before is not None
    falls = seen.before[places] - seen.losses[places]
    falls = falls[np.isfinite(falls)]
    return tree_sum(falls) / len(falls) if len(falls) else 0.0


def _whole(weights: Sequence[float]) -> list[int]:
    largest = max(weights)
    return [max(1, round(_UNIT * (weight / largest))) if weight > 0 else 0 for weight in weights]


def counts_of(weights: Sequence[int], sizes: Sequence[int], k: int) -> list[int]:
    """Return how many of each group to take so that k are taken, as nearly in proportion to ``weights`` as may be.

    Each group of a weight above 0 gives at least 1 where k allows, and none more than it has: its quota is
    level * weight, held within these, with the level at which the quotas sum to k. Quotas are rounded down, and what
    is missing goes one each to the largest remainders, equal ones to the lower group. Exact. Raises PlanError for k
    beyond what groups of a weight above 0 have.

    Example:
        >>> from attent.choose.shares import counts_of
        >>> counts_of([1, 1, 1], [9, 2, 9], 9), counts_of([900, 99, 1], [900, 99, 1], 100)
        ([4, 2, 3], [89, 10, 1])
    """
    some = [group for group, weight in enumerate(weights) if weight]
    there = sum(sizes[group] for group in some)
    if not 0 <= k <= there:
        raise PlanError(
            f"must be in [0, {there}], the examples to choose from in groups that have a share, got {k}: lower the "
            "ratio, or give further groups a share",
            field="k",
        )
    least = 1 if len(some) <= k else 0
    level = _level([(weights[group], sizes[group]) for group in some], least, k)
    counts, remainders = [0] * len(weights), []
    for group in some:
        quota = min(max(level * weights[group], Fraction(least)), Fraction(sizes[group]))
        counts[group] = math.floor(quota)
        remainders.append((counts[group] - quota, group))  # the largest remainder first, then the lower group
    for _, group in sorted(remainders)[: k - sum(counts)]:
        counts[group] += 1
    return counts


def _level(groups: Sequence[tuple[int, int]], least: int, k: int) -> Fraction:
    """Return the level at which the quotas of groups of these weights and sizes sum to k, the largest if many do."""
    base, slope, level = least * len(groups), 0, Fraction(0)
    for at, rise, step in sorted(_bends(groups, least)):
        if base + slope * at > k:
            break
        base, slope, level = base + step, slope + rise, at
    return Fraction(k - base, slope) if slope else level


def _bends(groups: Sequence[tuple[int, int]], least: int) -> Iterator[tuple[Fraction, int, int]]:
    """Yield where the sum of the quotas bends: the level, by how much its slope and its value at 0 change."""
    for weight, size in groups:
        yield Fraction(least, weight), weight, -least
        yield Fraction(size, weight), -weight, size


def check_shares(name: str, share: Share, sizes: Mapping[int, int], fewest: int, most: int) -> None:
    """Raise PlanError where shares do not go with groups of these sizes by name, or with passes of so many examples.

    Example:
        >>> from attent.choose.shares import check_shares
        >>> check_shares("share", (0.5, 0.5), {0: 9, 1: 3}, 4, 6)
    """
    some = dict(sizes)
    if isinstance(share, tuple):
        beyond = next((group for group in sizes if group >= len(share)), None)
        if beyond is not None:
            rule = f"must have a number for each group, group {beyond} has none: give it one, 0 to leave it out"
            raise PlanError(rule, field=name)
        empty = next((group for group, held in enumerate(share) if held and group not in sizes), None)
        if empty is not None:
            raise PlanError(
                f"must be 0 for a group without examples, got {share[empty]:g} for group {empty}", field=name
            )
        some = {group: size for group, size in sizes.items() if share[group]}
        if sum(some.values()) < most:
            raise PlanError(
                f"must be above 0 for groups of {most} examples in all, as many as a pass takes and a pool may leave "
                f"out, got {sum(some.values())}: lower the ratio, or give further groups a share",
                field=name,
            )
    if len(some) > fewest:
        raise PlanError(
            f"groups must be at most as many as a pass has examples, {fewest}, got {len(some)}: each gives at least "
            "one. Raise the ratio, join groups, or choose by another policy"
        )
