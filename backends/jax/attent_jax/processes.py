"""A learner on a mesh over several processes, under ``jax.distributed``: what goes between them, and who disagrees."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from attent.errors import LearnerError, WorkersError
from attent.run.workers import Workers, framed

_LOST = ("gloo", "nccl", "coordination", "heartbeat", "barrier", "deadline", "connection", "peer")


def workers(learner: Any) -> Workers:
    """Return the learners of all processes as one, for ``attent.teach`` on every process.

    Each process calls ``jax.distributed.initialize`` first, and builds the learner of the same data and parameters
    with ``batch_sharding`` over a mesh of all processes' devices. Then all run one program, in which each computes its
    share of every batch, of scores too; a result differs from one process' by the order of sums alone, dropout
    included. In one process it is the learner alone.

    A process that dies is an ``attent.WorkersError`` on the others, or the end of them by JAX itself.

    Raises LearnerError for a learner that does not lie on all processes.

    Example:
        >>> import attent, jax, jax.numpy as jnp, numpy as np, optax
        >>> from jax.sharding import AxisType, NamedSharding, PartitionSpec
        >>> from attent_jax import JaxLearner, workers
        >>> mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
        >>> data = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
        >>> def loss(params, batch):
        ...     return (batch[0] @ params["w"] - batch[1]) ** 2
        >>> rows = NamedSharding(mesh, PartitionSpec("data"))
        >>> learner = JaxLearner({"w": jnp.zeros(4)}, data, loss, optax.sgd(0.1), batch_sharding=rows)
        >>> attent.teach(workers(learner), attent.Plan.default(epochs=2, batch_size=2)).finished
        True
    """
    world = jax.process_count()
    if world == 1:
        return Workers(learner, 0, 1, lambda told: [told], shares=False)
    there = {device.process_index for leaf in jax.tree.leaves(learner.params) for device in leaf.sharding.device_set}
    if len(there) < world:
        raise LearnerError(
            f"the learner lies on {len(there)} of {world} processes: give batch_sharding=NamedSharding(mesh, "
            "P('data')), with mesh = jax.make_mesh((jax.device_count(),), ('data',)) over the devices of all"
        )
    return Workers(learner, jax.process_index(), world, gather, answering=answering, shares=False)


def gather(told: bytes) -> Sequence[bytes]:
    """Return the bytes of all processes. Raises WorkersError where one does not answer."""
    return framed(_gathered)(told)


def _gathered(own: npt.NDArray[np.uint8]) -> list[bytes]:
    with answering():
        found = np.asarray(multihost_utils.process_allgather(own))
    return [row.tobytes() for row in found.reshape(jax.process_count(), -1)]


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Say in an error of attent's that a process is gone, where JAX says it in one of its own."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        text = str(error).strip()
        if isinstance(error, WorkersError | LearnerError) or not any(word in text.lower() for word in _LOST):
            raise
        raise WorkersError(
            f"another process than {jax.process_index()} of {jax.process_count()} is gone, or did not answer in time: "
            f"{text.splitlines()[0]:.200}. Look at its output, and start all again with resume=True"
        ) from error


def put(value: npt.NDArray[Any], where: Sharding) -> jax.Array:
    """Return a copy of a host's array on devices of several processes, each of which has all of it."""
    return jax.make_array_from_callback(value.shape, where, lambda index: np.array(value[index], order="C"))


def check_same(name: str, tree: Any) -> None:
    """Raise WorkersError on all processes, naming those whose arrays are others."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            continue  # one array of all
        add_array(digest, leaf)
    found = gather(digest.digest())
    most = Counter(found).most_common(1)[0][0]
    others = [rank for rank, each in enumerate(found) if each != most]
    if others:
        named = f"process {others[0]}" if len(others) == 1 else f"processes {', '.join(map(str, others))}"
        raise WorkersError(
            f"{named} of {len(found)} has other {name} than the others: give every process the same, drawn from the "
            "same key and in the same order. All have stopped (rule W3)"
        )


def add_array(digest: Any, leaf: Any) -> None:
    """Add an array's dtype, shape and content to a hash."""
    key = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.ascontiguousarray(jax.random.key_data(leaf) if key else leaf)
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)


def whole(leaf: Any) -> Any:
    """Return an array that lies in parts on several processes as a host's array; all must call it."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        return multihost_utils.process_allgather(leaf, tiled=True)
    return leaf
