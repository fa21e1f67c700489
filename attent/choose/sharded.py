"""Selections over scores that several workers hold together, without gathering them: the ids of one worker. Rule S11.

Every worker holds the scores of consecutive ids, in the order of ranks, and gets those of its own that are chosen. All
call the same function with the same arguments but their scores. What travels are sums of small int64 arrays, see
`attent.choose.shard.Shard`: half a megabyte and some eighty bytes for each worker, however many examples there are;
under ``scaling="std"`` 16 bytes more for each 65,536 examples. What is wrong with one worker's arguments is raised on
all.
"""

from __future__ import annotations

import zlib

import numpy as np

from attent.choose import rules
from attent.choose.chunks import extremes
from attent.choose.gumbel import Keys, is_zero
from attent.choose.noise import Noise, raw, uniform
from attent.choose.order import highest
from attent.choose.scaling import Scaling, checked_scaling, standard
from attent.choose.shard import Shard
from attent.errors import PlanError, ScoreError
from attent.learner import Ids, Numbers


def hard(scores: Numbers, k: int, shard: Shard) -> Ids:
    """Return this worker's ids among the k with the highest scores of all: int64, ascending; see `attent.hard`.

    scores: float64, shape (m,), m >= 0, of this worker's ids. Raises on all workers ScoreError for scores that are none
    or not finite, PlanError for k outside [1, n] or arguments that differ between workers.

    Example:
        >>> import numpy as np
        >>> from attent.choose import sharded
        >>> sharded.hard(np.array([0.1, 0.9, 0.5, 0.9]), 2, sharded.Shard(rank=0, world=1)).tolist()
        [1, 3]
    """
    held = _Held(scores, k, shard, ("hard",))
    return held.first + highest(lambda start, stop: scores[start:stop], len(scores), k, shard=shard)


def soft(
    scores: Numbers, k: int, noise: Noise, shard: Shard, *, temperature: float = 1.0, scaling: Scaling = "none"
) -> Ids:
    """Return this worker's ids among k drawn by Gumbel-top-k from all: int64, ascending; see `attent.soft`.

    Arguments as `hard`; ``std`` scaling needs parts of whole blocks of 65,536 examples, and ``rank`` cannot be had.
    Raises as `hard`, and PlanError for a negative temperature or such a scaling.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose import sharded
        >>> sharded.soft(np.array([0.0, 3.0, 0.0, 3.0]), 2, attent.Noise(0, 0), sharded.Shard()).tolist()
        [1, 3]
    """
    held = _Held(scores, k, shard, ("soft", *noise, float(temperature), scaling))
    if not temperature >= 0:
        raise PlanError(f"must be at least 0, got {temperature!r}", field="temperature")
    if checked_scaling(scaling) == "rank":
        raise PlanError(
            "scaling='rank' needs each score's rank among those of all workers, which counts alone do not tell: take "
            "'std' or 'none', or gather the scores and call attent.soft (rule S11)"
        )
    if is_zero(temperature):
        return held.first + highest(lambda start, stop: scores[start:stop], len(scores), k, shard=shard)
    found = standard(scores, held.ends, shard) if scaling == "std" else None
    keys = Keys(scores, noise, temperature, ends=held.ends, standard=found, first=held.first, shard=shard)
    return held.first + keys.top(k)


def random(scores: Numbers, k: int, noise: Noise, shard: Shard) -> Ids:
    """Return this worker's ids among k drawn evenly from all: int64, ascending; see `attent.random`. Raises as `hard`.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose import sharded
        >>> sharded.random(np.zeros(6), 3, attent.Noise(0, 0), sharded.Shard()).tolist()
        [3, 4, 5]
    """
    held = _Held(scores, k, shard, ("random", *noise))

    def chunk(start: int, stop: int) -> Numbers:
        return uniform(raw(noise, held.first + start, held.first + stop))

    return held.first + highest(chunk, len(scores), k, shard=shard)


def band(scores: Numbers, k: int, shard: Shard, *, cap: float = 0.9) -> Ids:
    """Return this worker's ids among the k highest of all at or below the ``cap`` quantile; see `attent.band`.

    int64, ascending. Raises as `hard`, and PlanError unless 0 < cap <= 1.

    Example:
        >>> import numpy as np
        >>> from attent.choose import sharded
        >>> sharded.band(np.array([9.0, 1.0, 5.0, 4.0, 3.0]), 2, sharded.Shard(), cap=0.8).tolist()
        [2, 3]
    """
    held = _Held(scores, k, shard, ("band", float(cap)))
    if not 0 < cap <= 1:
        raise PlanError(f"cap must be in (0, 1], got {cap!r}")
    passed = min(held.n - rules.count(cap, held.n), held.n - k)

    def chunk(start: int, stop: int) -> Numbers:
        return scores[start:stop]

    taken, over = (highest(chunk, len(scores), many, shard=shard) for many in (passed + k, passed))
    return held.first + taken[~np.isin(taken, over, assume_unique=True)]


class _Held:
    """What all workers hold: how many examples, which id comes first here, the lowest and the highest score."""

    def __init__(self, scores: Numbers, k: int, shard: Shard, told: tuple[object, ...]) -> None:
        # All workers learn what is wrong with one of them: who raised alone would leave the others waiting.
        right = isinstance(scores, np.ndarray) and scores.dtype == np.float64 and scores.ndim == 1
        held = scores if right else np.empty(0)
        ends = extremes(held) if len(held) else (np.inf, -np.inf)
        bad = -1
        if len(held) and not np.isfinite(ends).all():
            bad = int(np.argmin(np.isfinite(held)))
        asked = zlib.crc32(repr((k, *told)).encode())
        table = shard.each(len(held), not right, bad, asked, *np.array(ends).view(np.int64).tolist())
        lengths = table[:, 0]
        self.n, self.first = int(lengths.sum()), int(lengths[: shard.rank].sum())
        self.ends = float(table[:, 4].view(np.float64).min()), float(table[:, 5].view(np.float64).max())
        for rank, (_, wrong, first, other, _, _) in enumerate(table.tolist()):
            if wrong:
                raise ScoreError(
                    f"scores must be a float64 array of shape (m,) on every worker, and on rank {rank} are not"
                )
            if first >= 0:
                named = int(lengths[:rank].sum()) + first
                raise ScoreError(
                    f"scores must be finite, got one of rank {rank} that is not: id {named}; look at this example or "
                    "lower the learning rate"
                )
            if other != table[0, 3]:
                raise PlanError(
                    f"all workers must ask for the same, and rank {rank} asks for other than rank 0 (rule S11)"
                )
        if not 1 <= k <= self.n:
            raise PlanError(f"k must be in [1, {self.n}], the number of scores of all workers, got {k}")
