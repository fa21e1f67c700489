"""The states of what a user gave beside a model, as pytrees of arrays, and back as what they were."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from attent.errors import LearnerError


def as_arrays(name: str, state: Any) -> Any:
    """Return a pytree of arrays and numbers as one of arrays. Raises LearnerError naming a leaf that is neither.

    Example:
        >>> from attent_jax.extra import as_arrays
        >>> as_arrays("counter", {"count": 3})
        {'count': array(3)}
    """

    def array(path: Any, leaf: Any) -> Any:
        plain = isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float)
        value = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) if plain else None
        if value is None or (isinstance(value, np.ndarray) and value.dtype.kind not in "biufcV"):
            place = f"extra[{name!r}]{jax.tree_util.keystr(path)}"
            raise LearnerError(
                f"{place} is {type(leaf).__qualname__} in its state, which must be a pytree of arrays and numbers"
            )
        return value

    return jax.tree_util.tree_map_with_path(array, state)


def as_now(saved: Any, now: Any) -> Any:
    """Return a saved pytree of arrays with numbers where ``now``, of equal structure, has numbers.

    Example:
        >>> import numpy as np
        >>> from attent_jax.extra import as_now
        >>> as_now({"count": np.array(3)}, {"count": 0})
        {'count': 3}
    """

    def leaf(array: Any, like: Any) -> Any:
        if isinstance(like, jax.Array | np.ndarray):
            return array
        return array[()] if isinstance(like, np.generic) else type(like)(array.item())

    return jax.tree.map(leaf, saved, now)
