"""P1: a learner leaves what is around it as it finds it: global generators, floating-point settings, the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attent.errors import LearnerError
from attent.learner import Costs, Evaluates, Groups, Watches, checked_costs, checked_watch
from attent_conformance import surroundings
from attent_conformance.comparing import copied, require_same_state
from attent_conformance.draws import batches, generator, handed, some_ids
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import Pair, pairs
from attent_conformance.subject import Subject
from attent_conformance.surroundings import Around
from attent_conformance.tasks import task


def check_a_learner_leaves_its_surroundings(subject: Subject) -> None:
    """P1: no call moves a global generator, or changes floating-point or process settings; tasks here draw nothing."""
    for one in pairs(subject):
        for what, call in _calls(subject, one).items():
            call()  # what a framework does once, when it is first used, is its own affair
            with surroundings.unusual(_number(subject, what, one.where), subject.begun):
                before = _around()
                call()
                _require_same(before, _around(), f"{what} of {one.where}; drawn with seed {subject.seed}")
    with surroundings.unusual(_number(subject, "building")):
        before = _numpys()
        subject.learner(task("classes"))
        _require_same(before, _numpys(), "building a learner of task 'classes'")
    _require_same(subject.around, surroundings.lasting(), "some call, or building a learner, since the suite began")


def check_a_state_taken_up_leaves_the_settings(subject: Subject) -> None:
    """P1: taking up a state changes no floating-point or process settings; generators it may restore."""
    for one in pairs(subject):
        state, where = copied(one.learner.state()), f"load_state() of {one.where}; drawn with seed {subject.seed}"
        one.learner.load_state(state)  # what a framework does once, when it is first used, is its own affair
        with surroundings.unusual(_number(subject, "load_state()", one.where), subject.begun):
            before = {**surroundings.arithmetic(), **surroundings.process()}
            one.learner.load_state(state)
            _require_same(before, {**surroundings.arithmetic(), **surroundings.process()}, where)
    _require_same(subject.around, surroundings.lasting(), "some call since the suite began, such as load_state()")


def check_modes_stay(subject: Subject) -> None:
    """P1: modules that a learner holds, each in any mode, are in training or evaluation mode after a call as before."""
    for one in pairs(subject):
        rng, modules = generator(subject.seed, "modes", one.where), surroundings.modules(one.learner)
        one.learner.train(batches(rng, one.case.ids, 1))
        if not modules:
            continue
        left = [module.training for module in modules]
        drawn = [bool(rng.integers(2)) for _ in modules]
        for what, call in _calls(subject, one).items():
            # A call may put modules into the mode that an earlier one left: so into others. Steps may set their own.
            for modes in [left] if what == "train()" else [left, [True] * len(modules), drawn]:
                _put(modules, modes)
                call()
                if [module.training for module in modules] != modes:
                    got = "a module in another mode, training or evaluation"
                    where = f"{what} of {one.where}; drawn with seed {subject.seed}"
                    raise CheckFailed("P1", got, "each in that in which it was", where)
        _put(modules, left)


@needs("held-out")
def check_evaluating_changes_nothing(subject: Subject) -> Margins:
    """P1: ``evaluate`` gives the same numbers again, and leaves state, scores and what follows bit for bit."""
    for one in pairs(subject):
        rng = generator(subject.seed, "evaluate", one.where)
        where = f"{one.where}; drawn with seed {subject.seed}"
        learner, drawn = one.learner, batches(rng, one.case.ids, 3)
        assert isinstance(learner, Evaluates)  # or the check is skipped
        state, scores = copied(learner.state()), learner.score(one.case.ids).copy()
        first = learner.evaluate()
        kept = dict(first)
        first.clear()
        again = learner.evaluate()
        if kept != again and subject.exact:
            raise CheckFailed("P1", f"{again}", f"{kept}, as the first time", f"second evaluate() of {where}")
        require_same_state("P1", learner.state(), state, f"state() after evaluate() of {where}")
        if subject.exact and not np.array_equal(learner.score(one.case.ids), scores):
            raise CheckFailed(
                "P1", "other scores", "those from before, bit for bit", f"score() after evaluate(), {where}"
            )
        if one.dtype == subject.precision and one.case.name == "classes":
            _goes_on_as_unevaluated(subject, one, drawn, where)
    return {}


def _put(modules: list[Any], modes: list[bool]) -> None:
    for module, training in zip(modules, modes, strict=True):
        module.training = training


def _goes_on_as_unevaluated(subject: Subject, one: Pair, drawn: list[Any], where: str) -> None:
    """Raise CheckFailed unless a learner that evaluates between steps trains as one that does not."""
    told, silent = (subject.learner(one.case, dtype=one.dtype, held_out=True) for _ in range(2))
    assert isinstance(told, Evaluates)
    for ids in drawn:
        told.evaluate()
        given = None if subject.lacking(("weights",)) else [np.linspace(0.5, 2.0, len(ids))]
        found, expected = (it.train([ids.copy()], given and handed(given)) for it in (told, silent))
        told.evaluate()
        again, alone = (it.train([ids.copy()]) for it in (told, silent))
        error = float(max(np.abs(found - expected).max(), np.abs(again - alone).max()))
        if error > (0.0 if subject.exact else subject.tolerance):
            raise CheckFailed(
                "P1", f"losses {error:.2e} away", "those without evaluate()", f"train() after it, {where}"
            )


def check_groups_stay(subject: Subject) -> None:
    """P1: ``groups``, where a learner knows them, are int64, one of each example, the same at every call."""
    case = task("classes")
    learner, where = subject.learner(case), "groups() of task 'classes'"
    if not isinstance(learner, Groups):
        return
    first: Any = learner.groups()
    if not isinstance(first, np.ndarray) or first.dtype != np.int64 or first.shape != (len(case),):
        raise CheckFailed("P1", f"{first!r:.200}", f"int64 of shape ({len(case)},)", where)
    kept = first.copy()
    if first.flags.writeable:
        first[...] = 0
    learner.score(case.ids)
    learner.train(batches(generator(subject.seed, "groups"), case.ids, 5))
    learner.load_state(copied(learner.state()))
    if not np.array_equal(learner.groups(), kept) or not np.array_equal(kept, case.targets):
        raise CheckFailed("P1", "other groups", "each example's class, at every call", where)


def check_costs_and_watches_stay(subject: Subject) -> None:
    """P1: ``costs`` and ``watch``, where a learner has them, change nothing; costs stay, as do how many are watched."""
    case = task("classes")
    learner, where = subject.learner(case), "of task 'classes'"
    tells: dict[str, Callable[[], Any]] = {}
    if isinstance(learner, Costs):
        tells["costs()"] = lambda: checked_costs(learner.costs(), len(case))
    if isinstance(learner, Watches):
        tells["watch()"] = lambda: checked_watch(learner.watch())
    rng = generator(subject.seed, "told")
    for what, tell in tells.items():
        start = copied(learner.state())
        first = tell()
        kept = first.copy()
        if first.flags.writeable:
            first[...] = 7.0  # the caller's: nothing of the learner's
        if not np.array_equal(tell(), kept):
            raise CheckFailed("P1", "other numbers", "those of the call before", f"{what} {where}, asked again")
        require_same_state("P1", learner.state(), start, f"state() after {what} {where}")
        learner.train(batches(rng, case.ids, 5))
        learner.score(case.ids)
        _require_told(what, tell(), kept, f"{what} {where}, after steps")
        learner.load_state(start)
        if not np.array_equal(tell(), kept):
            raise CheckFailed("P1", "other numbers", "those told at that state", f"{what} {where}, after load_state()")


def _require_told(what: str, found: Any, kept: Any, where: str) -> None:
    if found.shape != kept.shape or (what == "costs()" and not np.array_equal(found, kept)):
        expected = "the same numbers at every call" if what == "costs()" else f"{len(kept)} numbers at every call"
        raise CheckFailed("P1", f"{len(found)} numbers, not those from before", expected, where)


def _calls(subject: Subject, one: Pair) -> dict[str, Callable[[], Any]]:
    """Return calls by what they are; each may be made again and again."""
    rng = generator(subject.seed, "surroundings", one.where)
    learner, n = one.learner, len(one.case)
    ids, drawn = some_ids(rng, one.case.ids, 30, repeats=True), batches(rng, one.case.ids, 2)

    def refused() -> None:
        for call, wrong in ((learner.score, np.array([0, n])), (lambda it: learner.train([it]), np.array([-1]))):
            try:
                call(wrong)
            except LearnerError:
                continue
            except Exception:  # of another type: P7 says so
                continue

    calls: dict[str, Callable[[], Any]] = {
        "score()": lambda: learner.score(ids),
        "train()": lambda: learner.train(drawn),
        "state()": learner.state,
        "len()": lambda: len(learner),
        "refused calls": refused,
    }
    if subject.evaluates:
        assert isinstance(learner, Evaluates)
        calls["evaluate()"] = learner.evaluate
    return calls


def _around() -> Around:
    return {**surroundings.generators(), **surroundings.arithmetic(), **surroundings.process()}


def _numpys() -> Around:
    # A framework's own modules draw their first weights from its generator.
    found = surroundings.generators()
    return {name: found[name] for name in ("the generator of random", "the generator of numpy.random")}


def _number(subject: Subject, *words: str) -> int:
    return int(generator(subject.seed, "around", *words).integers(2**32))


def _require_same(before: Around, after: Around, where: str) -> None:
    name = surroundings.difference(before, after)
    if name is not None:
        got = "" if len(repr(after[name])) > 80 else f", {after[name]!r} in place of {before[name]!r}"
        raise CheckFailed("P1", f"another state of {name}{got}", "it as it was found: put it back in a finally", where)
