"""A group that stays hard while the others are learnt: a noisy source, answers by chance. Rule T9 of docs/spec.md."""

from __future__ import annotations

import numpy as np

from attent.choose.scaling import tree_sum
from attent.learner import Ids, Numbers

# Its loss at first sight has not fallen to this share within the first epoch, ...
NOT_FALLING = 0.8
# ... which is so many times the share to which that of all has fallen, ...
SLOWER = 1.6
# ... and has come to so many times the mean of all.
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
    began, ended = (losses[quarter] for quarter in quarters)
    if not len(began) or not 0 < max(began.max(), ended.max()) < _LARGEST or tree_sum(began) <= 0:
        return None
    mean = tree_sum(ended) / len(ended)
    fall = mean / (tree_sum(began) / len(began))
    names, sizes = np.unique(groups, return_counts=True)
    for name in names[sizes * _TENTH >= len(groups)].tolist():
        first, last = (losses[quarter[groups[quarter] == name]] for quarter in quarters)
        if min(len(first), len(last)) < _FEWEST or tree_sum(first) <= 0:
            continue
        left = tree_sum(last) / len(last)
        own = left / (tree_sum(first) / len(first))
        if own > NOT_FALLING and own > SLOWER * fall and left > HARDER * mean:
            return int(name)
    return None
