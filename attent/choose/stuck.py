"""A group that stays hard while the others are learnt: a noisy source, answers by chance. Rule T9 of docs/spec.md."""

from __future__ import annotations

import numpy as np

from attent.choose.scaling import tree_sum
from attent.learner import Ids, Numbers

# Its loss at first sight has not fallen to this share within the first epoch, ...
NOT_FALLING = 0.8
# ... which is so many times the share to which that of the others has fallen, ...
SLOWER = 1.6
# ... and has come to so many times the mean of the others.
HARDER = 1.5
_FEWEST = 30  # losses in each quarter below which no mean tells anything
_LARGEST = 1e300  # above, sums might not be finite
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
    if not quarters.size or not 0 < losses[quarters].max() < _LARGEST:
        return None
    for name in names[sizes * _TENTH >= len(groups)].tolist():
        of = [groups[quarter] == name for quarter in quarters]
        if min(np.count_nonzero(one) for one in of) < _FEWEST or any(one.all() for one in of):
            continue
        own = [_mean(losses[quarter[one]]) for quarter, one in zip(quarters, of, strict=True)]
        others = [_mean(losses[quarter[~one]]) for quarter, one in zip(quarters, of, strict=True)]
        if min(own[0], others[0]) <= 0:
            continue
        left = own[1] / own[0]
        if left > NOT_FALLING and left > SLOWER * (others[1] / others[0]) and own[1] > HARDER * others[1]:
            return int(name)
    return None


def _mean(losses: Numbers) -> float:
    return tree_sum(losses) / len(losses)
