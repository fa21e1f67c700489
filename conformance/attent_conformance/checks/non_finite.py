"""P8: a step that is not finite changes nothing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import numpy as np

from attent.errors import LearnerError
from attent.learner import CountsSkipped, Ids, Learner, Numbers, State
from attent.reference import Architecture, initial_parameters
from attent.reference.network import gradients
from attent_conformance.comparing import copied, require_close, require_same_state
from attent_conformance.draws import LARGEST, generator, some_ids
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import pairs
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import Task

_RATE = 0.01  # the same at each step: whether a skipped one moves a schedule on is not asked here
_POISONED = 6  # steps of each task
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


def check_no_task_follows_what_is_not_finite(subject: Subject) -> None:
    """P8: on every task a step changes nothing where a drawn array of the state makes any of its losses not finite."""
    for one in pairs(subject):
        rng, learner = generator(subject.seed, "poison", one.where), one.learner
        names = [name for name, array in one.after.items() if array.dtype.kind == "f" and array.size]
        told = 0
        for name in rng.permutation(names).tolist():
            state = copied(one.after)
            state[name].reshape(-1)[rng.integers(state[name].size)] = np.nan
            learner.load_state(state)
            before, skipped = copied(learner.state()), _skipped(learner)
            size = LARGEST if told % 2 else 8  # sizes that a learner has met
            with np.errstate(all="ignore"):
                losses = learner.train([some_ids(rng, one.case.ids, size, repeats=False)])
            if np.isfinite(losses).all():  # a moment's, or one that these examples do not meet
                continue
            sick = int((~np.isfinite(losses)).sum())
            where = f"a step with {sick} of {size} losses not finite, by a NaN in {name!r}, {one.where}; "
            where += f"drawn with seed {subject.seed}"
            counted = 1 if skipped is None else (_skipped(learner) or 0) - skipped
            found, expected = _arrays(learner.state()), _arrays(before)
            learner.load_state(copied(one.after))  # whatever is found, others use this learner too
            require_same_state("P8", found, expected, f"state() after {where}")
            if counted != 1:
                raise CheckFailed("P8", f"{counted} more skipped", "1 more", where)
            told += 1
            if told == _POISONED:
                break
        learner.load_state(copied(one.after))


def check_skipped_steps_alone_are_counted(subject: Subject) -> None:
    """P8: in drawn calls ``skipped`` grows by 1 for each step that is not finite, by no more, and for no other."""
    for dtype in subject.precisions:
        learner = _fresh(subject, dtype)
        if not isinstance(learner, CountsSkipped):
            return
        rng = generator(subject.seed, "skipped", dtype)
        learner.train([_GOOD[:6]])
        at, expected = copied(learner.state()), int(learner.skipped)
        for what, (call, bad) in _counted_calls(subject, rng, dtype).items():
            learner.load_state(copied(at))  # which forgets none: they are those since the learner was built
            with np.errstate(all="ignore"):
                call(learner)
            where = f"skipped after load_state() and {what}, {dtype}; drawn with seed {subject.seed}"
            expected += bad
            if learner.skipped != expected:
                raise CheckFailed("P8", f"{learner.skipped}", f"{expected}, {bad} more than before", where)
            if bad and what.startswith("batches"):
                require_same_state("P8", _numbers(learner.state()), _numbers(at), f"state() after {what}, {dtype}")


def _counted_calls(
    subject: Subject, rng: np.random.Generator, dtype: str
) -> dict[str, tuple[Callable[[Learner], object], int]]:
    """Return calls in a drawn order, and how many steps that are not finite each takes."""

    def sick(count: int) -> Ids:
        ids = rng.choice(_GOOD, 6, replace=False)
        ids[rng.choice(6, count, replace=False)] = _SICK
        return ids

    def drawn(counts: list[int]) -> list[Ids]:
        return [sick(int(count)) for count in counts]

    def trained(ids: list[Ids], given: list[Numbers] | None = None) -> Callable[[Learner], object]:
        return lambda learner: learner.train(ids, given)

    calls: dict[str, tuple[Callable[[Learner], object], int]] = {}
    for counts in ([int(rng.integers(2, 6))], [6], rng.integers(1, 7, 3).tolist()):
        calls[f"batches of 6 of which {counts} are NaN"] = trained(drawn(counts)), len(counts)
    counts = rng.permutation([0, int(rng.integers(2, 7)), 0, 1]).tolist()
    calls[f"a call of batches of 6 of which {counts} are NaN"] = trained(drawn(counts)), 2
    good = drawn([0, 0, 0])
    calls["batches that are finite"] = trained(good), 0
    calls["no batches"] = trained([]), 0
    ids = sick(3)
    calls["scores of examples whose loss is NaN"] = lambda it: it.score(ids), 0
    calls["state() and load_state()"] = lambda it: it.load_state(it.state()), 0
    refused = [*drawn([1, 2]), np.array([-1])]

    def refusing(learner: Learner) -> None:
        with contextlib.suppress(LearnerError):
            learner.train(refused)

    calls["a refused call with examples whose loss is NaN"] = refusing, 0
    if subject.lacking(("weights",)) is None:
        given = {
            "all 0": [np.zeros(6)] * 3,
            "some 0": [np.array([0.0, 1.0, 0.0, 2.0, 0.0, 0.0])] * 3,
            "of either sign": [rng.uniform(-3.0, 3.0, 6) for _ in range(3)],
            "of a sum of 0": [np.array([1.0, -1.0, 2.0, -2.0, 0.5, -0.5])] * 3,
            "of ten millions": [1e7 * rng.uniform(0.5, 2.0, 6) for _ in range(3)],
            "below the smallest normal number": [np.full(6, 1e-310)] * 3,
        }
        for what, weights in given.items():
            calls[f"batches that are finite, with weights {what}"] = trained(good, weights), 0
        calls["batches with NaN, and weights of 0"] = trained(drawn([1, 3, 6]), [np.zeros(6)] * 3), 3
        for name, (one, weight) in _overflowing(dtype).items():
            calls[f"one batch twice whose gradient by {name} overflows"] = trained([one, one], [weight, weight]), 2
    names = list(calls)
    return {names[i]: calls[names[i]] for i in rng.permutation(len(names))}


def _numbers(state: State) -> State:
    """Return a state's numbers that decide anything: counters may go on (P8)."""
    return {name: array for name, array in state.items() if array.dtype.kind == "f"}


def _arrays(state: State) -> State:
    """Return its arrays of these: a number alone may be the rate of a schedule, which may go on (P8)."""
    return {name: array for name, array in _numbers(state).items() if array.ndim}


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
