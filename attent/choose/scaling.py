"""Scaling of scores before the temperature, so that one temperature means the same for every loss (rule S6).

Sums run over a fixed binary tree and squares over numbers below 1, so the result is one and the same on
every machine and cannot overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from attent import checks
from attent.errors import PlanError
from attent.learner import Numbers

Scaling = Literal["none", "std", "rank"]
SCALINGS: tuple[Scaling, ...] = ("none", "std", "rank")
_BLOCK = 1 << 16


def scale(scores: Numbers, scaling: Scaling) -> Numbers:
    """Return the scores, scaled: ``none`` as they are, ``std`` to unit variance, ``rank`` to their ranks.

    scores: finite float64, shape (n,). ``std`` subtracts the mean and divides by the standard deviation;
    ``rank`` does the same with average ranks, so equal scores stay equal. Scores that are all equal
    become 0. ``none`` returns the very array. Raises PlanError for another name.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import scale
        >>> scale(np.array([1.0, 3.0]), "std").tolist(), scale(np.array([5.0, 5.0]), "rank").tolist()
        ([-1.0, 1.0], [0.0, 0.0])
    """
    if scaling == "none":
        return scores
    if scaling == "std":
        return _standardised(scores)
    if scaling == "rank":
        return _standardised(average_ranks(scores))
    raise PlanError(f"scaling must be one of {', '.join(SCALINGS)}, got {checks.shown(scaling)}")


def average_ranks(scores: Numbers) -> Numbers:
    """Return each score's rank from 1, lowest first, equal scores sharing their average: float64, shape (n,).

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import average_ranks
        >>> average_ranks(np.array([0.5, 9.0, 0.5])).tolist()
        [1.5, 3.0, 1.5]
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    last = np.r_[first[1:], len(scores)]
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat((first + 1 + last) / 2.0, last - first)
    return ranks


def tree_sum(values: Numbers) -> float:
    """Return the sum over balanced binary trees: blocks of 2**16 first, then the sums of the blocks.

    In a tree the second half is added to the first, element by element; an odd last element is set aside
    and added at the end, the last one set aside first.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import tree_sum
        >>> tree_sum(np.array([1.0, 2.0, 3.0]))
        6.0
    """
    return _sum(values, lambda block: block)


def _sum(values: Numbers, term: Callable[[Numbers], Numbers]) -> float:
    blocks = range(0, len(values), _BLOCK)
    return _tree(np.array([_tree(term(values[start : start + _BLOCK])) for start in blocks]))


def _tree(values: Numbers) -> float:
    aside: list[float] = []
    while len(values) > 1:
        half = len(values) // 2
        if len(values) % 2:
            aside.append(float(values[-1]))
        values = values[:half] + values[half : 2 * half]
    total = float(values[0])
    for value in reversed(aside):
        total += value
    return total


def _standardised(values: Numbers) -> Numbers:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(len(values))
    # Powers of two change no digit: the largest magnitude comes to lie in [1/2, 1).
    exponent = int(np.frexp(max(abs(low), abs(high)))[1])
    if abs(exponent) <= 1022:
        centred = values * 2.0**-exponent
    else:  # 2**-exponent is no float64: two halves
        centred = values * 2.0 ** (-exponent // 2) * 2.0 ** (-exponent - -exponent // 2)
    centred -= _sum(centred, lambda block: block) / len(values)
    spread = math.sqrt(_sum(centred, np.square) / len(values))
    if spread > 0.0:  # else the squares of all differences are below the smallest number
        centred /= spread
    return centred
