"""Groups, costs and what is watched, as users have them: labels of any kind, and columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.errors import LearnerError
from attent.learner import Ids, Numbers, checked_costs, is_floating


class Grouped(NamedTuple):
    """The group of each example, int64, shape (n,), and the names of the groups by number; None: they have none."""

    groups: Ids
    names: tuple[str, ...] | None


def groups_from(given: object, n: int, data: object = None) -> Grouped:
    """Return the groups of n examples from what a user has, and their names.

    given: one label per example, any array, tensor or list; or the name of a column of ``data``, a mapping. Whole
    numbers stay as they are, other labels (texts, booleans) are numbered from 0 in ascending order. Raises
    LearnerError for another length, negative numbers, numbers that are not whole, and texts among other labels.

    Example:
        >>> from attent.columns import groups_from
        >>> found = groups_from(["en", "de", "en"], 3)
        >>> found.groups.tolist(), found.names
        ([1, 0, 1], ('de', 'en'))
        >>> groups_from("y", 2, {"y": [4, 0]}).groups.tolist()
        [4, 0]
    """
    labels = column("groups", given, n, data)
    if labels.dtype.kind in "iu":
        if labels.min() < 0:
            bad = int(np.flatnonzero(labels < 0)[0])
            raise LearnerError(f"groups must be at least 0, got {labels[bad]} for example {bad}")
        return Grouped(labels.astype(np.int64), None)
    if labels.dtype.kind == "S":
        labels = np.array([one.decode(errors="backslashreplace") for one in labels.tolist()])
    if labels.dtype.kind not in "bU" and not all(isinstance(one, str) for one in labels.tolist()):
        raise LearnerError(f"groups must be whole numbers or texts, got {labels.dtype}")
    names, groups = np.unique(labels, return_inverse=True)
    return Grouped(groups.astype(np.int64), tuple(map(str, names.tolist())))


def checked_names(given: object, groups: Ids) -> tuple[str, ...] | None:
    """Return what a learner calls its groups, by number; None where it gives no names. Raises LearnerError.

    given: a text for each group, in ascending order of their numbers from 0, all different. groups: int64, shape (n,).

    Example:
        >>> import numpy as np
        >>> from attent.columns import checked_names
        >>> checked_names(["de", "en"], np.array([1, 0, 1]))
        ('de', 'en')
    """
    if given is None:
        return None
    most = int(groups.max()) + 1
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if len(names) < most or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise LearnerError(
            f"group_names must be a list of texts, all different, one for each of the {most} groups, got "
            f"{checks.shown(given)}"
        )
    return names


def costs_from(given: object, n: int, data: object = None) -> Numbers:
    """Return the costs of n examples from what a user has: float64, shape (n,), finite and above 0.

    given: one number per example, any array, tensor or list; or the name of a column of ``data``, a mapping. Raises
    LearnerError for another length, and for costs that are none.

    Example:
        >>> from attent.columns import costs_from
        >>> costs_from([12, 7], 2).tolist()
        [12.0, 7.0]
    """
    numbers = column("costs", given, n, data)
    if numbers.dtype.kind not in "iuf":
        raise LearnerError(f"costs must be numbers, got {numbers.dtype}")
    return checked_costs(numbers.astype(np.float64), n)


def column(name: str, given: object, n: int, data: object = None) -> npt.NDArray[Any]:
    """Return one label or number for each of n examples, as an array, from what a user gave as ``name``.

    given: an array, tensor or list; or the name of a column of ``data``, a mapping. Raises LearnerError.

    Example:
        >>> from attent.columns import column
        >>> column("costs", "length", 2, {"length": [7, 5]}).tolist()
        [7, 5]
    """
    if isinstance(given, str):
        if not isinstance(data, Mapping):
            where = (
                "there are no data here" if data is None else f"the data, a {type(data).__qualname__}, have no columns"
            )
            raise LearnerError(
                f"{name} names the column {given!r}, and {where}: give an array of one value per example"
            )
        if given not in data:
            raise LearnerError(f"{name} names the column {given!r}, the data have: {', '.join(map(str, data))}")
        given = data[given]
    found = np.asarray(given)
    if found.shape != (n,):
        raise LearnerError(f"{name} must be one for each of the {n} examples, shape ({n},), got shape {found.shape}")
    if found.dtype.kind == "U" and isinstance(given, list | tuple):  # NumPy makes texts of what stands among texts
        for example, one in enumerate(given):
            if not isinstance(one, str):
                raise LearnerError(
                    f"{name} must not be texts and others, got {checks.shown(one)} for example {example}"
                )
    return found


def watched_from(given: object) -> Numbers:
    """Return what a user's ``watch`` returned as float64, shape (m,); raise LearnerError where it is no such thing.

    given: one real number per watched example, any array or list.

    Example:
        >>> from attent.columns import watched_from
        >>> watched_from([0, 1]).tolist()
        [0.0, 1.0]
    """
    try:
        found = np.asarray(given)
        if found.dtype.kind not in "biu" and not is_floating(found.dtype):
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError):
        raise LearnerError(
            f"watch must return one real number for each watched example, got {type(given).__name__}"
        ) from None


def check_watch_is_callable(watch: object) -> None:
    """Raise LearnerError unless ``watch`` is a function, or None."""
    if watch is not None and not callable(watch):
        raise LearnerError(f"watch must be a function, got {type(watch).__name__}")
