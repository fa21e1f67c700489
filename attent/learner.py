"""The border: what attent asks of a model and its data, and nothing more.

Only example ids (int64) and numbers (float64) cross it. Examples, tensors, devices, parameters and
optimisers stay inside the learner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]


@runtime_checkable
class Learner(Protocol):
    """What a model, its data and its optimiser must offer to be taught. Rules P1 to P7 of docs/spec.md.

    Example ids run from 0 to ``len(learner) - 1``. Any object with these five methods is a learner;
    there is nothing to inherit.

    Example:
        >>> import numpy as np, attent
        >>> class Mean:  # learns the mean of three numbers
        ...     data, guess = np.array([1.0, 2.0, 6.0]), np.zeros(1)
        ...     def __len__(self): return 3
        ...     def score(self, ids): return (self.data[ids] - self.guess) ** 2
        ...     def train(self, batches, weights=None):
        ...         losses = []
        ...         for ids in batches:
        ...             losses.append(self.score(ids))
        ...             self.guess = self.guess + 0.1 * (self.data[ids] - self.guess).mean()
        ...         return np.concatenate(losses)
        ...     def state(self): return {"guess": self.guess}
        ...     def load_state(self, state): self.guess = state["guess"]
        >>> isinstance(Mean(), attent.Learner)
        True
    """

    def __len__(self) -> int:
        """Return the number of training examples, n >= 1. It must not change during a run."""
        ...

    def score(self, ids: Ids) -> Numbers:
        """Return each example's deviation: float64, shape (len(ids),), in the order of ``ids``.

        Evaluation mode, deterministic augmentation, no gradients; changes nothing, neither
        parameters, buffers, random state nor train/eval mode (rule P1).
        """
        ...

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per batch, in order, and return every example's loss.

        A step minimises ``mean_i(w_i * loss_i)`` over its batch; ``weights``, if given, holds one
        float64 array per batch. Returned are the unweighted losses of the training forward, before
        the step's update, concatenated over the batches: float64, shape (sum of batch lengths,).
        """
        ...

    def state(self) -> State:
        """Return everything needed to go on exactly, as named arrays (parameters, moments, buffers, random state).

        The arrays are the caller's: later training must not change them.
        """
        ...

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state that ``state()`` returned."""
        ...


@runtime_checkable
class ChecksSchedule(Protocol):
    """A learner with a learning-rate schedule that it can hold against the length of a run."""

    def check_schedule(self, steps: int, epochs: int) -> None:
        """Raise LearnerError unless the schedule was built for so many optimiser steps, in so many epochs or passes."""
        ...


@runtime_checkable
class Evaluates(Protocol):
    """A learner that can also judge itself on held-out data."""

    def evaluate(self) -> dict[str, float]:
        """Return quality on data never trained on, by metric name, the main one first.

        Metrics named ``loss``, ``error`` or ending in ``_loss`` or ``_error`` are better when lower,
        all others when higher. Changes nothing, like ``score``.
        """
        ...


@runtime_checkable
class Groups(Protocol):
    """A learner that knows a group of each example: its class, language, source, or whether it is new."""

    def groups(self) -> Ids:
        """Return the group of each example, from 0: int64, shape (n,). The same at every call."""
        ...


def checked_numbers(values: object, count: int, call: str) -> Numbers:
    """Return ``values`` if it is a float64 array of shape (count,); raise LearnerError naming ``call`` if not.

    Finiteness is not checked here: what a NaN means is the plan's to say (rule S5).
    """
    if not isinstance(values, np.ndarray):
        kind = type(values)
        raise LearnerError(
            f"{call} must return a NumPy array, got {kind.__module__}.{kind.__qualname__}; "
            "convert it once per call, on the host (rule P2)"
        )
    if values.shape != (count,):
        raise LearnerError(
            f"{call} must return shape ({count},), one number per example, got shape {values.shape} (rule P2)"
        )
    if values.dtype != np.float64:
        raise LearnerError(
            f"{call} must return float64, got {values.dtype}; end it with .astype(numpy.float64) (rule P2)"
        )
    return values


def checked_length(learner: Learner, expected: int | None = None) -> int:
    """Return ``len(learner)``; raise LearnerError if it is 0, or differs from ``expected``."""
    n = len(learner)
    if n < 1:
        raise LearnerError("the learner has no examples: len(learner) must be at least 1, got 0")
    if expected is not None and n != expected:
        raise LearnerError(
            f"the learner changed its length from {expected} to {n} during the run; ids would no longer "
            "name the same examples. Keep the data fixed, or start a new run."
        )
    return n
