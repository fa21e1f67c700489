"""What a loop's own step needs: the losses beside the gradient of their mean, and whether all of it is finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attent.errors import LearnerError
from attent_jax.trainers.means import mean_and_terms

_Function = Callable[..., Any]


def losses_and_grad(value_and_grad: _Function = jax.value_and_grad) -> Callable[[_Function], _Function]:
    """Return a decorator in place of ``value_and_grad``, that gives each example's loss in place of their mean.

    The function takes (model, *batch) and returns a plain mean over the batch's examples, as it does for
    ``value_and_grad``; or one loss per example, shape (B,), as it must of an nnx module. Decorated it returns the
    losses, (B,), and the gradient of their mean by the model; called with ``weights=``, shape (B,), as a `Teacher`'s
    batches have them, that of ``losses @ weights``. A mean is differentiated as it is, and its losses are those that it
    sums up: no second forward is made. ``value_and_grad``: jax's, ``equinox.filter_value_and_grad`` or ``flax.nnx``'s.

    Raises LearnerError, when it is traced, for a function that returns anything else.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax import losses_and_grad
        >>> @losses_and_grad()
        ... def squares(model, x, y):
        ...     return jnp.mean((x @ model - y) ** 2)
        >>> losses, grads = squares(jnp.zeros(2), jnp.eye(2), jnp.array([1.0, 2.0]))
        >>> losses.tolist(), grads.tolist()
        ([1.0, 4.0], [-1.0, -2.0])
    """

    def decorate(losses_of: _Function) -> _Function:
        def mean(model: Any, batch: tuple[Any, ...], weights: Any) -> tuple[Any, Any]:
            losses = losses_of(model, *batch)
            if getattr(losses, "ndim", None) == 0:
                value, losses = mean_and_terms(losses_of, model, batch)
                return value if weights is None else losses @ weights, losses
            if getattr(losses, "ndim", None) != 1:
                got = f"shape {losses.shape}" if hasattr(losses, "shape") else type(losses).__qualname__
                raise LearnerError(
                    f"{getattr(losses_of, '__name__', 'the function')} must return one loss per example, shape (B,), "
                    f"or a plain mean of them, got {got}: of losses per token or output take the mean over those"
                )
            return losses.mean() if weights is None else losses @ weights, losses

        both = value_and_grad(mean, has_aux=True)

        @functools.wraps(losses_of)
        def losses_and_their_grad(model: Any, *batch: Any, weights: Any = None) -> tuple[Any, Any]:
            (_, losses), grads = both(model, batch, weights)
            return losses, grads

        return losses_and_their_grad

    return decorate


def all_finite(*trees: Any) -> jax.Array:
    """Return whether every number of these pytrees, also nnx and Equinox modules, is finite: bool, shape ().

    Within a jitted step, of its losses and gradients, it says whether the step may be taken (rule P8).

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax import all_finite
        >>> bool(all_finite(jnp.ones(3), {"w": jnp.zeros(2), "step": 1}))
        True
        >>> bool(all_finite(jnp.ones(3), {"w": jnp.array([0.0, jnp.inf])}))
        False
    """
    found = jnp.array(True)
    for leaf in jax.tree.leaves(trees):
        if _floating(leaf):
            found &= jnp.isfinite(leaf).all()
    return found


def check_all_finite(tree: Any, when: str) -> None:
    """Raise LearnerError naming an array of a pytree that is not finite (rule R6)."""
    leaves = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _floating(leaf)]
    found = jax.device_get([jnp.isfinite(leaf).all() for _, leaf in leaves])
    for (path, _), finite in zip(leaves, found, strict=True):
        if not finite:
            raise LearnerError(
                f"{jax.tree_util.keystr(path)} is not finite {when}. Nothing of it is kept: checkpoints from before "
                "stay. Lower the learning rate, clip gradients, leave the examples out, or leave such steps out under "
                "non_finite='drop' in the plan (rule R6)"
            )


def _floating(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return isinstance(leaf, float) if dtype is None else bool(jnp.issubdtype(dtype, jnp.inexact))
