"""How a run's first epoch began and ended: what was seen there for the first time, before it was ever taught."""

from __future__ import annotations

import numpy as np

from attent.choose.shuffle import Shuffle
from attent.learner import Ids

_OPENING = 60  # examples at least that tell how an epoch begins


def opening_of(order: Shuffle, n: int) -> Ids:
    """Return the ids that an epoch on all n examples begins with, in order: the first eighth, and at least 60.

    Example:
        >>> from attent import Noise
        >>> from attent.choose.shuffle import Shuffle
        >>> from attent.run.first_epoch import opening_of
        >>> len(opening_of(Shuffle(Noise(0, 0), 800), 800)), len(opening_of(Shuffle(Noise(0, 0), 80), 80))
        (100, 60)
    """
    return order.positions(0, min(n, max(_OPENING, n // 8)))


def quarters_of(order: Shuffle, n: int) -> Ids:
    """Return the ids of an epoch's first and last quarter, in order: int64, shape (2, n // 4).

    Example:
        >>> from attent import Noise
        >>> from attent.choose.shuffle import Shuffle
        >>> from attent.run.first_epoch import quarters_of
        >>> quarters_of(Shuffle(Noise(0, 0), 9), 9).shape
        (2, 2)
    """
    return np.stack([order.positions(0, n // 4), order.positions(n - n // 4, n)])
