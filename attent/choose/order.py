"""The k highest of n numbers under attent's total order: higher first, ties to the lower position (rules S1 to S3).

One pass finds them: an even sample brackets the cut, then only numbers inside the bracket, about one in a
hundred, are kept and looked at. Numbers come in chunks from a function, so they need not all exist at once; of those
above the bracket a bit each is kept. Where several workers hold the numbers together, each goes through its own,
and they sum up counts (rule S11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.choose.chunks import CHUNK, each
from attent.choose.shard import Shard, digits
from attent.learner import Ids, Numbers

Bits = npt.NDArray[np.uint8]
Chunk = Callable[[int, int], Numbers]

_BLOCK = 1024
_BLOCKS = 64
_LARGE = 1 << 18
_ALONE = Shard()


class Cut(NamedTuple):
    """Where the k highest end: ``sure`` marks what lies above the bracket, a bit a position; the others lie in it."""

    sure: Bits
    positions: Ids
    values: Numbers
    rank: int  # how many of all workers' values in the bracket are among the k highest
    value: float  # the k-th highest


def top(values: Numbers, k: int) -> Ids:
    """Return the positions of the k highest values, 0 <= k <= n, ascending: int64, shape (k,).

    Equal values go to the lower position; -0.0 equals 0.0.

    Example:
        >>> import numpy as np
        >>> from attent.choose.order import top
        >>> top(np.array([0.0, 2.0, -0.0, 0.0]), 2).tolist()
        [0, 1]
    """
    return highest(lambda start, stop: values[start:stop], len(values), k)


def highest(
    chunk: Chunk,
    n: int,
    k: int,
    *,
    slack: Callable[[float], float] = lambda value: 0.0,
    exact: Callable[[Ids], Numbers] | None = None,
    shard: Shard = _ALONE,
) -> Ids:
    """Return the positions of the k highest of numbers that come in chunks, ascending: int64.

    ``chunk(start, stop)`` gives the numbers of these positions, always the same, without NaN, in an array that the
    calling thread's next call may write again. Where they are only near those that count, ``slack(value)`` says how far
    around the cut that matters, and ``exact(positions)`` gives the ones that count. With a ``shard`` n counts this
    worker's numbers and k all workers'; returned are this worker's. Of equal numbers those of lower ranks come first.

    Example:
        >>> import numpy as np
        >>> from attent.choose.order import highest
        >>> highest(lambda start, stop: np.arange(start, stop) % 3.0, 6, 3).tolist()
        [1, 2, 5]
    """
    every = shard.sum(n)
    if k <= 0 or k >= every:
        return np.arange(n if k > 0 else 0, dtype=np.int64)
    cut = find_cut(chunk, n, k, slack, shard=shard)
    above, near, missing = beside(cut, slack(cut.value), shard)
    undecided = cut.positions[near]
    numbers = exact(undecided) if exact is not None else cut.values[near]
    if missing < shard.sum(len(undecided)):
        value = shard.kth_highest(numbers, missing)
        over = numbers > value
        equal = np.flatnonzero(numbers == value)  # ties: the lower id first (rule S2)
        found = shard.each(int(np.count_nonzero(over)), len(equal))
        left = missing - int(found[:, 0].sum()) - int(found[: shard.rank, 1].sum())
        over[equal[: max(left, 0)]] = True
        undecided = undecided[over]
    return _positions(cut.sure, n, np.concatenate([cut.positions[above], undecided]))


def beside(cut: Cut, slack: float, shard: Shard = _ALONE) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], int]:
    """Return what is surely above the cut, what is too near to tell, and how many of all workers' near are missing."""
    above = cut.values > cut.value + slack
    near = (cut.values >= cut.value - slack) & ~above
    return above, near, cut.rank - shard.sum(int(np.count_nonzero(above)))


def find_cut(chunk: Chunk, n: int, k: int, slack: Callable[[float], float], *, shard: Shard = _ALONE) -> Cut:
    """Return the cut below the k-th highest of numbers in chunks, with all numbers within its slack; see `highest`."""
    every = shard.sum(n)
    if every >= _LARGE:
        low, high = _bracket(chunk, n, k, every, shard)
        cut = _within(chunk, n, k, low, high, shard, limit=n // 8)
        if cut is not None and low <= cut.value - slack(cut.value) and cut.value + slack(cut.value) <= high:
            return cut

        def count(prefix: int, shift: int, bits: int) -> npt.NDArray[np.int64]:
            parts = each(lambda start, stop: digits(chunk(start, stop), prefix, shift, bits), n)
            return sum(parts, np.zeros(1 << bits, np.int64))

        value = shard.kth_by_digits(count, k)
        low, high = value - slack(value), value + slack(value)
    else:
        low, high = -np.inf, np.inf
    found = _within(chunk, n, k, low, high, shard, limit=n)
    assert found is not None  # the k-th highest lies there
    return found


def _bracket(chunk: Chunk, n: int, k: int, every: int, shard: Shard) -> tuple[float, float]:
    # One number in 256 of a large array, so that what is kept stays small beside it.
    blocks = min(max(_BLOCKS * n // every, n >> 18, 1), max(n // _BLOCK, 1)) if n else 0
    starts = np.linspace(0, max(n - _BLOCK, 0) // 4, blocks).astype(np.int64) * 4  # where blocks of noise begin
    parts = [chunk(start, min(start + _BLOCK, n)).copy() for start in starts.tolist()]
    sample = np.concatenate(parts) if parts else np.empty(0)
    m = shard.sum(len(sample))
    centre = m * (k / every)
    width = 6.0 * np.sqrt(m * (k / every) * (1 - k / every)) + 2.0  # six standard errors
    low = shard.kth_highest(sample, int(centre + width)) if centre + width < m else -np.inf
    high = shard.kth_highest(sample, int(centre - width)) if centre - width >= 1 else np.inf
    return low, high


def _within(chunk: Chunk, n: int, k: int, low: float, high: float, shard: Shard, *, limit: int) -> Cut | None:
    """Return the cut if it lies within [low, high] and at most ``limit`` numbers do (or all are equal), else None."""
    sure = np.empty((n + 7) // 8, np.uint8)

    def visit(start: int, stop: int) -> tuple[int, Ids, Numbers]:
        values = chunk(start, stop)
        above = values > high
        sure[start // 8 : (stop + 7) // 8] = np.packbits(above)
        inside = ((values >= low) ^ above).nonzero()[0]
        # Of equal numbers the value is known.
        return int(np.count_nonzero(above)), inside + start, values[:0] if low == high else values[inside]

    over, many, positions, values = 0, 0, [np.empty(0, np.int64)], [np.empty(0)]
    for above, places, numbers in each(visit, n):
        over += above
        many += len(places)
        if low == high:
            places = places[: max(k - (many - len(places)), 0)]  # no more than k of equal ones are taken
        elif many > limit:
            continue  # what lies above is still counted
        positions.append(places)
        values.append(numbers)
    total = shard.total(np.array([over, many, many > limit and low != high]))
    rank = k - int(total[0])
    if total[2] or not 1 <= rank <= int(total[1]):
        return None
    found = np.concatenate(positions)
    if low == high:
        return Cut(sure, found, np.broadcast_to(np.float64(low), len(found)), rank, low)
    held = np.concatenate(values)
    return Cut(sure, found, held, rank, shard.kth_highest(held, rank))


def _positions(sure: Bits, n: int, further: Ids) -> Ids:
    """Return the positions whose bits are set and the further ones, whose are not, ascending: int64."""
    further = np.sort(further)
    starts = range(0, n, CHUNK)
    places = np.searchsorted(further, [*starts, n])
    sizes = [int(np.bitwise_count(sure[start // 8 : (start + CHUNK) // 8]).sum()) for start in starts]
    ends = np.cumsum([0, *sizes]) + places
    found = np.empty(int(ends[-1]), np.int64)

    def write(start: int, stop: int) -> None:
        chosen = np.unpackbits(sure[start // 8 : (stop + 7) // 8], count=stop - start).view(np.bool_)
        at = start // CHUNK
        chosen[further[places[at] : places[at + 1]] - start] = True
        np.add(chosen.nonzero()[0], start, out=found[ends[at] : ends[at + 1]])

    for _ in each(write, n):
        pass
    return found
