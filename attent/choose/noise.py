"""Positional noise: a number for example i in draw r of seed s, the same wherever and however it is computed.

The source is Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with key
(s, r): example i gets the i-th 64-bit output. A shard, a resumed run or another framework draws the same.
Logarithms are computed from +, -, *, / alone, which IEEE 754 rounds in one way only: the library
logarithm differs in its last bit between processors. Rules S7 to S9 of docs/spec.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.errors import PlanError
from attent.learner import Ids, Numbers

# The draws of a seed by what they are for: no two overlap, so no bit decides twice (rule S9).
DRAWS = {
    "selections": range(2**32),  # the r-th selection of a run
    "orders": range(2**32, 2**33),  # the order of full epoch e
    "learner": range(2**33, 2**34),  # initial weights, data and whatever else a learner draws
    "pools": range(2**34, 2**34 + 2**32),  # the candidates of the r-th selection
}
ORDER, LEARNER, POOL = DRAWS["orders"].start, DRAWS["learner"].start, DRAWS["pools"].start
_LAST = 2**64 - 1


class Noise(NamedTuple):
    """Names one stream of noise: 0 <= seed < 2**64 and 0 <= draw < 2**64.

    Example:
        >>> from attent.choose.noise import Noise, raw
        >>> raw(Noise(seed=7, draw=0), 1, 3).tolist() == raw(Noise(7, 0), 0, 3).tolist()[1:]
        True
    """

    seed: int
    draw: int


def raw(noise: Noise, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """Return the 64-bit numbers of examples start to stop-1: uint64, shape (stop - start,).

    Costs nothing for what lies before ``start``. Raises PlanError for a key outside 64 bits.

    Example:
        >>> from attent.choose.noise import Noise, raw
        >>> hex(raw(Noise(0, 0), 0, 1)[0])
        '0x2f4ba6408e4d89b'
    """
    skipped = start % 4
    bits = generator(noise, start // 4).bit_generator.random_raw(stop - start + skipped)
    return np.asarray(bits, np.uint64)[skipped:]


class Held(Noise):
    """Noise whose numbers of examples ``start`` on are drawn already, in ``bits``: for many choices, each among a few.

    The same numbers, and equal to the noise that it holds. See `held`.
    """

    start: int
    bits: npt.NDArray[np.uint64]


def held(noise: Noise, start: int, stop: int) -> Held:
    """Return the noise with the numbers of examples start to stop-1 drawn, once.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import Noise, held, raw_at
        >>> ids, noise = np.array([3, 900]), Noise(1, 2)
        >>> bool((raw_at(held(noise, 3, 901), ids) == raw_at(noise, ids)).all())
        True
    """
    found = Held(*noise)
    found.start, found.bits = start, raw(noise, start, stop)
    return found


def generator(noise: Noise, block: int = 0) -> np.random.Generator:
    """Return a generator at the start of a block of the stream; each block holds four numbers.

    Example:
        >>> from attent.choose.noise import Noise, generator, raw
        >>> generator(Noise(1, 2), 5).bit_generator.random_raw(1).tolist() == raw(Noise(1, 2), 20, 21).tolist()
        True
    """
    for name, value in zip(noise._fields, noise, strict=True):
        if not 0 <= value <= _LAST:
            raise PlanError(f"{name} must be in [0, 2**64), got {value}")
    philox = np.random.Philox(key=np.array(noise, dtype=np.uint64))
    philox.advance(block)
    return np.random.Generator(philox)


def raw_at(noise: Noise, ids: Ids) -> npt.NDArray[np.uint64]:
    """Return the 64-bit numbers of the given examples: uint64, in the order of ``ids``.

    Draws the span from the lowest to the highest id.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import Noise, raw, raw_at
        >>> raw_at(Noise(1, 2), np.array([5, 3])).tolist() == raw(Noise(1, 2), 3, 6)[[2, 0]].tolist()
        True
    """
    if len(ids) == 0:
        return np.empty(0, np.uint64)
    if isinstance(noise, Held):
        return noise.bits[ids - noise.start]
    low = int(ids.min())
    return raw(noise, low, int(ids.max()) + 1)[ids - low]


def uniform(bits: npt.NDArray[np.uint64]) -> Numbers:
    """Return the upper 53 bits as numbers in [0, 1): float64, exact.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import uniform
        >>> uniform(np.array([2**63], np.uint64)).tolist()
        [0.5]
    """
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def gumbel(bits: npt.NDArray[np.uint64]) -> Numbers:
    """Return standard Gumbel noise, -log(-log u): float64, equal to the last bit on every machine.

    u = 0 (once in 2**53 draws) gives -inf, which ranks last.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import gumbel
        >>> gumbel(np.array([2**63], np.uint64)).round(6).tolist()
        [0.366513]
    """
    u = uniform(bits)
    # 2**-54 only keeps the logarithm defined; its result is replaced.
    return np.where(u > 0, -log(-log(np.maximum(u, 2.0**-54))), -np.inf)


def log(x: Numbers) -> Numbers:
    """Return the natural logarithm of positive normal numbers: float64, within 2 units in the last place.

    x = m * 2**e with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh(s), s = (m-1)/(m+1), as its series to s**23,
    whose remainder is below 2**-60 of the result.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import log
        >>> log(np.array([1.0, 2.0])).tolist()
        [0.0, 0.6931471805599453]
    """
    m, e = np.frexp(x)
    low = m < 0.7071067811865476
    m = np.where(low, m * 2.0, m)
    e = np.where(low, e - 1, e).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = np.full_like(z, 1.0 / 23.0)
    for denominator in range(21, 1, -2):
        series = series * z + 1.0 / denominator
    # ln 2 in two parts: e * LN2_HIGH is exact, so large exponents keep their precision.
    return e * _LN2_HIGH + (2.0 * s + (2.0 * s * z * series + e * _LN2_LOW))


_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
