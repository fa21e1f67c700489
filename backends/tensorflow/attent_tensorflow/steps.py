"""One optimiser step inside a graph: gradients of the batch's objective, loss scaling, clipping, the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow.objective import Objective
from attent_tensorflow.replicas import Replicas
from attent_tensorflow.variables import bare, model_variables


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
        replicas: Replicas | None = None,
    ) -> None:
        self._model, self._optimizer, self._objective = model, optimizer, objective
        self._clip_norm, self._penalty, self._replicas = clip_norm, penalty, replicas
        self.average: Callable[[Sequence[Any]], list[tf.Tensor]] | None = None  # gradients, over a cluster's tasks
        self.trained = list(model.trainable_variables)
        own = {id(bare(variable)) for variable in self.trained}
        self._others = [variable for variable in model_variables(model).values() if id(variable) not in own]

    def take(
        self, batch: Any, weights: tf.Tensor, step: tf.Tensor, rate: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Step on ``sum(weights * losses) / len(losses)``; return the losses before it, (B,), and if it was taken.

        ``step`` is its number, int64; ``rate`` its learning rate, where the optimiser has none of its own. A step with
        a loss or a gradient that is not finite changes no variable (rule P8). An optimiser that scales losses skips
        it by itself, and learns from it.
        """
        if rate is not None:
            variable = self._optimizer.learning_rate
            variable.assign(tf.cast(rate, variable.dtype))
        # What the forward pass may write. A copy is made of those alone that it does write.
        before = [tf.identity(variable) for variable in self._others]
        variables: list[Any] = []
        size = tf.shape(weights)[0]

        def each(batch: Any, weights: tf.Tensor) -> tuple[tf.Tensor, list[Any]]:
            losses, gradients = self._gradients(batch, weights, size, step)
            variables[:] = [v for g, v in zip(gradients, self.trained, strict=True) if g is not None]
            return losses, [gradient for gradient in gradients if gradient is not None]

        losses, gradients = (
            each(batch, weights) if self._replicas is None else self._replicas.summed(each, batch, weights)
        )
        told = tf.reduce_sum(losses * 0)  # not 0 where a loss is not finite
        if self.average is not None:
            *gradients, told = self.average([*gradients, told])
        finite = tf.math.is_finite(told)
        if not skips_by_itself(self._optimizer):
            for gradient in gradients:
                finite &= tf.reduce_all(tf.math.is_finite(gradient))
        if self._clip_norm is not None:
            # Gradients are still scaled here, so their cap is too.
            limit = self._scaled(tf.constant(self._clip_norm, gradients[0].dtype))
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        return losses, _taken(
            self._optimizer, gradients, variables, finite, list(zip(self._others, before, strict=True))
        )

    def _gradients(
        self, batch: Any, weights: tf.Tensor, size: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, list[Any]]:
        """Return the losses of a batch of ``size`` examples, or of a part of it, and the gradients: None of some."""
        with tf.GradientTape() as tape:
            losses = self._objective.trained(self._model, batch, step)
            penalty = self._penalty(self._model)
        # The objective's gradient by each loss is known; to start from it spares the sum and its gradient.
        targets, by_targets = [losses], [self._scaled(tf.cast(weights, losses.dtype) / tf.cast(size, losses.dtype))]
        if penalty is not None:
            once = 1 if self._replicas is None else self._replicas.count  # each replica has a part of it
            targets, by_targets = [losses, penalty], [*by_targets, self._scaled(tf.ones_like(penalty) / once)]
        gradients = tape.gradient(targets, self.trained, output_gradients=by_targets)
        if all(gradient is None for gradient in gradients):
            raise LearnerError(
                "the loss has no gradient: it must be computed from the model's output by TensorFlow operations, "
                "without stop_gradient or NumPy, and the model must have a trainable variable"
            )
        # Of an embedding, what each use of a row tells it: the sum is its gradient, and what is squared and clipped.
        return losses, [None if each is None else tf.convert_to_tensor(each) for each in gradients]

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        scale = getattr(self._optimizer, "scale_loss", None)
        return values if scale is None else tf.cast(scale(values), values.dtype)


@tf.autograph.experimental.do_not_convert
def _taken(
    optimizer: Any, gradients: list[Any], variables: list[Any], finite: tf.Tensor, others: list[tuple[Any, tf.Tensor]]
) -> tf.Tensor:
    """Take a step if it is finite, else put back what its forward pass wrote; return whether it was taken."""

    def apply() -> tf.Tensor:
        optimizer.apply(gradients, variables)
        return tf.constant(True)

    def put_back() -> tf.Tensor:
        for variable, value in others:
            variable.assign(value)
        return tf.constant(False)

    if not skips_by_itself(optimizer):
        return tf.cond(finite, apply, put_back)

    def spoilt() -> tf.Tensor:
        optimizer.apply([gradient * float("nan") for gradient in gradients], variables)
        return tf.constant(False)

    before = tf.identity(optimizer.iterations)
    tf.cond(finite, apply, spoilt)
    return tf.cond(optimizer.iterations > before, lambda: tf.constant(True), put_back)


def skips_by_itself(optimizer: Any) -> bool:
    """Whether an optimiser scales losses, and skips steps whose gradients are not finite: Keras' LossScaleOptimizer."""
    return hasattr(optimizer, "dynamic_scale")
