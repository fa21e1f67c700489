"""Per-example losses: what a loss function may return, and what attent makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError


def cross_entropy(model: Any, batch: Any, training: bool) -> tf.Tensor:
    """Return the cross-entropy of each example of a batch ``(inputs, labels)``: shape (B,), in nats.

    ``model(inputs)`` gives logits (B, classes); labels are class numbers (B,) or probabilities (B, classes).
    ``training`` is passed on to Keras models, and to no other.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow import cross_entropy
        >>> cross_entropy(tf.identity, (tf.zeros((2, 3)), tf.constant([0, 1])), training=False).numpy().round(4)
        array([1.0986, 1.0986], dtype=float32)
    """
    inputs, labels = batch
    # Of the models that TensorFlow knows only Keras' promise a mode, and Keras ignores it where there is none.
    logits = model(inputs, training=training) if hasattr(model, "compute_dtype") else model(inputs)
    logits = _widened(logits)
    if labels.dtype.is_integer:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


@tf.autograph.experimental.do_not_convert
def token_mean(losses: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return each example's mean loss over its valid tokens: shape (B,).

    ``losses``: shape (B, T). ``mask``: shape (B, T), bool or 0/1, true where a token counts. Padding has no
    influence, not even a NaN in it; an example without valid tokens gets 0. float16 and bfloat16 are averaged
    in float32. Raises LearnerError where the shapes differ.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow import token_mean
        >>> token_mean(tf.constant([[1.0, 3.0, 9.0]]), tf.constant([[True, True, False]])).numpy()
        array([2.], dtype=float32)
    """
    if losses.shape.rank != 2 or not mask.shape.is_compatible_with(losses.shape):
        raise LearnerError(
            "token_mean takes losses and mask of one shape (examples, tokens), "
            f"got losses {losses.shape} and mask {mask.shape}"
        )
    losses, valid = _widened(losses), tf.cast(mask, tf.bool)
    counts = tf.cast(tf.math.count_nonzero(valid, axis=1), losses.dtype)
    total = tf.reduce_sum(tf.where(valid, losses, tf.zeros((), losses.dtype)), axis=1)
    return total / tf.maximum(counts, tf.ones((), losses.dtype))


@tf.autograph.experimental.do_not_convert
def per_example(output: Any, count: Any, task_weights: Mapping[str, float] | None) -> tf.Tensor:
    """Return the loss of each of ``count`` examples, the tasks' weighted sum where there are several: (count,).

    ``count`` is a number, or None in a graph for any number of examples. Raises LearnerError for anything
    else than one floating-point number per example (and task).
    """
    if tf.is_tensor(output):
        if task_weights is not None:
            raise LearnerError(
                f"task_weights names {_names(task_weights)}, but the loss returned one tensor; "
                "return a dict of tensors by task, or leave task_weights out"
            )
        return _checked(output, count, "the loss")
    if not isinstance(output, Mapping) or not output:
        raise LearnerError(
            f"the loss must return a tensor of shape {_shape(count)} or a dict of them by task, got {output!r:.200}"
        )
    weights = dict.fromkeys(output, 1.0) if task_weights is None else task_weights
    if set(weights) != set(output):
        raise LearnerError(f"task_weights names {_names(weights)}, but the loss returned {_names(output)}")
    first, *others = (
        tf.constant(weights[task], losses.dtype) * losses
        for task in weights
        for losses in [_checked(output[task], count, f"loss[{task!r}]")]
    )
    return sum(others, start=first)


def _checked(losses: Any, count: int | None, name: str) -> tf.Tensor:
    if not tf.is_tensor(losses):
        raise LearnerError(f"{name} must be a tensor of shape {_shape(count)}, got {losses!r:.200}")
    if not losses.shape.is_compatible_with((count,)):
        advice = "its shape must be that of the ids asked for"
        if losses.shape.rank == 0:
            advice = 'build the loss with reduction="none"'
        elif losses.shape.rank is not None and losses.shape.rank > 1:
            advice = "reduce each example to one number, for tokens with attent_tensorflow.token_mean"
        raise LearnerError(
            f"{name} must be one number per example, shape {_shape(count)}, got shape {losses.shape}; {advice}"
        )
    if not losses.dtype.is_floating:
        raise LearnerError(f"{name} must be of a floating-point dtype, got {losses.dtype.name}")
    return _widened(losses)


def _widened(values: tf.Tensor) -> tf.Tensor:
    """Return 16-bit numbers as float32: sums over a batch in 16 bits lose what tells examples apart."""
    return tf.cast(values, tf.float32) if values.dtype.size < 4 else values


def _shape(count: int | None) -> str:
    return "(B,)" if count is None else f"({count},)"


def _names(tasks: Mapping[str, Any]) -> str:
    return ", ".join(repr(task) for task in tasks)
