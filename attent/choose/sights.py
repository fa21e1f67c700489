"""What the losses of one or two sights tell: how much the hardest examples hold, and how far what was seen fell."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.choose.chunks import each
from attent.choose.order import highest
from attent.choose.scaling import sum_among, tree_sum
from attent.learner import Ids, Numbers

Mask = npt.NDArray[np.bool_]
FEWEST = 30  # losses, or pairs of them, below which no share means anything
# What losses too large to be summed are multiplied by: a power of two, so that no share changes by a bit.
SMALLER = 2.0**-64
# Before training has changed it, a model that knows most examples has nearly all loss in one half of them: so much of
# it. The few that it does not know are no more than this share of the examples.
_MOST, _FEW_OF = 0.93, 0.17


class Signs(NamedTuple):
    """What two sights of each example tell. ``share``: of the latest loss, held by the half that was hardest before.

    ``hardest`` and ``others``: the latest mean loss over the one before, of the tenth that was hardest before and of
    all others. ``pairs``: examples seen twice.
    """

    share: float
    hardest: float
    others: float
    pairs: int


def signs(before: Numbers, latest: Numbers) -> Signs | None:
    """Return the signs in two losses per example: float64, shape (n,) each; NaN where there is none yet.

    Examples are ranked by the loss before and measured by the latest, so that a loss high by chance does not count
    as hard. None with fewer than 30 pairs, where a loss is below 0, of which no share can be told (the logarithm of a
    density gives such losses), or where the losses ranked or measured are all 0.

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import signs
        >>> before = np.arange(1.0, 101.0)
        >>> found = signs(before, before * np.where(before > 90, 0.5, 1.0))
        >>> round(found.share, 2), found.hardest, found.others
        (0.72, 0.5, 1.0)
    """
    both = np.isfinite(before) & np.isfinite(latest)
    many = int(np.count_nonzero(both))
    if many < FEWEST or any_below_0(before, latest, among=both):
        return None
    if too_large(before, latest):
        return signs(before * SMALLER, latest * SMALLER)
    tenth, half = hardest_of(before, both, many // 10), hardest_of(before, both, many // 2)
    others = both & ~tenth
    sums = (sum_among(latest, both), sum_among(before, tenth), sum_among(before, others))
    if min(sums) <= 0:
        return None
    return Signs(
        sum_among(latest, half) / sums[0], sum_among(latest, tenth) / sums[1], sum_among(latest, others) / sums[2], many
    )


def held_by_few(losses: Numbers) -> float | None:
    """Return the share of the loss that the hardest 17 % hold, None where no model knows most of the examples.

    losses: of a model as it was given, float64, shape (m,); those that are not finite are left out.

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import held_by_few
        >>> held_by_few(np.r_[np.zeros(90), np.full(10, 3.0)])
        1.0
    """
    ranked = np.sort(losses[np.isfinite(losses)])[::-1]
    many = len(ranked)
    if many < FEWEST:
        return None
    whole = tree_sum(ranked)
    if whole <= 0 or tree_sum(ranked[: many - many // 2]) < _MOST * whole:
        return None
    return tree_sum(ranked[: round(_FEW_OF * many)]) / whole


def falls_of(before: Numbers, latest: Numbers, seen: Mask, quarters: Ids) -> list[float] | None:
    """Return to what share of its loss each quarter fell, of those seen twice; None where they are too few to tell.

    before, latest: float64, shape (n,). seen: bool, shape (n,). quarters: int64, shape (2, m).

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import falls_of
        >>> loss = np.ones(80)
        >>> falls_of(loss, loss / 2, np.ones(80, bool), np.arange(80).reshape(2, 40))
        [0.5, 0.5]
    """
    falls = []
    for quarter in quarters:
        of = np.zeros(len(seen), np.bool_)
        of[quarter] = seen[quarter]
        if np.count_nonzero(of) < FEWEST:
            return None
        falls.append(fall_of(before, latest, of))
    return falls


def fall_of(before: Numbers, latest: Numbers, among: Mask) -> float:
    """Return the latest loss over the one before, 1 where that was none.

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import fall_of
        >>> fall_of(np.array([2.0, 4.0]), np.array([1.0, 1.0]), np.array([True, False]))
        0.5
    """
    was = sum_among(before, among)
    return sum_among(latest, among) / was if was > 0 else 1.0


def hardest_of(losses: Numbers, among: Mask, count: int) -> Mask:
    """Return which are the highest of some losses: bool, shape (n,).

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import hardest_of
        >>> hardest_of(np.array([3.0, 9.0, 5.0]), np.array([True, False, True]), 1).tolist()
        [False, False, True]
    """
    found = np.zeros(len(losses), np.bool_)

    def known(start: int, stop: int) -> Numbers:
        return np.where(among[start:stop], losses[start:stop], -np.inf)

    found[highest(known, len(losses), count)] = True
    return found


def any_below_0(*losses: Numbers, among: Mask | None = None) -> bool:
    """Return whether any of some losses, float64, shape (n,) each, is below 0; of those marked, where some are.

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import any_below_0
        >>> any_below_0(np.array([0.5, np.nan]), np.array([-0.5, 1.0]))
        True
    """

    def below(start: int, stop: int) -> bool:
        found = [loss[start:stop] < 0 for loss in losses]
        return bool(any((one if among is None else one & among[start:stop]).any() for one in found))

    return any(each(below, len(losses[0])))


def too_large(*losses: Numbers) -> bool:
    """Return whether the finite ones of some losses might not be summed, for their sum is beyond float64.

    Example:
        >>> import numpy as np
        >>> from attent.choose.sights import too_large
        >>> too_large(np.array([1e308, 1.0])), too_large(np.array([1.0, np.inf]))
        (True, False)
    """

    def largest(start: int, stop: int) -> float:
        finite = [np.where(np.isfinite(loss[start:stop]), loss[start:stop], 0.0) for loss in losses]
        return float(np.max(finite))

    n = len(losses[0])
    return max(each(largest, n), default=0.0) > sys.float_info.max / max(n, 1)
