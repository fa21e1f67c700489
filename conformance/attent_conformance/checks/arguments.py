"""P2: arrays of any layout are read and left alone; what is returned is the caller's; the order is that of the ids."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from attent.learner import Ids, Numbers, State
from attent_conformance.comparing import copied, different_array, relative_error, require_close, require_same_state
from attent_conformance.draws import LARGEST, LAYOUTS, batches, generator, laid_out, some_ids, weights
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins
from attent_conformance.pairs import ROUNDING, Pair, pair, pairs
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import rate


def check_any_ids_are_scored_in_order(subject: Subject) -> Margins:
    """P2: drawn ids give each its own score: of any number, none, more than n, in any order and memory layout."""
    margins = {}
    for one in pairs(subject):
        rng, known = generator(subject.seed, "ids", one.where), _by_id(one)
        counts = [0, 1, int(rng.integers(2, 16)), 17, int(rng.integers(33, 48)), min(len(one.case), 96) + 41]
        if len(one.case) == 48 and one.dtype == subject.precision:
            counts.append(4 * len(one.case) + int(rng.integers(2, 48)))
        if one.case.name == "many":
            counts += [int(rng.integers(257, 300)), int(rng.integers(1025, 1100)), int(rng.integers(4097, 4300))]
        worst = 0.0
        for count in counts:
            ids = some_ids(rng, one.case.ids, count, repeats=bool(rng.integers(2)))
            for name in rng.permutation(list(LAYOUTS))[:2] if count else ["read-only"]:
                array = LAYOUTS[name](ids)
                before = array.copy()
                where = f"score() of {count} ids, {name}, {one.where}; drawn with seed {subject.seed}"
                found = one.learner.score(array)
                _require_numbers(found, count, where)
                worst = max(worst, require_close("P2", found, known(ids), ids, 4 * ROUNDING[one.dtype], where))
                if not np.array_equal(array, before):
                    raise CheckFailed("P2", "ids that were written into", "ids left as they were", where)
        margins[one.where] = worst
    return margins


def check_an_order_is_not_told_by_its_ends(subject: Subject) -> None:
    """P2: ids in another order between the first and the last, also all there are, give each its own score."""
    for one in pairs(subject):
        rng, known = generator(subject.seed, "ends", one.where), _by_id(one)
        for ids in (one.case.ids[:24], one.case.ids[3:20], one.case.ids):
            for _ in range(2):
                turned = np.concatenate([ids[:1], rng.permutation(ids[1:-1]), ids[-1:]])
                where = f"score() of {len(ids)} ids, turned between their ends, {one.where}; drawn with seed "
                found = one.learner.score(turned)
                tolerance = 4 * ROUNDING[one.dtype]
                require_close("P2", found, known(turned), turned, tolerance, f"{where}{subject.seed}")


def check_arguments_are_left_alone(subject: Subject) -> None:
    """P2: ids, batches, weights and a state are read in any layout, also in tuples, and never written into."""
    for one in pairs(subject):
        rng = generator(subject.seed, "arguments", one.where)
        where = f"{one.where}; drawn with seed {subject.seed}"
        plain = batches(rng, one.case.ids, 4)
        given = None if subject.lacking(("weights",)) else weights(rng, plain)
        start = copied(one.learner.state())
        first = _trained(one, plain, given)
        one.learner.load_state(MappingProxyType(dict(reversed(list(copied(start).items())))))
        odd, odd_weights = laid_out(rng, plain), None if given is None else laid_out(rng, given)
        before = [array.copy() for array in [*odd, *(odd_weights or [])]]
        again = _trained(one, tuple(odd), None if odd_weights is None else tuple(odd_weights))
        one.learner.load_state(lists := _state_laid_out(rng, start))
        require_same_state(
            "P2", one.learner.state(), start, f"state() after one that lies otherwise in memory, {where}"
        )
        _as_lists(one, odd, odd_weights, where)
        if different_array(lists, start) is not None:
            raise CheckFailed(
                "P2", "a mapping that was written into", "the state left as it was", f"load_state() of {where}"
            )
        after = [*odd, *(odd_weights or [])]
        if not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
            raise CheckFailed(
                "P2", "arrays that were written into", "ids and weights left as they were", f"train() of {where}"
            )
        _require_equal(subject, one, again, first, f"train() of read-only, strided and other arrays in tuples, {where}")


def check_each_layout_is_read(subject: Subject) -> None:
    """P2: a call of one batch, and of more, reads ids and weights however they lie in memory: each layout in turn."""
    weighted = not subject.lacking(("weights",))
    for dtype in subject.precisions:
        one = pair(subject, "classes", dtype)
        rng = generator(subject.seed, "layouts", one.where)
        start = copied(one.learner.state())
        for count in (1, 2):
            plain = [some_ids(rng, one.case.ids, int(size), repeats=False) for size in rng.integers(3, 9, count)]
            given = weights(rng, plain) if weighted else None
            expected = _trained_from(one, start, plain, given)
            for name, lay in LAYOUTS.items():
                where = f"train() of {count} batches, {name}, {one.where}; drawn with seed {subject.seed}"
                values = None if given is None else [lay(weight) for weight in given]
                found = _trained_from(one, start, [lay(ids) for ids in plain], values)
                _require_equal(subject, one, found, expected, where)


def check_what_a_learner_is_built_from_is_left_alone(subject: Subject) -> None:
    """P2: parameters given are taken, each of them; they and data are never written into, nor read again later."""
    for one in pairs(subject):
        case, where = one.case, f"{one.where}; drawn with seed {subject.seed}"
        if case.name not in (
            "classes",
            "padded-tasks",
        ):  # vectors, tokens, classes, tasks, lengths: all kinds there are
            continue
        settings = {"lengths": case.lengths, "task_weights": case.task_weights, "device": subject.device}
        settings = {name: value for name, value in settings.items() if value is not None}
        rng = generator(subject.seed, "built", one.where)
        parameters = {  # none of which is what a framework would build by itself
            name: array + 0.1 * rng.standard_normal(array.shape) for name, array in case.parameters.items()
        }
        expected = numpy_learner(case, parameters).score(case.ids)
        given = {"inputs": case.inputs, "targets": case.targets, "lengths": case.lengths, **parameters}
        before = {name: None if array is None else array.copy() for name, array in given.items()}
        learner = subject.reference(
            case.architecture, parameters, case.inputs, case.targets, learning_rate=rate, dtype=one.dtype, **settings
        )
        scores = learner.score(case.ids).copy()
        require_close(
            "P2", scores, expected, case.ids, ROUNDING[one.dtype], f"score() of a learner of other parameters, {where}"
        )
        learner.train(batches(rng, case.ids, 3))
        learner.score(case.ids)
        changed = next((name for name, array in given.items() if not np.array_equal(array, before[name])), None)
        for name, array in given.items():
            if array is not None:
                array[...] = before[name]  # whatever was done to it, other learners read it too
        if changed is not None:
            raise CheckFailed("P2", f"{changed!r} written into", "what a learner is built from left as it was", where)
        kept = copied(learner.state())
        for array in parameters.values():
            array[...] = 1.0
        require_same_state(
            "P2", learner.state(), kept, f"state() after the parameters given were written into, {where}"
        )


def check_results_of_many_calls_are_the_callers(subject: Subject) -> None:
    """P2: of 9 calls in turn, all of as many examples, each result stays what it was: no ring of arrays is used."""
    for dtype in subject.precisions:
        one = pair(subject, "classes", dtype)
        rng = generator(subject.seed, "many calls", one.where)
        calls = {"score()": one.learner.score, "train()": lambda ids, one=one: one.learner.train([ids])}
        for what, call in calls.items():
            given, kept = [], []
            for _ in range(9):
                given.append(call(some_ids(rng, one.case.ids, 8, repeats=False)))
                kept.append(given[-1].copy())
            changed = [at for at, (a, b) in enumerate(zip(given, kept, strict=True)) if not np.array_equal(a, b)]
            if changed:
                where = f"{what} of {one.where}; drawn with seed {subject.seed}"
                raise CheckFailed("P2", f"the result of call {changed[0]} changed", "an array of its own each", where)


def check_results_are_the_callers(subject: Subject) -> None:
    """P2: arrays returned never change later, and writing into them, or into arrays given, changes nothing."""
    for one in pairs(subject):
        rng = generator(subject.seed, "results", one.where)
        where = f"{one.where}; drawn with seed {subject.seed}"
        learner, drawn = one.learner, batches(rng, one.case.ids, 3)
        buffer = some_ids(rng, one.case.ids, 20, repeats=False)
        ids, other = buffer.copy(), some_ids(rng, one.case.ids, 20, repeats=False)
        scores = learner.score(buffer)
        kept = scores.copy()
        buffer[:] = other  # the very array, with other ids in it
        _require_equal(
            subject, one, learner.score(buffer), _by_call(one, other), f"score() of an array used twice, {where}"
        )
        if not np.array_equal(scores, kept):
            raise CheckFailed(
                "P2", "scores that changed with a later call", "an array of its own", f"score() of {where}"
            )
        _require_writable(scores, f"score() of {where}")
        scores[...] = -7.0
        _require_equal(
            subject, one, learner.score(ids), kept, f"score() after an earlier result was written into, {where}"
        )
        start = copied(learner.state())
        losses = learner.train(drawn)
        kept_losses = losses.copy()
        _require_writable(losses, f"train() of {where}")
        learner.train(batches(rng, one.case.ids, 3))
        if not np.array_equal(losses, kept_losses):
            raise CheckFailed(
                "P2", "losses that changed with a later call", "an array of its own", f"train() of {where}"
            )
        learner.load_state(copied(start))
        again = learner.train([ids.copy() for ids in drawn]).copy()
        _require_equal(subject, one, again, kept_losses, f"train() again from the same state, {where}")
        learner.load_state(copied(start))
        live = [ids.copy() for ids in drawn]
        learner.train(live)
        for ids in live:
            ids[...] = one.case.ids[0]
        expected_scores = learner.score(one.case.ids).copy()
        learner.load_state(copied(start))
        learner.train(drawn)
        _require_equal(
            subject,
            one,
            expected_scores,
            learner.score(one.case.ids),
            f"score() after batches were written into, {where}",
        )


def _state_laid_out(rng: np.random.Generator, state: State) -> State:
    """Return an equal state whose arrays lie in memory otherwise: columns first, backwards, in steps, read-only."""
    found = {}
    for name, array in state.items():
        kind = int(rng.integers(4)) if array.ndim else 3  # a number alone has one form
        if kind == 0:
            other = np.asfortranarray(array)
        elif kind == 1:
            other = np.flip(np.flip(array).copy())
        elif kind == 2:
            other = np.repeat(array, 2, axis=-1)[..., ::2]
        else:
            other = array.copy()
            other.flags.writeable = False
        found[name] = other
    return found


def _as_lists(one: Pair, drawn: list[Ids], given: list[Numbers] | None, where: str) -> None:
    """Raise CheckFailed where a call of ``train`` changes the lists that it is given."""
    ids, values = list(drawn), None if given is None else list(given)
    one.learner.train(ids, values)
    kept = [id(array) for array in [*drawn, *(given or [])]]
    if [id(array) for array in [*ids, *(values or [])]] != kept:
        raise CheckFailed(
            "P2", "lists that were written into", "batches and weights as they were", f"train() of {where}"
        )


def _trained(one: Pair, drawn, given) -> Numbers:
    """Return the losses of drawn batches, then of none, then the scores after them."""
    losses = one.learner.train(drawn, given)
    _require_numbers(losses, sum(map(len, drawn)), f"train() of {one.where}")
    nothing = one.learner.train([], None if given is None else [])
    _require_numbers(nothing, 0, f"train() of no batches, {one.where}")
    return np.concatenate([losses, one.learner.score(one.case.ids)])


def _trained_from(one: Pair, start: State, drawn: list[Ids], given: list[Numbers] | None) -> Numbers:
    """Return the losses of drawn batches from a state, then the scores after them."""
    one.learner.load_state(start)
    return np.concatenate([one.learner.train(drawn, given), one.learner.score(one.case.ids)])


def _by_id(one: Pair):
    """Return a function that gives the scores of ids from calls of few of them, each id once."""
    every = one.case.ids
    scores = np.concatenate([one.learner.score(every[at : at + LARGEST]) for at in range(0, len(every), LARGEST)])
    return lambda ids: scores[np.searchsorted(every, ids)]


def _by_call(one: Pair, ids: Ids) -> Numbers:
    return one.learner.score(ids.copy())


def _require_numbers(found: object, count: int, where: str) -> None:
    if not isinstance(found, np.ndarray) or found.dtype != np.float64 or found.shape != (count,):
        raise CheckFailed(
            "P2", f"{getattr(found, 'dtype', type(found))} {np.shape(found)}", f"float64 ({count},)", where
        )


def _require_writable(found: Numbers, where: str) -> None:
    if not found.flags.writeable:
        raise CheckFailed("P2", "a read-only array", "an array that the caller may write into", where)


def _require_equal(subject: Subject, one: Pair, found: Numbers, expected: Numbers, where: str) -> None:
    """Raise CheckFailed unless numbers are equal: bit for bit on the CPU."""
    error = relative_error(found, expected) if found.shape == expected.shape else np.inf
    if error > (0.0 if subject.exact else 10 * ROUNDING[one.dtype]):
        raise CheckFailed("P2", f"numbers {error:.2e} away", "equal ones", where)
