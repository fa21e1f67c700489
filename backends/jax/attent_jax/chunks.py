"""Cutting a call's batches into chunks of one shape, so that one compiled program serves them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.learner import Ids, Numbers


class Chunk(NamedTuple):
    """Up to S batches of up to B examples, padded to (S, B).

    ids: int64 (S, B), each row padded by repeating its first id, so that a loss that is finite on the batch is
    finite on its padding. coefficients: float64 (S, B), weight over batch size, 0 in padding. counts: int32 (S,),
    the true batch sizes. steps: how many rows are batches; the rest is never computed.
    """

    ids: npt.NDArray[np.int64]
    coefficients: Numbers
    counts: npt.NDArray[np.int32]
    steps: int

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which entries are examples of batches: bool (S, B)."""
        return np.arange(self.ids.shape[1]) < self.counts[:, None]


def chunks(
    batches: Sequence[Ids], weights: Sequence[Numbers] | None, width: Callable[[int], int], capacity: int
) -> Iterator[Chunk]:
    """Yield the batches in order, in chunks of ``capacity`` rows; ``width`` gives a row's length by batch size.

    Example:
        >>> import numpy as np
        >>> from attent_jax.chunks import chunks
        >>> (chunk,) = chunks([np.array([4, 1]), np.array([7])], None, lambda size: 2, capacity=3)
        >>> chunk.ids.tolist(), chunk.coefficients.tolist(), chunk.counts.tolist(), chunk.steps
        ([[4, 1], [7, 7], [0, 0]], [[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]], [2, 1, 0], 2)
    """
    start = 0
    while start < len(batches):
        columns, stop = width(len(batches[start])), start + 1
        while stop < min(len(batches), start + capacity) and width(len(batches[stop])) == columns:
            stop += 1
        ids = np.zeros((capacity, columns), np.int64)
        coefficients = np.zeros((capacity, columns))
        counts = np.zeros(capacity, np.int32)
        for row, index in enumerate(range(start, stop)):
            batch = batches[index]
            count = len(batch)
            ids[row, :count], ids[row, count:] = batch, batch[0]
            coefficients[row, :count] = 1.0 / count if weights is None else weights[index] / count
            counts[row] = count
        yield Chunk(ids, coefficients, counts, stop - start)
        start = stop
