"""The parameters that training does not change: kept beside the others, left out of a state, known by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from attent.errors import LearnerError
from attent.learner import State
from attent_jax.processes import add_array, whole

FROZEN = "frozen"


def split(params: Any, trainable: Any) -> tuple[Any, Any]:
    """Return the parameters that are trained, and the others: each tree has None where the other has an array.

    trainable: True or False for every array or for all arrays below a place, as for ``optax.masked``; or a function of
    the parameters that returns such a tree; None: all are trained. Raises LearnerError for one that does not fit.

    Example:
        >>> import numpy as np
        >>> from attent_jax.frozen import split
        >>> split({"base": np.zeros(2), "head": np.ones(1)}, {"base": False, "head": True})
        ({'base': None, 'head': array([1.])}, {'base': array([0., 0.]), 'head': None})
    """
    mask = True if trainable is None else trainable(params) if callable(trainable) else trainable
    try:
        mask = jax.tree.broadcast(mask, params)
    except ValueError as error:
        raise LearnerError(
            "trainable must be True or False for each array of params, or for all below a place, as for optax.masked: "
            f"{str(error).splitlines()[0]:.300}"
        ) from error
    for path, each in jax.tree_util.tree_flatten_with_path(mask)[0]:
        if not isinstance(each, bool | np.bool_):
            raise LearnerError(f"trainable{jax.tree_util.keystr(path)} must be True or False, got {each!r:.80}")
    if not any(jax.tree.leaves(mask)):
        raise LearnerError("trainable is False for all of params: nothing would be trained")
    trained = jax.tree.map(lambda keep, leaf: leaf if keep else None, mask, params)
    return trained, jax.tree.map(lambda keep, leaf: None if keep else leaf, mask, params)


def joined(trained: Any, frozen: Any) -> Any:
    """Return the parameters that ``split`` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda leaf: leaf is None)


class Frozen:
    """What ``split`` left: arrays that never change, so that their digest is made once.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax.frozen import Frozen
        >>> sorted(Frozen({"base": jnp.zeros(2), "head": None}).told()), Frozen({"head": None}).told()
        (['frozen'], {})
    """

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays
        self._told: dict[str, Any] | None = None

    def told(self) -> State:
        """Return what a state says of them: their number, and a SHA-256 over names and content; nothing if none."""
        if self._told is None:
            found = jax.tree_util.tree_flatten_with_path(self.arrays)[0]
            digest = hashlib.sha256()
            for path, leaf in found:
                digest.update(jax.tree_util.keystr(path, simple=True, separator="/").encode())
                add_array(digest, whole(leaf))
            self._told = {"count": len(found), "digest": digest.hexdigest()} if found else {}
        return {FROZEN: np.frombuffer(json.dumps(self._told).encode(), np.uint8).copy()} if self._told else {}

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise LearnerError unless a state was made with the same."""
        own, saved = self.told().get(FROZEN), state.get(FROZEN)
        if (own is None) != (saved is None):
            has, lacks = ("the state", "this learner") if own is None else ("this learner", "the state")
            raise LearnerError(
                f"{has} has parameters that training does not change, {lacks} has none: give the trainable= that the "
                "run began with"
            )
        if own is not None and not np.array_equal(own, np.asarray(saved)):
            assert self._told is not None
            raise LearnerError(
                f"the state leaves out parameters that training does not change, and the {self._told['count']} of this "
                "learner are others: build it from the very params, and with the trainable=, that the run began with"
            )
