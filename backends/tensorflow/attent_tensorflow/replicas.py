"""A model on several devices of one process, by ``tf.distribute.MirroredStrategy``: batches are dealt out to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow.variables import bare, mirrored


class Replicas:
    """The replicas of a strategy: each takes its part of a batch, and what they find is put together.

    Of B examples replica r of R takes those from r * B // R to (r + 1) * B // R, as workers do (rule W2). One whose
    part is empty takes an example that counts for nothing, so that all take part in each sum.
    """

    def __init__(self, strategy: tf.distribute.MirroredStrategy) -> None:
        self._strategy = strategy
        self.count: int = strategy.num_replicas_in_sync
        self.scope: Callable[[], contextlib.AbstractContextManager[Any]] = strategy.scope

    def hold(self, variable: Any) -> bool:
        """Whether a variable lies on these replicas."""
        return mirrored(variable) and variable.distribute_strategy is self._strategy

    @staticmethod
    def share(variables: Iterable[Any]) -> None:
        """Give all replicas the values that variables have on the first: statistics of a share are each its own."""
        for variable in variables:
            if mirrored(variable):
                variable.assign(variable.values[0])

    def losses(self, each: Callable[[Any], tf.Tensor], batch: Any) -> tf.Tensor:
        """Return the losses that ``each(part)`` gives, in the order of the batch: (B,)."""
        losses, _ = self.summed(lambda part, _: (each(part), []), batch, tf.zeros(tf.shape(_first(batch))[0]))
        return losses

    def summed(
        self, each: Callable[[Any, tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]], batch: Any, weights: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the losses that ``each(part, weights)`` gives, in the order of the batch, and the sums of the rest."""
        size = tf.shape(weights)[0]

        def own() -> tuple[tf.Tensor, list[tf.Tensor]]:
            place = tf.distribute.get_replica_context().replica_id_in_sync_group
            start, stop = place * size // self.count, (place + 1) * size // self.count
            end = tf.maximum(stop, start + 1)
            part = tf.nest.map_structure(lambda tensor: tensor[start:end], batch)
            held = tf.where(tf.range(start, end) < stop, weights[start:end], tf.zeros((), weights.dtype))
            losses, rest = each(part, held)
            return losses[: stop - start], rest

        losses, rest = self._strategy.run(own)
        parts = self._strategy.experimental_local_results(losses)
        return tf.concat(parts, 0), [self._strategy.reduce("SUM", tensor, axis=None) for tensor in rest]


def replicas_of(variables: Iterable[Any]) -> Replicas | None:
    """Return the replicas that a model's variables lie on, None where there is one.

    Raises LearnerError where they are not all those of one `tf.distribute.MirroredStrategy`, and within its scope.
    """
    held, here = list(variables), tf.distribute.get_strategy()
    strategies = [here, *(v.distribute_strategy for v in held if mirrored(v))]
    several = [strategy for strategy in strategies if strategy.num_replicas_in_sync > 1]
    if not several:
        return None
    replicas = Replicas(several[0])
    own = type(several[0]) is tf.distribute.MirroredStrategy
    if own and here is several[0]:
        raise LearnerError(
            "the learner is built in the scope of a MirroredStrategy: build the model and its optimiser in "
            "strategy.scope(), and the learner outside of it"
        )
    if not own or not all(map(replicas.hold, held)):
        raise LearnerError(
            f"the model's variables belong to a {type(several[0]).__name__} of {several[0].num_replicas_in_sync} "
            "replicas: a learner trains those of a MirroredStrategy, in whose scope the whole model is built. Else "
            "build model and learner outside of any, and start a process for each device, with "
            "attent_tensorflow.workers(learner, tf.distribute.MultiWorkerMirroredStrategy())"
        )
    return replicas


def check_replicated(optimizer: Any, replicas: Replicas) -> None:
    """Raise LearnerError for an optimiser that cannot step on these replicas at once."""
    if type(optimizer).__module__.startswith("attent_tensorflow") or hasattr(optimizer, "inner_optimizer"):
        raise LearnerError(
            f"{type(optimizer).__name__} takes no steps on several replicas: give one of Keras' other optimisers, or "
            "start a process for each device, with attent_tensorflow.workers"
        )
    if not all(replicas.hold(bare(variable)) for variable in optimizer.variables):
        raise LearnerError(
            f"{type(optimizer).__name__} is built outside of the model's strategy: build it in strategy.scope() too"
        )


def _first(batch: Any) -> tf.Tensor:
    return tf.nest.flatten(batch)[0]
