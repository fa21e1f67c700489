"""Scaling of scores before the temperature, so that one temperature means the same for every loss (rule S6).

Sums run over a fixed binary tree and squares over numbers below 1, so the result is one and the same on
every machine and cannot overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.choose.chunks import CHUNK, each, extremes
from attent.choose.shard import Shard, image
from attent.choose.words import Words
from attent.errors import PlanError
from attent.learner import Numbers

Scaling = Literal["none", "std", "rank"]
SCALINGS: tuple[Scaling, ...] = ("none", "std", "rank")
_ALONE = Shard()


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
    if checked_scaling(scaling) == "none":
        return scores
    return _standardised(scores if scaling == "std" else average_ranks(scores))


def checked_scaling(scaling: Scaling) -> Scaling:
    """Return the scaling if it is one. Raises PlanError naming them."""
    if scaling not in SCALINGS:
        raise PlanError(f"scaling must be one of {', '.join(SCALINGS)}, got {checks.shown(scaling)}")
    return scaling


def average_ranks(scores: Numbers) -> Numbers:
    """Return each score's rank from 1, lowest first, equal scores sharing their average: float64, shape (n,).

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import average_ranks
        >>> average_ranks(np.array([0.5, 9.0, 0.5])).tolist()
        [1.5, 3.0, 1.5]
    """
    n = len(scores)
    parts = each(lambda start, stop: (image(scores[start:stop]), np.arange(start, stop)), n)
    words = Words(parts, n, n)
    equal = words.sort(lambda positions: image(scores[positions]))
    ranks = np.empty(n)
    if not equal.any():
        for start in range(0, n, CHUNK):
            places = words.positions(start, start + CHUNK)
            ranks[places] = np.arange(start + 1.0, start + 1.0 + len(places))
        return ranks
    # Of each score in order: where those equal to it begin, and where they end.
    first = np.flatnonzero(~equal)
    last = np.r_[first[1:], n]
    for start in range(0, len(first), CHUNK):
        begin, end = first[start : start + CHUNK], last[start : start + CHUNK]
        places = words.positions(int(begin[0]), int(end[-1]))
        ranks[places] = np.repeat((begin + 1 + end) / 2.0, end - begin)
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
    return sum_of(lambda start, stop: values[start:stop], len(values))


def sum_of(term: Callable[[int, int], Numbers], n: int, shard: Shard = _ALONE) -> float:
    """Return `tree_sum` of n numbers that come block by block; of all workers' with a ``shard``, each of whole blocks.

    Raises PlanError where a worker's blocks would not be those of one worker (rule S11).
    """
    sums = np.array(list(each(lambda start, stop: _tree(term(start, stop)), n)), np.float64)
    if shard.world == 1:
        return _tree(sums)
    lengths = shard.each(n)[:, 0]
    ends = np.cumsum(lengths)
    for rank, end in enumerate(ends.tolist()):
        if end % CHUNK and end < ends[-1]:
            raise PlanError(
                f"sums over several workers go by blocks of {CHUNK} examples, and the part of rank {rank} ends at "
                f"example {end}: give each a multiple of {CHUNK}, the last the rest; or use scaling='none' (rule S11)"
            )
    # Bits and not numbers are summed up, of which one worker each gives other than 0.
    bits = np.zeros(-(-int(ends[-1]) // CHUNK), np.int64)
    first = -(-int(ends[shard.rank] - n) // CHUNK)
    bits[first : first + len(sums)] = sums.view(np.int64)
    return _tree(shard.total(bits).view(np.float64))


def sum_among(values: Numbers, among: npt.NDArray[np.bool_]) -> float:
    """Return the `tree_sum` of those among all n, the others counting as 0 in their places.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import sum_among
        >>> sum_among(np.array([1.0, np.nan, 3.0]), np.array([True, False, True]))
        4.0
    """
    return sum_of(lambda start, stop: np.where(among[start:stop], values[start:stop], 0.0), len(values))


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


class Standard(NamedTuple):
    """How numbers are brought to mean 0 and unit variance, chunk by chunk: what `standard` found.

    ``factors``: powers of two, which change no digit; none for numbers that are all equal, which become 0.
    """

    factors: tuple[float, ...]
    mean: float
    spread: float

    def __call__(self, values: Numbers, out: Numbers | None = None) -> Numbers:
        """Return the values, standardised: float64, in ``out`` or a new array."""
        if not self.factors:
            out = np.empty(len(values)) if out is None else out
            out[:] = 0.0
            return out
        out = np.multiply(values, self.factors[0], out=out)
        for factor in self.factors[1:]:
            out *= factor
        out -= self.mean
        if self.spread > 0.0:  # else the squares of all differences are below the smallest number
            out /= self.spread
        return out


def standard(values: Numbers, ends: tuple[float, float] | None = None, shard: Shard = _ALONE) -> Standard:
    """Return what standardises the values, all workers' with a ``shard``. ``ends``: the lowest and highest of all.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scaling import standard
        >>> standard(np.array([1.0, 3.0]))(np.array([5.0])).tolist()
        [3.0]
    """
    low, high = extremes(values) if ends is None else ends
    if low == high:
        return Standard((), 0.0, 0.0)
    # Powers of two change no digit: the largest magnitude comes to lie in [1/2, 1).
    exponent = int(np.frexp(max(abs(low), abs(high)))[1])
    if abs(exponent) <= 1022:
        factors: tuple[float, ...] = (2.0**-exponent,)
    else:  # 2**-exponent is no float64: two halves
        factors = (2.0 ** (-exponent // 2), 2.0 ** (-exponent - -exponent // 2))
    n, every = len(values), shard.sum(len(values))
    found = Standard(factors, 0.0, 0.0)
    mean = sum_of(lambda start, stop: found(values[start:stop]), n, shard) / every
    centred = Standard(factors, mean, 0.0)
    squares = sum_of(lambda start, stop: np.square(centred(values[start:stop])), n, shard)
    return Standard(factors, mean, math.sqrt(squares / every))


def _standardised(values: Numbers) -> Numbers:
    found, result = standard(values), np.empty(len(values))
    list(each(lambda start, stop: found(values[start:stop], out=result[start:stop]), len(values)))
    return result
