"""Whether teaching helps now, from losses that training has seen anyway: what `Plan.auto` goes by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attent.learner import Ids, Numbers

# The hardest half must hold this share of all loss: below, examples are too alike for a choice to matter.
CONCENTRATION = 0.7
# Seen again, the hardest tenth must have fallen to this share of its loss, or it may be noise: wrong labels stay
# above it while the rest is learnt, rare classes fall below it.
LEARNABLE = 0.85
# Taught examples whose mean loss has not fallen to this share of what it was are not learnt.
FALLING = 0.99
_FEWEST = 30  # pairs of losses below which no share means anything


class Signs(NamedTuple):
    """What two sights of each example tell. ``share``: of the latest loss, held by the half that was hardest before.

    ``hardest`` and ``others``: the latest mean loss over the one before, of the tenth that was hardest before and of
    all others. ``pairs``: examples seen twice.
    """

    share: float
    hardest: float
    others: float
    pairs: int


class Decision(NamedTuple):
    """Whether to teach the harder examples or all in turn, and why, in words."""

    teach: bool
    why: str


def signs(before: Numbers, latest: Numbers) -> Signs | None:
    """Return the signs in two losses per example: float64, shape (n,) each; NaN where there is none yet.

    Examples are ranked by the loss before and measured by the latest, so that a loss high by chance does not count
    as hard. None with fewer than 30 pairs, or where nothing is left to learn.

    Example:
        >>> import numpy as np
        >>> from attent.deciding import signs
        >>> before = np.arange(1.0, 101.0)
        >>> found = signs(before, before * np.where(before > 90, 0.5, 1.0))
        >>> round(found.share, 2), found.hardest, found.others
        (0.72, 0.5, 1.0)
    """
    both = np.flatnonzero(np.isfinite(before) & np.isfinite(latest))
    if len(both) < _FEWEST:
        return None
    order = both[np.argsort(-before[both], kind="stable")]
    old, new = before[order], latest[order]
    tenth, half = len(order) // 10, len(order) // 2
    sums = (float(new.sum()), float(old[:tenth].sum()), float(old[tenth:].sum()))
    if min(sums) <= 0:
        return None
    return Signs(
        float(new[:half].sum()) / sums[0],
        float(new[:tenth].sum()) / sums[1],
        float(new[tenth:].sum()) / sums[2],
        len(order),
    )


def decide(before: Numbers, latest: Numbers, taught: Ids | None) -> Decision:
    """Return whether to teach, given two losses per example and the ids of the last selection if it was taught.

    To begin, the harder half must hold most of the loss, and the hardest tenth must be learnt when it is seen: wrong
    labels and unpredictable text are hard too, but are not learnt. To go on, what is taught must be learnt.
    The thresholds are constants of this module, found on the panel (docs/results.md).

    Example:
        >>> import numpy as np
        >>> from attent.deciding import decide
        >>> before = np.r_[np.full(900, 0.1), np.full(100, 3.0)]
        >>> decide(before, before * np.r_[np.full(900, 0.9), np.full(100, 0.5)], None).why
        'the harder half holds 81 % of the loss and its top is learnt (x 0.50, the rest x 0.90): teach it'
        >>> decide(before, before * 0.9, None).teach
        False
    """
    if taught is not None:
        seen = taught[np.isfinite(before[taught]) & np.isfinite(latest[taught])]
        was = float(before[seen].sum())
        fall = float(latest[seen].sum()) / was if len(seen) and was > 0 else 1.0
        if fall <= FALLING:
            return Decision(True, f"what is taught is learnt (x {fall:.2f}): go on")
        return Decision(False, f"what was taught is not learnt (x {fall:.2f}): back to all in turn")
    found = signs(before, latest)
    if found is None:
        return Decision(False, "too few examples seen twice: all in turn")
    if found.share < CONCENTRATION:
        return Decision(False, f"the harder half holds {100 * found.share:.0f} % of the loss: too alike, all in turn")
    speeds = f"(x {found.hardest:.2f}, the rest x {found.others:.2f})"
    if found.hardest > LEARNABLE:
        return Decision(False, f"the hardest tenth is not learnt {speeds}: all in turn")
    half = f"the harder half holds {100 * found.share:.0f} % of the loss"
    return Decision(True, f"{half} and its top is learnt {speeds}: teach it")
