"""Learners of every task that checks share, the numbers that they gave at first, and NumPy's beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from attent.learner import Ids, Learner, Numbers, State
from attent.reference import NumpyLearner
from attent_conformance.comparing import copied
from attent_conformance.draws import LARGEST
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import TASKS, Task, task

ROUNDING = {"float64": 1e-10, "float32": 1e-5}  # what A1 and A2 allow
_BATCH = 8
_MORE = 20.0  # how many times NumPy's own float32 error, over the same steps, another's float32 may have


@dataclass
class Pair:
    """A learner after one pass over nearly all its examples, and what it gave before, in and after it.

    ``first`` is its state when it was built, ``after`` the one after that pass.
    """

    case: Task
    dtype: str
    learner: Learner
    first: State
    after: State
    measured: dict[str, Numbers]

    @property
    def where(self) -> str:
        """The task and the precision, in words."""
        return f"task {self.case.name!r}, {self.dtype}"


def pairs(subject: Subject) -> Iterator[Pair]:
    """Yield a pair of each task that the subject can do, in each of its precisions."""
    for dtype in subject.precisions:
        for name in TASKS:
            if subject.lacking(task(name).needs) is None:
                yield pair(subject, name, dtype)


def pair(subject: Subject, name: str, dtype: str) -> Pair:
    """Return the pair of a task in a precision, always the same one."""
    return subject.kept(("pair", name, dtype), functools.partial(_made, subject, task(name), dtype))


def reborn(subject: Subject, name: str, dtype: str) -> Learner:
    """Return the pair's learner in the state in which it was built: frameworks that compile need not do so again."""
    one = pair(subject, name, dtype)
    one.learner.load_state(copied(one.first))
    return one.learner


def _made(subject: Subject, case: Task, dtype: str) -> Pair:
    learner = subject.learner(case, dtype=dtype, held_out=subject.evaluates)
    first = copied(learner.state())
    numbers = measured(learner, case)
    return Pair(case, dtype, learner, first, copied(learner.state()), numbers)


def beside(one: Pair) -> NumpyLearner:
    """Put a pair's learner back to where its pass ended; return NumPy's learner, in float64, at the same moment."""
    one.learner.load_state(copied(one.after))
    return measured_numpy(one.case.name)[0]


def measured_numpy(name: str, dtype: str = "float64") -> tuple[NumpyLearner, dict[str, Numbers]]:
    """Return NumPy's learner of a task after that pass, one of its own for each call, and its numbers."""
    state, numbers = _measured_numpy(name, dtype)
    learner = numpy_learner(task(name), dtype=dtype, held_out=task(name).held_out)
    learner.load_state(state)
    return learner, numbers


@functools.cache
def _measured_numpy(name: str, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, Numbers]]:
    learner = numpy_learner(task(name), dtype=dtype, held_out=task(name).held_out)
    numbers = measured(learner, task(name))
    return learner.state(), numbers


def measured(learner: Learner, case: Task) -> dict[str, Numbers]:
    """Return the scores of all examples, the losses of one pass over nearly all, and the scores after it."""
    scores = learner.score(case.ids).copy()
    batches = passes(case)
    half = len(batches) // 2  # in two calls, since a prefetched batch may outlive one
    losses = np.concatenate([learner.train(part).copy() for part in (batches[:half], batches[half:])])
    return {"scores": scores, "losses": losses, "trained": learner.score(case.ids).copy()}


def passes(case: Task) -> list[Ids]:
    """Return batches in an order that is no example's own: the first large, the last smaller than the others."""
    count = len(case.ids)
    order = case.ids[(np.arange(count - 3) * 7) % count]
    return [order[:LARGEST], *(order[at : at + _BATCH] for at in range(LARGEST, len(order), _BATCH))]


def allowed(dtype: str, run: Callable[[str], Numbers], expected: Numbers) -> float:
    """Return how far a run's numbers may be from NumPy's in float64, relative: as A1 or A2 say, more in long runs.

    ``run("float32")`` returns NumPy's own numbers in float32: what it is off, others may be off `_MORE` times.
    """
    own = run("float32")
    error = float((np.abs(own - expected) / np.maximum(np.abs(expected), 1e-300)).max())
    return max(ROUNDING[dtype], _MORE * error * (1.0 if dtype == "float32" else 2.0**-29))
