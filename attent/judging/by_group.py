"""Quality by group: on the distribution that is trained, of the worst group, of what is known and new, and of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attent.errors import LearnerError
from attent.judging.metrics import lower_is_better
from attent.learner import Groups, Ids, Learner

FEW = 12  # groups that are shown one by one
TRAINING, WORST, KNOWN, NEW = "training", "worst", "known", "new"
SUMMARIES = (TRAINING, WORST, KNOWN, NEW)
_APART = 0.02  # of a metric's value: more is no chance of which examples are held out


def groups_known(learner: Learner) -> Ids | None:
    """Return the group of each example, None where the learner knows none."""
    if not isinstance(learner, Groups):
        return None
    try:
        found = np.asarray(learner.groups())
    except LearnerError:  # one that has them for other tasks
        return None
    return found if found.shape == (len(learner),) else None


def group_sizes(learner: Learner) -> dict[int, int]:
    """Return the number of examples of each group, by name; empty where the learner knows none, or but one."""
    found = groups_known(learner)
    if found is None:
        return {}
    names, counts = np.unique(found, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True)) if len(names) > 1 else {}


def new_groups(learner: Learner, sizes: Mapping[int, int]) -> list[int]:
    """Return the groups that a learner calls new, by its attribute ``new_groups``. Raises LearnerError for no group."""
    given = getattr(learner, "new_groups", ())
    for group in given:
        if group not in sizes:
            raise LearnerError(f"new_groups must name groups that have examples, got {group!r}")
    return sorted(int(group) for group in given)


def group_quality(
    quality: Mapping[str, float | None], sizes: Mapping[int, int], new: Sequence[int]
) -> dict[str, float | None]:
    """Return what follows from the quality of single groups, ``METRIC:3``; empty where there is none.

    Of the first metric that is given so: its mean by the shares of the groups in training, ``METRIC:training``, where
    every group has a value; ``worst``, of the worst group; ``known`` and ``new``, by their shares, where some are new.
    sizes: of the groups in training.

    Example:
        >>> from attent.judging.by_group import group_quality
        >>> group_quality({"hits": 0.7, "hits:0": 0.9, "hits:1": 0.5}, {0: 3, 1: 1}, [])
        {'hits:training': 0.8, 'hits:worst': 0.5}
    """
    metric = next((name.partition(":")[0] for name in quality if ":" in name), None)
    named = {f"{metric}:{group}": group for group in sizes}
    values = {named[name]: value for name, value in quality.items() if name in named}
    if not values:
        return {}
    finite = [value for value in values.values() if value is not None]
    worst = max if lower_is_better(str(metric)) else min
    found: dict[str, float | None] = {}
    if sizes.keys() == values.keys():
        found[TRAINING] = _mean(values, sizes, list(sizes))
    found[WORST] = worst(finite) if len(finite) == len(values) else None
    if new and TRAINING in found:
        found[KNOWN] = _mean(values, sizes, [group for group in sizes if group not in new])
        found[NEW] = _mean(values, sizes, new)
    return {f"{metric}:{name}": value for name, value in found.items()}


def group_metrics(quality: Mapping[str, float | None], derived: Mapping[str, float | None]) -> list[str]:
    """Return the names of the metrics by group, in the order in which they are shown: single groups where few.

    Example:
        >>> from attent.judging.by_group import group_metrics
        >>> group_metrics({"hits": 0.7, "hits:0": 0.9, "hits:1": 0.5}, {"hits:worst": 0.5})
        ['hits:worst', 'hits:0', 'hits:1']
    """
    single = [name for name in quality if ":" in name]
    return [*derived, *(single if len(single) <= FEW else [])]


def of_one_group(metric: str) -> bool:
    """Return whether a metric is of a single group, of which there may be many: one is not counted by itself.

    Example:
        >>> from attent.judging.by_group import of_one_group
        >>> of_one_group("accuracy:3"), of_one_group("accuracy:worst"), of_one_group("accuracy")
        (True, False, False)
    """
    _, colon, name = metric.partition(":")
    return bool(colon) and name not in SUMMARIES


def other_distribution(
    main: str, metric_of: str | None, quality: Mapping[str, float], group_metrics: Sequence[str]
) -> str | None:
    """Return in words that the main metric is not of the distribution that is trained, None where nothing says so.

    metric_of: of what it is, as the recipe says; None: it does not say, and values that lie apart show it.

    Example:
        >>> from attent.judging.by_group import other_distribution
        >>> found = {"error": 0.2, "error:training": 0.1}
        >>> other_distribution("error", None, found, ["error:training"])
        'error is not of the distribution that is trained: of full training it is 0.2, and error:training 0.1.'
    """
    if metric_of == TRAINING:
        return None
    name = f"{main}:{TRAINING}"
    there, value = (quality.get(name) if name in group_metrics else None), quality.get(main)
    beside = "" if there is None or value is None else f": of full training it is {value:.4g}, and {name} {there:.4g}"
    if metric_of is not None:
        return f"{main} is of the distribution {metric_of!r}, not of the one that is trained{beside}."
    if there is None or value is None or abs(value - there) <= _APART * max(abs(value), abs(there)):
        return None
    return f"{main} is not of the distribution that is trained{beside}."


def _mean(values: Mapping[int, float | None], sizes: Mapping[int, int], groups: Sequence[int]) -> float | None:
    total, found = sum(sizes[group] for group in groups), 0.0
    for group in groups:
        value = values[group]
        if value is None:
            return None
        found += value * sizes[group]
    return found / total if total else None
