"""Per-example losses: what a loss function may return, and two to build others from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from attent.errors import LearnerError


def cross_entropy(model: Any, batch: Any) -> jax.Array:
    """Return the cross-entropy of each example of a batch ``(inputs, labels)``: shape (B,), in nats.

    ``model(inputs)`` gives logits (B, classes); labels are class numbers (B,) or probabilities (B, classes). A
    loss for `from_nnx` and `from_linen` as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax import cross_entropy
        >>> cross_entropy(lambda x: x, (jnp.zeros((2, 3)), jnp.array([0, 1]))).round(4).tolist()
        [1.0986000299453735, 1.0986000299453735]
    """
    inputs, labels = batch
    logits = model(inputs)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return optax.softmax_cross_entropy(logits, labels)


def token_mean(losses: jax.Array, mask: jax.Array) -> jax.Array:
    """Return each example's mean loss over its valid tokens: shape (B,).

    ``losses``: shape (B, T). ``mask``: shape (B, T), bool or 0/1, true where a token counts. Padding has no
    influence, not even a NaN in it; an example without valid tokens gets 0. float16 and bfloat16 are averaged
    in float32. Raises LearnerError where the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from attent_jax import token_mean
        >>> token_mean(jnp.array([[1.0, 3.0, 9.0]]), jnp.array([[True, True, False]])).tolist()
        [2.0]
    """
    if losses.ndim != 2 or mask.shape != losses.shape:
        raise LearnerError(
            "token_mean takes losses and mask of one shape (examples, tokens), "
            f"got losses {tuple(losses.shape)} and mask {tuple(mask.shape)}"
        )
    valid = mask.astype(bool)
    wide = _widened(losses)
    return jnp.where(valid, wide, 0).sum(1) / jnp.maximum(valid.sum(1), 1).astype(wide.dtype)


def per_example(output: Any, count: int, task_weights: Mapping[str, float] | None) -> jax.Array:
    """Return the loss of each of ``count`` examples, the tasks' weighted sum where there are several: (count,).

    Raises LearnerError for anything else than one floating-point number per example (and task).
    """
    if isinstance(output, jax.Array):
        if task_weights is not None:
            raise LearnerError(
                f"task_weights names {_names(task_weights)}, but the loss returned one array; "
                "return a dict of arrays by task, or leave task_weights out"
            )
        return _checked(output, count, "the loss")
    if not isinstance(output, Mapping) or not output:
        raise LearnerError(
            f"the loss must return an array of shape ({count},) or a dict of them by task, got {output!r:.200}"
        )
    weights = dict.fromkeys(output, 1.0) if task_weights is None else task_weights
    if set(weights) != set(output):
        raise LearnerError(f"task_weights names {_names(weights)}, but the loss returned {_names(output)}")
    first, *others = (weights[task] * _checked(output[task], count, f"loss[{task!r}]") for task in weights)
    return sum(others, start=first)


def _checked(losses: Any, count: int, name: str) -> jax.Array:
    if not isinstance(losses, jax.Array):
        raise LearnerError(f"{name} must be an array of shape ({count},), got {losses!r:.200}")
    if losses.shape != (count,):
        advice = "its shape must be that of the batch's first dimension"
        if losses.ndim == 0:
            advice = "return per-example losses, without a mean or sum over the batch"
        elif losses.ndim > 1 and losses.shape[0] == count:
            advice = "reduce each example to one number, for tokens with attent_jax.token_mean"
        raise LearnerError(
            f"{name} must be one number per example, shape ({count},), got shape {tuple(losses.shape)}; {advice}"
        )
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise LearnerError(f"{name} must be of a floating-point dtype, got {losses.dtype}")
    return _widened(losses)


def _widened(losses: jax.Array) -> jax.Array:
    """Return 16-bit losses as float32: sums over a batch in 16 bits lose what tells examples apart."""
    return losses if losses.dtype in (jnp.float32, jnp.float64) else losses.astype(jnp.float32)


def _names(tasks: Mapping[str, Any]) -> str:
    return ", ".join(repr(task) for task in tasks)
