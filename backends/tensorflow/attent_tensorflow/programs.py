"""The two graphs of a learner: scoring, and many optimiser steps in a row. Each is traced once, for every length.

Batches keep their own sizes: nothing is padded, so a layer that looks across a batch sees its examples only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from attent.errors import LearnerError
from attent.learner import Ids, Numbers
from attent_tensorflow.data import Source
from attent_tensorflow.graphs import Graph, traced
from attent_tensorflow.objective import Objective
from attent_tensorflow.replicas import Replicas
from attent_tensorflow.steps import Steps

_IDS = tf.TensorSpec((None,), tf.int64)
_STARTS = tf.TensorSpec((None,), tf.int32)
_NUMBERS = tf.TensorSpec((None,), tf.float64)
_STEP = tf.TensorSpec((), tf.int64)


class Scoring:
    """Each example's loss in inference mode.

    Raises LearnerError, when built, for a loss that is not per example.
    """

    def __init__(self, model: Any, objective: Objective, data: Source, replicas: Replicas | None = None) -> None:
        self.traces = 0
        self._replicas = replicas
        self._model, self._objective, self._data = model, objective, data
        self._graph: Graph | None = None
        count = min(2, len(data))  # so few that a shape tells examples from anything else

        def probe(ids: tf.Tensor) -> tf.Tensor:
            return objective.scored(model, data.reader(ids, tf.constant([0, count]))(tf.constant(0)), count)

        self.dtype: tf.DType = traced(probe, [tf.TensorSpec((count,), tf.int64)]).outputs[0].dtype

    def run(self, ids: Ids, starts: npt.NDArray[Any]) -> Numbers:
        """Return the losses of ``ids``, cut into forwards at ``starts``; variables stay as they are."""
        if self._graph is None:
            self._graph = Graph(self._program, [_IDS, _STARTS])
        losses, _ = self._graph.harmlessly(tf.constant(ids), _starts(starts))
        return _fetched(losses, len(ids))

    def _program(self, ids: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self.traces += 1

        def losses(i: tf.Tensor, batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
            own = lambda batch: self._objective.scored(self._model, batch)  # noqa: E731
            return own(batch) if self._replicas is None else self._replicas.losses(own, batch), tf.constant(True)

        return _looped(self._data, ids, starts, self.dtype, losses)


class Training:
    """Optimiser steps, as many as asked for in one run; ``scheduled``: each sets its learning rate first."""

    def __init__(self, steps: Steps, data: Source, dtype: tf.DType, *, scheduled: bool) -> None:
        self.traces = self.skipped = 0
        self._steps, self._data, self._dtype, self._scheduled = steps, data, dtype, scheduled
        self._graph: Graph | None = None

    @property
    def trained(self) -> list[Any]:
        """The variables that steps change."""
        return self._steps.trained

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """All variables that steps read or write. Traces the graph, which runs nothing."""
        return self._traced().variables

    def average(self, average: Callable[[Sequence[Any]], list[tf.Tensor]]) -> None:
        """Average gradients by this function from now on; the graph is traced anew."""
        self._steps.average, self._graph = average, None

    def prepare(self) -> None:
        """Trace the graph, which runs nothing. Raises LearnerError for a loss that does not fit."""
        self._traced()

    def run(self, ids: Ids, starts: npt.NDArray[Any], weights: Numbers, rates: Numbers, first: int) -> Numbers:
        """Take one step per batch, cut from ``ids`` at ``starts``; return the losses from before each step."""
        arguments = tf.constant(weights), tf.constant(rates), tf.constant(first, tf.int64)
        losses, taken = self._traced()(tf.constant(ids), _starts(starts), *arguments)
        self.skipped += len(starts) - 1 - int(taken)
        return _fetched(losses, len(ids))

    def _traced(self) -> Graph:
        if self._graph is None:
            self._graph = Graph(self._program, [_IDS, _STARTS, _NUMBERS, _NUMBERS, _STEP])
        return self._graph

    def _program(
        self, ids: tf.Tensor, starts: tf.Tensor, weights: tf.Tensor, rates: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        self.traces += 1

        def losses(i: tf.Tensor, batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
            rate = rates[i] if self._scheduled else None
            return self._steps.take(batch, weights[starts[i] : starts[i + 1]], first + tf.cast(i, tf.int64), rate)

        return _looped(self._data, ids, starts, self._dtype, losses)


def _looped(
    data: Source,
    ids: tf.Tensor,
    starts: tf.Tensor,
    dtype: tf.DType,
    losses: Callable[[tf.Tensor, Any], tuple[tf.Tensor, tf.Tensor]],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the losses of all batches, one batch after the other, concatenated, and how many said True beside them."""
    read, count = data.reader(ids, starts), tf.size(starts) - 1
    record = tf.TensorArray(dtype, count, element_shape=(None,), infer_shape=False)

    def step(i: tf.Tensor, record: tf.TensorArray, true: tf.Tensor) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor]:
        found, said = losses(i, read(i))
        return i + 1, record.write(i, found), true + tf.cast(said, tf.int32)

    start = tf.constant(0), record, tf.constant(0)
    _, record, true = tf.while_loop(lambda i, *_: i < count, step, start, parallel_iterations=1)
    return record.concat(), true


def _starts(starts: npt.NDArray[Any]) -> tf.Tensor:
    # int32 stays on the host, where slicing wants it; an int64 would go to the accelerator and back at each step.
    return tf.constant(starts.astype(np.int32))


def _fetched(losses: tf.Tensor, count: int) -> Numbers:
    """Return the losses on the host; raise LearnerError if there are not ``count``."""
    values = losses.numpy().astype(np.float64)
    if values.shape != (count,):
        raise LearnerError(
            f"the loss must be one number per example, shape ({count},) over the whole call, got shape {values.shape}"
        )
    return values
