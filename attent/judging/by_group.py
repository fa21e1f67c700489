"""Quality by group: on the distribution that is trained, of the worst group, of what is known and new, and of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from attent.errors import LearnerError
from attent.judging.metrics import lower_is_better
from attent.learner import EvaluatesGroups, Groups, Learner

FEW = 12  # groups that are shown one by one
TRAINING, WORST, KNOWN, NEW = "training", "worst", "known", "new"
SUMMARIES = (TRAINING, WORST, KNOWN, NEW)
_APART = 0.02  # of a metric's value: more is no chance of which examples are held out


def group_sizes(learner: Learner) -> dict[int, int]:
    """Return the number of examples of each group, by name; empty where the learner knows none, or but one."""
    if not isinstance(learner, Groups):
        return {}
    try:
        found = np.asarray(learner.groups())
    except LearnerError:  # one that has them for other tasks
        return {}
    names, counts = np.unique(found, return_counts=True)
    usable = found.shape == (len(learner),) and len(names) > 1
    return dict(zip(names.tolist(), counts.tolist(), strict=True)) if usable else {}


def new_groups(learner: Learner, sizes: Mapping[int, int]) -> list[int]:
    """Return the groups that a learner calls new, by its attribute ``new_groups``. Raises LearnerError for no group."""
    given = getattr(learner, "new_groups", ())
    for group in given:
        if group not in sizes:
            raise LearnerError(f"new_groups must name groups that have examples, got {group!r}")
    return sorted(int(group) for group in given)


def group_quality(learner: Learner) -> dict[str, float | None]:
    """Return held-out quality by group, ``METRIC:training`` and so on, empty where the learner cannot tell.

    Of the first metric of ``evaluate_groups()``: its mean by the shares of the groups in training, where every group
    has a value; of the worst group; of the known and of the new, by their shares, where some are new; and of each
    group, where they are few. Raises LearnerError if ``evaluate_groups()`` returns something else.

    Example:
        >>> import attent
        >>> from attent.judging.by_group import group_quality
        >>> from attent.reference.recipes import known_digits
        >>> plan = attent.Plan.full(epochs=1, batch_size=16)
        >>> list(group_quality(known_digits(plan, known_examples=90, known_epochs=1)))[:4]
        ['accuracy:training', 'accuracy:worst', 'accuracy:known', 'accuracy:new']
    """
    sizes = group_sizes(learner)
    if not sizes or not isinstance(learner, EvaluatesGroups):
        return {}
    given: object = learner.evaluate_groups()
    try:
        metric, by = next(iter(given.items()))  # type: ignore[attr-defined]
        values = {int(group): float(value) for group, value in by.items()}
    except (AttributeError, TypeError, ValueError, StopIteration):
        raise LearnerError(
            f"learner.evaluate_groups() must return numbers by metric name and group, got {given!r}"
        ) from None
    new = new_groups(learner, sizes)
    found: dict[str, float | None] = {}
    if sizes.keys() <= values.keys():
        found[TRAINING] = _mean(values, sizes, list(sizes))
    held = [value for group, value in values.items() if group in sizes]
    found[WORST] = max(held) if lower_is_better(metric) else min(held)
    if new and TRAINING in found:
        found[KNOWN] = _mean(values, sizes, [group for group in sizes if group not in new])
        found[NEW] = _mean(values, sizes, new)
    if len(sizes) <= FEW:
        found |= {str(group): value for group, value in values.items() if group in sizes}
    return {f"{metric}:{name}": value if value is not None and math.isfinite(value) else None
            for name, value in found.items()}  # fmt: skip


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


def _mean(values: Mapping[int, float], sizes: Mapping[int, int], groups: Sequence[int]) -> float | None:
    total = sum(sizes[group] for group in groups)
    return sum(values[group] * sizes[group] for group in groups) / total if total else None
