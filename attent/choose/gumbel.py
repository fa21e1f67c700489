"""Gumbel-top-k: k of n without replacement, with odds softmax(score / temperature), exactly (rules S4 and S10).

Keys are compared as exact numbers say, but computed exactly only where it matters: fast logarithms place
every key within a proven distance, and only keys closer than that to the cut are computed with the
portable logarithm. On ten million scores that is one or two keys.
"""

from __future__ import annotations

import functools
import threading

import numpy as np

from attent import checks
from attent.choose.chunks import extremes
from attent.choose.noise import Noise, generator, gumbel, raw, raw_at, uniform
from attent.choose.order import beside, find_cut, highest
from attent.choose.scaling import Scaling, Standard, average_ranks, checked_scaling, standard
from attent.choose.shard import Shard
from attent.errors import PlanError
from attent.learner import Ids, Numbers

_SMALLEST_NORMAL = 2.0**-1022
_ALONE = Shard()


class Keys:
    """The perturbed keys of scores: (score - highest) / temperature + Gumbel noise of the example.

    For temperatures below 1 the whole key is multiplied by the temperature, which changes no order, so that
    a small one cannot overflow; at infinity only the noise is left. The temperature is above 0.
    Source: Gumbel-top-k trick (Vieira 2014; Kool et al. 2019, arXiv 1903.06059, section 2.3).

    Example:
        >>> import numpy as np
        >>> from attent.choose.gumbel import Keys
        >>> from attent.choose.noise import Noise
        >>> keys = Keys(np.array([0.0, 1.0, 9.0]), Noise(0, 0), temperature=1.0)
        >>> keys.top(1).tolist()
        [2]
    """

    def __init__(
        self,
        scores: Numbers,
        noise: Noise,
        temperature: float,
        ids: Ids | None = None,
        *,
        ends: tuple[float, float] | None = None,
        standard: Standard | None = None,
        first: int = 0,
        shard: Shard = _ALONE,
    ) -> None:
        """Take the scores, the lowest and highest of all, how they are scaled, and the id of the first (None: ids)."""
        lowest, highest = extremes(scores) if ends is None else ends
        self._factor = 1.0
        if standard is not None:
            lowest, highest = standard(np.array([lowest, highest])).tolist()
        elif not np.isfinite(highest - lowest):
            # Differences would overflow: quarter everything, which is exact at this size and keeps the order.
            self._factor, temperature, highest = 0.25, temperature * 0.25, highest * 0.25
        self.scores, self.highest = scores, highest
        self.noise, self.ids, self.first, self.shard = noise, ids, first, shard
        self._standard = standard
        self._scratch = threading.local()
        self.noise_scale = min(temperature, 1.0)
        self.score_scale = max(temperature, 1.0)

    def shifted(self, scores: Numbers, out: Numbers | None = None) -> Numbers:
        """Return (score - highest) / temperature of scores as they were given, in ``out`` or a new array: float64."""
        if self._standard is not None:
            out = scores = self._standard(scores, out)
        elif self._factor != 1.0:
            out = scores = np.multiply(scores, self._factor, out=out)
        out = np.subtract(scores, self.highest, out=out)
        if self.score_scale != 1.0:
            out /= self.score_scale
        return out

    def exact(self, positions: Ids) -> Numbers:
        """Return the keys at these positions, equal to the last bit on every machine: float64."""
        named = positions + self.first if self.ids is None else self.ids[positions]
        return self.shifted(self.scores[positions]) + self.noise_scale * gumbel(raw_at(self.noise, named))

    def fast(self, start: int, stop: int) -> Numbers:
        """Return the keys of positions start to stop-1, each within ``slack`` / 2 of the exact one: float64.

        The array is the calling thread's, and is written again by its next call: fresh memory for every
        chunk would cost as much as the noise.
        """
        held, keys = self._buffers(stop - start)
        noise = self._uniform(start, stop, held)
        self.shifted(self.scores[start:stop], keys)
        with np.errstate(divide="ignore"):  # u = 0: noise -inf, as in `gumbel`
            np.log(noise, out=noise)
            np.negative(noise, out=noise)
            np.log(noise, out=noise)
        if self.noise_scale != 1.0:
            noise *= self.noise_scale
        keys -= noise
        return keys

    def _buffers(self, size: int) -> tuple[Numbers, Numbers]:
        held = getattr(self._scratch, "held", None)
        if held is None or held.shape[1] < size + 3:
            held = self._scratch.held = np.empty((2, size + 3))
        return held[0], held[1, :size]

    def _uniform(self, start: int, stop: int, held: Numbers) -> Numbers:
        if self.ids is not None:
            return uniform(raw_at(self.noise, self.ids[start:stop]))
        start, stop = start + self.first, stop + self.first
        if not _generator_gives_uniform():
            return uniform(raw(self.noise, start, stop))
        skipped = start % 4
        generator(self.noise, start // 4).random(out=held[: stop - start + skipped])
        return held[skipped : stop - start + skipped]

    def slack(self, cut: float) -> float:
        """Return twice the largest distance between a fast key near ``cut`` and its exact value.

        The two differ in the logarithms alone: at most 8 units in the last place of each, on noise between
        -3.7 and 36.8, then two roundings. 2**-44 is over a hundred times that.
        """
        return float(2.0**-44 * (abs(cut) + 64.0 * self.noise_scale) + 2.0**-1060)

    def top(self, k: int) -> Ids:
        """Return the positions that hold the k highest keys, ascending: int64, ties to the lower position."""
        return highest(self.fast, len(self.scores), k, slack=self.slack, exact=self.exact, shard=self.shard)

    def threshold(self, k: int) -> float:
        """Return the (k+1)-th highest key, -inf for k = n: float, exact."""
        if k >= len(self.scores):
            return -np.inf
        cut = find_cut(self.fast, len(self.scores), k + 1, self.slack)
        _, near, missing = beside(cut, self.slack(cut.value))
        return self.shard.kth_highest(self.exact(cut.positions[near]), missing)


def scaled_keys(
    scores: Numbers,
    noise: Noise,
    temperature: float,
    scaling: Scaling,
    ids: Ids | None = None,
    ends: tuple[float, float] | None = None,
) -> Keys:
    """Return the keys of scores under a scaling, without an array of scaled scores. ``ends``: lowest and highest score.

    Example:
        >>> import numpy as np
        >>> from attent.choose.gumbel import scaled_keys
        >>> from attent.choose.noise import Noise
        >>> scaled_keys(np.array([0.0, 1.0, 9.0]), Noise(0, 0), 1.0, "std").top(1).tolist()
        [2]
    """
    if checked_scaling(scaling) == "none":
        return Keys(scores, noise, temperature, ids, ends=ends)
    if scaling == "rank":
        scores, ends = average_ranks(scores), None
    ends = extremes(scores) if ends is None else ends
    return Keys(scores, noise, temperature, ids, ends=ends, standard=standard(scores, ends))


@functools.cache
def _generator_gives_uniform() -> bool:
    # NumPy fixes the bit stream for ever but not the generator's doubles; use those only while they agree.
    noise = Noise(1, 2)
    return bool(np.array_equal(generator(noise, 3).random(64), uniform(raw(noise, 12, 76))))


def is_zero(temperature: float) -> bool:
    """Return whether a temperature counts as 0: one below the smallest normal number, 2**-1022, does (rule S4).

    Keys are multiplied by a temperature below 1, and noise times a subnormal number has too few digits left to be
    fair: of ten equal scores at 5e-324 the first would be taken in 15 % of all draws.

    Example:
        >>> from attent.choose.gumbel import is_zero
        >>> is_zero(5e-324), is_zero(2.0**-1022)
        (True, False)
    """
    return temperature < _SMALLEST_NORMAL


def inclusion_probabilities(
    scores: Numbers,
    k: int,
    noise: Noise,
    *,
    temperature: float = 1.0,
    scaling: Scaling = "none",
    ids: Ids | None = None,
) -> Numbers:
    """Return each example's probability of being chosen by ``soft``, given this draw's threshold.

    p_i = 1 - exp(-exp(phi_i - kappa)), phi_i the scaled score over the temperature, kappa the (k+1)-th
    highest key. Same arguments as ``soft``; float64, shape (n,). With these, sum over the chosen of
    x_i / p_i has expectation sum of all x_i. Source: Kool et al. 2019, arXiv 1903.06059, section 4.

    Raises PlanError for a temperature of 0, or one that counts as 0, where the choice is not random.

    Example:
        >>> import numpy as np, attent
        >>> attent.inclusion_probabilities(np.zeros(4), 4, attent.Noise(0, 0)).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if not temperature > 0 or is_zero(temperature):
        raise PlanError(f"inclusion probabilities need a temperature above 0, got {checks.shown(temperature)}")
    keys = scaled_keys(scores, noise, temperature, scaling, ids)
    threshold = keys.threshold(k)
    phi = keys.shifted(keys.scores)
    with np.errstate(over="ignore", under="ignore"):
        exponent = (phi - threshold) / keys.noise_scale
        return np.asarray(-np.expm1(-np.exp(np.minimum(exponent, 700.0))), np.float64)


def correction_weights(probabilities: Numbers, k: int, largest: float = np.inf) -> Numbers:
    """Return min(largest, (k / n) / p_i): float64, shape (n,), near 1 on average over the chosen.

    With these weights the mean over a batch of the chosen estimates the mean over all n examples;
    ``largest`` trades bias for variance.

    Example:
        >>> import numpy as np, attent
        >>> attent.correction_weights(np.array([0.5, 0.25, 0.05]), 1, largest=3.0).round(2).tolist()
        [0.67, 1.33, 3.0]
    """
    if not largest > 0:
        raise PlanError(f"the largest weight must be above 0, got {checks.shown(largest)}")
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(k / len(probabilities) / probabilities, largest), np.float64)
