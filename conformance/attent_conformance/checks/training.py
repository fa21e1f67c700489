"""P3, P4: a step per batch on the weighted mean; the losses from before it, unweighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attent.learner import Learner, Numbers
from attent.reference import SGD
from attent_conformance.comparing import copied, relative_error, require_close
from attent_conformance.draws import batches, generator, handed, some_ids
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import ROUNDING, beside, pair, pairs
from attent_conformance.subject import Subject, numpy_learner
from attent_conformance.tasks import task

_BATCHES = [np.array([5, 0, 17, 3]), np.array([40, 41, 2, 9, 77]), np.array([95, 5, 60])]
_WEIGHTS = [np.array([0.5, 3.0, 1.0, 0.0]), np.array([2.0, 2.0, 0.25, 1.0, 4.0]), np.array([1.5, 0.5, 0.75])]
_EVERY = np.arange(96)
_RATE = 0.5  # of plain gradient descent: a step whose gradient is wrong by a factor shows at once


def check_losses_are_from_before_the_update(subject: Subject) -> Margins:
    """P3: ``train`` returns each batch's losses as ``score`` gave them just before that batch's own step."""
    _, expected, at_once = _both_ways(subject)
    where = "task 'classes': losses of three batches, against score() before each step"
    found, order = at_once.losses, np.concatenate(_BATCHES)
    if relative_error(found, numpy_learner(task("classes")).train(handed(_BATCHES))) <= subject.tolerance:
        return {"error": 0.0}  # right; if score() says otherwise after training, that is A3
    return {"error": require_close("P3", found, expected, order, subject.tolerance, where)}


def check_every_batch_is_one_step_in_order(subject: Subject) -> Margins:
    """P3: batches in one call of ``train`` move the parameters as the same batches in calls of their own."""
    stepwise, _, at_once = _both_ways(subject)
    where = "task 'classes': score() after three batches in one call, against three calls"
    error = require_close("P3", at_once.scores, stepwise.scores, _EVERY, subject.tolerance, where)
    return {"error": error}


def check_no_losses_are_from_after_the_step(subject: Subject) -> None:
    """P3: on every task, in each precision, losses of a drawn batch are not what ``score`` gives after the step."""
    for one in pairs(subject):
        rng = generator(subject.seed, "after the step", one.where)
        (ids,) = batches(rng, one.case.ids, 1)
        before = one.learner.score(ids).copy()
        found = one.learner.train([ids]).copy()
        after = one.learner.score(ids)
        far, near = relative_error(found, before), relative_error(found, after)
        if near <= 10 * ROUNDING[one.dtype] < far:
            where = f"losses of a batch of {len(ids)}, {one.where}; drawn with seed {subject.seed}"
            raise CheckFailed("P3", "what score() gives after the step", f"those from before it, {far:.1e} away", where)


def check_as_many_steps_as_batches(subject: Subject) -> None:
    """P3: one array twice in a call, and hundreds of batches in it, are as many steps, as in calls of their own."""
    for dtype in subject.precisions:
        one = pair(subject, "many", dtype)
        rng, learner = generator(subject.seed, "as many steps", one.where), one.learner
        (ids,) = handed([some_ids(rng, one.case.ids, 4, repeats=False)])
        every = [some_ids(rng, one.case.ids, 4, repeats=False) for _ in range(int(rng.integers(640, 700)))]
        for what, drawn in {"one array twice": [ids, ids, ids], f"{len(every)} batches": every}.items():
            found = []
            for cut in (0, len(drawn) // 2):
                learner.load_state(copied(one.after))
                parts = [drawn] if not cut else [handed(drawn[:cut]), handed(drawn[cut:])]
                losses = [learner.train(part).copy() for part in parts]
                found.append(np.concatenate([*losses, learner.score(one.case.ids)]))
            where = f"train() of {what} in one call, against two calls, {one.where}; drawn with seed {subject.seed}"
            order = np.concatenate([*drawn, one.case.ids])
            require_close("P3", found[0], found[1], order, 10 * ROUNDING[dtype], where)
        learner.load_state(copied(one.after))


@needs("weights")
def check_losses_are_unweighted(subject: Subject) -> Margins:
    """P3: the losses that ``train`` returns do not carry the weights."""
    learner, ids = subject.learner(task("classes")), _BATCHES[0]
    expected = learner.score(ids).copy()
    found = learner.train(handed([ids]), handed(_WEIGHTS[:1]))
    where = f"task 'classes': losses of a batch with weights {_WEIGHTS[0].tolist()}, against score() before"
    return {"error": require_close("P3", found, expected, ids, subject.tolerance, where)}


def check_a_step_follows_the_mean_over_the_batch(subject: Subject) -> Margins:
    """P4: a plain gradient step without weights follows the mean of the batch's losses."""
    found = _stepped(subject, None)
    summed = [np.full(len(ids), float(len(ids))) for ids in _BATCHES]
    return {"error": _explained(subject, found, None, {"a sum in place of a mean": summed})}


def check_a_batch_of_all_and_of_more_trains_alike(subject: Subject) -> Margins:
    """P4: so does a batch of all examples in a drawn order, and one of more than there are."""
    margins = {}
    for name in ("three-tasks", "classes"):
        case = task(name)
        if subject.lacking(case.needs) is not None:
            continue
        rng = generator(subject.seed, "all and more", name)
        drawn = [some_ids(rng, case.ids, len(case) + 13, repeats=True), rng.permutation(case.ids)]
        given = None if subject.lacking(("weights",)) else [rng.uniform(0.2, 3.0, len(ids)) for ids in drawn]
        order = np.concatenate([*drawn, case.ids])
        for dtype in subject.precisions:
            one = pair(subject, name, dtype)
            numpy = beside(one)
            expected, found = (
                np.concatenate([it.train(handed(drawn), given and handed(given)).copy(), it.score(case.ids)])
                for it in (numpy, one.learner)
            )
            where = f"batches of {[len(ids) for ids in drawn]}, {one.where}; drawn with seed {subject.seed}"
            margins[one.where] = require_close("P4", found, expected, order, 10 * ROUNDING[dtype], where)
            one.learner.load_state(copied(one.after))
        if name == "three-tasks":
            break  # "classes" where a subject has no tasks
    return margins


@needs("weights")
def check_weights_scale_each_gradient(subject: Subject) -> Margins:
    """P4: with weights a step follows the mean of weight times loss, divided by the batch's size."""
    mistakes = {
        "weights that are ignored": None,
        "weights applied twice": [w * w for w in _WEIGHTS],
        "a division by the sum of weights": [w * len(w) / w.sum() for w in _WEIGHTS],
        "a sum in place of a mean": [w * len(w) for w in _WEIGHTS],
    }
    return {"error": _explained(subject, _stepped(subject, _WEIGHTS), _WEIGHTS, mistakes)}


@needs("weights")
def check_no_weights_are_weights_of_one(subject: Subject) -> Margins:
    """P4: training without weights equals training with weights of 1."""
    ones = _stepped(subject, [np.ones(len(ids)) for ids in _BATCHES])
    none = _stepped(subject, None)
    where = "task 'classes': losses after three steps with weights of 1, against none"
    return {"error": require_close("P4", ones, none, _EVERY, subject.tolerance, where)}


class _Trained(NamedTuple):
    losses: Numbers
    scores: Numbers  # of all examples, after it


def _both_ways(subject: Subject) -> tuple[_Trained, Numbers, _Trained]:
    """Return three batches in three calls of ``train``, their scores before each, and the three in one call."""

    def trained() -> tuple[_Trained, Numbers, _Trained]:
        stepwise, at_once = subject.learner(task("classes")), subject.learner(task("classes"))
        at_once.score(_EVERY)  # as the other is scored: they are to differ in the calls of train alone
        before, losses = [], []
        for ids in _BATCHES:
            before.append(stepwise.score(ids).copy())
            losses.append(stepwise.train(handed([ids])).copy())
        one = _Trained(np.concatenate(losses), stepwise.score(_EVERY))
        return one, np.concatenate(before), _Trained(at_once.train(handed(_BATCHES)).copy(), at_once.score(_EVERY))

    return subject.kept("both ways", trained)


def _descend(learner: Learner, weights: list[Numbers] | None) -> Numbers:
    """Return every example's loss after three steps, as the next step's forward pass sees it.

    Not as ``score`` does: what the steps did is asked here, and A3 asks whether ``score`` sees it.
    """
    learner.train(handed(_BATCHES), None if weights is None else handed(weights))
    return learner.train([_EVERY])


def _stepped(subject: Subject, weights: list[Numbers] | None) -> Numbers:
    """Return the losses after three plain gradient steps of the subject."""
    case, optimiser = task("classes"), SGD(momentum=0.0)
    key = ("stepped", None if weights is None else tuple(float(w.sum()) for w in weights))
    return subject.kept(key, lambda: _descend(subject.learner(case, optimiser=optimiser, learning_rate=_RATE), weights))


def _expected(weights: list[Numbers] | None) -> Numbers:
    """Return the losses after the same steps of NumPy's closed-form gradients."""
    return _descend(numpy_learner(task("classes"), optimiser=SGD(momentum=0.0), learning_rate=_RATE), weights)


def _explained(
    subject: Subject, found: Numbers, weights: list[Numbers] | None, mistakes: dict[str, list[Numbers] | None]
) -> float:
    """Return the relative error. Raises CheckFailed saying which mistake the losses come from, if it is a known one."""
    where = "task 'classes': losses after three gradient steps, against closed-form gradients"
    try:
        return require_close("P4", found, _expected(weights), _EVERY, 10 * subject.tolerance, where)
    except CheckFailed as failure:
        for what, mistaken in mistakes.items():
            if relative_error(found, _expected(mistaken)) <= 10 * subject.tolerance:
                raise CheckFailed("P4", f"the losses of {what}", failure.expected, failure.where) from None
        raise
