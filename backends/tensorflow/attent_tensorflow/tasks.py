"""A learner on every task of a ``MultiWorkerMirroredStrategy``'s cluster: what goes between the tasks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import attent
from attent.errors import LearnerError, WorkersError
from attent.run.workers import framed
from attent_tensorflow.learner import TensorFlowLearner
from attent_tensorflow.variables import model_variables

_GROUP = 7301  # the collective operations' own numbers, apart from those that tf.distribute counts up from 1
_BYTES, _FIRST = 7400, 7500
# Each collective operation has one number and one shape for ever: those of a learner follow those of the one before it,
# which was made before it on every task.
_learners = itertools.count()


def workers(learner: TensorFlowLearner, strategy: Any, *, timeout: float = 1800.0) -> attent.Workers:
    """Return the learners of all tasks as one, for ``attent.teach`` on every task.

    Each task makes ``tf.distribute.MultiWorkerMirroredStrategy()`` first, which joins the cluster that ``TF_CONFIG``
    names, and builds the learner of the same data and first parameters outside ``strategy.scope()``. Gradients are
    averaged once a step by the cluster's collective operations. Statistics that training keeps (of batch normalisation)
    are task 0's after each call of ``train``. Random numbers of a step are the same on all tasks.

    Args:
        learner: a `TensorFlowLearner` or `KerasLearner`.
        strategy: of one replica per task.
        timeout: seconds after which a task that does not answer is an ``attent.WorkersError`` on the others. One that
            dies is noticed in about ten.

    Raises LearnerError for another strategy, or a learner whose variables belong to one.

    Example:
        >>> import attent_tensorflow, tensorflow as tf
        >>> try:
        ...     attent_tensorflow.workers(None, tf.distribute.get_strategy())
        ... except attent.AttentError as error:
        ...     print(str(error)[:40])
        workers takes a TensorFlowLearner, got N
    """
    if not isinstance(learner, TensorFlowLearner):
        raise LearnerError(f"workers takes a TensorFlowLearner, got {type(learner).__name__}")
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise LearnerError(
            f"strategy must be a tf.distribute.MultiWorkerMirroredStrategy, got {type(strategy).__name__}: learners "
            "are taught by one process for each device"
        )
    spec = strategy.cluster_resolver.cluster_spec().as_dict()
    world = len(spec.get("chief", [])) + len(spec.get("worker", []))
    if strategy.num_replicas_in_sync != max(1, world):
        raise LearnerError(
            f"the strategy has {strategy.num_replicas_in_sync} replicas on {max(1, world)} tasks: let each see one "
            "device, by CUDA_VISIBLE_DEVICES"
        )
    if any(isinstance(v, tf.distribute.DistributedValues) for v in model_variables(learner.model).values()):
        raise LearnerError(
            "the model's variables belong to a strategy: build model and learner outside strategy.scope()"
        )
    if world <= 1:
        return attent.Workers(learner, 0, 1, lambda told: [told])
    rank = strategy.cluster_resolver.task_id
    if "chief" in spec and strategy.cluster_resolver.task_type == "worker":
        rank += len(spec["chief"])
    tasks = Tasks(rank, world, timeout)
    learner.join(tasks.average, tasks.share)
    return attent.Workers(learner, rank, world, tasks.gather, answering=lambda: answering(tasks))


class Tasks:
    """This process' place in a cluster of so many tasks, and what it exchanges with the others."""

    def __init__(self, rank: int, world: int, timeout: float) -> None:
        self.rank, self.world, self._timeout = rank, world, timeout
        self._gradients = _FIRST + 100 * next(_learners)
        self._buffers = self._gradients + 50

    def average(self, gradients: Sequence[Any]) -> list[tf.Tensor]:
        """Return gradients averaged over the tasks, inside a graph: one transfer for each dtype."""
        summed = self._summed(gradients, self._gradients)
        return [each / tf.cast(self.world, each.dtype) for each in summed]

    def share(self, variables: Sequence[tf.Variable]) -> None:
        """Give all tasks the values that floating-point variables have on task 0."""
        kept = [v for v in variables if v.dtype.is_floating]
        values = [tf.convert_to_tensor(v) if self.rank == 0 else tf.zeros_like(v) for v in kept]
        for variable, value in zip(kept, self._summed(values, self._buffers), strict=True):
            variable.assign(value)

    def gather(self, told: bytes) -> Sequence[bytes]:
        """Return the bytes of all tasks. Raises WorkersError where one does not answer."""
        return framed(self._gathered)(told)

    def _summed(self, tensors: Sequence[Any], key: int) -> list[tf.Tensor]:
        dense = [tf.convert_to_tensor(each) for each in tensors]
        result: list[Any] = [None] * len(dense)
        for at, dtype in enumerate(sorted({each.dtype for each in dense}, key=lambda dtype: dtype.name)):
            places = [place for place, each in enumerate(dense) if each.dtype == dtype]
            flat = tf.raw_ops.CollectiveReduceV2(
                input=tf.concat([tf.reshape(dense[place], (-1,)) for place in places], 0),
                merge_op="Add",
                final_op="Id",
                **self._numbers(key + at),
            )
            parts = tf.split(flat, [tf.size(dense[place]) for place in places])
            for place, part in zip(places, parts, strict=True):
                result[place] = tf.reshape(part, tf.shape(dense[place]))
        return result

    def _gathered(self, own: npt.NDArray[np.uint8]) -> list[bytes]:
        key = _BYTES + len(own).bit_length()  # each shape has a number of its own
        # As int32: there is no gather of bytes.
        found = tf.raw_ops.CollectiveGatherV2(input=tf.constant(own.view(np.int32)), **self._numbers(key))
        return [row.tobytes() for row in found.numpy().reshape(self.world, -1)]

    def _numbers(self, key: int) -> dict[str, Any]:
        return {
            "group_size": self.world,
            "group_key": _GROUP,
            "instance_key": key,
            "ordering_token": [],
            "communication_hint": "AUTO",
            "timeout_seconds": self._timeout,
        }


@contextlib.contextmanager
def answering(tasks: Tasks) -> Iterator[None]:
    """Say in an error of attent's that a task is gone, where TensorFlow says it in one of its own."""
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error)
        own = isinstance(error, tf.errors.InvalidArgumentError)  # which names this task, as where it was
        if "ollective" not in text and (own or "task" not in text):
            raise
        told = text[max(0, text.find("Collective ops is aborted")) :].strip().splitlines()[:2]
        raise WorkersError(
            f"another task than {tasks.rank} of {tasks.world} is gone, or did not answer within {tasks._timeout:g} s: "
            f"{' '.join(told):.240}. Look at its output, and start all again with resume=True; workers(timeout=...) "
            "says how long tasks wait"
        ) from error
