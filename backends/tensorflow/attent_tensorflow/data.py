"""Where batches come from: tensors in memory, gathered by ids, or a function of ids run by ``tf.data``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from attent.errors import LearnerError

Fetch = Callable[[tf.Tensor], Any]
Reader = Callable[[tf.Tensor], Any]


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def reader(self, ids: tf.Tensor, starts: tf.Tensor) -> Reader:
        """Return, inside a graph, a function of i that gives batch i, and is asked in the order 0, 1, 2, ...

        Batch i holds the examples ``ids[starts[i]:starts[i + 1]]``; ids int64, starts int32.
        """
        ...


def source(data: Any, n: int | None) -> Source:
    """Return the source of ``data``: a structure of tensors and arrays, or a callable together with ``n``."""
    if callable(data) and not isinstance(data, np.ndarray) and not tf.is_tensor(data):
        if n is None or isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise LearnerError(f"data is a function of ids, so n, the number of examples, must be given, got {n!r}")
        return FetchedSource(data, n)
    if n is not None:
        raise LearnerError(f"n is only for data given as a function of ids; tensors have a length, got n={n!r}")
    return TensorSource(data)


class TensorSource:
    """Batches of tensors in memory, gathered where they live, in the structure they came in.

    Raises LearnerError where their first dimensions differ, or for what is no tensor.
    """

    def __init__(self, data: Any) -> None:
        self._tensors = tf.nest.map_structure(_tensor, data)
        tensors = tf.nest.flatten(self._tensors)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            raise LearnerError(
                "tensors given as data must share their first dimension, the examples, got shapes "
                f"{', '.join(map(str, shapes)) or 'of nothing'}; give arrays, not lists of items"
            )
        self._n = shapes[0][0]

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._n

    def reader(self, ids: tf.Tensor, starts: tf.Tensor) -> Reader:
        """Return the function that gathers batch i."""

        def read(i: tf.Tensor) -> Any:
            own = ids[starts[i] : starts[i + 1]]
            return tf.nest.map_structure(lambda tensor: _rows(tensor, own), self._tensors)

        return read


class FetchedSource:
    """Batches of a function of ids, run by ``tf.data`` ahead of the model and several at a time."""

    def __init__(self, fetch: Fetch, n: int) -> None:
        self._fetch, self._n = fetch, n

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._n

    def reader(self, ids: tf.Tensor, starts: tf.Tensor) -> Reader:
        """Return the function that takes the next batch; it must be asked once for each."""
        with tf.device("CPU:0"):
            steps = tf.size(starts, tf.int64) - 1
            spans = tf.data.Dataset.range(steps).map(lambda i: ids[starts[i] : starts[i + 1]])
            batches = spans.map(self._fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            iterator = iter(batches.prefetch(tf.data.AUTOTUNE))
        return lambda _: next(iterator)


def _rows(tensor: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    # Pinned: the placer would rather move data that live on the host to an accelerator, whole, at every step.
    with tf.device(tensor.device):
        return tf.gather(tensor, ids)


def _tensor(value: Any) -> tf.Tensor:
    if tf.is_tensor(value) or isinstance(value, tf.Variable):
        return tf.convert_to_tensor(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return tf.constant(value)
    raise LearnerError(
        "data must be tensors or arrays in memory (one, or tuples and dicts of them) or a function of ids, "
        f"got {type(value).__qualname__}"
    )
