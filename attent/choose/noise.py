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
_U = np.uint64
_AT_ONCE = 1 << 16  # ids
_DENSE = 32  # one number from the definition of Philox costs as much as about so many of the generator
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_BUMPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


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


def generator(noise: Noise, block: int = 0) -> np.random.Generator:
    """Return a generator at the start of a block of the stream; each block holds four numbers.

    Example:
        >>> from attent.choose.noise import Noise, generator, raw
        >>> generator(Noise(1, 2), 5).bit_generator.random_raw(1).tolist() == raw(Noise(1, 2), 20, 21).tolist()
        True
    """
    _check(noise)
    philox = np.random.Philox(key=np.array(noise, dtype=np.uint64))
    philox.advance(block)
    return np.random.Generator(philox)


def _check(noise: Noise) -> None:
    for name, value in zip(noise._fields, noise, strict=True):
        if not 0 <= value <= _LAST:
            raise PlanError(f"{name} must be in [0, 2**64), got {value}")


def raw_at(noise: Noise, ids: Ids) -> npt.NDArray[np.uint64]:
    """Return the 64-bit numbers of the given examples: uint64, in the order of ``ids``.

    Draws the span from the lowest to the highest of each 2**16 ids, or, where ids lie far apart, each of them alone. So
    ascending ids take little memory beyond the result.

    Example:
        >>> import numpy as np
        >>> from attent.choose.noise import Noise, raw, raw_at
        >>> raw_at(Noise(1, 2), np.array([5, 3])).tolist() == raw(Noise(1, 2), 3, 6)[[2, 0]].tolist()
        True
    """
    bits = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        low, high = int(some.min()), int(some.max())
        dense = high - low < _DENSE * len(some)
        bits[start : start + _AT_ONCE] = raw(noise, low, high + 1)[some - low] if dense else _alone(noise, some)
    return bits


def _alone(noise: Noise, ids: Ids) -> npt.NDArray[np.uint64]:
    """Return the numbers of these examples from Philox' definition, without those between them.

    Source: Salmon et al. 2011, section 3.3 and table 2 (the constants).
    """
    _check(noise)
    zero = np.zeros(len(ids), np.uint64)
    counter = [ids.astype(np.uint64) // _U(4) + _U(1), zero, zero, zero]
    for round in range(10):
        key = [_U((part + round * bump) & _LAST) for part, bump in zip(noise, _BUMPS, strict=True)]
        (high_0, low_0), (high_1, low_1) = _product(counter[0], _MULTIPLIERS[0]), _product(counter[2], _MULTIPLIERS[1])
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0]
    return np.choose(ids % 4, counter)


def _product(x: npt.NDArray[np.uint64], y: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the upper and the lower 64 bits of x * y, from products of halves that fit into 64 bits."""
    half, lower = _U(32), _U(2**32 - 1)
    x_high, x_low = x >> half, x & lower
    y_high, y_low = _U(y >> 32), _U(y & (2**32 - 1))
    across = x_high * y_low + (x_low * y_low >> half)
    middle = (across & lower) + x_low * y_high
    return x_high * y_high + (across >> half) + (middle >> half), x * _U(y)


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
