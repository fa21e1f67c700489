"""Whether teaching helps now, from losses that training has seen anyway: what `Plan.auto` goes by."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from attent.learner import Ids, Numbers

# The thresholds were chosen on seeds of the panel that are not judged (docs/results.md shows both).
# The hardest half must hold this share of all loss: below, examples are too alike for a choice to matter.
CONCENTRATION = 0.7
# Seen again, the hardest tenth must have fallen to this share of its loss, or it may be noise: wrong labels stay
# above it, what is learnt from others falls below it.
LEARNABLE = 0.75
# Below this share it is learnt so fast that nothing but the hardest is worth a step.
FAST = 0.55
# Where the hardest half holds this share at first sight the model knows the rest: what is hard is tried at once.
KNOWN = 0.85
# Taught examples whose mean loss has not fallen to this share of what it was are not learnt.
FALLING = 0.99
_FEWEST = 30  # pairs of losses below which no share means anything

How = Literal["hard", "soft"]


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
    """How to choose what is taught next, None: teach all in turn. And why, in words."""

    how: How | None
    why: str


def signs(before: Numbers, latest: Numbers) -> Signs | None:
    """Return the signs in two losses per example: float64, shape (n,) each; NaN where there is none yet.

    Examples are ranked by the loss before and measured by the latest, so that a loss high by chance does not count
    as hard. None with fewer than 30 pairs, or where losses are not above 0 and shares mean nothing.

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


def decide(before: Numbers, latest: Numbers, taught: Ids | None = None, how: How | None = None) -> Decision:
    """Return how to choose next, given two losses per example and the ids last taught, chosen ``how``, if they were.

    To begin, the harder half must hold most of the loss, and the hardest tenth must be learnt when it is seen: wrong
    labels and unpredictable text are hard too, but are not learnt. Fast: hard; else softly. Where the model knows
    most examples at first sight the others are tried at once. To go on, what is taught must be learnt.

    Example:
        >>> import numpy as np
        >>> from attent.deciding import decide
        >>> before = np.r_[np.full(900, 0.1), np.full(100, 3.0)]
        >>> decide(before, before * np.r_[np.full(900, 0.9), np.full(100, 0.5)]).why
        'the harder half holds 80 % of the loss and its top is learnt fast (x 0.50, the rest x 0.90): teach the hardest'
        >>> decide(before, before * 0.9).how is None
        True
    """
    if taught is not None and how is not None:
        return _go_on(before, latest, taught, how)
    if not np.isfinite(before).any():
        return _at_first_sight(latest)
    found = signs(before, latest)
    if found is None:
        return Decision(None, "too few losses above 0 seen twice: all in turn")
    if found.share < CONCENTRATION:
        return Decision(None, f"the harder half holds {_percent(found.share)} of the loss: too alike, all in turn")
    speeds = f"(x {found.hardest:.2f}, the rest x {found.others:.2f})"
    if found.hardest > LEARNABLE:
        return Decision(None, f"the hardest tenth is not learnt {speeds}: all in turn")
    half = f"the harder half holds {_percent(found.share)} of the loss and its top is learnt"
    if found.hardest > FAST:
        return Decision("soft", f"{half} {speeds}: prefer the harder")
    return Decision("hard", f"{half} fast {speeds}: teach the hardest")


def _at_first_sight(latest: Numbers) -> Decision:
    losses = np.sort(latest[np.isfinite(latest)])
    total = float(losses.sum())
    if len(losses) < 2 * _FEWEST or total <= 0:
        return Decision(None, "too few losses above 0: all in turn")
    share = float(losses[len(losses) // 2 :].sum()) / total
    told = f"at first sight the harder half holds {_percent(share)} of the loss"
    if share < KNOWN:
        return Decision(None, f"{told}: all in turn, to see what is learnt")
    return Decision("hard", f"{told}: try it")


def _go_on(before: Numbers, latest: Numbers, taught: Ids, how: How) -> Decision:
    twice = np.isfinite(before) & np.isfinite(latest)
    seen = taught[twice[taught]]
    was = float(before[seen].sum())
    fall = float(latest[seen].sum()) / was if was > 0 else 1.0
    tried = np.count_nonzero(twice) == len(seen)  # nothing else was seen twice: this was the try at first sight
    if fall <= (LEARNABLE if tried else FALLING):
        return Decision(how, f"what is taught is learnt (x {fall:.2f}): go on")
    return Decision(
        None, f"what was taught is not learnt{' fast' if tried else ''} (x {fall:.2f}): back to all in turn"
    )


def _percent(share: float) -> str:
    # Down, so that a share just below a threshold is not told as the threshold.
    return f"{int(100 * share)} %"
