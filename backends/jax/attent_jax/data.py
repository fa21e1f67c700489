"""Where batches come from: arrays on the device, arrays on the host, or a function of the ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, Sharding

from attent.errors import LearnerError
from attent.learner import Ids
from attent_jax.chunks import Chunk
from attent_jax.placement import placed
from attent_jax.processes import check_same

# Batches handed to the device at once. One compiled program runs any number of steps up to it.
_CAPACITY = 64


class Source(Protocol):
    """Gives a chunk's examples to a compiled program, which picks its batches from them."""

    n: int
    capacity: int

    def examples(self, chunk: Chunk) -> Any:
        """Return what the program needs of this chunk: a pytree of arrays."""
        ...

    def batch(self, examples: Any, step: jax.Array) -> Any:
        """Return the batch of one step, inside the program: a pytree of arrays (B, ...)."""
        ...


def source(
    data: Any, n: int | None, where: Sharding, batch_sharding: NamedSharding | None, *, keep_on_host: bool
) -> Source:
    """Return the source for ``data``; raise LearnerError where it has no examples to index."""
    if callable(data):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise LearnerError(f"n must say how many examples the data function has, at least 1, got {n!r}")
        if not where.is_fully_addressable:
            check_same("data", data(_some(n)))
        return FetchSource(data, n, batch_sharding)
    leaves = jax.tree.leaves(data)
    shapes = [np.shape(leaf) for leaf in leaves]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise LearnerError(
            "arrays given as data must share their first dimension, the examples, got shapes "
            f"{', '.join(map(str, shapes)) or 'none'}; give a function of the ids for anything else"
        )
    count = shapes[0][0]
    if n is not None and n != count:
        raise LearnerError(f"n is {n}, but data holds {count} examples; leave n out where data are arrays")
    if count < 1:
        raise LearnerError("data must hold at least 1 example, got 0")
    if not where.is_fully_addressable:
        check_same("data", jax.tree.map(lambda array: array[_some(count)], data) if keep_on_host else data)
    if not keep_on_host:
        return DeviceSource(placed(data, where), count)
    held = jax.tree.map(np.asanyarray, data)  # any: a memory map stays one

    def rows(ids: Ids) -> Any:
        return jax.tree.map(lambda array: array[ids], held)

    return FetchSource(rows, count, batch_sharding)


def _some(n: int) -> Ids:
    """Return 16 examples, or all, by which to tell whether processes have the same data."""
    return np.unique(np.linspace(0, n - 1, 16).astype(np.int64))


class DeviceSource:
    """Arrays on the device, indexed inside the program: a chunk costs one transfer of its ids."""

    capacity = _CAPACITY

    def __init__(self, data: Any, n: int) -> None:
        self._data, self.n = data, n
        self._dtype = np.int32 if n <= np.iinfo(np.int32).max else np.int64

    def examples(self, chunk: Chunk) -> tuple[Any, npt.NDArray[Any]]:
        """Return the data and the chunk's ids."""
        return self._data, chunk.ids.astype(self._dtype)

    def batch(self, examples: tuple[Any, jax.Array], step: jax.Array) -> Any:
        """Return the rows of the step's ids."""
        data, ids = examples
        # The ids were checked on the host.
        return jax.tree.map(lambda array: array.at[ids[step]].get(mode="promise_in_bounds"), data)


class FetchSource:
    """Batches made on the host, one per call of the program; while one is trained the next is made."""

    capacity = 1

    def __init__(self, fetch: Callable[[Ids], Any], n: int, batch_sharding: NamedSharding | None) -> None:
        self._fetch, self.n, self._sharding = fetch, n, batch_sharding

    def examples(self, chunk: Chunk) -> Any:
        """Return the chunk's only batch, padded by repeating its first example."""
        if self._sharding is not None and not self._sharding.is_fully_addressable:
            return self._own(chunk.ids[0], self._sharding)
        width, count = chunk.ids.shape[1], int(chunk.counts[0])

        def padded(leaf: Any) -> npt.NDArray[Any]:
            array = np.asarray(leaf)
            if array.shape[:1] != (count,):
                raise LearnerError(
                    f"data(ids) must return arrays whose first dimension is that of the ids, {count}, "
                    f"got shape {array.shape}"
                )
            # A fresh array: the device may still be reading this one when the next batch is made.
            result = np.empty((width, *array.shape[1:]), array.dtype)
            result[:count], result[count:] = array, array[0]
            return result

        batch = jax.tree.map(padded, self._fetch(chunk.ids[0, :count].copy()))
        return batch if self._sharding is None else jax.device_put(batch, self._sharding)

    def _own(self, ids: Ids, sharding: NamedSharding) -> Any:
        """Return a batch of which this process makes its own rows alone."""
        places = {device: index[0] for device, index in sharding.addressable_devices_indices_map(ids.shape).items()}
        fetched = {str(rows): self._fetch(ids[rows].copy()) for rows in places.values()}

        def joined(*leaves: Any) -> jax.Array:
            parts = dict(zip(fetched, leaves, strict=True))
            arrays = [jax.device_put(np.array(parts[str(rows)]), device) for device, rows in places.items()]
            shape = (len(ids), *arrays[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, arrays)

        return jax.tree.map(joined, *fetched.values())

    def batch(self, examples: Any, step: jax.Array) -> Any:
        """Return the batch itself."""
        return jax.tree.map(jnp.asarray, examples)
