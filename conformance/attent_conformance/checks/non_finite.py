"""P8: a step that is not finite changes nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from attent.learner import Ids, Learner, Numbers, State
from attent.reference import Architecture, initial_parameters
from attent.reference.network import gradients
from attent_conformance.comparing import copied, require_close
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.subject import Subject
from attent_conformance.tasks import Task

_RATE = 0.01  # the same at each step: whether a skipped one moves a schedule on is not asked here
_SICK, _TOKENS = 7, 6  # the example whose loss is NaN; its last token is one that no other has
_GOOD = np.array([i for i in range(24) if i != _SICK])


@functools.cache
def _task() -> Task:
    """Return 24 sequences of tokens to classify, one of which has a token whose embedding is NaN."""
    architecture = Architecture("classify", length=5, outputs=3, vocabulary=_TOKENS + 1, width=8, heads=2, hidden=12)
    inputs = (np.arange(24)[:, None] * np.array([1, 3, 5, 7, 11]) + np.arange(24)[:, None] // 5) % _TOKENS
    inputs[_SICK, 2] = _TOKENS
    return Task("one sick example", architecture, inputs, inputs[:, 0] % 3)


def _fresh(subject: Subject) -> Learner:
    """Return the learner of the task as it was built: one for both checks, put back, as compiling takes its time."""

    def built() -> tuple[Learner, State]:
        parameters = initial_parameters(_task().architecture, 2602)
        parameters["embed.weight"][_TOKENS] = np.nan
        learner = subject.learner(_task(), parameters=parameters, learning_rate=_RATE)
        return learner, copied(learner.state())

    learner, state = subject.kept("one sick example", built)
    learner.load_state(state)
    return learner


def check_a_step_with_a_loss_that_is_not_finite_changes_nothing(subject: Subject) -> Margins:
    """P8: a batch with an example whose loss is NaN leaves parameters and moments as they are."""
    sick = np.array([2, _SICK, 9, 14])

    def disturb(learner: Learner, expected: Numbers) -> None:
        for calls in ([sick], [sick, sick]):
            losses = learner.train(calls)
            for found in np.split(losses, len(calls)):
                if np.isfinite(found[1]):
                    raise CheckFailed("P8", f"loss {found[1]!r}", "a loss that is not finite", f"id {_SICK} in train()")
                others = np.delete(found, 1), np.delete(sick, 1)
                where = "losses of the other examples of a batch with a NaN, against score() before"
                require_close("P8", others[0], expected[others[1]], others[1], subject.tolerance, where)

    return {"error": _undisturbed(subject, disturb, [sick], "a batch with a NaN")}


@needs("weights")
def check_a_step_with_a_gradient_that_is_not_finite_changes_nothing(subject: Subject) -> Margins:
    """P8: weights under which finite losses have a gradient beyond the largest number change nothing."""
    one, weight = _overflowing()

    def disturb(learner: Learner, expected: Numbers) -> None:
        found = learner.train([one], [weight])
        where = "the loss of a batch whose gradient overflows, against score() before"
        require_close("P8", found, expected[one], one, subject.tolerance, where)

    return {"error": _undisturbed(subject, disturb, None, "a batch whose gradient overflows")}


def _undisturbed(
    subject: Subject, disturb: Callable[[Learner, Numbers], None], inside: list[Ids] | None, what: str
) -> float:
    """Return how far scores are apart after steps with such batches between them, and without."""
    first, second, third = _GOOD[:6], _GOOD[6:12], _GOOD[12:18]
    plain = _fresh(subject)
    plain.train([first, second, third])
    alone = plain.score(_GOOD)
    disturbed = _fresh(subject)
    disturbed.train([first])
    expected = np.full(24, np.nan)
    expected[_GOOD] = disturbed.score(_GOOD)
    with np.errstate(all="ignore"):  # a learner on NumPy may warn of what overflows
        disturb(disturbed, expected)
        disturbed.train([second] if inside is None else [inside[0], second, inside[0]])
    disturbed.train([third])  # moments show in the next steps
    tolerance = 0.0 if subject.exact else subject.tolerance
    where = f"score() after three steps with {what} between them, against the three alone"
    return require_close("P8", disturbed.score(_GOOD), alone, _GOOD, tolerance, where)


@functools.cache
def _overflowing() -> tuple[npt.NDArray[np.int64], Numbers]:
    """Return a batch of one and a weight such that its loss is finite and its gradient, in float64 too, is not."""
    parameters = initial_parameters(_task().architecture, 2602)
    for one in _GOOD:
        ids, weight = np.array([one]), np.array([1.7e308])
        with np.errstate(all="ignore"):
            losses, found = gradients(
                _task().architecture, parameters, _task().inputs[ids], _task().targets[ids], weights=weight
            )
        if np.isfinite(losses).all() and not all(np.isfinite(array).all() for array in found.values()):
            return ids, weight
    raise AssertionError("no gradient overflows")
