"""What is not finite: numbers and steps, which a plan may allow, and a learner's state, which no checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.choose import policy
from attent.errors import CourseError, LearnerError, ScoreError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan


def not_finite(state: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return the names of the floating-point arrays that hold a NaN or an infinity.

    Example:
        >>> import numpy as np
        >>> from attent.run.finite import not_finite
        >>> not_finite({"a": np.array([1.0, np.inf]), "b": np.zeros(2), "c": np.array([3])})
        ['a']
    """
    return [name for name, array in state.items() if not _finite(np.asarray(array))]


def check_stays_finite(state: Mapping[str, npt.NDArray[Any]], allowed: frozenset[str]) -> None:
    """Raise LearnerError naming the arrays of a state that are not finite, but for those ``allowed``.

    Allowed are those that were not finite when the run began, as a mask of -inf is.
    """
    names = [name for name in not_finite(state) if name not in allowed]
    if not names:
        return
    array = np.asarray(state[names[0]])
    bad = int((~np.isfinite(array)).sum())
    raise LearnerError(
        f"the learner's state is no longer finite: {bad} of {array.size} numbers of {names[0]!r} are NaN or infinite"
        f"{f', and {len(names) - 1} arrays more' if len(names) > 1 else ''}. No checkpoint is made of it: an earlier "
        "one stays. Lower the learning rate or clip the gradient, and see that a step whose loss or gradient is not "
        "finite changes nothing (rule P8)"
    )


def _finite(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind not in "fc" or not array.size:
        return True
    # Of a NaN both are NaN; and nothing as large as the array is made, as np.isfinite would.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def check_finite(numbers: Numbers, ids: Ids, plan: Plan, epoch: int, source: str, loop: str = "") -> None:
    """Raise ScoreError naming the ids whose numbers are not finite, unless the plan says what these mean (rule S5).

    numbers: float64, shape (len(ids),). ``source`` says whose they are: "learner.train() returned"; ``loop`` what else
    must be done by whoever allows them.
    """
    if plan.non_finite != "error" or np.isfinite(numbers).all():
        return
    bad = np.flatnonzero(~np.isfinite(numbers))
    shown = ", ".join(f"{ids[i]} ({numbers[i]})" for i in bad[:5].tolist())
    where = "a plan of another policy" if policy.asks_of_training(plan.select) else "the plan"
    raise ScoreError(
        f"{source} {len(bad)} of {len(ids)} numbers that are not finite in epoch "
        f"{epoch}: id {shown}{', ...' if len(bad) > 5 else ''}. Look at these examples, lower the "
        f"learning rate, or set non_finite='drop' or 'last' in {where}{loop} (rule S5)"
    )


def check_skipped(skipped: int, steps: int, plan: Plan, epoch: int, scaled: bool) -> None:
    """Raise CourseError for more skipped steps than there are, ScoreError where the plan allows none (rule R6).

    scaled: a loss scaler left them out, which any plan allows.
    """
    if not 0 <= skipped <= steps:
        raise CourseError(f"skipped must be in [0, {steps}], the steps on these examples, got {skipped}")
    if skipped and plan.non_finite == "error" and not scaled:
        raise ScoreError(
            f"{skipped} of {steps} steps in epoch {epoch} had a gradient that is not finite, and were skipped (rule "
            "P8). Lower the learning rate or clip the gradient, or set non_finite='drop' to go on without such steps"
        )
