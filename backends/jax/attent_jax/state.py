"""A learner's pytrees as named arrays, and back, without pickle.

Each leaf becomes an array named by its path, such as ``params/head/kernel``. A dtype that NumPy lacks
(bfloat16, float8, a key of random numbers) is stored as unsigned integers and named in the array ``dtypes``,
a JSON text as uint8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError
from attent.learner import State
from attent_jax.processes import put, whole

DTYPES = "dtypes"
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def pack(parts: Mapping[str, Any]) -> State:
    """Return the pytrees in ``parts`` as named arrays that share no memory with them.

    Raises LearnerError where two leaves have one name.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax.state import pack
        >>> packed = pack({"params": {"w": jnp.ones(2, jnp.bfloat16)}, "steps": jnp.array(3)})
        >>> sorted(packed), packed["params/w"].dtype
        (['dtypes', 'params/w', 'steps'], dtype('uint16'))
    """
    names, leaves, _ = _flat(parts)
    bits = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]
    dtypes = {
        name: str(leaf.dtype)
        for name, leaf in zip(names, leaves, strict=True)
        if _is_key(leaf) or np.dtype(leaf.dtype).kind == "V"
    }
    arrays = {}
    for name, value in zip(names, jax.device_get([whole(bit) for bit in bits]), strict=True):  # one wait for all
        array = np.array(value, order="C")  # a copy: on the CPU device_get shows the device's own memory
        arrays[name] = array.view(_BITS[array.dtype.itemsize]) if array.dtype.kind == "V" else array
    arrays[DTYPES] = np.frombuffer(json.dumps(dtypes).encode(), np.uint8).copy()
    return arrays


def unpack(state: Mapping[str, npt.NDArray[Any]], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pytrees of ``state``, which have the structure, shapes, dtypes and places of ``current``.

    Raises LearnerError naming what is missing, unknown, or of another shape or dtype.
    """
    names, leaves, structure = _flat(current)
    if DTYPES not in state:
        raise LearnerError(f"this is no state of a JaxLearner: it has no array '{DTYPES}'")
    try:
        dtypes = dict(json.loads(np.asarray(state[DTYPES]).tobytes()))
    except (ValueError, TypeError) as error:
        raise LearnerError(f"this is no state of a JaxLearner: its array '{DTYPES}' holds {error}") from error
    missing, unknown = sorted(set(names) - set(state)), sorted(set(state) - set(names) - {DTYPES})
    if missing or unknown:
        raise LearnerError(
            f"the state does not fit this learner: it lacks {_listed(missing)} and has {_listed(unknown)} too many"
        )
    for name, leaf in zip(names, leaves, strict=True):
        array = np.asarray(state[name])
        ours = f"{leaf.dtype} of shape {leaf.shape}"
        dtype, shape = dtypes.get(name, str(array.dtype)), array.shape
        if _is_key(leaf) and dtype == str(leaf.dtype):
            shape = shape[: leaf.ndim] if shape == jax.random.key_data(leaf).shape else shape
        theirs = f"{dtype} of shape {shape}"
        if ours != theirs:
            raise LearnerError(f"'{name}' is {theirs} in the state, but {ours} in this learner")
    taken = [_leaf(np.asarray(state[name]), leaf) for name, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, taken)


def _leaf(array: npt.NDArray[Any], like: Any) -> Any:
    if not isinstance(like, jax.Array):
        return np.array(array, order="C").view(like.dtype)
    if _is_key(like):
        key = jax.random.wrap_key_data(jnp.array(array, copy=True), impl=str(jax.random.key_impl(like)))
        return jax.device_put(key, like.sharding)
    bits = np.ascontiguousarray(array)
    values = bits.view(like.dtype).reshape(array.shape) if bits.dtype != like.dtype else array
    if not like.is_fully_addressable:
        return put(values, like.sharding)
    # jnp.array copies where device_put would share the memory of a NumPy array.
    return jax.device_put(jnp.array(values, copy=True), like.sharding)


def _flat(parts: Mapping[str, Any]) -> tuple[list[str], list[Any], Any]:
    found, structure = jax.tree_util.tree_flatten_with_path(dict(parts))
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise LearnerError(f"two arrays would be saved as '{twice[0]}'; rename one, without '/' in its name")
    return names, [leaf for _, leaf in found], structure


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (" ..." if len(names) > 8 else "") or "nothing"
