"""A3 and P4 far from where training begins: losses of a hundred and more, weights of any size."""

from __future__ import annotations

import functools

import numpy as np

from attent.learner import Ids, Learner, Numbers
from attent.reference import SGD, NumpyLearner
from attent_conformance.comparing import require_close
from attent_conformance.draws import LARGEST, batches, generator, some_ids
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import ROUNDING, allowed, beside, pair, reborn
from attent_conformance.subject import Subject, built, numpy_learner
from attent_conformance.tasks import TASKS, rate, task

_SCALES = (1e-9, 1e-4, 1e4, 1e7)
_EPSILON = 1e-6  # gradients of about AdamW's epsilon: the one scale at which it tells a gradient from twice that


def check_large_losses_agree(subject: Subject) -> Margins:
    """A3: where parameters give losses of a hundred and more, they, a step on them and what follows are NumPy's."""
    margins = {}
    case, settings = task("classes"), {"optimiser": SGD(momentum=0.0), "learning_rate": 1e-4}
    rng = generator(subject.seed, "large losses")
    parameters = {
        name: array * (float(rng.uniform(150.0, 300.0)) if name == "head.weight" else 1.0)
        for name, array in case.parameters.items()
    }
    drawn = some_ids(rng, case.ids, LARGEST, repeats=True)
    order = np.concatenate([case.ids, drawn, case.ids])

    def run(learner: Learner) -> Numbers:
        return np.concatenate([learner.score(case.ids), learner.train([drawn]), learner.score(case.ids)])

    expected = run(numpy_learner(case, parameters, **settings))
    largest = expected.max()  # losses near 0 are what is left of numbers as large as the largest
    for dtype in subject.precisions:
        found = run(subject.learner(case, dtype=dtype, parameters=parameters, **settings))
        where = (
            f"the largest loss and scores, losses and scores of 'classes', head.weight times 150 and more, {dtype}; "
        )
        where += f"drawn with seed {subject.seed}"
        margins[dtype] = require_close("A3", found + largest, expected + largest, order, ROUNDING[dtype], where)
    return margins


@needs("weights")
def check_weights_of_any_size_train_alike(subject: Subject) -> Margins:
    """P4: so do steps with weights all of a millionth on every task; from a billionth to ten millions on some."""
    margins = {}
    for name in (name for name in TASKS if subject.lacking(task(name).needs) is None):
        case = task(name)
        rng = generator(subject.seed, "any size", name)
        once = [some_ids(rng, case.ids, 19, repeats=True) for _ in range(2)]
        few = batches(rng, case.ids, 4)  # as many as other checks give at once, for frameworks that compile
        for scale in (_EPSILON, *(_SCALES if name in ("classes", "many") else ())):
            if scale == _EPSILON:
                drawn, given = few, [_weights(rng, scale, len(ids)) for ids in few]
            else:
                drawn, given = [*once, once[0]], [_weights(rng, scale, 19), _weights(rng, scale / 10, 19)]
                given.append(given[0][::-1].copy())  # the first batch again, its weights in another order
            run = functools.partial(_run, drawn, given, case.ids)

            def numpys(dtype: str, case=case, run=run) -> Numbers:  # type: ignore[no-untyped-def]
                return run(built(NumpyLearner, case, None, learning_rate=rate, dtype=dtype))

            expected = numpys("float64")
            for dtype in subject.precisions:
                where = f"losses of {len(drawn)} steps with weights about {scale:g}, then scores, task {name!r}, "
                where += f"{dtype}; drawn with seed {subject.seed}"
                found = run(reborn(subject, name, dtype))
                order, tolerance = np.concatenate([*drawn, case.ids]), allowed(dtype, numpys, expected)
                margins[f"{name}, {scale:g}, {dtype}"] = require_close("P4", found, expected, order, tolerance, where)
        for dtype in subject.precisions:
            beside(pair(subject, name, dtype))  # back from moments of any size
    return margins


@needs("weights")
def check_a_finite_gradient_is_followed(subject: Subject) -> Margins:
    """P4: so does a step whose gradient is finite, and whose squares are not: no norm of it decides."""
    margins = {}
    case = task("many")
    for dtype in subject.precisions:
        rng = generator(subject.seed, "squares", dtype)
        scale = 1e160 if dtype == "float64" else 1e22
        drawn, given = [some_ids(rng, case.ids, 8, repeats=False)], [scale * rng.uniform(0.5, 2.0, 8)]
        settings = {"optimiser": SGD(momentum=0.0), "learning_rate": 0.1 / scale}
        run = functools.partial(_run, drawn, given, case.ids)
        expected = run(numpy_learner(case, **settings))
        where = f"losses of a step with weights about {scale:g}, then scores, {dtype}; drawn with seed {subject.seed}"
        found = run(subject.learner(case, dtype=dtype, **settings))
        order = np.concatenate([*drawn, case.ids])
        margins[dtype] = require_close("P4", found, expected, order, ROUNDING[dtype], where)
    return margins


def _run(drawn: list[Ids], given: list[Numbers], ids: Ids, learner: Learner) -> Numbers:
    return np.concatenate([learner.train(drawn, given).copy(), learner.score(ids)])


def _weights(rng: np.random.Generator, scale: float, count: int) -> Numbers:
    sizes: Numbers = scale * 10.0 ** rng.uniform(-0.5, 0.5, count)  # unequal: a cap shows, though AdamW knows no scale
    return np.where(rng.random(count) < 0.3, -sizes, sizes)
