"""Whether a learner is still made of numbers: asked before a checkpoint, so that the last good one stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError


def not_finite(state: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return the names of the floating-point arrays that hold a NaN or an infinity.

    Example:
        >>> import numpy as np
        >>> from attent.run.finite import not_finite
        >>> not_finite({"a": np.array([1.0, np.inf]), "b": np.zeros(2), "c": np.array([3])})
        ['a']
    """
    return [name for name, array in state.items() if not _finite(np.asarray(array))]


def check_stays_finite(state: Mapping[str, npt.NDArray[Any]], allowed: frozenset[str]) -> None:
    """Raise LearnerError naming the arrays of a state that are not finite, but for those ``allowed``.

    Allowed are those that were not finite when the run began, as a mask of -inf is.
    """
    names = [name for name in not_finite(state) if name not in allowed]
    if not names:
        return
    array = np.asarray(state[names[0]])
    bad = int((~np.isfinite(array)).sum())
    raise LearnerError(
        f"the learner's state is no longer finite: {bad} of {array.size} numbers of {names[0]!r} are NaN or infinite"
        f"{f', and {len(names) - 1} arrays more' if len(names) > 1 else ''}. No checkpoint is made of it: an earlier "
        "one stays. Lower the learning rate or clip the gradient, and see that a step whose loss or gradient is not "
        "finite changes nothing (rule P8)"
    )


def _finite(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind not in "fc" or not array.size:
        return True
    # Of a NaN both are NaN; and nothing as large as the array is made, as np.isfinite would.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.min()) and np.isfinite(array.max()))
