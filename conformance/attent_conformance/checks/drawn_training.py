"""P4 and A3 on drawn cases: any batches and weights, every optimiser, any course of calls, beside NumPy's learner."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attent.learner import Evaluates, Ids, Learner, Numbers, State
from attent.reference import SGD, NumpyLearner, Optimiser
from attent_conformance.comparing import copied, require_close, require_same_state
from attent_conformance.draws import (
    LARGEST,
    batches,
    cut,
    generator,
    handed,
    large_batches,
    optimisers,
    schedule,
    some_ids,
    weights,
)
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import ROUNDING, allowed, beside, measured_numpy, pair, pairs
from attent_conformance.subject import Subject, built
from attent_conformance.tasks import task

_STEPS = 540  # more than 512: a counter of few bits comes round
_BRIEF = 300  # of a quick run: more than 256
_FIRST = 12


def check_any_batches_train_every_task(subject: Subject) -> Margins:
    """P4: steps on drawn batches, of 1 to 24 examples with repeats, give each task's losses as NumPy's steps do."""
    return _trained_alike(subject, weighted=False)


def check_large_batches_train_alike(subject: Subject) -> Margins:
    """P4: so do steps on drawn batches of up to 529 examples, with weights where there are any."""
    margins = {}
    case, rng = task("many"), generator(subject.seed, "large")
    drawn = large_batches(rng, case.ids)
    given = weights(rng, drawn) if subject.lacking(("weights",)) is None else None

    def run(learner: Learner) -> Numbers:
        return np.concatenate([learner.train(handed(drawn), given and handed(given)).copy(), learner.score(case.ids)])

    def numpys(dtype: str) -> Numbers:
        return run(measured_numpy(case.name, dtype)[0])

    expected = numpys("float64")
    order = np.concatenate([*drawn, case.ids])
    for dtype in subject.precisions:
        one = pair(subject, case.name, dtype)
        beside(one)
        where = f"batches of {[len(ids) for ids in drawn]}, then scores, {one.where}; drawn with seed {subject.seed}"
        margins[dtype] = require_close("P4", run(one.learner), expected, order, allowed(dtype, numpys, expected), where)
    return margins


@needs("weights")
def check_any_weights_train_every_task(subject: Subject) -> Margins:
    """P4: so do steps with drawn weights: 0, negative, tiny, above 10, and none again after them, on every task."""
    return _trained_alike(subject, weighted=True)


def check_every_setting_of_the_optimisers_agrees(subject: Subject) -> Margins:
    """A3: hundreds of steps of AdamW and SGD with drawn settings, schedules and numbers as rates follow NumPy's."""
    margins = {}
    steps = _steps(subject)
    for dtype in subject.precisions:
        for name, (optimiser, told) in optimisers(generator(subject.seed, "optimisers")).items():
            found = _optimised(subject, dtype, name, optimiser, told).losses
            numpys = functools.partial(_long_numpy, subject.seed, steps, name)
            expected = numpys("float64")
            tolerance = allowed(dtype, numpys, expected)
            where = f"losses of {steps} steps of {name}, task 'many', {dtype}; drawn with seed {subject.seed}"
            order = np.concatenate(_long_batches(subject.seed, steps))
            margins[f"{name}, {dtype}"] = require_close("A3", found, expected, order, tolerance, where)
    return margins


def check_a_state_of_each_optimiser_is_taken_up(subject: Subject) -> None:
    """P6: so it is with each of these optimisers: a state goes on as it did, whatever was trained or asked since."""
    for dtype in subject.precisions:
        for name, (optimiser, told) in optimisers(generator(subject.seed, "optimisers")).items():
            made = _optimised(subject, dtype, name, optimiser, told)
            learner, rng = made.learner, generator(subject.seed, "states of optimisers", name)
            where = f"{name}, task 'many', {dtype}; drawn with seed {subject.seed}"
            every = _long_batches(subject.seed, _steps(subject))
            drawn = [every[i] for i in rng.choice(len(every), 6)]
            state = copied(learner.state())
            first, ended = learner.train(handed(drawn)).copy(), copied(learner.state())
            learner.load_state(copied(state))
            again = []
            for ids in drawn:  # asked for its state, and given it, it goes on all the same
                learner.load_state(copied(learner.state()))
                again.append(learner.train(handed([ids])).copy())
            _require_the_same(subject, dtype, np.concatenate(again), first, f"losses after a state of {where}")
            if subject.exact:
                require_same_state("P6", learner.state(), ended, f"state() after those steps of {where}")
            learner.load_state(copied(made.built))
            again = [learner.train(handed(every[:_FIRST])).copy()]
            where = f"losses of the first {_FIRST} steps once more, after the state from before them, {where}"
            _require_the_same(subject, dtype, again[0], made.losses[: len(again[0])], where)


def check_a_rate_of_zero_trains_nothing(subject: Subject) -> None:
    """A3: with a learning rate of 0, given as a number, steps leave every score as it was."""
    case, dtype = task("many"), subject.precision
    learner = subject.learner(case, learning_rate=0.0)
    before = learner.score(case.ids).copy()
    learner.train(batches(generator(subject.seed, "zero"), case.ids, 3))
    where = f"score() after steps at a rate of 0, task 'many', {dtype}; drawn with seed {subject.seed}"
    require_close("A3", learner.score(case.ids), before, case.ids, ROUNDING[dtype] / 10, where)


def check_drawn_calls_agree(subject: Subject) -> Margins:
    """A3: in any order of calls of all kinds, losses and scores are those of NumPy's learner after the same ones."""
    margins = {}
    for one in pairs(subject):
        beside(one)
        words = (subject.seed, one.case.name, not subject.lacking(("weights",)))
        expected, numpys = _called_numpy(*words, "float64"), functools.partial(_called_numpy, *words)
        found = _called(one.learner, *words)
        tolerance = allowed(one.dtype, lambda dtype, numpys=numpys: numpys(dtype).numbers, expected.numbers)
        worst, start = 0.0, 0
        for what, ids in expected.calls:  # call by call, so that the first one that differs is told
            part = slice(start, start + len(ids))
            start = part.stop
            where = f"{what}, {one.where}; drawn with seed {subject.seed}"
            worst = max(worst, require_close("A3", found.numbers[part], expected.numbers[part], ids, tolerance, where))
        margins[one.where] = worst
    return margins


def _trained_alike(subject: Subject, *, weighted: bool) -> Margins:
    margins = {}
    for one in pairs(subject):
        numpy = beside(one)
        case, words = one.case, ("steps", one.case.name, weighted)
        drawn = batches(generator(subject.seed, *words), case.ids, 9)
        given = weights(generator(subject.seed, *words, "weights"), drawn) if weighted else None
        after = [case.ids[at : at + LARGEST] for at in range(0, len(case.ids), LARGEST)]
        start = numpy.state()

        def run(learner: Learner, drawn=drawn, given=given, after=after) -> Numbers:  # type: ignore[no-untyped-def]
            half = len(drawn) // 2  # in two calls, the second without weights if that is asked
            parts = [
                learner.train(handed(drawn[:half]), given and handed(given[:half])).copy(),
                learner.train(handed(drawn[half:]), given and handed(given[half:])).copy(),
                learner.train(handed(drawn[half:])).copy(),
            ]
            return np.concatenate([*parts, learner.train(after)])

        def numpys(dtype: str, name: str = case.name, start: dict[str, np.ndarray] = start) -> Numbers:
            learner = measured_numpy(name, dtype)[0]
            learner.load_state({key: a if a.dtype.kind != "f" else a.astype(dtype) for key, a in start.items()})
            return run(learner)

        expected = run(numpy)
        found = run(one.learner)
        sizes = [len(ids) for ids in drawn]
        where = f"losses of batches of {sizes}{' with weights' if weighted else ''}, then of all, {one.where}; "
        where += f"drawn with seed {subject.seed}"
        order = np.concatenate([*drawn, *drawn[len(drawn) // 2 :], *after])
        tolerance = allowed(one.dtype, numpys, expected)
        margins[one.where] = require_close("P4", found, expected, order, tolerance, where)
    return margins


def _long_batches(seed: int, steps: int) -> list[Ids]:
    rng, pool = generator(seed, "long"), task("many").ids
    return [
        some_ids(rng, pool, size, repeats=False) for size in rng.choice([4, 3, 1], steps, p=[0.8, 0.1, 0.1]).tolist()
    ]


class _Optimised(NamedTuple):
    learner: Learner
    built: State  # from before its first step
    losses: Numbers


def _steps(subject: Subject) -> int:
    return _BRIEF if subject.quick else _STEPS


def _optimised(subject: Subject, dtype: str, name: str, optimiser: Optimiser | None, told: bool) -> _Optimised:
    """Return a learner after many steps of an optimiser, always the same one."""

    def made() -> _Optimised:
        steps = _steps(subject)
        learner = _built(functools.partial(subject.learner, dtype=dtype), subject.seed, steps, optimiser, told)
        built = copied(learner.state())
        return _Optimised(learner, built, _long(learner, subject.seed, steps))

    return subject.kept(("optimised", dtype, name), made)


def _require_the_same(subject: Subject, dtype: str, found: Numbers, expected: Numbers, where: str) -> None:
    """Raise CheckFailed unless numbers are equal: bit for bit on the CPU."""
    order, tolerance = np.arange(len(found)), 0.0 if subject.exact else 100 * ROUNDING[dtype]
    require_close("P6", found, expected, order, tolerance, where)


def _built(made: Callable[..., Learner], seed: int, steps: int, optimiser: Optimiser | None, told: bool) -> Learner:
    """Return a learner for many steps; with no optimiser all settings are left out."""
    peak = 0.02 if isinstance(optimiser, SGD) else 0.01 if told else 0.002  # of more, rounding grows to anything
    learning_rate = schedule(generator(seed, "schedule"), peak, steps) if told else peak
    return made(task("many"), optimiser=optimiser, learning_rate=None if optimiser is None else learning_rate)


def _long(learner: Learner, seed: int, steps: int) -> Numbers:
    """Return the losses of many steps, the first `_FIRST` in one call, the others in calls of drawn lengths."""
    every = _long_batches(seed, steps)
    calls = [np.arange(_FIRST), *cut(generator(seed, "calls"), np.arange(_FIRST, steps))]
    return np.concatenate([learner.train([every[i] for i in call]).copy() for call in calls])


@functools.cache
def _long_numpy(seed: int, steps: int, name: str, dtype: str) -> Numbers:
    made = functools.partial(built, NumpyLearner, parameters=None, dtype=dtype)
    return _long(_built(made, seed, steps, *optimisers(generator(seed, "optimisers"))[name]), seed, steps)


class _Called(NamedTuple):
    numbers: Numbers
    calls: list[tuple[str, Ids]]  # what was called, and for which ids each of its numbers is


@functools.cache
def _called_numpy(seed: int, name: str, weighted: bool, dtype: str) -> _Called:
    return _called(measured_numpy(name, dtype)[0], seed, name, weighted)


def _called(learner: Learner, seed: int, name: str, weighted: bool) -> _Called:
    """Take a learner through drawn calls of all kinds."""
    rng, case = generator(seed, "calls", name, weighted), task(name)
    numbers: list[Numbers] = []
    calls: list[tuple[str, Ids]] = []
    kinds = ("train", "train", "score", "none", "state", "again", "weights", "evaluate")
    for place, kind in enumerate(rng.permutation(np.resize(rng.permutation(kinds), 24)).tolist()):
        drawn = batches(rng, case.ids, int(rng.integers(1, 4)))
        given = weights(rng, drawn)
        ids = some_ids(rng, case.ids, int(rng.integers(1, 40)), repeats=bool(rng.integers(2)))
        where = f"call {place}, {kind}"
        if kind in ("train", "weights"):
            told = given if kind == "weights" and weighted else None
            numbers.append(learner.train(drawn, told).copy())
            calls.append(
                (f"{where}: losses of train(), batches of {[len(one) for one in drawn]}", np.concatenate(drawn))
            )
        elif kind == "score":
            numbers.append(learner.score(ids).copy())
            calls.append((f"{where}: score() of {len(ids)} ids", ids))
        elif kind == "none":
            learner.train([])
            learner.score(ids[:0])
        elif kind == "state":
            learner.state()
        elif kind == "again":
            learner.load_state(copied(learner.state()))
        elif isinstance(learner, Evaluates):
            learner.evaluate()
    numbers.append(learner.score(case.ids).copy())
    calls.append(("score() of all after all calls", case.ids))
    return _Called(np.concatenate(numbers), calls)
