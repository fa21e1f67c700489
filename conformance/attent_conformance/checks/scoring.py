"""P1, P2, P5: scoring changes nothing, and gives one float64 number per example, whatever the split."""

from __future__ import annotations

import numpy as np

from attent.learner import Ids, Numbers
from attent_conformance.comparing import copied, require_close, require_same_state
from attent_conformance.draws import cut, generator, handed, some_ids
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins
from attent_conformance.pairs import ROUNDING, pair, pairs
from attent_conformance.subject import Subject
from attent_conformance.tasks import task

_BATCHES = [np.array([5, 0, 17, 3]), np.array([40, 41, 2]), np.array([95, 1, 60, 61, 7])]


def check_numbers_are_float64_one_per_example(subject: Subject) -> None:
    """P2: ``score`` and ``train`` return float64 arrays, one number per example asked for, also for none."""
    learner = subject.shared
    for where, count, found in (
        ("score() of 96 ids", 96, learner.score(np.arange(96))),
        ("score() of 1 id", 1, learner.score(np.array([7]))),
        ("score() of no ids", 0, learner.score(np.empty(0, np.int64))),
        ("train() of batches of 4, 3 and 5", 12, learner.train(handed(_BATCHES))),
        ("train() of no batches", 0, learner.train([])),
    ):
        if not isinstance(found, np.ndarray):
            raise CheckFailed("P2", f"{type(found).__module__}.{type(found).__qualname__}", "a NumPy array", where)
        if found.dtype != np.float64 or found.shape != (count,):
            raise CheckFailed("P2", f"{found.dtype} of shape {found.shape}", f"float64 of shape ({count},)", where)
        if not np.isfinite(found).all():
            at = int(np.flatnonzero(~np.isfinite(found))[0])
            raise CheckFailed("P2", f"{found[at]} at place {at}", "finite numbers: the task's are all below 10", where)


def check_score_changes_no_state(subject: Subject) -> None:
    """P1: ``state()`` is equal bit for bit before and after scoring."""
    learner = subject.shared
    learner.train(handed(_BATCHES))
    before = copied(learner.state())
    learner.score(np.arange(96))
    require_same_state("P1", learner.state(), before, "task 'classes': state() after score() of all examples")


def check_training_goes_on_as_if_unscored(subject: Subject) -> Margins:
    """P1: losses after a scoring pass are those without it: no mode, buffer or generator was left changed."""
    case, every = task("classes"), np.arange(96)
    scored, unscored = subject.learner(case), subject.learner(case)
    subject.kept("first scores", lambda: scored.score(every))
    for learner in (scored, unscored):
        learner.train(handed(_BATCHES))
    scored.score(every)
    scored.score(every[:5])
    order = np.concatenate(_BATCHES)
    tolerance = 0.0 if subject.exact else subject.tolerance
    where = "task 'classes': losses of train() after score()"
    found, expected = scored.train(handed(_BATCHES)), unscored.train(handed(_BATCHES))
    return {"error": require_close("P1", found, expected, order, tolerance, where)}


def check_scoring_any_task_changes_nothing(subject: Subject) -> None:
    """P1: on every task a second scoring pass gives the same numbers, and neither changes a bit of the state."""
    for one in pairs(subject):
        rng = generator(subject.seed, "twice", one.where)
        learner, where = one.learner, f"{one.where}; drawn with seed {subject.seed}"
        state = copied(learner.state())
        first = learner.score(one.case.ids).copy()  # a learner may hand out one buffer each time
        for part in cut(rng, some_ids(rng, one.case.ids, 60, repeats=True)):
            learner.score(part)
        require_same_state("P1", learner.state(), state, f"state() after score(), {where}")
        tolerance = 0.0 if subject.exact else 10 * ROUNDING[one.dtype]
        require_close("P1", learner.score(one.case.ids), first, one.case.ids, tolerance, f"second score(), {where}")


def check_numbers_follow_the_ids(subject: Subject) -> Margins:
    """P2: the numbers come in the order of the ids given, an id given twice twice."""
    learner, every = subject.shared, np.arange(96)
    scores = learner.score(every)
    shuffled = (every * 37 + 11) % 96
    error = require_close(
        "P2", learner.score(shuffled), scores[shuffled], shuffled, subject.tolerance, "score() of shuffled ids"
    )
    twice, again = np.array([8, 8, 3, 95, 3]), [1, 0, 4, 3, 2]
    found = learner.score(twice)
    if found.shape != (5,):
        raise CheckFailed("P2", f"shape {found.shape}", "shape (5,)", f"score() of ids {twice.tolist()}")
    require_close("P2", found, found[again], twice, subject.tolerance, f"score() of ids {twice.tolist()}")
    return {"error": error}


def check_drawn_splits_of_scoring_agree(subject: Subject) -> Margins:
    """P5: on every task scores are the same in calls of drawn sizes; on some, for drawn scoring batches too."""
    margins = {}
    for one in pairs(subject):
        rng = generator(subject.seed, "splits", one.where)
        every, where = one.case.ids, f"{one.where}; drawn with seed {subject.seed}"
        whole = one.learner.score(every).copy()
        parts = cut(rng, every)
        found = np.concatenate([one.learner.score(part).copy() for part in parts])
        sizes = [len(part) for part in parts]
        tolerance = 4 * ROUNDING[one.dtype]
        margins[one.where] = require_close(
            "P5", found, whole, every, tolerance, f"score() in calls of {sizes}, {where}"
        )
    for dtype in subject.precisions:
        rng = generator(subject.seed, "scoring batch", dtype)
        for name, size in (("many", int(rng.integers(1, 16))), ("classes", len(task("classes")) + 1)):
            case, first = task(name), pair(subject, name, dtype).measured["scores"]
            what = f"{name!r}, a scoring batch of {size}, {dtype}; drawn with seed {subject.seed}"
            found = subject.learner(case, dtype=dtype, scoring_batch=size).score(case.ids)
            margins[what] = require_close("P5", found, first, case.ids, 4 * ROUNDING[dtype], what)
    return margins


def check_the_length_stays(subject: Subject) -> None:
    """P2: ``len`` is the number of examples, and neither scoring nor training changes it."""
    learner = subject.shared
    lengths = [len(learner)]
    learner.score(np.arange(96))
    lengths.append(len(learner))
    learner.train(handed(_BATCHES))
    lengths.append(len(learner))
    learner.load_state(copied(learner.state()))
    lengths.append(len(learner))
    if lengths != [96, 96, 96, 96]:
        raise CheckFailed("P2", f"lengths {lengths}", "96 each", "before, after score(), train() and load_state()")


def check_the_split_of_scoring_does_not_matter(subject: Subject) -> Margins:
    """P5: scores are the same in calls of 1, 7 or all examples, and for any scoring batch."""
    learner, every = subject.shared, np.arange(96)
    scores = learner.score(every)
    splits: dict[str, Numbers] = {
        "calls of 7 examples": np.concatenate([learner.score(ids) for ids in _cut(every, 7)]),
        "calls of 1 example": np.concatenate([learner.score(ids) for ids in _cut(every[:10], 1)]),
    }
    margins = {
        what: require_close("P5", found, scores[: len(found)], every[: len(found)], subject.tolerance, what)
        for what, found in splits.items()
    }
    few, what = subject.learner(task("classes"), scoring_batch=5), "a scoring batch of 5"
    first = subject.kept("first scores", lambda: subject.learner(task("classes")).score(every))
    return {**margins, what: require_close("P5", few.score(every), first, every, subject.tolerance, what)}


def _cut(ids: Ids, size: int) -> list[Ids]:
    return [ids[at : at + size] for at in range(0, len(ids), size)]
