"""Matrix products in blocks of rows, each small enough that OpenBLAS does it in one thread.

On matrices as small as these a second thread gains little and, where the processors are busy, waits: a step
then takes ten times as long. And results do not depend on the number of threads, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# OpenBLAS turns to threads above 2**18 multiplications (SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD).
_SINGLE_THREADED = 2**18
# Networks so wide that a block would have fewer rows gain from threads.
_FEWEST_ROWS = 8


def product(x: Array, weight: Array) -> Array:
    """Return ``x @ weight``: x (m, a), C-contiguous, weight (a, b), result (m, b).

    Example:
        >>> import numpy as np
        >>> product(np.ones((3, 2)), np.ones((2, 1))).tolist()
        [[2.0], [2.0], [2.0]]
    """
    rows, whole = _blocks(len(x), weight.size)
    if rows == 0:
        plain: Array = x @ weight
        return plain
    y = np.empty((len(x), weight.shape[1]), x.dtype)
    np.matmul(x[:whole].reshape(-1, rows, x.shape[1]), weight, out=y[:whole].reshape(-1, rows, y.shape[1]))
    np.matmul(x[whole:], weight, out=y[whole:])
    return y


def inner_product(x: Array, y: Array) -> Array:
    """Return ``x.T @ y``: x (m, a), y (m, b), both C-contiguous, result (a, b).

    Example:
        >>> import numpy as np
        >>> inner_product(np.ones((3, 2)), np.ones((3, 1))).tolist()
        [[3.0], [3.0]]
    """
    rows, whole = _blocks(len(x), x.shape[1] * y.shape[1])
    if rows == 0:
        plain: Array = x.T @ y
        return plain
    parts = x[:whole].reshape(-1, rows, x.shape[1]).swapaxes(1, 2) @ y[:whole].reshape(-1, rows, y.shape[1])
    result: Array = parts.sum(axis=0)
    if whole < len(x):
        result += x[whole:].T @ y[whole:]
    return result


def _blocks(count: int, each: int) -> tuple[int, int]:
    """Return the rows in a block and in all whole blocks; (0, 0) where ``count`` rows need no division.

    ``each`` is the number of multiplications per row.
    """
    rows = _SINGLE_THREADED // each
    if rows < _FEWEST_ROWS or count <= rows:
        return 0, 0
    rows = 1 << (rows.bit_length() - 1)  # a power of two mostly divides the batch without a rest
    return rows, count - count % rows
