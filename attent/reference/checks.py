"""What is asked of the arguments of the reference learner's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError
from attent.learner import Ids, Numbers

Array = npt.NDArray[Any]


def check_ids(name: str, ids: Ids, n: int) -> None:
    """Raise LearnerError naming ``name`` unless ``ids`` is one-dimensional int64 within [0, n)."""
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        got = f"{ids.dtype} of shape {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise LearnerError(f"{name} must be a one-dimensional int64 array of example ids, got {got}")
    bad = (ids < 0) | (ids >= n)
    if bad.any():
        raise LearnerError(f"{name}: ids must be in [0, {n}), got {int(ids[bad][0])}")


def check_weights(weights: Sequence[Numbers], batches: Sequence[Ids]) -> None:
    """Raise LearnerError unless there is one finite float64 array per batch, of the batch's shape."""
    if len(weights) != len(batches):
        raise LearnerError(f"there must be one weight array per batch, got {len(weights)} for {len(batches)} batches")
    for position, (values, ids) in enumerate(zip(weights, batches, strict=True)):
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != ids.shape:
            array = isinstance(values, np.ndarray)
            got = f"{values.dtype} {values.shape}" if array else type(values).__name__
            raise LearnerError(f"the weights of batch {position} must be float64 {ids.shape}, got {got}")
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise LearnerError(
                f"the weights of batch {position} must be finite, got {values[first]} for id {ids[first]}"
            )


def checked_arrays(arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], label: str) -> dict[str, Array]:
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


def checked_state(state: Mapping[str, Array], current: Mapping[str, Array]) -> dict[str, Array]:
    """Return copies of a state's arrays; raise LearnerError unless names, shapes and dtypes are those of ``current``.

    Example:
        >>> import numpy as np
        >>> checked_state({"w": np.ones(2)}, {"w": np.zeros(2)})["w"].tolist()
        [1.0, 1.0]
    """
    arrays = checked_arrays(state, {name: array.shape for name, array in current.items()}, "state")
    for name, array in arrays.items():
        if array.dtype != current[name].dtype:
            raise LearnerError(f"state: '{name}' must be {current[name].dtype}, got {array.dtype}")
    return {name: array.copy() for name, array in arrays.items()}
