"""What is ranked: losses as they are, less a reference, or their decrease; and what is added for age."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from attent.choose.chunks import each, extremes
from attent.choose.rules import Ages
from attent.choose.scaling import scale
from attent.errors import PlanError, ScoreError
from attent.learner import Ids, Numbers

Measure = Literal["loss", "progress"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def deviations(
    scores: Numbers,
    *,
    first: Numbers | None = None,
    reference: Numbers | None = None,
    bonus: float = 0.0,
    ages: Ages | None = None,
) -> Numbers:
    """Return the numbers that a selection ranks: float64, shape (n,), the very scores where nothing changes them.

    scores: the latest loss of each example. ``reference``: the losses of a reference model, subtracted; what is left
    is *reducible* (Mindermann et al. 2022, arXiv 2206.07137, equation 3). ``first``: the loss each example had when
    it was first seen; then its decrease since is ranked. ``bonus``: standard deviations of the scores added per
    epoch of ``ages`` since a score was seen, because what was skipped may have been forgotten. Numbers that are
    not finite stay so; the standard deviation is that of the others.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scores import deviations
        >>> deviations(np.array([3.0, 1.0]), reference=np.array([2.5, 0.0])).tolist()
        [0.5, 1.0]
        >>> deviations(np.array([1.0, 3.0]), bonus=2.0, ages=np.array([4, 1])).tolist()
        [7.0, 3.0]
    """
    numbers = scores
    if first is not None:
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, as little finite as they are
            numbers = first - numbers
    if reference is not None:
        numbers = numbers - reference
    if bonus > 0 and ages is not None:
        if np.isfinite(extremes(numbers)).all():
            numbers = scale(numbers, "std")
        elif (finite := np.isfinite(numbers)).any():
            numbers = numbers.copy()
            numbers[finite] = scale(numbers[finite], "std")
        result = numbers if numbers is not scores else numbers.copy()
        for _ in each(lambda start, stop: _add(result[start:stop], bonus * ages[start:stop]), len(result)):
            pass
        return result
    return numbers


def _add(numbers: Numbers, further: npt.NDArray[np.floating]) -> None:
    numbers += further


def checked_reference(reference: Numbers, n: int) -> Numbers:
    """Return ``reference`` if it is one finite float64 number per example. Raises ScoreError if not.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scores import checked_reference
        >>> checked_reference(np.array([0.5, 1.5]), 2).tolist()
        [0.5, 1.5]
    """
    if not isinstance(reference, np.ndarray) or reference.dtype != np.float64 or reference.shape != (n,):
        got = f"{reference.dtype} {reference.shape}" if isinstance(reference, np.ndarray) else type(reference).__name__
        raise ScoreError(f"reference must be a float64 array of shape ({n},), one loss per example, got {got}")
    bad = np.flatnonzero(~np.isfinite(reference))
    if len(bad):
        raise ScoreError(f"reference must be finite, got {reference[bad[0]]} for example {bad[0]}")
    return reference


def stalest(seen: Ages, count: int) -> Ids:
    """Return the ``count`` examples whose score was seen longest ago, lower id first, as ascending ids.

    Example:
        >>> import numpy as np
        >>> from attent.choose.scores import stalest
        >>> stalest(np.array([3, 1, 2, 1]), 3).tolist()
        [1, 2, 3]
    """
    if not 0 <= count <= len(seen):
        raise PlanError(f"count must be in [0, {len(seen)}], got {count}")
    return np.sort(np.argsort(seen, kind="stable")[:count])
