"""The reference learner: the network, its data and an optimiser behind the Learner protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError
from attent.learner import Ids, Numbers, State, check_batches, check_ids, checked_arrays, checked_state
from attent.reference.architecture import Architecture, Parameters, parameter_shapes
from attent.reference.examples import Examples, checked_examples
from attent.reference.network import gradients, losses, outcomes
from attent.reference.optimisers import AdamW, Moments, Optimiser, initial_moments

Array = npt.NDArray[Any]


class NumpyLearner:
    """Teaches the reference network; implements `attent.Learner` and `attent.Evaluates`.

    The deviation of an example is its loss: cross-entropy in nats, for "next-token" its mean over the
    example's own tokens. ``inputs``, ``targets`` and ``lengths`` are as in `attent.reference.network`, n
    rows each; ``held_out`` is (inputs, targets) or (inputs, targets, lengths). ``parameters`` are copied.
    ``task_weights``, for "classify": targets are (n, tasks), and the loss is the tasks' weighted sum.
    ``learning_rate`` is a number, or a function of the number of steps already taken. ``dtype`` is that of
    parameters, moments and arithmetic; losses and scores are always returned as float64. ``scoring_batch``
    is how many examples a scoring pass takes at a time: it affects memory and speed only. ``quality`` makes the
    metrics of `evaluate` from the losses and hits of the held-out examples: float64, one number each, in their order.

    Raises LearnerError where data, parameters or settings do not fit, naming what and how.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, NumpyLearner, initial_parameters
        >>> a = Architecture("classify", length=2, outputs=2, patch=1, width=8, heads=2)
        >>> inputs, targets = np.array([[[0.0], [0.0]], [[1.0], [1.0]]]), np.array([0, 1])
        >>> learner = NumpyLearner(a, initial_parameters(a, seed=0), inputs, targets)
        >>> both = np.array([0, 1])
        >>> before = learner.score(both).sum()
        >>> learner.train([both] * 20).shape, bool(learner.score(both).sum() < before)
        ((40,), True)
    """

    new_groups: tuple[int, ...] = ()  # those of `groups` that are new to a model that goes on
    relevance: Numbers | None = None  # of each example to a target: float64 (n,), higher is nearer

    def __init__(
        self,
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
        scoring_batch: int = 16,
        quality: Callable[[Numbers, Numbers], dict[str, float]] | None = None,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        if dtype not in ("float64", "float32"):
            raise LearnerError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
        if not isinstance(scoring_batch, int) or scoring_batch < 1:
            raise LearnerError(f"scoring_batch must be a whole number of at least 1, got {scoring_batch!r}")
        if not callable(learning_rate) and not 0.0 <= learning_rate < math.inf:
            raise LearnerError(f"learning_rate must be finite and at least 0, got {learning_rate}")
        self.architecture = architecture
        self.optimiser: Optimiser = AdamW() if optimiser is None else optimiser
        self.learning_rate = learning_rate
        self._scoring_batch = scoring_batch
        self._quality = quality
        self._task_weights = task_weights
        self._train = checked_examples(architecture, inputs, targets, lengths, dtype, "training", task_weights)
        self._held_out: Examples | None = None
        if held_out is not None:
            held_inputs, held_targets, *held_lengths = held_out
            self._held_out = checked_examples(
                architecture,
                held_inputs,
                held_targets,
                held_lengths[0] if held_lengths else None,
                dtype,
                "held-out",
                task_weights,
            )
        shapes = parameter_shapes(architecture)
        self._parameters = {
            name: array.astype(dtype) for name, array in checked_arrays(parameters, shapes, "parameters").items()
        }
        self._moments: Moments = initial_moments(self.optimiser, self._parameters)
        self._steps = self._skipped = 0
        # glibc hands freed memory back to the system and faults it in again on every step, which doubles the
        # time of a step, until a large block has been freed once. An empty one is never written: it is free.
        np.empty(31 * 2**20, np.uint8)

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self._train.inputs)

    @property
    def steps(self) -> int:
        """The number of optimiser steps taken."""
        return self._steps

    @property
    def skipped(self) -> int:
        """The number of steps skipped, as a loss or the gradient was not finite."""
        return self._skipped

    @property
    def score_batch_size(self) -> int:
        """How many examples a scoring pass takes at a time."""
        return self._scoring_batch

    def groups(self) -> Ids:
        """Return the class of each training example: int64, shape (n,).

        Raises LearnerError where an example has no class of its own: for "next-token", and with several tasks.
        """
        if self.architecture.kind != "classify" or self._task_weights is not None:
            raise LearnerError("groups() needs an architecture of kind 'classify' and one target per example")
        return self._train.targets.copy()

    def score(self, ids: Ids) -> Numbers:
        """Return each example's loss: float64, shape (len(ids),). Changes nothing.

        Raises LearnerError naming an id that is not in [0, n), or a wrong shape or dtype.
        """
        check_ids("ids", ids, len(self))
        return self._losses(self._train.take(ids))

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per batch on ``mean_i(w_i * loss_i)``; return the losses before it.

        The losses are unweighted, float64, concatenated over the batches. Raises LearnerError, before any
        step is taken, if any batch is empty or any id or weight does not fit. A step whose losses or gradient are not
        finite is not taken, nor counted in ``steps``.
        """
        check_batches(batches, weights, len(self))
        result: list[Array] = [np.empty(0)]  # makes the result float64, and allows for no batches
        for position, ids in enumerate(batches):
            values, by_parameter = gradients(
                self.architecture,
                self._parameters,
                *self._train.take(ids),
                weights=None if weights is None else weights[position],
                task_weights=self._task_weights,
            )
            result.append(values)
            if not all(np.isfinite(array).all() for array in (values, *by_parameter.values())):
                self._skipped += 1
                continue
            rate = self.learning_rate(self._steps) if callable(self.learning_rate) else self.learning_rate
            self._parameters, self._moments = self.optimiser.step(
                self._parameters,
                by_parameter,
                self._moments,
                count=self._steps + 1,
                learning_rate=float(rate),
            )
            self._steps += 1
        return np.concatenate(result)

    def evaluate(self) -> dict[str, float]:
        """Return "accuracy" and "loss" on the held-out data, for "next-token" the loss first.

        Means over examples for "classify", over all held-out tokens for "next-token", where the accuracy is
        that of the likeliest next token. The loss is in nats; over bytes, loss / ln 2 is bits per byte.
        Where the learner was given ``quality``, what that returns for the examples' losses and hits.
        Raises LearnerError if there is no held-out data.
        """
        if self._held_out is None:
            raise LearnerError("evaluate() needs held-out data: give NumpyLearner(..., held_out=(inputs, targets))")
        parts = [
            outcomes(self.architecture, self._parameters, *part, task_weights=self._task_weights)
            for part in self._parts(self._held_out)
        ]
        values, hits = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
        if self._quality is not None:
            return self._quality(values, hits)
        classify = self.architecture.kind == "classify"
        # Examples of one length weigh the same, whatever it is.
        tokens = None if classify else self._held_out.lengths
        loss, accuracy = (float(np.average(column, weights=tokens)) for column in (values, hits))
        return {"accuracy": accuracy, "loss": loss} if classify else {"loss": loss, "accuracy": accuracy}

    def state(self) -> State:
        """Return copies of all that training changes: "parameters.<name>", "<moment>.<name>" and "steps"."""
        state: State = {f"parameters.{name}": array.copy() for name, array in self._parameters.items()}
        for moment, arrays in self._moments.items():
            state.update({f"{moment}.{name}": array.copy() for name, array in arrays.items()})
        state["steps"] = np.array(self._steps, np.int64)
        return state

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state that ``state()`` returned; the arrays are copied.

        Raises LearnerError naming the array that is missing, unknown or of another shape or dtype; nothing
        is changed then.
        """
        arrays = checked_state(state, self.state())
        steps = int(arrays["steps"])
        if steps < 0:
            raise LearnerError(f"state: 'steps' must be at least 0, got {steps}")
        self._parameters = {name: arrays[f"parameters.{name}"] for name in self._parameters}
        self._moments = {
            moment: {name: arrays[f"{moment}.{name}"] for name in self._parameters} for moment in self._moments
        }
        self._steps = steps

    def _parts(self, examples: Examples) -> list[Examples]:
        starts = range(0, len(examples.inputs), self._scoring_batch)
        return [examples.take(slice(start, start + self._scoring_batch)) for start in starts]

    def _losses(self, examples: Examples) -> Numbers:
        result = np.empty(len(examples.inputs))
        start = 0
        for part in self._parts(examples):
            stop = start + len(part.inputs)
            result[start:stop] = losses(self.architecture, self._parameters, *part, task_weights=self._task_weights)
            start = stop
        return result
