"""The order of an epoch whose batches hold examples of similar cost, so that little of a batch is padding. Rule T14."""

from __future__ import annotations

import numpy as np

from attent.choose.shuffle import Shuffle
from attent.learner import Ids, Numbers


class Buckets:
    """An order in which every bucket, so many batches in a row, is sorted by cost and cut into batches again.

    Within a bucket those of highest cost come first, equal ones as in the random order. The batches follow each other
    by the earliest of their examples in it, which is an order at random: a batch's place tells nothing of its costs.
    What is left beyond whole batches stays the last batch, as the random order has it.

    Args:
        order: the random one.
        costs: by position in the ids taught, float64, shape (len(order),).
        batch_size: examples of a batch.
        batches: of a bucket.

    Example:
        >>> import numpy as np
        >>> from attent.choose.buckets import Buckets
        >>> from attent.choose.noise import Noise
        >>> from attent.choose.shuffle import Shuffle
        >>> order = Shuffle(Noise(0, 0), 9)
        >>> order.positions(0, 9).tolist()
        [0, 2, 1, 8, 5, 4, 3, 6, 7]
        >>> Buckets(order, np.arange(1.0, 10.0), batch_size=2, batches=4).positions(0, 9).tolist()
        [1, 0, 3, 2, 8, 6, 5, 4, 7]
    """

    def __init__(self, order: Shuffle, costs: Numbers, batch_size: int, batches: int) -> None:
        self._order, self._costs, self._size = order, costs, batch_size
        self._whole = len(order) // batch_size * batch_size
        self._length = batch_size * batches
        self._held, self._sorted = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._order)

    def positions(self, start: int, stop: int) -> Ids:
        """Return places start to stop-1 of the order, as positions in the ids: int64."""
        found, stop = [np.empty(0, np.int64)], min(stop, len(self._order))
        while start < min(stop, self._whole):
            bucket = start // self._length
            first = bucket * self._length
            found.append(self._bucket(bucket)[start - first : stop - first])
            start += len(found[-1])
        return np.concatenate([*found, self._order.positions(start, stop)])

    def _bucket(self, bucket: int) -> Ids:
        if bucket != self._held:
            first = bucket * self._length
            positions = self._order.positions(first, min(first + self._length, self._whole))
            batches = np.argsort(-self._costs[positions], kind="stable").reshape(-1, self._size)
            self._sorted = positions[batches[np.argsort(batches.min(1))]].ravel()
            self._held = bucket
        return self._sorted
