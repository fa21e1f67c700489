"""A group that stays hard while the others are learnt: a noisy source, answers by chance. Rule T9 of docs/spec.md."""

from __future__ import annotations

import sys

import numpy as np

from attent.choose.scaling import sum_among
from attent.learner import Ids, Numbers

# Its loss at first sight has not fallen to this share within the first epoch, ...
NOT_FALLING = 0.8
# ... which is so many times the share to which that of the others has fallen, ...
SLOWER = 1.6
# ... and has come to so many times the mean of the others.
HARDER = 1.5
_FEWEST = 30  # losses in each quarter below which no mean tells anything
_SMALLER = 2.0**-64  # of losses too large to be summed, which changes no share by a bit
_TENTH = 10  # of a group rarer than a tenth too little was seen to say that it cannot be learnt


def stuck_group(losses: Numbers, groups: Ids, quarters: Ids) -> int | None:
    """Return the lowest group that stayed hard through the first epoch while others were learnt, None where none did.

    losses: of each example when it was seen for the first time, finite, float64, shape (n,). groups: int64, shape (n,).
    quarters: the ids of that epoch's first and last quarter, int64, shape (2, m). Nobody can have learnt by heart what
    is seen for the first time: if that loss falls, others of the group have taught it.

    Example:
        >>> import numpy as np
        >>> from attent.choose.stuck import stuck_group
        >>> groups = np.arange(400) % 2
        >>> losses = np.where((groups == 0) & (np.arange(400) >= 300), 0.2, 2.0)
        >>> stuck_group(losses, groups, np.arange(400).reshape(4, 100)[[0, 3]])
        1
    """
    names, sizes = np.unique(groups, return_counts=True)
    if not quarters.size:
        return None
    if losses[quarters].max() > sys.float_info.max / len(losses):
        losses = losses * _SMALLER
    for name in names[sizes * _TENTH >= len(groups)].tolist():
        of = groups == name
        own = [_mean(losses, quarter[of[quarter]]) for quarter in quarters]
        others = [_mean(losses, quarter[~of[quarter]]) for quarter in quarters]
        if min(many for _, many in own) < _FEWEST or min(many for _, many in others) < 1:
            continue
        (began, _), (ended, _) = own
        (others_began, _), (others_ended, _) = others
        if min(began, others_began) <= 0:
            continue
        left = ended / began
        if left > NOT_FALLING and left > SLOWER * (others_ended / others_began) and ended > HARDER * others_ended:
            return int(name)
    return None


def _mean(losses: Numbers, ids: Ids) -> tuple[float, int]:
    """Return the mean loss of some, and how many they are."""
    among = np.zeros(len(losses), np.bool_)
    among[ids] = True
    return sum_among(losses, among) / max(1, len(ids)), len(ids)
