"""Paired bootstrap over seeds: all arms are resampled jointly, so what a seed does to all of them cancels."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from attent.choose.noise import Noise, raw, uniform
from attent.judging.curve import AT_LEAST, AT_MOST, Read

RESAMPLES = 2000
COVERAGE = 0.95


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its 95 % interval; ``low`` and ``high`` are None with a single seed.

    ``bound``: -1 means at most ``value``, 1 at least. An end that is open was cut off by the end of the curve:
    the true one lies further out.
    """

    value: float
    bound: int = 0
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def surely_above(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low is not None and self.low > 0 and not self.low_open

    @property
    def surely_below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high is not None and self.high < 0 and not self.high_open


def resamples(seeds: int, count: int = RESAMPLES) -> npt.NDArray[np.intp]:
    """Return draws with replacement of positions of seeds, shape (count + 1, seeds); row 0 is the seeds themselves.

    The same on every machine: positional noise.

    Example:
        >>> from attent.judging.bootstrap import resamples
        >>> resamples(3, 2).tolist()
        [[0, 1, 2], [0, 0, 0], [1, 1, 0]]
    """
    drawn = (uniform(raw(Noise(0, 0), 0, count * seeds)) * seeds).astype(np.intp)
    return np.concatenate([np.arange(seeds)[None], drawn.reshape(count, seeds)])


def estimate(read: Read, seeds: int) -> Estimate:
    """Return the value of row 0 with the percentile interval of the other rows.

    Example:
        >>> import numpy as np
        >>> from attent.judging.bootstrap import estimate
        >>> from attent.judging.curve import Read
        >>> found = estimate(Read(np.arange(101.0), np.zeros(101, np.int8)), 5)
        >>> found.value, found.low, found.high
        (0.0, 3.0, 98.0)
    """
    value, bound = float(read.value[0]), int(read.bound[0])
    if seeds < 2:
        return Estimate(value=value, bound=bound)
    order = np.argsort(read.value[1:], kind="stable")
    values, bounds = read.value[1:][order], read.bound[1:][order]
    # The ends are resamples themselves, not mixtures of two, so each is a value or a bound.
    cut = int(np.floor(len(values) * (1 - COVERAGE) / 2))
    low, high = cut, len(values) - 1 - cut
    return Estimate(
        value=value,
        bound=bound,
        low=float(values[low]),
        high=float(values[high]),
        low_open=bool(bounds[low] == AT_MOST),
        high_open=bool(bounds[high] == AT_LEAST),
    )
