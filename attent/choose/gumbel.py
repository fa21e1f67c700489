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
from attent.choose.noise import Noise, generator, gumbel, raw, raw_at, uniform
from attent.choose.order import Cut, Mask, find_cut, kth_highest, top_mask
from attent.choose.scaling import Scaling, scale
from attent.errors import PlanError
from attent.learner import Ids, Numbers

_SMALLEST_NORMAL = 2.0**-1022


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
        >>> np.flatnonzero(keys.top(1)).tolist()
        [2]
    """

    def __init__(self, scores: Numbers, noise: Noise, temperature: float, ids: Ids | None = None) -> None:
        highest, lowest = float(scores.max()), float(scores.min())
        if not np.isfinite(highest - lowest):
            # Differences would overflow: quarter everything, which is exact at this size and keeps the order.
            scores, temperature, highest = scores * 0.25, temperature * 0.25, highest * 0.25
        self.scores, self.highest = scores, highest
        self.noise, self.ids = noise, ids
        self._scratch = threading.local()
        self.noise_scale = min(temperature, 1.0)
        self.score_scale = max(temperature, 1.0)

    def exact(self, positions: Ids) -> Numbers:
        """Return the keys at these positions, equal to the last bit on every machine: float64."""
        shifted = (self.scores[positions] - self.highest) / self.score_scale
        named = positions if self.ids is None else self.ids[positions]
        return shifted + self.noise_scale * gumbel(raw_at(self.noise, named))

    def fast(self, start: int, stop: int) -> Numbers:
        """Return the keys of positions start to stop-1, each within ``slack`` / 2 of the exact one: float64.

        The array is the calling thread's, and is written again by its next call: fresh memory for every
        chunk would cost as much as the noise.
        """
        noise, keys = self._buffers(stop - start)
        np.subtract(self.scores[start:stop], self.highest, out=keys)
        if self.score_scale != 1.0:
            keys /= self.score_scale
        self._uniform(start, stop, noise)
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
        if held is None or held.shape[1] < size:
            held = self._scratch.held = np.empty((2, size))
        return held[0, :size], held[1, :size]

    def _uniform(self, start: int, stop: int, out: Numbers) -> None:
        if self.ids is not None:
            out[:] = uniform(raw_at(self.noise, self.ids[start:stop]))
        elif start % 4 == 0 and _generator_gives_uniform():
            generator(self.noise, start // 4).random(out=out)
        else:
            out[:] = uniform(raw(self.noise, start, stop))

    def slack(self, cut: float) -> float:
        """Return twice the largest distance between a fast key near ``cut`` and its exact value.

        The two differ in the logarithms alone: at most 8 units in the last place of each, on noise between
        -3.7 and 36.8, then two roundings. 2**-44 is over a hundred times that.
        """
        return float(2.0**-44 * (abs(cut) + 64.0 * self.noise_scale) + 2.0**-1060)

    def _cut(self, k: int) -> tuple[Cut, Mask, Mask, int]:
        """Return the cut, what in its bracket is surely above it and what is too near, and how many are missing."""
        cut = find_cut(self.fast, len(self.scores), k, self.slack, threads=True)
        slack = self.slack(cut.value)
        above = cut.values > cut.value + slack
        near = (cut.values >= cut.value - slack) & ~above
        return cut, above, near, cut.rank - int(np.count_nonzero(above))

    def top(self, k: int) -> Mask:
        """Return which examples hold the k highest keys: bool, shape (n,), ties to the lower position."""
        if k >= len(self.scores):
            return np.ones(len(self.scores), np.bool_)
        cut, above, near, missing = self._cut(k)
        chosen = cut.sure
        chosen[cut.positions[above]] = True
        undecided = cut.positions[near]
        chosen[undecided[top_mask(self.exact(undecided), missing)]] = True
        return chosen

    def threshold(self, k: int) -> float:
        """Return the (k+1)-th highest key, -inf for k = n: float, exact."""
        if k >= len(self.scores):
            return -np.inf
        cut, _, near, missing = self._cut(k + 1)
        return kth_highest(self.exact(cut.positions[near]), missing)


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
    keys = Keys(scale(scores, scaling), noise, temperature, ids)
    threshold = keys.threshold(k)
    phi = (keys.scores - keys.highest) / keys.score_scale
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
