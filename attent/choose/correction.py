"""Weights that make a soft selection stand for all examples: one over the inclusion probability (rule S10)."""

from __future__ import annotations

import numpy as np

from attent.choose.gumbel import Keys
from attent.choose.noise import Noise
from attent.choose.scaling import Scaling, scale
from attent.errors import PlanError
from attent.learner import Ids, Numbers


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

    Raises PlanError for a temperature of 0, where the choice is not random.

    Example:
        >>> import numpy as np, attent
        >>> attent.inclusion_probabilities(np.zeros(4), 4, attent.Noise(0, 0)).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if not temperature > 0:
        raise PlanError(f"inclusion probabilities need a temperature above 0, got {temperature!r}")
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
        raise PlanError(f"the largest weight must be above 0, got {largest!r}")
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(k / len(probabilities) / probabilities, largest), np.float64)
