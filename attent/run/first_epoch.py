"""How a run's first epoch began and ended: what was seen there for the first time, before it was ever taught."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attent.choose.buckets import Buckets
from attent.choose.shuffle import Shuffle
from attent.learner import Ids

_OPENING = 60  # examples at least that tell how an epoch begins
_Made = Callable[[], Shuffle | Buckets]


def opening_of(order: _Made, k: int, n: int, epochs: int) -> Ids:
    """Return the ids that a first epoch on all n examples began with, in order: the first eighth, and at least 60.

    order: makes the order it was trained in. k: examples of it. epochs: trained so far. None but after one, since
    losses are then of a later epoch, and none where the first was not on all.

    Example:
        >>> from attent import Noise
        >>> from attent.choose.shuffle import Shuffle
        >>> from attent.run.first_epoch import opening_of
        >>> order = Shuffle(Noise(0, 0), 800)
        >>> len(opening_of(lambda: order, 800, 800, 1)), len(opening_of(lambda: order, 800, 800, 2))
        (100, 0)
    """
    if k < n or epochs != 1:
        return np.empty(0, np.int64)
    return order().positions(0, min(n, max(_OPENING, n // 8)))


def quarters_of(order: _Made, k: int, n: int, epochs: int) -> Ids:
    """Return the ids of its first and last quarter, in order: int64, shape (2, n // 4); none but after one or two.

    Example:
        >>> from attent import Noise
        >>> from attent.choose.shuffle import Shuffle
        >>> from attent.run.first_epoch import quarters_of
        >>> order = Shuffle(Noise(0, 0), 9)
        >>> quarters_of(lambda: order, 9, 9, 2).shape, quarters_of(lambda: order, 9, 9, 3).shape
        ((2, 2), (2, 0))
    """
    if k < n or epochs not in (1, 2):
        return np.empty((2, 0), np.int64)
    made = order()
    return np.stack([made.positions(0, n // 4), made.positions(n - n // 4, n)])
