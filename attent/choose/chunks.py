"""Arrays gone through in chunks, on all cores: what is looked at once need not exist all at once.

A chunk fits into a core's cache, and is a block of the sums of rule S6. Arrays may be memory-mapped: of a file that is
larger than memory a chunk is read at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from attent.learner import Numbers

CHUNK = 1 << 16
_PARALLEL = 1 << 20
T = TypeVar("T")


def each(visit: Callable[[int, int], T], n: int, *, threads: bool = True) -> Iterator[T]:
    """Yield ``visit(start, stop)`` of every chunk of n, in order; with ``threads`` and enough of them on all cores.

    What a visit gives may depend on nothing but its chunk, so that threads change nothing.

    Example:
        >>> from attent.choose.chunks import each
        >>> list(each(lambda start, stop: stop - start, 70_000))
        [65536, 4464]
    """
    starts = range(0, n, CHUNK)
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not threads or workers == 1 or n < _PARALLEL:
        yield from (visit(start, min(start + CHUNK, n)) for start in starts)
        return
    # A few ahead: a billion numbers would be fifteen thousand results at once.
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[T]] = deque()
        for start in starts:
            ahead.append(pool.submit(visit, start, min(start + CHUNK, n)))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def extremes(values: Numbers) -> tuple[float, float]:
    """Return the lowest and the highest of n >= 1 values; NaN for both if one is NaN.

    Example:
        >>> import numpy as np
        >>> from attent.choose.chunks import extremes
        >>> extremes(np.array([2.0, 1.0, 3.0]))
        (1.0, 3.0)
    """
    ends = list(each(lambda start, stop: (values[start:stop].min(), values[start:stop].max()), len(values)))
    return float(np.min([low for low, _ in ends])), float(np.max([high for _, high in ends]))
