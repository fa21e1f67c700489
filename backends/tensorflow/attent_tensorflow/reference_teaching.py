"""The reference task on TensorFlow: the network of `attent.reference`, its data and its optimisers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import attent
from attent import reference
from attent.errors import LearnerError
from attent.reference import Architecture, Optimiser, Parameters
from attent.reference.examples import Examples, checked_examples
from attent_tensorflow.learner import TensorFlowLearner
from attent_tensorflow.optimisers import SGD, AdamW
from attent_tensorflow.reference import ReferenceNetwork, by_task, reference_loss, task_losses
from attent_tensorflow.tasks import workers

Array = npt.NDArray[Any]


def reference_learner(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    *,
    lengths: Array | None = None,
    held_out: tuple[Array, Array] | tuple[Array, Array, Array] | None = None,
    task_weights: tuple[float, ...] | None = None,
    optimiser: Optimiser | None = None,
    learning_rate: float | Callable[[int], float] = 1e-3,
    scoring_batch: int = 128,
    dtype: Literal["float64", "float32"] = "float64",
) -> TensorFlowLearner:
    """Return a learner that does what ``attent.reference.NumpyLearner`` of the same arguments does.

    Data and parameters are copied to TensorFlow's default device. Raises LearnerError where they do not fit, or
    for an optimiser other than AdamW and SGD.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_tensorflow import reference_learner
        >>> a = Architecture("classify", length=2, outputs=2, patch=1, width=8, heads=2)
        >>> inputs, targets = np.array([[[0.0], [0.0]], [[1.0], [1.0]]]), np.array([0, 1])
        >>> learner = reference_learner(a, initial_parameters(a, seed=0), inputs, targets)
        >>> learner.score(np.array([0, 1])).shape
        (2,)
    """
    if dtype not in ("float64", "float32"):
        raise LearnerError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    train = checked_examples(architecture, inputs, targets, lengths, dtype, "training", task_weights)
    evaluate = None
    if held_out is not None:
        held_inputs, held_targets, *held_lengths = held_out
        own_lengths = held_lengths[0] if held_lengths else None
        tested = checked_examples(architecture, held_inputs, held_targets, own_lengths, dtype, "held-out", task_weights)
        evaluate = _evaluation(_tensors(tested), scoring_batch, task_weights)
    return TensorFlowLearner(
        ReferenceNetwork(architecture, parameters, tf.as_dtype(dtype)),
        _tensors(train),
        reference_loss if task_weights is None else task_losses,
        _optimizer(optimiser, 1.0 if callable(learning_rate) else learning_rate),
        learning_rate if callable(learning_rate) else None,
        task_weights=None if task_weights is None else {str(task): w for task, w in enumerate(task_weights)},
        evaluate=evaluate,
        score_batch_size=scoring_batch,
    )


def reference_workers(rank: int, world: int, addresses: Sequence[str]) -> Callable[..., attent.Workers]:
    """Join a cluster of so many tasks, and return `reference_learner` for all of them together.

    addresses: ``"host:port"`` of each task. Sets TF_CONFIG.
    """
    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def together(*arguments: Any, **settings: Any) -> attent.Workers:
        return workers(reference_learner(*arguments, **settings), strategy, timeout=60)

    return together


def _tensors(examples: Examples) -> tuple[tf.Tensor, ...]:
    return tuple(tf.constant(array) for array in examples if array is not None)


def _optimizer(optimiser: Optimiser | None, rate: float) -> AdamW | SGD:
    settings = reference.AdamW() if optimiser is None else optimiser
    if isinstance(settings, reference.AdamW):
        return AdamW(rate, settings.beta1, settings.beta2, settings.epsilon, settings.weight_decay)
    if isinstance(settings, reference.SGD):
        return SGD(rate, settings.momentum, settings.weight_decay)
    raise LearnerError(f"optimiser must be AdamW or SGD of attent.reference, got {settings!r}")


def _evaluation(
    data: tuple[tf.Tensor, ...], batch_size: int, task_weights: tuple[float, ...] | None
) -> Callable[[ReferenceNetwork], Mapping[str, float]]:
    """Return a function that gives {"accuracy", "loss"} for classes and {"loss", "accuracy"} for tokens.

    Both are means over examples for classes, and over all tokens that are not padding for tokens.
    """
    run: list[Callable[..., Any]] = []

    def evaluate(model: ReferenceNetwork) -> dict[str, float]:
        def sums(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            inputs, targets, *rest = (part[start : start + batch_size] for part in data)
            logits = model(inputs, *rest)
            if task_weights is not None:
                hits = tf.cast(tf.argmax(logits, axis=-1)[:, None] == targets, tf.float64)
                tasks = [tf.cast(losses, tf.float64) for losses in by_task(logits, targets).values()]
                total = tf.add_n(
                    [weight * tf.reduce_sum(values) for weight, values in zip(task_weights, tasks, strict=True)]
                )
                return total, tf.reduce_sum(tf.reduce_mean(hits, axis=1)), tf.cast(tf.shape(hits)[0], tf.float64)
            hits = tf.cast(tf.argmax(logits, axis=-1) == targets, tf.float64)
            losses = tf.cast(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), tf.float64)
            counted = tf.ones_like(hits)
            if rest and targets.shape.rank == 2:
                counted = tf.sequence_mask(rest[0], targets.shape[1], tf.float64)
            return tf.reduce_sum(losses * counted), tf.reduce_sum(hits * counted), tf.reduce_sum(counted)

        if not run:
            run.append(tf.function(sums, input_signature=[tf.TensorSpec((), tf.int32)], autograph=False))
        parts = [run[0](tf.constant(start, tf.int32)) for start in range(0, len(data[0]), batch_size)]
        loss, correct, count = np.sum(np.array(parts), axis=0)
        if data[1].shape.rank == 1 or task_weights is not None:
            return {"accuracy": correct / count, "loss": loss / count}
        return {"loss": loss / count, "accuracy": correct / count}

    return evaluate
