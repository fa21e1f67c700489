"""One worker of several that hold an array together, and the k-th highest of all without gathering it.

Between workers travel sums of small int64 arrays alone, so any framework's ``allreduce`` will do and the result is
exact. How many numbers travel depends on the number of workers, and not on that of the examples. Rule S11.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.learner import Numbers

Counts = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint64]

_SIGN = np.uint64(1 << 63)
# The digits of an image from the highest on: where each begins, and how many bits it has.
_DIGITS = ((53, 11), (42, 11), (31, 11), (20, 11), (9, 11), (0, 9))


def _alone(numbers: Counts) -> Counts:
    return numbers


@dataclasses.dataclass(frozen=True)
class Shard:
    """The place of one worker among ``world`` that hold consecutive parts of an array, in the order of their ranks.

    allreduce: takes an int64 array and returns the sum of those that all workers gave, element by element; every worker
    calls it equally often, with arrays of equal shapes. ``torch.distributed.all_reduce`` or a sum over a mesh will do.

    Example:
        >>> from attent.choose.shard import Shard
        >>> Shard().each(7).tolist()
        [[7]]
    """

    rank: int = 0
    world: int = 1
    allreduce: Callable[[Counts], Counts] = _alone

    def __post_init__(self) -> None:
        """Check the place. Raises PlanError."""
        checks.whole("world", self.world, 1)
        checks.whole("rank", self.rank, 0, self.world - 1)

    def each(self, *numbers: int) -> Counts:
        """Return what every worker gives, by rank: int64, shape (world, len(numbers))."""
        table = np.zeros((self.world, len(numbers)), np.int64)
        table[self.rank] = numbers
        return self.total(table)

    def total(self, numbers: Counts) -> Counts:
        """Return the sum of what all workers give: int64, of the shape of ``numbers``."""
        return np.asarray(self.allreduce(numbers), np.int64).reshape(numbers.shape)

    def sum(self, number: int) -> int:
        """Return the sum of a number of each worker."""
        return number if self.world == 1 else int(self.total(np.array([number]))[0])

    def kth_highest(self, values: Numbers, k: int) -> float:
        """Return the k-th highest of all workers' values, counting equal ones as often as they occur; none is NaN.

        values: float64, this worker's, shape (m,), m >= 0; 1 <= k <= the sum of all m.

        Example:
            >>> import numpy as np
            >>> from attent.choose.shard import Shard
            >>> Shard().kth_highest(np.array([3.0, 1.0, 3.0, 2.0]), 3)
            2.0
        """
        if self.world == 1:
            return float(np.partition(values, len(values) - k)[len(values) - k])
        images = image(values)
        return self.kth_by_digits(lambda prefix, shift, bits: _digits(images, prefix, shift, bits), k)

    def kth_by_digits(self, count: Callable[[int, int, int], Counts], k: int) -> float:
        """Return the k-th highest of numbers that are counted, not held, by one digit of their images after another.

        ``count(prefix, shift, bits)``: of this worker's numbers whose image begins with ``prefix``, how many have each
        digit of so many bits from bit ``shift`` on.
        """
        prefix, left = 0, k
        for shift, bits in _DIGITS:
            above = np.cumsum(self.total(count(prefix, shift, bits))[::-1])
            place = int(np.searchsorted(above, left))  # digits above the one sought
            left -= int(above[place - 1]) if place else 0
            prefix = (prefix << bits) + (1 << bits) - 1 - place
        return _number(prefix)


def image(values: Numbers) -> Images:
    """Return whole numbers in the order of the values: uint64, one each; -0 has the image of 0. None may be NaN.

    Source: Terdiman 2000, "Radix sort revisited": a negative number's bits are turned over, another's sign is set.

    Example:
        >>> import numpy as np
        >>> from attent.choose.shard import image
        >>> np.argsort(image(np.array([0.5, -2.0, 0.0, -1.0]))).tolist()
        [1, 3, 2, 0]
    """
    bits = (values + 0.0).view(np.uint64)  # + 0.0 takes the sign of -0
    turned = (bits.view(np.int64) >> np.int64(63)).view(np.uint64) | _SIGN
    bits ^= turned
    return bits


def _number(image: int) -> float:
    bits = image ^ (1 << 63) if image >> 63 else image ^ (2**64 - 1)
    return float(np.array(bits, np.uint64).view(np.float64))


def digits(values: Numbers, prefix: int, shift: int, bits: int) -> Counts:
    """Return how many of the values whose image begins with ``prefix`` have each digit: int64, shape (2**bits,)."""
    return _digits(image(values), prefix, shift, bits)


def _digits(images: Images, prefix: int, shift: int, bits: int) -> Counts:
    if shift + bits < 64:
        images = images[images >> np.uint64(shift + bits) == np.uint64(prefix)]
    digit = (images >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
    return np.bincount(digit.astype(np.int64), minlength=1 << bits)
