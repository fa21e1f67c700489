"""Training or held-out examples, checked once when they are taken in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError
from attent.reference.architecture import Architecture

Array = npt.NDArray[Any]


class Examples(NamedTuple):
    """Inputs, targets and, where sequences are padded, lengths: one row per example."""

    inputs: Array
    targets: Array
    lengths: Array | None

    def take(self, ids: Array | slice) -> Examples:
        """Return the rows of the given ids."""
        lengths = None if self.lengths is None else self.lengths[ids]
        return Examples(self.inputs[ids], self.targets[ids], lengths)


def checked_examples(
    architecture: Architecture,
    inputs: Array,
    targets: Array,
    lengths: Array | None,
    dtype: npt.DTypeLike,
    label: str,
    task_weights: tuple[float, ...] | None = None,
) -> Examples:
    """Return the examples as the network takes them; raise LearnerError naming ``label`` if they do not fit.

    Vectors become ``dtype``, token ids, targets and lengths int64. Padding may hold anything, NaN and
    impossible token ids included: it is replaced by 0, in a copy. With ``task_weights`` targets have one
    column per task.
    """
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    n = len(inputs) if inputs.ndim else 0
    if n < 1:
        raise LearnerError(f"{label} must hold at least one example, got inputs of shape {inputs.shape}")
    shape = (n, architecture.length) + (() if architecture.patch is None else (architecture.patch,))
    _check_shape(f"{label} inputs", inputs, shape)
    sequences = architecture.kind == "next-token"
    if task_weights is not None:
        check_task_weights(architecture, task_weights)
        _check_shape(f"{label} targets", targets, (n, len(task_weights)))
    else:
        _check_shape(f"{label} targets", targets, (n, architecture.length) if sequences else (n,))
    padding = None
    if lengths is not None:
        lengths = np.asarray(lengths)
        _check_shape(f"{label} lengths", lengths, (n,))
        lengths = _whole(f"{label} lengths", lengths, 1, architecture.length + 1)
        padding = np.arange(architecture.length) >= lengths[:, None]
        inputs = np.where(padding if inputs.ndim == 2 else padding[..., None], 0, inputs)
        if sequences:
            targets = np.where(padding, 0, targets)
    if architecture.vocabulary is not None:
        inputs = _whole(f"{label} inputs", inputs, 0, architecture.vocabulary)
    else:
        if inputs.dtype.kind not in "fiub":
            raise LearnerError(f"{label} inputs must be real numbers, got {inputs.dtype}")
        inputs = np.ascontiguousarray(inputs, dtype)
        bad = ~np.isfinite(inputs).all(axis=(1, 2))
        if bad.any():
            raise LearnerError(f"{label} inputs must be finite, but example {int(bad.argmax())} is not")
    targets = _whole(f"{label} targets", targets, 0, architecture.outputs)
    return Examples(inputs, targets, lengths)


def check_task_weights(architecture: Architecture, task_weights: tuple[float, ...]) -> None:
    """Raise LearnerError unless these are finite numbers, at least one, for an architecture that classifies."""
    if architecture.kind != "classify":
        raise LearnerError("task_weights needs an architecture of kind 'classify', got 'next-token'")
    if not isinstance(task_weights, tuple) or not task_weights or not np.isfinite(task_weights).all():
        raise LearnerError(f"task_weights must be a tuple of finite numbers, one per task, got {task_weights!r}")


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise LearnerError(f"{name} must have shape {shape}, got {array.shape}")


def _whole(name: str, array: Array, low: int, stop: int) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise LearnerError(f"{name} must be whole numbers of an integer dtype, got {array.dtype}")
    bad = (array < low) | (array >= stop)
    if bad.any():
        first = int(bad.reshape(len(array), -1).any(axis=1).argmax())
        raise LearnerError(
            f"{name} must be in [{low}, {stop}), but example {first} has {array[first][bad[first]].min()}"
        )
    return np.ascontiguousarray(array, np.int64)
