"""What is asked of a batch: each example's loss, in training or in inference mode, with the step's seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from attent_tensorflow.losses import per_example
from attent_tensorflow.settings import takes_seed

_SCORING = -1  # where training has the number of its step


class Objective:
    """A user's loss, its task weights, and the seed of what it draws."""

    def __init__(self, loss: Callable[..., Any], task_weights: Mapping[str, float] | None, seed: int) -> None:
        self._loss, self._task_weights = loss, task_weights
        self._seed, self._seeded = seed, takes_seed(loss)

    def scored(self, model: Any, batch: Any, count: int | None = None) -> tf.Tensor:
        """Return the losses in inference mode, shape (B,); ``count`` is B, where it is known."""
        return self._losses(model, batch, False, tf.constant(_SCORING, tf.int64), count)

    def trained(self, model: Any, batch: Any, step: tf.Tensor) -> tf.Tensor:
        """Return the losses in training mode at a step, int64: shape (B,)."""
        return self._losses(model, batch, True, step, None)

    def _losses(self, model: Any, batch: Any, training: bool, step: tf.Tensor, count: int | None) -> tf.Tensor:
        if self._seeded:
            output = self._loss(model, batch, training, seed=tf.stack([tf.constant(self._seed, tf.int64), step]))
        else:
            output = self._loss(model, batch, training)
        return per_example(output, count, self._task_weights)
