"""Positions sorted by 64-bit keys, key and position in one word: faster than an index sort, and in half the memory.

A word holds the upper bits of a key and, below, the position. Where keys agree in the bits that fit, and only there,
they are looked at whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from attent.choose.chunks import CHUNK
from attent.learner import Ids

Keys = npt.NDArray[np.uint64]
_U = np.uint64


class Words:
    """Positions, which ``sort`` brings into the order of their keys, the lowest first, equal keys by position.

    ``parts`` give keys, uint64, and their positions, int64, of ``count`` positions below n in all.

    Example:
        >>> import numpy as np
        >>> from attent.choose.words import Words
        >>> keys = np.array([7, 3, 7, 1], np.uint64)
        >>> words = Words([(keys, np.arange(4))], 4, 4)
        >>> words.sort(lambda positions: keys[positions]).tolist(), words.positions(0, 4).tolist()
        ([False, False, False, True], [3, 1, 0, 2])
    """

    def __init__(self, parts: Iterable[tuple[Keys, Ids]], count: int, n: int) -> None:
        self._bits = max(n - 1, 1).bit_length()
        self._below = _U((1 << self._bits) - 1)
        self._words = np.empty(count, np.uint64)
        self._whole = _U(0)  # the bits that do not fit, of all keys
        start = 0
        for keys, positions in parts:
            stop = start + len(keys)
            self._whole |= np.bitwise_or.reduce(keys) & self._below
            np.bitwise_or(keys & ~self._below, positions.view(np.uint64), out=self._words[start:stop])
            start = stop

    def sort(self, at: Callable[[Ids], Keys]) -> npt.NDArray[np.bool_]:
        """Sort, and return which keys equal the one before: bool, shape (count,). ``at`` gives keys by position."""
        words, bits = self._words, _U(self._bits)
        words.sort()
        equal = np.zeros(len(words), np.bool_)
        for start in range(0, len(words) - 1, CHUNK):
            upper = words[start : start + CHUNK + 1] >> bits
            np.equal(upper[1:], upper[:-1], out=equal[start + 1 : start + 1 + len(upper) - 1])
        if not self._whole or not equal.any():
            return equal
        # Runs of words whose upper bits agree: sorted by the lower bits, stable, so that equal keys stay by position.
        inside = equal.copy()
        inside[:-1] |= equal[1:]
        places = np.flatnonzero(inside)
        run = np.cumsum(~equal[places])
        found = words[places]
        lower = at((found & self._below).astype(np.int64)) & self._below
        order = np.lexsort((lower, run))
        words[places] = found[order]
        lower = lower[order]
        equal[places[1:]] &= lower[1:] == lower[:-1]
        return equal

    def positions(self, start: int, stop: int) -> Ids:
        """Return the positions in places start to stop-1 of the order: int64."""
        return (self._words[start:stop] & self._below).astype(np.int64)
