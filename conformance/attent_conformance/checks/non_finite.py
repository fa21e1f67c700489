"""P8: a step that is not finite changes nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from attent.learner import CountsSkipped, Ids, Learner, Numbers, State
from attent.reference import Architecture, initial_parameters
from attent.reference.network import gradients
from attent_conformance.comparing import copied, require_close
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.subject import Subject, numpy_learner
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


def _fresh(subject: Subject, dtype: str) -> Learner:
    """Return the learner of the task as it was built: one for all checks, put back, as compiling takes its time."""

    def built() -> tuple[Learner, State]:
        parameters = initial_parameters(_task().architecture, 2602)
        parameters["embed.weight"][_TOKENS] = np.nan
        learner = subject.learner(_task(), dtype=dtype, parameters=parameters, learning_rate=_RATE)
        return learner, copied(learner.state())

    learner, state = subject.kept(("one sick example", dtype), built)
    learner.load_state(state)
    return learner


def check_a_step_with_a_loss_that_is_not_finite_changes_nothing(subject: Subject) -> Margins:
    """P8: a batch with an example whose loss is NaN leaves parameters and moments as they are, in each precision."""
    sick = np.array([2, _SICK, 9, 14])
    return {dtype: _with_a_nan(subject, dtype, sick, None) for dtype in subject.precisions}


@needs("weights")
def check_a_weight_of_0_excuses_no_loss(subject: Subject) -> Margins:
    """P8: nor does such a batch change anything where the example's weight is 0."""
    sick, weight = np.array([2, _SICK, 9, 14]), np.array([1.0, 0.0, 2.0, 0.5])
    return {dtype: _with_a_nan(subject, dtype, sick, weight) for dtype in subject.precisions}


@needs("weights")
def check_a_step_with_a_gradient_that_is_not_finite_changes_nothing(subject: Subject) -> Margins:
    """P8: weights under which finite losses have a gradient beyond the largest number change nothing."""
    margins = {}
    for dtype in subject.precisions:
        for name, (one, weight) in _overflowing(dtype).items():

            def disturb(
                learner: Learner, expected: Numbers, one: Ids = one, weight: Numbers = weight, dtype: str = dtype
            ) -> None:
                found = learner.train([one], [weight])
                where = f"the loss of a batch whose gradient overflows, {dtype}, against score() before"
                require_close("P8", found, expected[one], one, _tolerance(dtype), where)

            what = f"a batch whose gradient by {name} overflows"
            margins[f"{name}, {dtype}"] = _undisturbed(subject, dtype, disturb, 1, None, what)
    return margins


def _with_a_nan(subject: Subject, dtype: str, sick: Ids, weight: Numbers | None) -> float:
    def disturb(learner: Learner, expected: Numbers) -> None:
        for calls in ([sick], [sick, sick]):
            losses = learner.train(calls, None if weight is None else [weight] * len(calls))
            for found in np.split(losses, len(calls)):
                if np.isfinite(found[1]):
                    raise CheckFailed("P8", f"loss {found[1]!r}", "a loss that is not finite", f"id {_SICK} in train()")
                others = np.delete(found, 1), np.delete(sick, 1)
                where = f"losses of the other examples of a batch with a NaN, {dtype}, against score() before"
                require_close("P8", others[0], expected[others[1]], others[1], _tolerance(dtype), where)

    weighted = "" if weight is None else " of weight 0"
    inside = [sick] if weight is None else None
    return _undisturbed(subject, dtype, disturb, 3, inside, f"a batch with a NaN{weighted}")


def _skipped(learner: Learner) -> int | None:
    """Return how many steps a learner says it skipped, None where it does not count them."""
    return int(learner.skipped) if isinstance(learner, CountsSkipped) else None


def _tolerance(dtype: str) -> float:
    return 1e-10 if dtype == "float64" else 1e-4


def _undisturbed(
    subject: Subject,
    dtype: str,
    disturb: Callable[[Learner, Numbers], None],
    bad: int,
    inside: list[Ids] | None,
    what: str,
) -> float:
    """Return how far scores are apart after steps with such batches between them, and without.

    bad: how many of them ``disturb`` has trained. inside: one to train first of all, and twice
    within a call, besides.
    """
    bad += 0 if inside is None else 3
    first, second, third = _GOOD[:6], _GOOD[6:12], _GOOD[12:18]
    plain = _fresh(subject, dtype)
    plain.train([first, second, third])
    alone = plain.score(_GOOD)
    disturbed = _fresh(subject, dtype)
    skipped = _skipped(disturbed)
    if inside is not None:
        disturbed.train(inside)  # as the very first step
    disturbed.train([first])
    expected = np.full(24, np.nan)
    expected[_GOOD] = disturbed.score(_GOOD)
    with np.errstate(all="ignore"):  # a learner on NumPy may warn of what overflows
        disturb(disturbed, expected)
        disturbed.train([second] if inside is None else [inside[0], second, inside[0]])
    disturbed.train([third])  # moments show in the next steps
    if skipped is not None and (counted := (_skipped(disturbed) or 0) - skipped) != bad:
        raise CheckFailed("P8", f"{counted} more skipped", f"{bad}", f"skipped after {bad} steps of {what}, {dtype}")
    tolerance = 0.0 if subject.exact else _tolerance(dtype)
    where = f"score() after three steps with {what} between them, {dtype}, against the three alone"
    return require_close("P8", disturbed.score(_GOOD), alone, _GOOD, tolerance, where)


@functools.cache
def _overflowing(dtype: str) -> dict[str, tuple[Ids, Numbers]]:
    """Return a batch of one and a weight for each array whose gradient is the largest, and so alone overflows."""
    architecture, largest = _task().architecture, float(np.finfo(dtype).max)
    moved = numpy_learner(_task(), initial_parameters(architecture, 2602), learning_rate=_RATE)
    moved.train([_GOOD[:6]])  # where learners stand when they meet the batch
    kind = "parameters."
    parameters = {name.removeprefix(kind): a for name, a in moved.state().items() if name.startswith(kind)}
    found = {}
    for one in _GOOD:
        ids = np.array([one])
        _, slopes = gradients(architecture, parameters, _task().inputs[ids], _task().targets[ids])
        sizes = {name: float(np.abs(array).max()) for name, array in slopes.items()}
        name = max(sizes, key=lambda name: sizes[name])
        if sizes[name] > 1.05:  # by a weight below the largest number
            found[name] = ids, np.array([largest / sizes[name] * 1.02])
    assert found, "no gradient overflows"
    return found
