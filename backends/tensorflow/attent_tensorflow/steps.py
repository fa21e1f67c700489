"""One optimiser step inside a graph: gradients of the batch's objective, loss scaling, clipping, the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow.losses import per_example


class Steps:
    """Turns batches into optimiser steps.

    ``penalty(model)`` is a scalar that each step minimises beside the losses, as Keras' regularisers are.
    ``clip_norm`` caps the Euclidean norm of the whole gradient.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        losses: Callable[..., Any],
        task_weights: Mapping[str, float] | None,
        clip_norm: float | None,
        penalty: Callable[[Any], tf.Tensor | None],
    ) -> None:
        self._model, self._optimizer, self._losses = model, optimizer, losses
        self._task_weights, self._clip_norm, self._penalty = task_weights, clip_norm, penalty
        self.trained = list(model.trainable_variables)

    def take(self, batch: Any, weights: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Step on ``sum(weights * losses) / len(losses)``; return the losses before it, shape (B,)."""
        with tf.GradientTape() as tape:
            losses = per_example(self._losses(self._model, batch, True, seed), None, self._task_weights)
            penalty = self._penalty(self._model)
        # The objective's gradient by each loss is known; to start from it spares the sum and its gradient.
        share = tf.cast(weights, losses.dtype) / tf.cast(tf.shape(losses)[0], losses.dtype)
        targets, by_targets = [losses], [self._scaled(share)]
        if penalty is not None:
            targets, by_targets = [losses, penalty], [*by_targets, self._scaled(tf.ones_like(penalty))]
        gradients = tape.gradient(targets, self.trained, output_gradients=by_targets)
        pairs = [(g, v) for g, v in zip(gradients, self.trained, strict=True) if g is not None]
        if not pairs:
            raise LearnerError(
                "the loss has no gradient: it must be computed from the model's output by TensorFlow operations, "
                "without stop_gradient or NumPy, and the model must have a trainable variable"
            )
        gradients = [gradient for gradient, _ in pairs]
        if self._clip_norm is not None:
            # Gradients are still scaled here, so their cap is too.
            limit = self._scaled(tf.constant(self._clip_norm, gradients[0].dtype))
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        self._optimizer.apply(gradients, [variable for _, variable in pairs])
        return losses

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        scale = getattr(self._optimizer, "scale_loss", None)
        return values if scale is None else tf.cast(scale(values), values.dtype)
