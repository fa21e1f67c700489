"""The border: what attent asks of a model and its data, and nothing more.

Only example ids (int64) and numbers (float64) cross it. Examples, tensors, devices, parameters and
optimisers stay inside the learner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError, RecipeError

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]


@runtime_checkable
class Learner(Protocol):
    """What a model, its data and its optimiser must offer to be taught. Rules P1 to P9 of docs/spec.md.

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
        the step's update, concatenated over the batches: float64, shape (sum of batch lengths,). A step with a loss
        or a gradient that is not finite changes no parameter, moment or buffer (rule P8); its losses are returned.
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
class ChecksBatches(Protocol):
    """A learner that must know the sizes of batches before a run: for what cannot be trained, or to score by."""

    def check_batches(self, largest: int, smallest: int) -> None:
        """Raise LearnerError if no batch of ``smallest`` examples can be trained. Called before each run.

        Scoring may go by ``largest``: whatever a run does follows from its plan alone.
        """
        ...


@runtime_checkable
class CountsSkipped(Protocol):
    """A learner that counts the steps it skipped because a loss or the gradient was not finite (rule P8)."""

    @property
    def skipped(self) -> int:
        """How many they are since the learner was built. Of one that has no such count its losses tell.

        A learner that scales losses, as for float16, says so by ``scales_losses = True``: the scale is found by steps
        whose gradient overflows, so that these stop no run.
        """
        ...


@runtime_checkable
class Evaluates(Protocol):
    """A learner that can also judge itself on held-out data."""

    def evaluate(self) -> dict[str, float]:
        """Return quality on data never trained on, by metric name, the main one first.

        Metrics named ``loss``, ``error`` or ending in ``_loss`` or ``_error`` are better when lower,
        all others when higher. ``accuracy:3`` is accuracy on the held-out examples of group 3, as ``groups()``
        numbers it, or by its name where it has one. Changes nothing, like ``score``.
        """
        ...


@runtime_checkable
class Groups(Protocol):
    """A learner that knows a group of each example: its class, language, source, or whether it is new."""

    def groups(self) -> Ids:
        """Return the group of each example, from 0: int64, shape (n,). The same at every call.

        A learner may name them by an attribute ``group_names``, a list of texts by number: reasons and tables then show
        these, and ``accuracy:en`` is a metric of the group that is called so.
        """
        ...


@runtime_checkable
class Costs(Protocol):
    """A learner that knows what each example costs: its tokens, pixels or seconds, in any one unit."""

    def costs(self) -> Numbers:
        """Return the cost of each example, finite and above 0: float64, shape (n,). The same at every call."""
        ...


@runtime_checkable
class Watches(Protocol):
    """A learner that can tell how it does on examples which it must not forget: held out, or of an earlier task."""

    def watch(self) -> Numbers:
        """Return one finite number per watched example, lower is better: float64, shape (m,), m the same at every call.

        Such as its loss, or 1 where the answer is wrong and 0 where it is right. Changes nothing, like ``score``.
        """
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
    if isinstance(values, np.ma.MaskedArray):
        raise LearnerError(
            f"{call} must return plain numbers, got a masked array, whose hidden entries would count as they are: "
            "fill it, by .filled(numpy.nan) (rule P2)"
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


def check_ids(name: str, ids: object, n: int) -> None:
    """Raise LearnerError naming ``name`` unless the ids are a one-dimensional int64 array within [0, n)."""
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        raise LearnerError(f"{name} must be a one-dimensional int64 array of example ids, got {_described(ids)}")
    wrong = (ids < 0) | (ids >= n)
    if wrong.any():
        raise LearnerError(f"{name}: ids must be in [0, {n}), got {ids[wrong][0]}")


def check_batches(batches: Sequence[Ids], weights: Sequence[Numbers] | None, n: int) -> None:
    """Raise LearnerError naming the first batch that is empty or holds a wrong id, or whose weights are none.

    A learner calls it first in ``train``, before anything is changed. weights: one float64 array per batch, finite, of
    the batch's shape; None: none.

    Example:
        >>> import numpy as np
        >>> from attent.learner import check_batches
        >>> check_batches([np.array([0, 2]), np.array([1])], None, 3)
    """
    for place, ids in enumerate(batches):
        check_ids(f"batches[{place}]", ids, n)
        if not len(ids):
            raise LearnerError(f"batches[{place}] is empty; an optimiser step needs at least 1 example")
    if weights is None:
        return
    if len(weights) != len(batches):
        raise LearnerError(f"weights must hold one array per batch, {len(batches)}, got {len(weights)}")
    for place, (values, ids) in enumerate(zip(weights, batches, strict=True)):
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != ids.shape:
            raise LearnerError(
                f"weights[{place}] must be float64 of its batch's shape ({len(ids)},), got {_described(values)}"
            )
        finite = np.isfinite(values)
        if not finite.all():
            raise LearnerError(
                f"weights[{place}] must be finite, got {values[~finite][0]} for example {ids[~finite][0]}"
            )


def checked_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], label: str
) -> dict[str, npt.NDArray[Any]]:
    """Return ``arrays`` in the order of ``shapes``; raise LearnerError unless names and shapes agree."""
    for name in shapes:
        if name not in arrays:
            raise LearnerError(f"{label}: '{name}' is missing")
    for name in arrays:
        if name not in shapes:
            raise LearnerError(f"{label}: '{name}' is unknown here; is it of another architecture or optimiser?")
    result = {name: np.asarray(arrays[name]) for name in shapes}
    for name, array in result.items():
        if array.shape != shapes[name]:
            raise LearnerError(f"{label}: '{name}' must have shape {shapes[name]}, got {array.shape}")
    return result


def checked_state(
    state: Mapping[str, npt.NDArray[Any]], current: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Return copies of a state's arrays; raise LearnerError unless names, shapes and dtypes are those of ``current``.

    Example:
        >>> import numpy as np
        >>> from attent.learner import checked_state
        >>> checked_state({"w": np.ones(2)}, {"w": np.zeros(2)})["w"].tolist()
        [1.0, 1.0]
    """
    arrays = checked_arrays(state, {name: array.shape for name, array in current.items()}, "state")
    for name, array in arrays.items():
        if array.dtype != current[name].dtype:
            raise LearnerError(f"state: '{name}' must be {current[name].dtype}, got {array.dtype}")
    return {name: array.copy() for name, array in arrays.items()}


def _described(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def checked_learner(name: str, learner: object) -> Learner:
    """Return what a recipe returned; raise RecipeError naming the recipe if it is no learner."""
    if not isinstance(learner, Learner):
        needed = ("__len__", "score", "train", "state", "load_state")
        missing = [method for method in needed if not hasattr(learner, method)]
        raise RecipeError(
            f"recipe {name!r} must return a learner, got {type(learner).__name__} "
            f"without {', '.join(missing)}; see attent.Learner"
        )
    return learner


def checked_costs(costs: object, n: int) -> Numbers:
    """Return the costs of n examples if they are some: float64, shape (n,), finite, above 0. Raises LearnerError.

    Example:
        >>> import numpy as np
        >>> from attent.learner import checked_costs
        >>> checked_costs(np.array([12.0, 7.0]), 2).tolist()
        [12.0, 7.0]
    """
    if not isinstance(costs, np.ndarray) or costs.dtype != np.float64 or costs.shape != (n,):
        got = f"{costs.dtype} {costs.shape}" if isinstance(costs, np.ndarray) else type(costs).__name__
        raise LearnerError(f"costs must be a float64 array of shape ({n},), one cost per example, got {got}")
    bad = np.flatnonzero(~(np.isfinite(costs) & (costs > 0)))
    if len(bad):
        raise LearnerError(f"costs must be above 0 and finite, got {costs[bad[0]]} for example {bad[0]}")
    return costs


def checked_watch(watched: object, count: int | None = None) -> Numbers:
    """Return what ``watch()`` said if it is float64 of shape (m,), m at least 1 and, where given, ``count``.

    Raises LearnerError, also for numbers that are not finite or beyond 1e300, of which no mean can be told.

    Example:
        >>> import numpy as np
        >>> from attent.learner import checked_watch
        >>> checked_watch(np.array([0.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    many = count if count is not None else max(1, np.size(watched))  # type: ignore[arg-type]
    numbers = checked_numbers(watched, many, "watch()")
    bad = np.flatnonzero(~(np.abs(numbers) <= 1e300))
    if len(bad):
        raise LearnerError(f"watch() must return finite numbers, got {numbers[bad[0]]} for watched example {bad[0]}")
    return numbers


def is_floating(dtype: npt.DTypeLike) -> bool:
    """Return whether a dtype is of real floating-point numbers, bfloat16 and other short ones among them.

    Example:
        >>> from attent.learner import is_floating
        >>> is_floating("float16"), is_floating("complex64")
        (True, False)
    """
    dtype = np.dtype(dtype)
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))  # short floats have a kind of their own
