"""The cost-quality curve of training on all data, what an arm saves against it, and intervals. All of it vectorised.

Quality is higher-is-better throughout; the caller turns a loss round. The last axis runs over the lengths of
full training, cheapest first; axes before it (bootstrap resamples) are independent curves. Intervals are by a paired
bootstrap over seeds: all arms are resampled jointly, so what a seed does to all of them cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from attent.choose.noise import Noise, raw, uniform
from attent.learner import Numbers

AT_MOST, EXACT, AT_LEAST = -1, 0, 1
RESAMPLES = 2000
COVERAGE = 0.95


class Read(NamedTuple):
    """Values read off a curve, and where each is only a bound: -1 at most, 0 the value itself, 1 at least."""

    value: Numbers
    bound: npt.NDArray[np.int8]


def increasing(values: Numbers) -> Numbers:
    """Return the closest values that never fall along the last axis (isotonic regression, equal weights).

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import increasing
        >>> increasing(np.array([1.0, 4.0, 2.0, 5.0])).tolist()
        [1.0, 3.0, 3.0, 5.0]
    """
    count = values.shape[-1]
    fitted = np.empty_like(values)
    for i in range(count):
        # The max-min formula: the largest, over starts, of the smallest mean of a stretch through i.
        stretches = [np.min([values[..., j : k + 1].mean(-1) for k in range(i, count)], axis=0) for j in range(i + 1)]
        fitted[..., i] = np.max(stretches, axis=0)
    return fitted


def best_so_far(values: Numbers) -> Numbers:
    """Return the best that full training reaches at each cost or below: a running maximum along the last axis.

    Who wants a quality takes the cheapest training that has it, also where longer training overfits. Noise lifts a
    running maximum, in favour of full training.

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import best_so_far
        >>> best_so_far(np.array([1.0, 4.0, 2.0, 5.0])).tolist()
        [1.0, 4.0, 4.0, 5.0]
    """
    best: Numbers = np.maximum.accumulate(values, axis=-1)
    return best


def cost_to_reach(costs: Numbers, curve: Numbers, quality: Numbers) -> Read:
    """Return the least cost at which a curve reaches a quality: linear between its points in the logarithm of cost.

    costs, curve: shape (..., lengths), both never falling; quality: shape (...). Below the first point the
    cost is at most the first point's, above the last at least the last one's: never extrapolated.

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import cost_to_reach
        >>> costs, curve = np.array([[1.0, 4.0]] * 3), np.array([[0.5, 0.7]] * 3)
        >>> found = cost_to_reach(costs, curve, np.array([0.6, 0.4, 0.8]))
        >>> found.value.round(9).tolist(), found.bound.tolist()
        ([2.0, 1.0, 4.0], [0, -1, 1])
    """
    below = curve < quality[..., None]
    place = below.sum(-1)  # of the first point that reaches it
    last = curve.shape[-1] - 1
    right, left = np.minimum(place, last), np.clip(place - 1, 0, last)
    low, high = _at(curve, left), _at(curve, right)
    within = (place > 0) & (place <= last)
    share = np.divide(quality - low, high - low, out=np.zeros_like(quality), where=within)
    logs = np.log(costs)
    between = np.exp(_at(logs, left) + share * (_at(logs, right) - _at(logs, left)))
    value = np.where(within & (share < 1), between, _at(costs, right))  # at a point: its cost, to the bit
    bound = np.zeros(quality.shape, np.int8)
    bound[place > last] = AT_LEAST
    bound[quality < curve[..., 0]] = AT_MOST
    return Read(value, bound)


def quality_at(costs: Numbers, curve: Numbers, cost: Numbers) -> Read:
    """Return the quality of a curve at a cost: linear between its points in the logarithm of cost.

    costs: never falling. Cheaper than the first point it is at most the first one's, dearer than the last at least the
    last one's.

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import quality_at
        >>> found = quality_at(np.array([[1.0, 4.0]]), np.array([[0.5, 0.75]]), np.array([2.0]))
        >>> found.value.tolist(), found.bound.tolist()
        ([0.625], [0])
    """
    place = (costs < cost[..., None]).sum(-1)
    last = costs.shape[-1] - 1
    right, left = np.minimum(place, last), np.clip(place - 1, 0, last)
    logs = np.log(costs)
    within = (place > 0) & (place <= last)
    low, high = _at(logs, left), _at(logs, right)
    share = np.divide(np.log(cost) - low, high - low, out=np.zeros_like(cost), where=within)
    between = _at(curve, left) + share * (_at(curve, right) - _at(curve, left))
    value = np.where(within & (share < 1), between, _at(curve, right))  # at a point: its quality, to the bit
    bound = np.zeros(cost.shape, np.int8)
    bound[place > last] = AT_LEAST
    bound[cost < costs[..., 0]] = AT_MOST
    return Read(value, bound)


def saving(costs: Numbers, curve: Numbers, cost: Numbers, quality: Numbers) -> Read:
    """Return the share of cost that an arm saves against full training to its quality; negative where it costs more.

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import saving
        >>> found = saving(np.array([[1.0, 4.0]]), np.array([[0.5, 0.7]]), np.array([1.5]), np.array([0.6]))
        >>> found.value.round(9).tolist()
        [0.25]
    """
    reached = cost_to_reach(costs, curve, quality)
    return Read(1 - cost / reached.value, reached.bound)


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
        >>> from attent.judging.curve import resamples
        >>> resamples(3, 2).tolist()
        [[0, 1, 2], [0, 0, 0], [1, 1, 0]]
    """
    drawn = (uniform(raw(Noise(0, 0), 0, count * seeds)) * seeds).astype(np.intp)
    return np.concatenate([np.arange(seeds)[None], drawn.reshape(count, seeds)])


def estimate(read: Read, seeds: int) -> Estimate:
    """Return the value of row 0 with the percentile interval of the other rows.

    Example:
        >>> import numpy as np
        >>> from attent.judging.curve import Read, estimate
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


def _at(values: Numbers, places: npt.NDArray[np.intp]) -> Numbers:
    taken: Numbers = np.take_along_axis(values, places[..., None], -1)[..., 0]
    return taken
