"""The k highest of n numbers under attent's total order: higher first, ties to the lower position (rules S1 to S3).

One pass finds them: an even sample brackets the cut, then only numbers inside the bracket, about one in a
hundred, are kept and partitioned. Numbers come in chunks from a function, so they need not all exist at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.learner import Ids, Numbers

Mask = npt.NDArray[np.bool_]
Chunk = Callable[[int, int], Numbers]

_CHUNK = 1 << 17  # a megabyte of float64: fewer calls for threads to wait on each other
_BLOCK = 1024
_BLOCKS = 64
_LARGE = 1 << 18
_PARALLEL = 1 << 20


class Cut(NamedTuple):
    """Where the k highest end: ``sure`` marks what lies above the bracket; positions and values lie in it."""

    sure: Mask
    positions: Ids
    values: Numbers
    rank: int  # how many of the values in the bracket are among the k highest
    value: float  # the k-th highest


def find_cut(chunk: Chunk, n: int, k: int, slack: Callable[[float], float], *, threads: bool = False) -> Cut:
    """Return the cut below the k-th highest of n numbers, 1 <= k <= n, with all numbers within its slack.

    ``chunk(start, stop)`` gives the numbers of these positions, always the same, without NaN, in an array that
    its next call may write again; ``slack(value)`` is how far around the cut numbers must be kept. With
    ``threads`` chunks are computed on all cores.
    """
    if n >= _LARGE:
        low, high = _bracket(chunk, n, k)
        cut = _within(chunk, n, k, low, high, threads)
        if cut is not None and low <= cut.value - slack(cut.value) and cut.value + slack(cut.value) <= high:
            return cut
    cut = _within(chunk, n, k, -np.inf, np.inf, threads)
    assert cut is not None  # everything lies between the infinities
    return cut


def _bracket(chunk: Chunk, n: int, k: int) -> tuple[float, float]:
    starts = np.linspace(0, (n - _BLOCK) // 4, _BLOCKS).astype(np.int64) * 4  # where blocks of noise begin
    sample = np.sort(np.concatenate([chunk(start, start + _BLOCK).copy() for start in starts.tolist()]))
    m = len(sample)
    centre = m * (1 - k / n)
    width = 6.0 * np.sqrt(m * (k / n) * (1 - k / n)) + 2.0  # six standard errors
    low = float(sample[int(centre - width)]) if centre >= width else -np.inf
    high = float(sample[int(centre + width)]) if centre + width < m else np.inf
    return low, high


def _within(chunk: Chunk, n: int, k: int, low: float, high: float, threads: bool) -> Cut | None:
    """Return the cut if it lies within [low, high], else None."""
    sure = np.empty(n, np.bool_)

    def visit(start: int) -> tuple[int, Ids, Numbers]:
        stop = min(start + _CHUNK, n)
        values = chunk(start, stop)
        above = np.greater(values, high, out=sure[start:stop])
        inside = np.flatnonzero((values >= low) ^ above)
        return int(np.count_nonzero(above)), inside + start, values[inside]

    parts = list(_each(visit, range(0, n, _CHUNK), threads and n >= _PARALLEL))
    rank = k - sum(part[0] for part in parts)
    positions = np.concatenate([part[1] for part in parts])
    if not 1 <= rank <= len(positions):
        return None
    values = np.concatenate([part[2] for part in parts])
    return Cut(sure, positions, values, rank, kth_highest(values, rank))


def _each(
    visit: Callable[[int], tuple[int, Ids, Numbers]], starts: Iterable[int], threads: bool
) -> Iterator[tuple[int, Ids, Numbers]]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not threads or workers == 1:
        yield from map(visit, starts)
        return
    # A chunk depends on its position alone and results come in order, so threads change nothing.
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(visit, starts)


def kth_highest(values: Numbers, k: int) -> float:
    """Return the k-th highest value, 1 <= k <= n, counting equal values as often as they occur.

    Example:
        >>> import numpy as np
        >>> from attent.choose.order import kth_highest
        >>> kth_highest(np.array([3.0, 1.0, 3.0, 2.0]), 3)
        2.0
    """
    return float(np.partition(values, len(values) - k)[len(values) - k])


def top_mask(values: Numbers, k: int) -> Mask:
    """Return which of the values are the k highest: bool, shape (n,), exactly k of them True.

    Equal values go to the lower position; -0.0 equals 0.0.

    Example:
        >>> import numpy as np
        >>> from attent.choose.order import top_mask
        >>> top_mask(np.array([0.0, 2.0, -0.0, 0.0]), 2).tolist()
        [True, True, False, False]
    """
    n = len(values)
    if k <= 0 or k >= n:
        return np.full(n, k > 0)
    cut = find_cut(lambda start, stop: values[start:stop], n, k, lambda value: 0.0)
    chosen = cut.sure
    chosen[cut.positions[cut.values > cut.value]] = True
    missing = cut.rank - int(np.count_nonzero(cut.values > cut.value))
    chosen[cut.positions[cut.values == cut.value][:missing]] = True  # ties: lower id first (rule S2)
    return chosen
