"""Selections: pure functions from scores to the ids that are taught next. Rules S1 to S6 of docs/spec.md.

All return k ids in ascending order: int64, shape (k,). Scores are float64, shape (n,), higher is selected
first; ties go to the lower id, and -0.0 equals 0.0. ``ids`` names the scored examples, ascending, where they
are not simply 0 to n-1; noise follows the id, not the position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.choose.chunks import extremes
from attent.choose.gumbel import is_zero, scaled_keys
from attent.choose.noise import Noise, raw, raw_at, uniform
from attent.choose.order import highest, top
from attent.choose.scaling import Scaling, tree_sum
from attent.errors import PlanError, ScoreError
from attent.learner import Ids, Numbers

Ages = npt.NDArray[np.signedinteger]
NonFinite = Literal["error", "drop", "last"]
NON_FINITE: tuple[NonFinite, ...] = ("error", "drop", "last")


def count(ratio: float, n: int) -> int:
    """Return k = ratio * n rounded half up, at least 1, taking the ratio as the decimal it is written as.

    0.29 of 100 is 29 and 0.285 of 100 is 29, though neither binary product is. Raises PlanError unless
    0 < ratio <= 1 and n >= 1.

    Example:
        >>> from attent.choose.rules import count
        >>> count(0.29, 100), count(0.285, 100), count(0.001, 100)
        (29, 29, 1)
    """
    if n < 1:
        raise PlanError(f"n must be at least 1, got {n}: there is nothing to select from")
    if not 0 < ratio <= 1:
        raise PlanError(f"ratio must be in (0, 1], got {checks.shown(ratio)}")
    return max(1, math.floor(Fraction(repr(float(ratio))) * n + Fraction(1, 2)))


def hard(scores: Numbers, k: int, *, ids: Ids | None = None) -> Ids:
    """Return the k examples with the highest scores. O(n) time, no copy of the scores for n >= 2**18.

    Raises ScoreError for a score that is not finite, PlanError for k outside [1, n].

    Example:
        >>> import numpy as np, attent
        >>> attent.hard(np.array([0.1, 0.9, 0.5, 0.9]), 2).tolist()
        [1, 3]
    """
    _check(scores, k, ids)
    return _named(top(scores, k), ids)


def soft(
    scores: Numbers,
    k: int,
    noise: Noise,
    *,
    temperature: float = 1.0,
    scaling: Scaling = "none",
    ids: Ids | None = None,
) -> Ids:
    """Return k examples drawn without replacement with odds softmax(scaled score / temperature): Gumbel-top-k.

    Temperature 0 is ``hard``; infinity is uniformly random. ``scaling`` is applied first: raw losses of a
    trained model are so alike that their softmax is nearly flat; ``std`` or ``rank`` makes them count.
    Beyond the scores, which may be memory-mapped, and the ids it uses some n / 4 bytes; with ``rank`` 17 n. Raises
    ScoreError for a score that is not finite, PlanError for k outside [1, n] or a negative temperature.
    Source: Kool et al. 2019, arXiv 1903.06059; AtteNT, arXiv 2602.20461 (there the temperature divides
    noise and score alike and so has no effect).

    Example:
        >>> import numpy as np, attent
        >>> attent.soft(np.array([0.0, 3.0, 0.0, 3.0]), 2, attent.Noise(seed=0, draw=0)).tolist()
        [1, 3]
    """
    ends = _check(scores, k, ids)
    if not temperature >= 0:
        raise PlanError(f"must be at least 0, got {checks.shown(temperature)}", field="temperature")
    if is_zero(temperature):  # no scaling or shift may then merge two scores that differ
        return _named(top(scores, k), ids)
    return _named(scaled_keys(scores, noise, temperature, scaling, ids, ends).top(k), ids)


def random(scores: Numbers, k: int, noise: Noise, *, ids: Ids | None = None) -> Ids:
    """Return k examples drawn uniformly without replacement: those with the highest noise.

    Of the scores only their number counts. Raises PlanError for k outside [1, n].

    Example:
        >>> import numpy as np, attent
        >>> attent.random(np.zeros(6), 3, attent.Noise(seed=0, draw=0)).tolist()
        [3, 4, 5]
    """
    _check_k(k, len(scores), ids)
    return _named(highest(_noise(noise, ids), len(scores), k), ids)


def band(scores: Numbers, k: int, *, cap: float = 0.9, ids: Ids | None = None) -> Ids:
    """Return the k highest scores at or below the ``cap`` quantile: the highest 1 - cap share is passed over.

    Against wrong labels, which score highest of all. n - round_half_up(cap * n) examples are passed over, but
    never so many that fewer than k remain. Raises as ``hard`` does, and PlanError unless 0 < cap <= 1.

    Example:
        >>> import numpy as np, attent
        >>> attent.band(np.array([9.0, 1.0, 5.0, 4.0, 3.0]), 2, cap=0.8).tolist()
        [2, 3]
    """
    _check(scores, k, ids)
    if not 0 < cap <= 1:
        raise PlanError(f"cap must be in (0, 1], got {checks.shown(cap)}")
    n = len(scores)
    passed = min(n - count(cap, n), n - k)
    taken = top(scores, passed + k)
    left = np.ones(len(taken), np.bool_)
    left[np.searchsorted(taken, top(scores, passed))] = False
    return _named(taken[left], ids)


def infobatch(scores: Numbers, k: int, noise: Noise, *, ids: Ids | None = None) -> tuple[Ids, Numbers]:
    """Return k ids, ascending, and their weights: float64, shape (k,).

    Every example whose score is at least the mean is kept. Of the others as many are kept, at random, as k leaves
    room for, each with weight (others) / (others kept), so that the expected gradient is that of all examples. If
    more than k examples reach the mean, k of those are drawn. Scores must be finite.

    Source: Qin et al. 2024, InfoBatch, arXiv 2303.04947, equations 2 to 4. There the share pruned is fixed and k
    varies from epoch to epoch; here k is the plan's, so that a learning-rate schedule knows its length.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose.rules import infobatch
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


def in_turn(ages: Ages, k: int, select: Callable[[Ids, int], Ids]) -> Ids:
    """Return k ids, ascending: those taught longest ago, ``select(ids, count)`` choosing among the last ones that tie.

    With k = ratio * n this is sampling without replacement across rounds: everything is taught once in 1 / ratio
    rounds (Okanovic et al. 2023, RS2 without replacement, arXiv 2305.18424). ages: int, shape (n,), rounds since
    an example was last taught.

    Example:
        >>> import numpy as np
        >>> from attent.choose.rules import in_turn
        >>> in_turn(np.array([1, 3, 2, 2]), 2, lambda ids, count: ids[:count]).tolist()
        [1, 2]
    """
    cut = int(np.partition(ages, len(ages) - k)[len(ages) - k])  # the k-th highest age
    older = np.flatnonzero(ages > cut)
    return np.sort(np.concatenate([older, select(np.flatnonzero(ages == cut), k - len(older))]))


def first_in_turn(ages: Ages, k: int, order: Noise, *, ids: Ids | None = None) -> Ids:
    """Return k ids, ascending: those taught longest ago, of the last that tie those of the lowest noise in ``order``.

    What `in_turn` returns where ``select`` sorts by that noise, without the sort.

    Example:
        >>> import numpy as np, attent
        >>> from attent.choose.rules import first_in_turn
        >>> first_in_turn(np.array([1, 3, 2, 2]), 2, attent.Noise(seed=0, draw=0)).tolist()
        [1, 2]
    """
    cut = int(np.partition(ages, len(ages) - k)[len(ages) - k])  # the k-th highest age
    noise = _noise(order, ids)

    def early(start: int, stop: int) -> Numbers:
        some = ages[start:stop]
        return np.where(some == cut, -noise(start, stop), np.where(some > cut, np.inf, -np.inf))

    def lower_bits(positions: Ids) -> Numbers:  # which decide where the upper 53 are equal
        return -(raw_at(order, positions if ids is None else ids[positions]) & np.uint64(2047)).astype(np.float64)

    return _named(highest(early, len(ages), k, exact=lower_bits), ids)


def finite_ids(scores: Numbers, policy: NonFinite, among: Ids | None = None) -> Ids | None:
    """Return the ids (of those in ``among``; None: all) whose score is finite, or None when all are.

    Raises ScoreError naming the first ids that are not, if the policy is ``error`` or none is finite.

    Example:
        >>> import numpy as np
        >>> from attent.choose.rules import finite_ids
        >>> finite_ids(np.array([0.5, np.nan, 0.1]), "drop").tolist()
        [0, 2]
    """
    values = scores if among is None else scores[among]
    if np.isfinite(extremes(values)).all():
        return None
    finite = np.isfinite(values)
    if policy == "error" or not finite.any():
        bad = np.flatnonzero(~finite) if among is None else among[~finite]
        shown = ", ".join(f"{i} ({scores[i]})" for i in bad[:5].tolist())
        ways = "look at these examples or lower the learning rate"
        if policy == "error":
            ways += ", or set non_finite='drop' or 'last' in the plan"
        raise ScoreError(
            f"scores must be finite, got {len(bad)} of {len(values)} that are not: id {shown}"
            f"{', ...' if len(bad) > 5 else ''}; {ways}"
        )
    return np.flatnonzero(finite) if among is None else among[finite]


def _named(positions: Ids, ids: Ids | None) -> Ids:
    return positions if ids is None else ids[positions]


def _noise(noise: Noise, ids: Ids | None) -> Callable[[int, int], Numbers]:
    """Return the noise of positions start to stop-1, u, as a function."""

    def chunk(start: int, stop: int) -> Numbers:
        return uniform(raw(noise, start, stop) if ids is None else raw_at(noise, ids[start:stop]))

    return chunk


def _check_k(k: int, n: int, ids: Ids | None) -> None:
    if n < 1:
        raise PlanError("there are no scores to select from")
    if not 1 <= k <= n:
        raise PlanError(f"k must be in [1, {n}], the number of scores, got {k}")
    if ids is not None and (len(ids) != n or bool((ids[1:] <= ids[:-1]).any())):
        raise PlanError(f"ids must be {n} distinct ids in ascending order, one for each score")


def _check(scores: Numbers, k: int, ids: Ids | None) -> tuple[float, float]:
    """Return the lowest and the highest score, if the arguments are possible."""
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float64 or scores.ndim != 1:
        got = f"{scores.dtype} {scores.shape}" if isinstance(scores, np.ndarray) else type(scores).__name__
        raise ScoreError(f"scores must be a float64 array of shape (n,), got {got}")
    _check_k(k, len(scores), ids)
    ends = extremes(scores)  # they carry NaN and infinities
    if not np.isfinite(ends).all():
        finite_ids(scores, "error")
    return ends
