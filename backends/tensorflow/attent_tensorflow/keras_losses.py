"""Keras losses without their reduction: one number per example, whatever the loss was told to reduce to.

On any backend of Keras: TensorFlow is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops, tree

from attent.errors import LearnerError


def keras_loss(loss: Any) -> Callable[..., Any]:
    """Return ``loss(model, batch, training)`` for the losses that Keras' ``compile`` takes; see `keras_losses`.

    ``batch`` is (x, y) or (x, y, sample_weight); sample weights are part of an example's loss.

    Example:
        >>> import keras, numpy as np
        >>> from attent_tensorflow.keras_losses import keras_loss
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> losses = keras_loss("mse")(model, (np.ones((3, 2)), np.zeros((3, 1))), training=False)
        >>> keras.ops.convert_to_numpy(losses).tolist()
        [4.0, 4.0, 4.0]
    """
    per_example = keras_losses(loss)

    def losses(model: Any, batch: Any, training: bool) -> Any:
        if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 3:
            raise LearnerError("data must be (x, y) or (x, y, sample_weight), as for keras.Model.fit")
        x, y, *rest = batch
        return per_example(y, model(x, training=training), rest[0] if rest else None)

    return losses


def keras_losses(loss: Any) -> Callable[..., Any]:
    """Return ``losses(y, outputs, sample_weight=None)``: one loss per example, or a dict of them by output.

    ``loss`` is a keras.losses.Loss, a function of (y_true, y_pred), one's name, or a dict or list of them by
    output, whose losses come back by output. A sequence's loss is the mean over its steps, without those that Keras
    masks. Raises LearnerError for a reduction that is no mean over examples.

    Example:
        >>> import keras, numpy as np
        >>> from attent_tensorflow.keras_losses import keras_losses
        >>> keras.ops.convert_to_numpy(keras_losses("mse")(np.zeros((2, 2)), keras.ops.ones((2, 2)))).tolist()
        [1.0, 1.0]
    """
    parts = tree.map_structure(_resolved, loss)

    def losses(y: Any, outputs: Any, sample_weight: Any = None) -> Any:
        if not isinstance(parts, (Mapping, list, tuple)):
            if tree.is_nested(outputs):
                raise LearnerError(
                    "the model has several outputs, but there is one loss; give a dict or list of losses"
                )
            return _per_example(parts, y, outputs, sample_weight)
        if not tree.is_nested(outputs) or not tree.is_nested(y):
            raise LearnerError("there are several losses, so model outputs and targets must be dicts or lists too")
        result = {}
        for name in parts if isinstance(parts, Mapping) else range(len(parts)):
            if parts[name] is not None:
                own = sample_weight[name] if tree.is_nested(sample_weight) else sample_weight
                try:
                    result[str(name)] = _per_example(parts[name], y[name], outputs[name], own)
                except (KeyError, IndexError, TypeError) as error:
                    raise LearnerError(f"loss names the output {name!r}, which model or targets lack") from error
        return result

    return losses


def compiled_weights(model: keras.Model, loss: Any) -> dict[str, float] | None:
    """Return the compiled loss weights by task; None where there are none."""
    weights = (model.get_compile_config() or {}).get("loss_weights")
    if weights is None:
        return None
    if not isinstance(weights, (dict, list, tuple)) or not isinstance(loss, type(weights)):
        raise LearnerError(f"loss_weights must have the structure of loss to be taken over, got {weights!r}")
    pairs = weights.items() if isinstance(weights, dict) else enumerate(weights)
    return {str(name): float(weight) for name, weight in pairs}


def penalty(model: Any) -> Any:
    """Return the sum of a Keras model's regularisers and of what its layers added by ``add_loss``; None for none."""
    values = model.losses
    return sum(ops.cast(value, values[0].dtype) for value in values) if values else None


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


def _per_example(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    mask = getattr(y_pred, "_keras_mask", None)
    if sample_weight is not None and getattr(loss, "reduction", None) == "mean_with_sample_weight":
        raise LearnerError(
            'the loss has reduction="mean_with_sample_weight", which divides by the batch\'s sample weights; build it '
            'with reduction="sum_over_batch_size" or "none"'
        )
    # Loss.__call__ would take everything to float32, float64 too, and then reduce.
    dtype = "float64" if keras.backend.standardize_dtype(y_pred.dtype) == "float64" else "float32"
    y_true, y_pred = ops.cast(y_true, dtype), ops.cast(y_pred, dtype)
    if isinstance(loss, keras.losses.Loss):
        values = loss.call(y_true, y_pred)
    else:
        if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
            y_true = y_true[..., None]
        values = loss(y_true, y_pred)
    rank = len(values.shape)
    if rank == 0:
        return values  # refused, and explained, where all losses are
    mask = None if mask is None or rank != len(mask.shape) else ops.cast(mask, values.dtype)
    if sample_weight is not None:
        sample_weight = ops.cast(sample_weight, values.dtype)
        while len(sample_weight.shape) > rank:
            sample_weight = ops.squeeze(sample_weight, -1)
        while len(sample_weight.shape) < rank:
            sample_weight = sample_weight[..., None]
        values *= sample_weight
    axes = tuple(range(1, rank))
    if not axes:
        return values
    if mask is None:
        return ops.mean(values, axes)
    valid = ops.sum(ops.where(mask > 0, values, ops.zeros_like(values)), axes)
    return ops.divide_no_nan(valid, ops.sum(mask, axes))
