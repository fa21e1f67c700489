"""Where arrays live: copies on the right devices, so that donating ours never touches the caller's."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from attent.errors import LearnerError
from attent_jax.processes import put


def home(params: Any, batch_sharding: NamedSharding | None) -> Sharding:
    """Return where everything goes that has no place of its own.

    Replicated over the mesh of ``batch_sharding`` or of a parameter, else the first parameter's device.
    """
    shardings = [leaf.sharding for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)]
    for sharding in [batch_sharding, *shardings]:
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            return NamedSharding(sharding.mesh, PartitionSpec())
    first = shardings[0] if shardings else SingleDeviceSharding(jnp.zeros(()).device)
    # A mesh of one device: how the first parameter is cut says nothing of the others.
    return NamedSharding(first.mesh, PartitionSpec()) if isinstance(first, NamedSharding) else first


def placed(tree: Any, where: Sharding) -> Any:
    """Return a copy of the tree of arrays; leaves already on the mesh of ``where`` keep their sharding."""

    def copied(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            own = leaf.sharding
            kept = isinstance(own, NamedSharding) and isinstance(where, NamedSharding) and own.mesh == where.mesh
            key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            if not where.is_fully_addressable and leaf.is_fully_addressable and not key:
                return put(np.asarray(leaf), where)
            # may_alias=False: the copy is donated to the next step, the caller's array must survive it.
            return jax.device_put(leaf, own if kept else where, may_alias=False)
        if not where.is_fully_addressable:
            return put(np.asarray(jnp.array(leaf)), where)
        # jnp.array copies where device_put would share the memory of a NumPy array.
        return jax.device_put(jnp.array(leaf, copy=True), where)

    return jax.tree.map(copied, tree)


def lost(tree: Any) -> bool:
    """Say whether an array of the tree was given away to a program that failed, or was to come from one that did."""
    leaves = jax.tree.leaves(tree)
    if any(leaf.is_deleted() for leaf in leaves):
        return True
    try:
        jax.block_until_ready(leaves)
    except Exception:  # programs run later than they are called, and their results then hold the error
        return True
    return False


def check_sharding(batch_sharding: NamedSharding | None, *, padded: bool) -> int:
    """Return how many parts a batch is cut into; raise LearnerError unless it can be."""
    if batch_sharding is None:
        return 1
    if not isinstance(batch_sharding, NamedSharding):
        raise LearnerError(
            "batch_sharding must be a jax.sharding.NamedSharding, such as NamedSharding(mesh, P('data')), "
            f"got {batch_sharding!r:.200}"
        )
    axes = batch_sharding.spec[0] if len(batch_sharding.spec) else None
    names = axes if isinstance(axes, tuple) else () if axes is None else (axes,)
    parts = math.prod(batch_sharding.mesh.shape[name] for name in names)
    if parts > 1 and not padded:
        raise LearnerError(
            f"batch_sharding cuts batches into {parts} parts, so they must be padded: give pad=True, or let the "
            "loss take 'mask' and leave padding out of its statistics"
        )
    return parts


def check_params(params: Any) -> None:
    """Raise LearnerError naming a leaf that is no floating-point array, or float64 while JAX has that off."""
    found = jax.tree_util.tree_flatten_with_path(params)[0]
    if not found:
        raise LearnerError("params must hold at least one array, got none")
    for path, leaf in found:
        name = f"params{jax.tree_util.keystr(path)}"
        if not isinstance(leaf, (np.ndarray, np.generic, jax.Array)):
            raise LearnerError(f"{name} must be an array, got {type(leaf).__name__}; keep what is static out of params")
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise LearnerError(
                f"{name} is {leaf.dtype}, which has no gradient; keep it in model_state or inside the loss"
            )
        if leaf.dtype == np.float64 and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
            raise LearnerError(
                f"{name} is float64, but JAX would make it float32; call jax.config.update('jax_enable_x64', True) "
                "before making any array, or cast the parameters to float32"
            )
