"""P7: what cannot be done is refused with a LearnerError that names it, and nothing has changed then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from attent.errors import LearnerError
from attent.learner import Ids, Learner, Numbers, State
from attent.reference import SGD
from attent_conformance.comparing import copied, require_same_state
from attent_conformance.draws import batches, generator, some_ids
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import needs
from attent_conformance.pairs import Pair, pairs
from attent_conformance.subject import Subject

Call = Callable[[Learner], Any]


def check_unknown_ids_are_refused(subject: Subject) -> None:
    """P7: ids outside [0, n), near or far, at any place, are refused by ``score`` and ``train``, and named."""
    for one in pairs(subject):
        rng, n = generator(subject.seed, "unknown ids", one.where), len(one.case)
        calls: dict[str, tuple[Call, str]] = {}
        far = (n, n + 1, 2 * n, 2**31, 2**32, 2**32 + 3, 2**40 + 1, 2**63 - 1)
        for wrong in (*far, -1, -2, -n, -n - 1, -(2**31), -(2**32) + 5, -(2**63)):
            ids = some_ids(rng, one.case.ids, int(rng.integers(1, 30)), repeats=False)
            ids[rng.integers(len(ids))] = wrong
            drawn = batches(rng, one.case.ids, 3)
            drawn[int(rng.integers(3))] = ids
            calls[f"score() of {len(ids)} ids, one of them {wrong}"] = partial(_score, ids), str(wrong)
            calls[f"train() of 3 batches, one with an id of {wrong}"] = partial(_train, drawn, None), str(wrong)
        _refused(subject, one, calls)


def check_ids_of_other_kinds_are_refused(subject: Subject) -> None:
    """P7: ids that are no one-dimensional int64 array, booleans and int32 among them, are refused, also of length 0."""
    for one in pairs(subject):
        rng = generator(subject.seed, "ids of other kinds", one.where)
        good = some_ids(rng, one.case.ids, 6, repeats=False) % 128  # so that each fits its own kind
        calls: dict[str, tuple[Call, str]] = {}
        for what, ids in _other_ids(good).items():
            drawn: list[Any] = batches(rng, one.case.ids, 3)
            drawn[int(rng.integers(3))] = ids
            calls[f"score() of {what}"] = partial(_score, ids), ""
            calls[f"train() of 3 batches, one of {what}"] = partial(_train, drawn, None), ""
        _refused(subject, one, calls)


def check_empty_batches_are_refused(subject: Subject) -> None:
    """P7: a batch without examples, first, last or between others, is refused before any step of the call."""
    for one in pairs(subject):
        rng = generator(subject.seed, "empty", one.where)
        calls: dict[str, tuple[Call, str]] = {}
        for place in range(3):
            drawn = batches(rng, one.case.ids, 3)
            drawn[place] = drawn[place][:0]
            calls[f"train() of 3 batches, number {place} of them empty"] = partial(_train, drawn, None), ""
        calls["train() of an empty batch alone"] = partial(_train, [np.empty(0, np.int64)], None), ""
        _refused(subject, one, calls)


@needs("weights")
def check_wrong_weights_are_refused(subject: Subject) -> None:
    """P7: weights that are not one finite float64 of each example are refused, at any place, before any step."""
    for one in pairs(subject):
        rng = generator(subject.seed, "weights", one.where)
        drawn = batches(rng, one.case.ids, 3)
        place = int(rng.integers(3))
        good = [rng.uniform(0.5, 2.0, len(ids)) for ids in drawn]
        calls: dict[str, tuple[Call, str]] = {}
        for what, values in _other_weights(rng, good[place]).items():
            given: list[Any] = list(good)
            given[place] = values
            calls[f"train() with weights {what} for batch {place}"] = partial(_train, drawn, given), ""
        calls["train() with 2 weight arrays for 3 batches"] = partial(_train, drawn, good[:2]), ""
        calls["train() with 4 weight arrays for 3 batches"] = partial(_train, drawn, [*good, good[0]]), ""
        calls["train() with no weight arrays for 3 batches"] = partial(_train, drawn, []), ""
        every = np.concatenate(good)
        calls["train() with the weights of 3 batches in one array"] = partial(_train, drawn, every), ""
        calls["train() with weights and no batches"] = partial(_train, [], good), ""
        alone = [some_ids(rng, one.case.ids, 1, repeats=False)]
        calls["train() with weights of shape (2,) for 1 example"] = partial(_train, alone, [np.ones(2)]), ""
        _refused(subject, one, calls)


def check_late_faults_are_refused(subject: Subject) -> None:
    """P7: so is a fault that stands far behind in a call of many batches or ids, before any step of the call."""
    for one in pairs(subject):
        rng, n = generator(subject.seed, "late", one.where), len(one.case)
        calls: dict[str, tuple[Call, str]] = {}
        wrong = {
            "an id too high": np.array([0, n]),
            "an id below 0": np.array([-1]),
            "no ids": np.empty(0, np.int64),
            "int32 ids": np.zeros(2, np.int32),
        }
        for what, ids in wrong.items():
            drawn = _many_batches(rng, one.case.ids)
            place = len(drawn) - 1 - int(rng.integers(3))
            drawn[place] = ids
            calls[f"train() of {len(drawn)} batches, number {place} of {what}"] = partial(_train, drawn, None), ""
        if subject.lacking(("weights",)) is None:
            drawn = _many_batches(rng, one.case.ids)
            good = [rng.uniform(0.5, 2.0, len(ids)) for ids in drawn]
            place = len(drawn) - 1 - int(rng.integers(3))
            for what in ("with a NaN", "with an infinity", "of float32", "one too many"):
                given = list(good)
                given[place] = _other_weights(rng, good[place])[what]
                called = f"train() of {len(drawn)} batches, weights {what} for number {place}"
                calls[called] = partial(_train, drawn, given), ""
        for count in (int(rng.integers(40, 300)), int(rng.integers(1100, 5000))):
            ids = some_ids(rng, one.case.ids, count, repeats=True)
            ids[-1 - int(rng.integers(3))] = n
            calls[f"score() of {count} ids, one at the end {n}"] = partial(_score, ids), str(n)
        _refused(subject, one, calls)


def check_foreign_states_are_refused(subject: Subject) -> None:
    """P7: a state of a learner further on, with one array missing, too many or of another form, is refused whole."""
    every = list(pairs(subject))
    for place, one in enumerate(every):
        rng = generator(subject.seed, "foreign", one.where)
        other = _further(one, rng)
        names = list(other)
        drawn = {names[0], names[-1], *(names[i] for i in rng.choice(len(names), min(len(names), 4), replace=False))}
        drawn |= {name for name in names if other[name].ndim == 0 and other[name].dtype.kind in "iu"}
        calls: dict[str, tuple[Call, str]] = {"load_state() of no arrays": (partial(_load, {}), "")}
        for name in names:
            forms = list(_other_arrays(other[name]).items())
            if name not in drawn and forms:  # of the others one form each
                what, array = forms[int(rng.integers(len(forms)))]
                calls[f"load_state() with {name!r} {what}"] = partial(_load, {**other, name: array}), ""
            if name in drawn:
                lacking = {key: array for key, array in other.items() if key != name}
                calls[f"load_state() without {name!r}"] = partial(_load, lacking), ""
                calls[f"load_state() with {name!r} by another name"] = (
                    partial(_load, {**lacking, f"{name}.x": other[name]}),
                    "",
                )
                for what, array in forms:
                    calls[f"load_state() with {name!r} {what}"] = partial(_load, {**other, name: array}), ""
        for another in (every[place - 1], *(it for it in every if it.case is one.case and it is not one)):
            calls[f"load_state() of a state of {another.where}"] = partial(_load, another.after), ""
        if one.case.name == "many":  # once a precision: a framework may compile a learner to know its state
            sgd = subject.learner(one.case, dtype=one.dtype, optimiser=SGD()).state()
            calls["load_state() of a state of a learner with SGD for AdamW"] = partial(_load, sgd), ""
        beginnings = ("x", "extra", "extra_x", "module.x", "epoch", "_x", "optimizer/x", f"{names[0]}_x")
        more = rng.choice(beginnings, 3, replace=False)
        for name in more.tolist():  # some leave out what they do not know by a prefix
            calls[f"load_state() of a state with {name!r} too many"] = partial(_load, {**other, name: np.ones(2)}), ""
        calls["load_state() of a state whose first array is too many"] = partial(_load, {"x": np.ones(2), **other}), ""
        _refused(subject, one, calls)


def _many_batches(rng: np.random.Generator, pool: Ids) -> list[Any]:
    """Return more small batches than are looked at together, and than take a step together."""
    return [some_ids(rng, pool, int(size), repeats=False) for size in rng.integers(1, 4, int(rng.integers(10, 140)))]


def _other_ids(good: Ids) -> dict[str, Any]:
    kinds = (
        np.int32,
        np.int16,
        np.int8,
        np.uint64,
        np.uint32,
        np.uint16,
        np.uint8,
        np.float64,
        np.float32,
        np.bool_,
        np.object_,
        np.complex128,
        ">i8",
    )
    some = {f"ids of {np.dtype(kind)}": good.astype(kind) for kind in kinds}
    return {
        **some,
        "a list": good.tolist(),
        "a tuple": tuple(good.tolist()),
        "a slice": slice(0, 6),
        "a range": range(6),
        "one number": int(good[0]),
        "an array without dimensions": good[0:1].reshape(()),
        "two-dimensional ids": good.reshape(2, 3),
        "ids of shape (6, 1)": good[:, None],
        "ids of shape (1, 6)": good[None],
        "no float64 ids": np.empty(0),
        "ids of shape (0, 2)": np.empty((0, 2), np.int64),
        "None": None,
    }


def _other_weights(rng: np.random.Generator, good: Numbers) -> dict[str, Any]:
    def spoilt(value: float) -> Numbers:
        result = good.copy()
        result[rng.integers(len(good))] = value
        return result

    return {
        "with a NaN": spoilt(np.nan),
        "with an infinity": spoilt(np.inf),
        "with a negative infinity": spoilt(-np.inf),
        "of shape (1,)": good[:1] if len(good) > 1 else np.ones(3),
        "one too few": good[:-1],
        "one too many": np.append(good, 1.0),
        "without dimensions": np.array(2.0),
        "of shape (k, 1)": good[:, None],
        "of shape (1, k)": good[None],
        "of float32": good.astype(np.float32),
        "of float16": good.astype(np.float16),
        "of int64": np.ones(len(good), np.int64),
        "of bool": np.ones(len(good), bool),
        "of complex128": good.astype(complex),
        "of object": good.astype(object),
        "in a list": good.tolist(),
        "as one number": 1.0,
        "as None": None,
    }


def _other_arrays(array: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays that hold the same numbers in another form; texts (uint8) are left to their owner."""
    if array.dtype == np.uint8:
        return {}
    kinds = [np.float32, np.float64] if array.dtype.kind == "f" else [np.int64, np.int32, np.float64]
    found = {f"in {np.dtype(kind)}": array.astype(kind) for kind in kinds if array.dtype != kind}
    if array.dtype.kind == "f":
        found["in float16"] = array.astype(np.float16)
        found["in complex128"] = array.astype(np.complex128)
    found["of the other byte order"] = array.astype(array.dtype.newbyteorder()) if array.itemsize > 1 else array[None]
    found["of object"] = array.astype(object)
    found["of one dimension more"] = array[None]
    if array.ndim:
        found["one row short"] = array[:-1].copy()
        found["one row longer"] = np.concatenate([array, array[:1]])
        found["empty"] = array[:0].copy()
    if array.ndim > 1:
        found["flat"] = array.reshape(-1)
        found["flat, one short"] = array.reshape(-1)[:-1].copy()
        if array.shape[0] != array.shape[1]:
            found["transposed"] = np.ascontiguousarray(array.T)
    return found


def _further(one: Pair, rng: np.random.Generator) -> State:
    """Return the state of the learner further on, and put it back where it was."""
    start = copied(one.learner.state())
    one.learner.train(batches(rng, one.case.ids, 3))
    further = copied(one.learner.state())
    one.learner.load_state(start)
    return further


def _score(ids: Ids, learner: Learner) -> Numbers:
    return learner.score(ids)


def _train(drawn: list[Ids], weights: list[Numbers] | None, learner: Learner) -> Numbers:
    return learner.train(drawn, weights)


def _load(state: State, learner: Learner) -> None:
    learner.load_state(state)


def _refused(subject: Subject, one: Pair, calls: dict[str, tuple[Call, str]]) -> None:
    """Raise CheckFailed unless each call raises LearnerError with a text that names ``told``, and changes nothing.

    Nothing is: the state and the scores after each call, and what a further step then does.
    """
    rng, learner = generator(subject.seed, "after", one.where), one.learner
    drawn = batches(rng, one.case.ids, 2)
    few = one.case.ids[:: max(1, len(one.case.ids) // 8)]
    before = copied(learner.state())
    expected = learner.train(drawn).copy()
    learner.load_state(copied(before))
    scores = learner.score(few).copy()
    for what, (call, told) in calls.items():
        where = f"{what}, {one.where}; drawn with seed {subject.seed}"
        try:
            call(learner)
        except LearnerError as error:
            if told not in str(error) or not str(error):
                raise CheckFailed(
                    "P7", f"a LearnerError that says {error!s:.200}", f"one that names {told}", where
                ) from error
        except Exception as error:
            got = f"{type(error).__name__}: {error!s:.200}"
            raise CheckFailed("P7", got, "a LearnerError naming the fault", where) from error
        else:
            raise CheckFailed("P7", "no error", "a LearnerError naming the fault", where)
        require_same_state("P7", learner.state(), before, f"state() after the refused {where}")
        if subject.exact and not np.array_equal(learner.score(few), scores):
            raise CheckFailed("P7", "other scores", "those from before", f"score() after the refused {where}")
    call, _ = list(calls.values())[int(rng.integers(len(calls)))]
    with contextlib.suppress(LearnerError):
        call(learner)  # once more, with no score() after it, which may put back what it left
    if subject.exact and not np.array_equal(learner.train(drawn), expected):
        where = f"train() after refused calls, {one.where}; drawn with seed {subject.seed}"
        raise CheckFailed("P7", "other losses", "those without the refused calls", where)
    learner.load_state(copied(before))
