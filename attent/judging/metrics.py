"""Quality on held-out data: which way a metric is better, and the metrics a learner finds in itself."""

from __future__ import annotations

import math

from attent import checks
from attent.errors import LearnerError
from attent.learner import Evaluates, Learner


def lower_is_better(metric: str) -> bool:
    """Return whether a metric is better when lower, as ``attent.Evaluates`` lays down.

    Example:
        >>> from attent.judging.metrics import lower_is_better
        >>> lower_is_better("loss"), lower_is_better("word_error:worst"), lower_is_better("accuracy")
        (True, True, False)
    """
    metric = metric.partition(":")[0]  # what follows says of which examples
    return metric in ("loss", "error") or metric.endswith(("_loss", "_error"))


def better(metric: str, one: float | None, other: float | None) -> bool:
    """Return whether the first value is truly better; one that is not finite loses to any that is.

    Example:
        >>> from attent.judging.metrics import better
        >>> better("loss", 0.2, 0.3), better("loss", None, 0.3)
        (True, False)
    """
    if one is None or other is None:
        return one is not None and other is None
    return one < other if lower_is_better(metric) else one > other


def quality_of(learner: Learner) -> dict[str, float | None]:
    """Return the quality a learner finds in itself on held-out data, empty where it cannot tell.

    A value that is not finite is None. Raises LearnerError if it returns something else than numbers by name.

    Example:
        >>> import attent
        >>> from attent.judging.metrics import quality_of
        >>> from attent.reference.recipes import vit_digits
        >>> list(quality_of(vit_digits(attent.Plan.default(epochs=2, batch_size=32))))
        ['accuracy', 'loss']
    """
    if not isinstance(learner, Evaluates):
        return {}
    given: object = learner.evaluate()
    try:
        quality = {str(name): float(value) for name, value in given.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise LearnerError(
            f"learner.evaluate() must return numbers by metric name, got {checks.shown(given)}"
        ) from None
    return {name: value if math.isfinite(value) else None for name, value in quality.items()}
