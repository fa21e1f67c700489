"""P6: a learner that was used takes up a state as a fresh one does, in any order and through a run folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import MappingProxyType

import numpy as np

from attent.learner import Evaluates, Ids, Learner, Numbers, State
from attent.run.files import keepable_state, read_arrays, write_arrays
from attent_conformance.comparing import copied, different_array, relative_error, require_same_state
from attent_conformance.draws import batches, generator, handed, some_ids, weights
from attent_conformance.failures import CheckFailed
from attent_conformance.pairs import ROUNDING, Pair, pair, pairs
from attent_conformance.subject import Subject
from attent_conformance.tasks import HELD_OUT


def check_a_used_learner_takes_up_a_state(subject: Subject) -> None:
    """P6: a learner that went on, was scored and judged, and takes up its own earlier state, repeats what followed."""
    for one in pairs(subject):
        rng = generator(subject.seed, "used", one.where)
        start = _exchanged(rng, copied(one.learner.state()))
        first = _followed(subject, one, rng_words="used")
        ended = copied(one.learner.state())
        one.learner.load_state(copied(start))
        _use(subject, one, rng)  # as many steps as what followed begins with, on other batches
        one.learner.load_state(start)
        where = f"{one.where}, after taking up its own earlier state, in another order; drawn with seed {subject.seed}"
        require_same_state("P6", one.learner.state(), start, f"state() of {where}")
        _require_equal(subject, one, _followed(subject, one, rng_words="used"), first, where)
        require_same_state("P6", one.learner.state(), ended, f"state() of {where}, and the same calls")


def check_states_of_as_many_steps_are_told_apart(subject: Subject) -> None:
    """P6: what a learner gives after it took up a state is that state's, also where it stood at as many steps."""
    for one in pairs(subject):
        rng, learner = generator(subject.seed, "as many", one.where), one.learner
        start = copied(learner.state())
        learner.train(batches(rng, one.case.ids, 3))
        state, scores = copied(learner.state()), learner.score(one.case.ids).copy()
        judged = _judged(subject, learner)
        learner.load_state(start)
        _look(subject, learner, one.case.ids)  # so that what is kept by steps is made anew on the other way
        learner.train(batches(rng, one.case.ids, 3))
        _require_judged_as_scored(subject, one)
        _look(subject, learner, one.case.ids)  # the last look is the one that what follows must not repeat
        learner.load_state(copied(state))
        where = f"{one.where}, after a state of as many steps was taken up; drawn with seed {subject.seed}"
        require_same_state("P6", learner.state(), state, f"state() of {where}")
        _require_equal(subject, one, learner.score(one.case.ids), scores, f"score() of {where}")
        _require_equal(subject, one, _judged(subject, learner), judged, f"evaluate() of {where}")


def check_states_are_told_apart_by_every_array(subject: Subject) -> None:
    """P6: what follows a state is that state's, also where it differs from the one before it in some arrays alone."""
    for one in pairs(subject):
        rng, learner = generator(subject.seed, "some arrays", one.where), one.learner
        start = copied(learner.state())
        learner.train(batches(rng, one.case.ids, 3))
        further = copied(learner.state())
        names = [name for name in start if start[name].dtype.kind == "f" and name in further]
        some = {name for name in names if rng.random() < 0.5}
        alone = str(rng.choice(names))
        for changed in (some, set(names) - some, {alone}, set(names) - {alone}):
            state = {name: further[name] if name in changed else array for name, array in start.items()}
            found = []
            for before in (start, further):
                learner.load_state(copied(before))
                _look(subject, learner, one.case.ids)
                learner.load_state(copied(state))
                where = f"{one.where}, where a state differs from the one before it in {len(changed)} or in all other "
                where += f"arrays; drawn with seed {subject.seed}"
                require_same_state("P6", learner.state(), state, f"state() of {where}")
                numbers = [learner.score(one.case.ids).copy(), _judged(subject, learner)]
                numbers.append(learner.train(handed([one.case.ids[:24]])).copy())
                found.append(np.concatenate([*numbers, learner.score(one.case.ids)]))
            _require_equal(subject, one, found[0], found[1], where)
        learner.load_state(copied(start))


def check_another_learners_state_is_taken_up_whole(subject: Subject) -> None:
    """P6: a state that differs in every array, of a learner further on or just built, is taken up in every array."""
    for dtype in subject.precisions:
        one = pair(subject, "classes", dtype)
        rng = generator(subject.seed, "another", one.where)
        fresh = subject.learner(one.case, dtype=dtype, held_out=subject.evaluates)
        subject.kept(("second", dtype), lambda fresh=fresh: fresh)
        unused, scores = copied(fresh.state()), fresh.score(one.case.ids).copy()
        _use(subject, one, rng)
        alone = f"a learner just built, while another one trained, {one.where}; drawn with seed {subject.seed}"
        require_same_state("P6", fresh.state(), unused, f"state() of {alone}")
        _require_equal(subject, one, fresh.score(one.case.ids), scores, f"score() of {alone}")
        state = copied(one.learner.state())
        expected = _followed(subject, one, rng_words="another")
        first = _followed(subject, Pair(one.case, dtype, fresh, unused, unused, {}), rng_words="another")
        where = f"{one.where}, drawn with seed {subject.seed}"
        for learner, taken, numbers, what in (
            (fresh, state, expected, "a learner that takes up the state of one further on"),
            (one.learner, unused, first, "a used learner that takes up the state of one just built"),
        ):
            learner.load_state(MappingProxyType(_shuffled(rng, copied(taken))))
            require_same_state("P6", learner.state(), taken, f"state() of {what}, {where}")
            other = Pair(one.case, dtype, learner, unused, unused, {})
            _require_equal(subject, other, _followed(subject, other, rng_words="another"), numbers, f"{what}, {where}")


def check_a_state_of_hundreds_of_steps_is_taken_up(subject: Subject) -> None:
    """P6: a learner just built takes up a state of more than 256 steps, and goes on as the learner that took them."""
    for dtype in subject.precisions:
        one = pair(subject, "many", dtype)
        rng = generator(subject.seed, "hundreds", one.where)
        one.learner.load_state(copied(one.first))
        count = int(rng.integers(260, 300))
        one.learner.train([some_ids(rng, one.case.ids, 8, repeats=False) for _ in range(count)])
        state = copied(one.learner.state())
        expected = _followed(subject, one, rng_words="hundreds")
        fresh = subject.learner(one.case, dtype=dtype, held_out=subject.evaluates)
        fresh.load_state(copied(state))
        where = f"{one.where}, after a state of {count} steps was taken up; drawn with seed {subject.seed}"
        require_same_state("P6", fresh.state(), state, f"state() of {where}")
        other = Pair(one.case, dtype, fresh, one.first, one.after, {})
        _require_equal(subject, other, _followed(subject, other, rng_words="hundreds"), expected, where)
        one.learner.load_state(copied(one.after))


def check_a_state_survives_a_run_folder(subject: Subject) -> None:
    """P6: a run folder gives a state back, in an order of its own, with equal names, dtypes, shapes and bits."""
    for one in pairs(subject):
        state = one.learner.state()
        keepable_state(state, "learner")
        kept = copied(state)
        found = _through_a_folder(kept)
        where = f"the state of {one.where}, from a run folder's checkpoint"
        name = different_array(found, kept)
        if name is not None:
            got = f"{found[name].dtype} {found[name].shape}" if name in found else "no such array"
            raise CheckFailed("P6", f"{name!r} as {got}", "what was written, bit for bit", where)
        first = _followed(subject, one, rng_words="folder")
        one.learner.load_state(found)
        _require_equal(
            subject, one, _followed(subject, one, rng_words="folder"), first, f"a learner that took up {where}"
        )


def check_states_share_no_memory(subject: Subject) -> None:
    """P6: steps change no state given out or taken up; writing into either changes nothing; two share no array."""
    for one in pairs(subject):
        rng = generator(subject.seed, "memory", one.where)
        learner, where = one.learner, f"{one.where}; drawn with seed {subject.seed}"
        given, second = learner.state(), learner.state()
        kept = copied(given)
        shared = [name for name in kept if name in second and np.shares_memory(given[name], second[name])]
        if shared:
            raise CheckFailed(
                "P6", f"one array {shared[0]!r} in two states", "arrays of each state's own", f"state() of {where}"
            )
        taken = copied(kept)
        learner.load_state(taken)
        learner.load_state(spoilt := copied(kept))
        _spoil(spoilt)
        require_same_state(
            "P6", learner.state(), kept, f"the learner, after a state it took up was written into, {where}"
        )
        learner.load_state(taken)
        learner.train(batches(rng, one.case.ids, 3))
        require_same_state("P6", taken, kept, f"a state taken up, after further training, {where}")
        require_same_state("P6", given, kept, f"a state given out, after further training, {where}")
        kept = copied(learner.state())
        for state in (given, second, taken):
            _spoil(state)
        require_same_state("P6", learner.state(), kept, f"the learner, after states were written into, {where}")
        read_only = copied(kept)
        for array in read_only.values():
            array.flags.writeable = False
        learner.load_state(read_only)
        learner.train(batches(rng, one.case.ids, 2))
        require_same_state("P6", read_only, kept, f"a read-only state taken up, after further training, {where}")


def check_a_states_form_stays(subject: Subject) -> None:
    """P6: a state is a dict of plain arrays that a run folder can keep, by names that training does not change."""
    for one in pairs(subject):
        where = f"state() of {one.where}"
        state = one.learner.state()
        keepable_state(state, "learner")
        for name, array in state.items():
            if type(array) is not np.ndarray:
                raise CheckFailed("P6", f"a {type(array).__qualname__}", "a numpy.ndarray", f"{where}[{name!r}]")
        form = {name: (array.dtype, array.shape) for name, array in state.items()}
        one.learner.train(batches(generator(subject.seed, "form", one.where), one.case.ids, 2))
        again = {name: (array.dtype, array.shape) for name, array in one.learner.state().items()}
        changed = next((name for name in {**form, **again} if form.get(name) != again.get(name)), None)
        if (
            changed is not None and not (form.get(changed, again.get(changed)) or ("",))[0] == np.uint8
        ):  # a text may grow
            raise CheckFailed(
                "P6", f"{again.get(changed)}", f"{form.get(changed)}", f"{where}[{changed!r}], after training"
            )


def _use(subject: Subject, one: Pair, rng: np.random.Generator) -> None:
    """Train and score a learner, so that whatever it keeps is of another moment."""
    one.learner.train(batches(rng, one.case.ids, 4))
    one.learner.score(one.case.ids)
    _judged(subject, one.learner)


def _followed(subject: Subject, one: Pair, rng_words: str) -> Numbers:
    """Return what a learner gives in drawn calls: scores, losses, metrics, losses under weights, scores again."""
    rng = generator(subject.seed, rng_words, one.where, "follow")
    drawn = batches(rng, one.case.ids, 4)
    given = None if subject.lacking(("weights",)) else weights(rng, drawn)
    ids = some_ids(rng, one.case.ids, 30, repeats=True)
    numbers: list[Numbers] = []
    numbers.append(one.learner.score(ids).copy())  # a learner may hand out one buffer each time
    numbers.append(one.learner.score(one.case.ids).copy())
    numbers.append(one.learner.train(handed(drawn)).copy())
    numbers.append(_judged(subject, one.learner))
    numbers += [
        one.learner.train(handed(drawn), given and handed(given)).copy(),
        one.learner.score(one.case.ids),
        _judged(subject, one.learner),
    ]
    return np.concatenate(numbers)


def _require_judged_as_scored(subject: Subject, one: Pair) -> None:
    """Raise CheckFailed unless ``evaluate`` gives the mean loss that ``score`` gives of the same examples."""
    if not (isinstance(one.learner, Evaluates) and subject.evaluates):
        return
    rows = np.arange(len(one.case))[HELD_OUT]
    tokens = None if one.case.lengths is None or one.case.architecture.kind == "classify" else one.case.lengths[rows]
    expected = float(np.average(one.learner.score(rows), weights=tokens))
    found = one.learner.evaluate()["loss"]
    if not abs(found - expected) <= ROUNDING[one.dtype] * abs(expected):
        where = f"evaluate() of {one.where}, at as many steps as before on another way; drawn with seed {subject.seed}"
        raise CheckFailed("P6", f"a loss of {found!r}", f"{expected!r}, the mean of the same examples' scores", where)


def _look(subject: Subject, learner: Learner, ids: Ids) -> None:
    learner.state()
    learner.score(ids)
    _judged(subject, learner)


def _judged(subject: Subject, learner: Learner) -> Numbers:
    judges = isinstance(learner, Evaluates) and subject.evaluates
    return np.array(list(learner.evaluate().values()) if judges else [])


def _through_a_folder(state: State) -> State:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "checkpoint.safetensors"
        write_arrays(path, {f"learner/{name}": array for name, array in state.items()}, {})
        return {name.removeprefix("learner/"): array for name, array in read_arrays(path)[0].items()}


def _spoil(state: State) -> None:
    for array in state.values():
        if array.flags.writeable:
            array[...] = 1


def _exchanged(rng: np.random.Generator, state: State) -> State:
    """Return a state in which only arrays of one form have changed places, so that by position all of them fit."""
    forms: dict[object, list[str]] = {}
    for name, array in state.items():
        forms.setdefault((array.shape, array.dtype), []).append(name)
    turned = {form: iter(rng.permutation(names).tolist()) for form, names in forms.items()}
    names = [next(turned[array.shape, array.dtype]) for array in state.values()]
    return {name: state[name] for name in names}


def _shuffled(rng: np.random.Generator, state: State) -> State:
    names = list(state)
    return {names[i]: state[names[i]] for i in rng.permutation(len(names))}


def _require_equal(subject: Subject, one: Pair, found: Numbers, expected: Numbers, where: str) -> None:
    error = relative_error(found, expected) if found.shape == expected.shape else np.inf
    if error > (0.0 if subject.exact else 100 * ROUNDING[one.dtype]):
        at = int((found != expected).argmax())
        raise CheckFailed(
            "P6", f"{float(found[at])!r}", f"{float(expected[at])!r}", f"number {at} that follows in {where}"
        )
