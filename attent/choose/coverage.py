"""Coverage: selections that remember what they skipped, so that all examples are taught in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from attent.learner import Ids

Ages = npt.NDArray[np.signedinteger]


def in_turn(ages: Ages, k: int, select: Callable[[Ids, int], Ids]) -> Ids:
    """Return k ids, ascending: those taught longest ago, ``select(ids, count)`` choosing among the last ones that tie.

    With k = ratio * n this is sampling without replacement across rounds: everything is taught once in 1 / ratio
    rounds (Okanovic et al. 2023, RS2 without replacement, arXiv 2305.18424). ages: int, shape (n,), rounds since
    an example was last taught.

    Example:
        >>> import numpy as np
        >>> from attent.choose.coverage import in_turn
        >>> in_turn(np.array([1, 3, 2, 2]), 2, lambda ids, count: ids[:count]).tolist()
        [1, 2]
    """
    cut = int(np.partition(ages, len(ages) - k)[len(ages) - k])  # the k-th highest age
    older = np.flatnonzero(ages > cut)
    return np.sort(np.concatenate([older, select(np.flatnonzero(ages == cut), k - len(older))]))
