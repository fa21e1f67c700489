"""The order of an epoch, part by part: nobody sorts a billion ids to train the first batch. Rule S9."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attent.choose.chunks import each
from attent.choose.noise import Noise, raw, raw_at
from attent.choose.words import Words
from attent.learner import Ids

_U = np.uint64
_DIGIT = 48  # the bit from which on noise is counted: 2**16 digits


class Shuffle:
    """Ids 0 to n-1, or the ascending ``ids``, by their noise: the lowest first, equal noise by id.

    What is asked for is sorted in parts of about ``at_once`` ids, the last of which is kept: 8 bytes an id. Up to so
    many ids are one part; beyond, each part costs a pass over the noise of all.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import Noise, raw
        >>> from attent.choose.shuffle import Shuffle
        >>> Shuffle(Noise(0, 0), 9).positions(2, 4).tolist() == np.argsort(raw(Noise(0, 0), 0, 9))[2:4].tolist()
        True
    """

    def __init__(self, noise: Noise, n: int, ids: Ids | None = None, *, at_once: int = 1 << 25) -> None:
        self._noise, self._ids = noise, ids
        self._n = n if ids is None else len(ids)
        # Each part holds the ids whose noise has a digit from one bound to the next.
        self._bounds, self._ends = np.array([0, 1 << (64 - _DIGIT)]), np.array([0, self._n])
        if self._n > at_once:
            counts = sum(each(self._count, self._n), np.zeros(1 << (64 - _DIGIT), np.int64))
            part = (np.cumsum(counts) - 1) // at_once
            last = np.flatnonzero(np.r_[part[1:] != part[:-1], True])
            self._bounds = np.r_[0, last + 1]
            self._ends = np.r_[0, np.cumsum(counts)[last]]
        self._held = -1
        self._words: Words

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._n

    def positions(self, start: int, stop: int) -> Ids:
        """Return places start to stop-1 of the order, as positions in the ids: int64."""
        found = [np.empty(0, np.int64)]
        stop = min(stop, self._n)
        while start < stop:
            part = int(np.searchsorted(self._ends, start, side="right")) - 1
            first, end = int(self._ends[part]), int(self._ends[part + 1])
            if part != self._held:
                self._words = self._sorted(part)
                self._held = part
            found.append(self._words.positions(start - first, min(stop, end) - first))
            start = end
        return np.concatenate(found) if len(found) > 2 else found[-1]

    def _bits(self, start: int, stop: int) -> npt.NDArray[np.uint64]:
        return raw(self._noise, start, stop) if self._ids is None else raw_at(self._noise, self._ids[start:stop])

    def _count(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        return np.bincount((self._bits(start, stop) >> _U(_DIGIT)).astype(np.int64), minlength=1 << (64 - _DIGIT))

    def _sorted(self, part: int) -> Words:
        low, high = int(self._bounds[part]), int(self._bounds[part + 1])
        # What all keys of a part share is taken off, so that more of their own bits fit into a word.
        base, shift = _U(low << _DIGIT), _U(16 - (high - low - 1).bit_length())
        whole = len(self._ends) == 2

        def keys(start: int, stop: int) -> tuple[npt.NDArray[np.uint64], Ids]:
            bits, positions = self._bits(start, stop), np.arange(start, stop)
            if not whole:
                digits = bits >> _U(_DIGIT)
                inside = ((digits >= low) & (digits < high)).nonzero()[0]
                bits, positions = bits[inside], positions[inside]
            return (bits - base) << shift, positions

        def at(positions: Ids) -> npt.NDArray[np.uint64]:
            return (raw_at(self._noise, positions if self._ids is None else self._ids[positions]) - base) << shift

        count = int(self._ends[part + 1] - self._ends[part])
        words = Words(each(keys, self._n), count, self._n)
        words.sort(at)
        return words
