"""One optimiser step inside a graph: gradients of the batch's objective, loss scaling, clipping, the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow.objective import Objective


class Steps:
    """Turns batches into optimiser steps.

    ``penalty(model)`` is a scalar that each step minimises beside the losses, as Keras' regularisers are.
    ``clip_norm`` caps the Euclidean norm of the whole gradient.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        objective: Objective,
        clip_norm: float | None,
        penalty: Callable[[Any], tf.Tensor | None],
    ) -> None:
        self._model, self._optimizer, self._objective = model, optimizer, objective
        self._clip_norm, self._penalty = clip_norm, penalty
        self.average: Callable[[Sequence[Any]], list[tf.Tensor]] | None = None  # gradients, over a cluster's tasks
        self.trained = list(model.trainable_variables)

    def take(self, batch: Any, weights: tf.Tensor, step: tf.Tensor, rate: tf.Tensor | None) -> tf.Tensor:
        """Step on ``sum(weights * losses) / len(losses)``; return the losses before it, shape (B,).

        ``step`` is its number, int64; ``rate`` its learning rate, where the optimiser has none of its own.
        """
        if rate is not None:
            variable = self._optimizer.learning_rate
            variable.assign(tf.cast(rate, variable.dtype))
        with tf.GradientTape() as tape:
            losses = self._objective.trained(self._model, batch, step)
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
        if self.average is not None:
            gradients = self.average(gradients)
        if self._clip_norm is not None:
            # Gradients are still scaled here, so their cap is too.
            limit = self._scaled(tf.constant(self._clip_norm, gradients[0].dtype))
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        self._optimizer.apply(gradients, [variable for _, variable in pairs])
        return losses

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        scale = getattr(self._optimizer, "scale_loss", None)
        return values if scale is None else tf.cast(scale(values), values.dtype)
