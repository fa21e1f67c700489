"""P7: what cannot be done is refused with a LearnerError, and nothing has changed then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from attent.errors import LearnerError
from attent.learner import Ids, Learner, Numbers
from attent_conformance.comparing import copied, require_same_state
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import needs
from attent_conformance.subject import Subject

Call = Callable[[Learner], Any]
_GOOD = np.array([0, 1, 2])
_UNKNOWN = {
    "an id of 96, one too high": np.array([0, 96]),
    "an id of -1": np.array([3, -1]),
    "float ids": np.array([0.0, 1.0]),
    "two-dimensional ids": np.array([[0, 1]]),
}


def check_unknown_ids_are_refused(subject: Subject) -> None:
    """P7: an id outside [0, n), or ids of another dtype or shape, are refused by ``score`` and ``train``."""
    calls: dict[str, Call] = {}
    for what, ids in _UNKNOWN.items():
        calls[f"score() of {what}"] = partial(_score, ids)
        calls[f"train() whose second batch has {what}"] = partial(_train, [_GOOD, ids])
    _refused(subject, calls)


def check_empty_batches_are_refused(subject: Subject) -> None:
    """P7: a batch without examples is refused before any step of the call."""
    _refused(subject, {"train() with an empty batch": lambda it: it.train([_GOOD, np.empty(0, np.int64)])})


@needs("weights")
def check_wrong_weights_are_refused(subject: Subject) -> None:
    """P7: weights of another number of batches or another length are refused before any step of the call."""
    _refused(
        subject,
        {
            "train() with 1 weight array for 2 batches": lambda it: it.train([_GOOD, _GOOD], [np.ones(3)]),
            "train() with 2 weights for 3 examples": lambda it: it.train([_GOOD, _GOOD], [np.ones(3), np.ones(2)]),
            "train() with a weight that is NaN": lambda it: it.train([_GOOD], [np.array([1.0, np.nan, 1.0])]),
        },
    )


def check_foreign_states_are_refused(subject: Subject) -> None:
    """P7: a state that lacks an array, has one too many, or is of another model or precision is refused."""
    own = copied(subject.shared.state())
    largest = max(own, key=lambda name: own[name].size if own[name].dtype.kind == "f" else 0)
    lacking = {name: array for name, array in own.items() if name != largest}
    reshaped = {**own, largest: own[largest].reshape(-1)[:-1].copy()}
    other = own[largest].astype(np.float64 if own[largest].dtype == np.float32 else np.float32)
    _refused(
        subject,
        {
            "load_state() of no arrays": lambda it: it.load_state({}),
            f"load_state() without {largest!r}": lambda it: it.load_state(lacking),
            f"load_state() with {largest!r} of another shape": lambda it: it.load_state(reshaped),
            f"load_state() with {largest!r} in {other.dtype}": lambda it: it.load_state({**own, largest: other}),
            "load_state() of a state with an array too many": lambda it: it.load_state({**own, "x": np.ones(2)}),
        },
    )


def _score(ids: Ids, learner: Learner) -> Numbers:
    return learner.score(ids)


def _train(batches: list[Ids], learner: Learner) -> Numbers:
    return learner.train(batches)


def _refused(subject: Subject, calls: dict[str, Call]) -> None:
    """Raise CheckFailed unless each call raises LearnerError with a text and leaves the state as it was."""
    learner = subject.shared
    before = copied(learner.state())
    for what, call in calls.items():
        try:
            call(learner)
        except LearnerError as error:
            if not str(error):
                raise CheckFailed("P7", "a LearnerError without a text", "one that names the fault", what) from error
        except Exception as error:
            got = f"{type(error).__name__}: {error!s:.200}"
            raise CheckFailed("P7", got, "a LearnerError naming the fault", what) from error
        else:
            raise CheckFailed("P7", "no error", "a LearnerError naming the fault", what)
        require_same_state("P7", learner.state(), before, f"state() after the refused {what}")
