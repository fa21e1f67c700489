"""InfoBatch's selection: prune well-learnt examples at random, and let those kept stand for those pruned."""

from __future__ import annotations

import numpy as np

from attent.choose.noise import Noise
from attent.choose.rules import random
from attent.choose.scaling import tree_sum
from attent.learner import Ids, Numbers


def infobatch(scores: Numbers, k: int, noise: Noise, *, ids: Ids | None = None) -> tuple[Ids, Numbers]:
    """Return k ids, ascending, and their weights: float64, shape (k,).

    Every example whose score is at least the mean is kept. Of the others as many are kept, at random, as k leaves
    room for, each with weight (others) / (others kept), so that the expected gradient is that of all examples. If
    more than k examples reach the mean, k of those are drawn. Scores must be finite.

    Source: Qin et al. 2024, InfoBatch, arXiv 2303.04947, equations 2 to 4. There the share pruned is fixed and k
    varies from epoch to epoch; here k is the plan's, so that a learning-rate schedule knows its length.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose.infobatch import infobatch
        >>> ids, weights = infobatch(np.array([0.0, 9.0, 0.0, 0.0, 0.0]), 3, attent.Noise(seed=0, draw=0))
        >>> ids.tolist(), weights.tolist()
        ([1, 3, 4], [1.0, 2.0, 2.0])
    """
    every = np.arange(len(scores), dtype=np.int64) if ids is None else ids
    high = scores >= tree_sum(scores) / len(scores)
    above, below = every[high], every[~high]
    room = k - len(above)
    if room <= 0:
        kept = random(scores[high], k, noise, ids=above)
        return kept, np.full(k, len(above) / k)
    if not len(below):
        return above, np.ones(len(above))
    drawn = random(scores[~high], room, noise, ids=below)
    chosen = np.sort(np.concatenate([above, drawn]))
    weights = np.ones(k)
    weights[np.searchsorted(chosen, drawn)] = len(below) / room
    return chosen, weights
