"""Keras losses without their reduction: one number per example, whatever the loss was told to reduce to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from attent.errors import LearnerError


def keras_loss(loss: Any) -> Callable[..., Any]:
    """Return ``loss(model, batch, training)`` for the losses that Keras' ``compile`` takes.

    ``loss`` is a keras.losses.Loss, a function of (y_true, y_pred), one's name, or a dict or list of them by
    output, whose losses come back by output. ``batch`` is (x, y) or (x, y, sample_weight); sample weights are
    part of an example's loss. A sequence's loss is the mean over its steps, without those that Keras masks.
    Raises LearnerError for a reduction that is no mean over examples.

    Example:
        >>> import keras, tensorflow as tf
        >>> from attent_tensorflow.keras_losses import keras_loss
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> keras_loss("mse")(model, (tf.ones((3, 2)), tf.zeros((3, 1))), training=False).numpy().tolist()
        [4.0, 4.0, 4.0]
    """
    parts = tf.nest.map_structure(_resolved, loss)

    def losses(model: Any, batch: Any, training: bool) -> Any:
        if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 3:
            raise LearnerError("data must be (x, y) or (x, y, sample_weight), as for keras.Model.fit")
        x, y, *rest = batch
        outputs = model(x, training=training)
        weights = rest[0] if rest else None
        if not isinstance(parts, (Mapping, list, tuple)):
            if tf.nest.is_nested(outputs):
                raise LearnerError(
                    "the model has several outputs, but there is one loss; give a dict or list of losses"
                )
            return _per_example(parts, y, outputs, weights)
        if not tf.nest.is_nested(outputs) or not tf.nest.is_nested(y):
            raise LearnerError("there are several losses, so model outputs and targets must be dicts or lists too")
        result = {}
        for name in parts if isinstance(parts, Mapping) else range(len(parts)):
            if parts[name] is not None:
                own = weights[name] if tf.nest.is_nested(weights) else weights
                try:
                    result[str(name)] = _per_example(parts[name], y[name], outputs[name], own)
                except (KeyError, IndexError, TypeError) as error:
                    raise LearnerError(f"loss names the output {name!r}, which model or targets lack") from error
        return result

    return losses


def penalty(model: Any) -> tf.Tensor | None:
    """Return the sum of a Keras model's regularisers and of what its layers added by ``add_loss``; None for none."""
    values = model.losses
    return tf.add_n([tf.cast(value, values[0].dtype) for value in values]) if values else None


def _resolved(loss: Any) -> Any:
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError as error:
            raise LearnerError(f"loss must be one that Keras knows, got {loss!r}") from error
    if loss is not None and not callable(loss):
        raise LearnerError(f"loss must be a Keras loss, a function or a name, got {loss!r}")
    if getattr(loss, "reduction", None) == "sum":
        raise LearnerError(
            'the loss has reduction="sum", whose steps grow with the batch, while attent takes means; build it with '
            'reduction="sum_over_batch_size" or "none"'
        )
    return loss


def _per_example(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> tf.Tensor:
    mask = getattr(y_pred, "_keras_mask", None)
    if sample_weight is not None and getattr(loss, "reduction", None) == "mean_with_sample_weight":
        raise LearnerError(
            'the loss has reduction="mean_with_sample_weight", which divides by the batch\'s sample weights; build it '
            'with reduction="sum_over_batch_size" or "none"'
        )
    # Loss.__call__ would take everything to float32, float64 too, and then reduce.
    dtype = tf.float64 if y_pred.dtype == tf.float64 else tf.float32
    y_true, y_pred = tf.cast(y_true, dtype), tf.cast(y_pred, dtype)
    if isinstance(loss, keras.losses.Loss):
        values = loss.call(y_true, y_pred)
    else:
        if y_true.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
            y_true = y_true[..., None]
        values = loss(y_true, y_pred)
    if values.shape.rank == 0:
        return values  # refused, and explained, where all losses are
    mask = None if mask is None or values.shape.rank != mask.shape.rank else tf.cast(mask, values.dtype)
    if sample_weight is not None:
        sample_weight = tf.cast(sample_weight, values.dtype)
        missing = values.shape.rank - sample_weight.shape.rank
        if missing < 0:
            sample_weight = tf.squeeze(sample_weight, range(values.shape.rank, sample_weight.shape.rank))
        values *= tf.reshape(sample_weight, tf.concat([tf.shape(sample_weight), [1] * max(missing, 0)], 0))
    axes = list(range(1, values.shape.rank))
    if not axes:
        return values
    if mask is None:
        return tf.reduce_mean(values, axes)
    valid = tf.reduce_sum(tf.where(mask > 0, values, tf.zeros_like(values)), axes)
    return tf.math.divide_no_nan(valid, tf.reduce_sum(mask, axes))
