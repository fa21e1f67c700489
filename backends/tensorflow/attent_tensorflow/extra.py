"""The states of what a user gave beside a model, as named arrays, and back as what they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow.variables import bare

Leaf = Callable[[str, Any], Any]


def leaves(states: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors, arrays and numbers in states, by path. Raises LearnerError naming a leaf that is neither.

    Example:
        >>> from attent_tensorflow.extra import leaves
        >>> leaves({"counter": {"count": 3}, "means": [0.5]})
        {'extra/counter/count': array(3), 'extra/means/0': array(0.5)}
    """
    found: dict[str, Any] = {}

    def note(path: str, leaf: Any) -> None:
        plain = isinstance(leaf, np.ndarray | np.generic | bool | int | float)
        value = np.asarray(leaf) if plain else bare(leaf) if _is_tensor(leaf) else None
        if value is None or (isinstance(value, np.ndarray) and value.dtype.kind not in "biufc"):
            raise LearnerError(
                f"'{path}' is {type(leaf).__qualname__}: a state of extra= must hold tensors, arrays and numbers, in "
                "dicts, lists and tuples"
            )
        if path in found:
            raise LearnerError(f"two values would be saved as '{path}'; rename one, without '/' in its name")
        found[path] = value

    _mapped(states, "extra", note)
    return found


def as_now(arrays: Mapping[str, Any], states: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved arrays in the structure of the present states, as tensors and numbers where those are.

    Example:
        >>> import numpy as np
        >>> from attent_tensorflow.extra import as_now
        >>> as_now({"extra/counter/count": np.array(3)}, {"counter": {"count": 0}})
        {'counter': {'count': 3}}
    """

    def restored(path: str, now: Any) -> Any:
        array = np.array(arrays[path], order="C")
        if isinstance(now, np.ndarray):
            return array
        if _is_tensor(now):
            return tf.constant(array.view(tf.as_dtype(bare(now).dtype).as_numpy_dtype))
        return array[()] if isinstance(now, np.generic) else type(now)(array.item())

    return _mapped(dict(states), "extra", restored)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor | tf.Variable) or isinstance(getattr(leaf, "value", None), tf.Variable)


def _mapped(tree: Any, path: str, leaf: Leaf) -> Any:
    if isinstance(tree, Mapping):
        return {key: _mapped(child, f"{path}/{key}", leaf) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        children = [_mapped(child, f"{path}/{index}", leaf) for index, child in enumerate(tree)]
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return leaf(path, tree)
