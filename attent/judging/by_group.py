"""Quality by group: on the distribution that is trained, of the worst group, of what is known and new, and of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attent.checks import shown
from attent.columns import checked_names
from attent.errors import LearnerError
from attent.judging.metrics import lower_is_better, quality_of
from attent.learner import Groups, Ids, Learner

FEW = 12  # groups that are shown one by one
TRAINING, WORST, KNOWN, NEW = "training", "worst", "known", "new"
SUMMARIES = (TRAINING, WORST, KNOWN, NEW)
_APART = 0.02  # of a metric's value: more is no chance of which examples are held out


def groups_known(learner: Learner) -> Ids | None:
    """Return the group of each example, None where the learner knows none. Raises LearnerError for texts."""
    if not isinstance(learner, Groups):
        return None
    try:
        found = np.asarray(learner.groups())
    except LearnerError:  # one that has them for other tasks
        return None
    if found.dtype.kind in "US":
        text = shown(found.flat[0].item())
        raise LearnerError(
            f"groups() must give whole numbers, got the text {text}: number the groups from 0, and "
            "name them, in the order of their numbers, by the attribute group_names"
        )
    return found if found.shape == (len(learner),) else None


def group_sizes(learner: Learner) -> dict[int, int]:
    """Return the number of examples of each group, by number; empty where the learner knows none, or but one."""
    found = groups_known(learner)
    if found is None:
        return {}
    names, counts = np.unique(found, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True)) if len(names) > 1 else {}


def group_names(learner: Learner) -> tuple[str, ...]:
    """Return what a learner calls its groups, by number, by its attribute ``group_names``; empty where it has no names.

    Raises LearnerError for names that do not go with its groups.
    """
    groups, given = groups_known(learner), getattr(learner, "group_names", None)
    return () if groups is None else checked_names(given, groups) or ()


def new_groups(learner: Learner, sizes: Mapping[int, int]) -> list[int]:
    """Return the groups that a learner calls new, by its attribute ``new_groups``: numbers, or names where it has some.

    Raises LearnerError for what is no group.
    """
    given, names = getattr(learner, "new_groups", ()), group_names(learner)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise LearnerError(f"new_groups must be a list of groups, got {shown(given)}")
    given = list(given)
    found = [names.index(group) if group in names else group for group in given]
    for group, told in zip(found, given, strict=True):
        if group not in sizes:
            raise LearnerError(f"new_groups must name groups that have examples, got {told!r}")
    return sorted(map(int, found))


def by_name(quality: Mapping[str, float | None], names: Sequence[str]) -> dict[str, float | None]:
    """Return metrics of single groups by the groups' names, ``METRIC:en``, whether given so or by their numbers.

    A group that is called as one of the summaries is ``METRIC:group new``.

    Example:
        >>> from attent.judging.by_group import by_name
        >>> by_name({"hits": 0.7, "hits:0": 0.9, "hits:en": 0.5}, ["de", "en"])
        {'hits': 0.7, 'hits:de': 0.9, 'hits:en': 0.5}
    """
    called = {str(group): _called(name) for group, name in enumerate(names)} | {name: _called(name) for name in names}
    found = {}
    for name, value in quality.items():
        metric, colon, group = name.partition(":")
        found[f"{metric}:{called.get(group, group)}" if colon else name] = value
    return found


def _called(name: str) -> str:
    return f"group {name}" if name in SUMMARIES else name


class Looked(NamedTuple):
    """What a learner finds in itself, single groups by name where they have names, and what follows from these.

    ``sizes`` of its groups, by number, and which are ``new``. ``nameless``: metrics of single groups, where none of
    them names one that has examples, so that nothing follows.
    """

    quality: dict[str, float | None]
    derived: dict[str, float | None]
    sizes: dict[int, int]
    new: list[int]
    nameless: list[str]


def look(learner: Learner) -> Looked:
    """Return a learner's quality on held-out data, all in all and by group. Raises LearnerError for what is none."""
    names, sizes = group_names(learner), group_sizes(learner)
    quality, new = by_name(quality_of(learner), names), new_groups(learner, sizes) if sizes else []
    derived = group_quality(quality, sizes, new, names)
    nameless = [name for name in quality if ":" in name] if sizes and not derived else []
    return Looked(quality, derived, sizes, new, nameless)


def group_quality(
    quality: Mapping[str, float | None], sizes: Mapping[int, int], new: Sequence[int], names: Sequence[str] = ()
) -> dict[str, float | None]:
    """Return what follows from the quality of single groups, ``METRIC:3``; empty where there is none.

    Of the first metric that is given so: its mean by the shares of the groups in training, ``METRIC:training``, where
    every group has a value; ``worst``, of the worst group; ``known`` and ``new``, by their shares, where some are new.
    sizes: of the groups in training, by number. names: of the groups, by number, by which `by_name` has them.

    Example:
        >>> from attent.judging.by_group import group_quality
        >>> group_quality({"hits": 0.7, "hits:0": 0.9, "hits:1": 0.5}, {0: 3, 1: 1}, [])
        {'hits:training': 0.8, 'hits:worst': 0.5}
    """
    metric = next((name.partition(":")[0] for name in quality if ":" in name), None)
    named = {f"{metric}:{_called(names[group]) if names else group}": group for group in sizes}
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
