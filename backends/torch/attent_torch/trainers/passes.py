"""A pass as one of several processes trains it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

import attent
from attent.learner import Ids
from attent_torch.trainers.workers import Workers


class Pass(NamedTuple):
    """A pass as this rank trains it: the parts of its share of each batch, in order.

    Where a part would be empty it is one example that counts nothing.
    """

    shares: list[Ids]
    padding: list[bool]
    factors: list[Any]  # by what each loss of a share counts, float64; none where a batch's mean is taken as it is
    starts: list[int]  # of each share among the factors
    scales: torch.Tensor | None = None  # the factors on the device, once

    @classmethod
    def of(cls, feed: attent.Feed, workers: Workers, parts: int) -> Pass:
        """Return the feed's pass as this rank trains it, each share in so many parts."""
        batches, weights = feed.batches(), feed.weights()
        if weights is None and workers.world == parts == 1:
            return cls(batches, [False] * len(batches), [], [])
        shares, padding, factors = [], [], []
        for at, ids in enumerate(batches):
            weighed = np.ones(len(ids)) if weights is None else weights[at]
            own, each = workers.share(ids), workers.share(weighed)
            for part in range(parts):
                mine = slice(part * len(own) // parts, (part + 1) * len(own) // parts)
                empty = len(own[mine]) == 0
                padding.append(empty)
                shares.append(ids[:1] if empty else own[mine])
                # Gradients are averaged over ranks and parts: each counts as many times its part of the batch's mean.
                factors.append(np.zeros(1) if empty else each[mine] * workers.world * parts / len(ids))
        starts = np.cumsum([0, *map(len, factors)]).tolist()
        return cls(shares, padding, factors, starts)
