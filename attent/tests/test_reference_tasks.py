"""Several weighted tasks that share one head, on the reference learner."""

import numpy as np
import pytest

from attent.choose.noise import LEARNER, Noise, raw
from attent.errors import LearnerError
from attent.reference import Architecture, NumpyLearner, gradients, initial_parameters, losses

N = 10
A = Architecture("classify", length=4, outputs=3, patch=2, width=8, hidden=12, depth=1)
P = initial_parameters(A, 0)
WEIGHTS = (1.0, 0.25)


def whole(draw, top, *shape):
    return (raw(Noise(6, LEARNER + draw), 0, int(np.prod(shape))) % np.uint64(top)).astype(np.int64).reshape(shape)


INPUTS, TARGETS, LENGTHS = whole(1, 100, N, 4, 2) / 100, whole(2, 3, N, 2), 1 + whole(3, 4, N)


def test_the_loss_is_the_weighted_sum_of_the_tasks():
    single = [losses(A, P, INPUTS, TARGETS[:, task], LENGTHS) for task in (0, 1)]
    found = losses(A, P, INPUTS, TARGETS, LENGTHS, WEIGHTS)
    np.testing.assert_allclose(found, single[0] + 0.25 * single[1], rtol=1e-14)


def test_the_gradient_is_the_weighted_sum_of_the_tasks():
    weights = np.linspace(0.5, 2.0, N)
    values, found = gradients(A, P, INPUTS, TARGETS, LENGTHS, weights, WEIGHTS)
    one, two = (gradients(A, P, INPUTS, TARGETS[:, task], LENGTHS, weights) for task in (0, 1))
    np.testing.assert_allclose(values, one[0] + 0.25 * two[0], rtol=1e-14)
    for name, array in found.items():
        np.testing.assert_allclose(array, one[1][name] + 0.25 * two[1][name], rtol=0, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_learner_scores_trains_and_judges_by_it(dtype):
    it = NumpyLearner(
        A, P, INPUTS, TARGETS, lengths=LENGTHS, task_weights=WEIGHTS, held_out=(INPUTS, TARGETS, LENGTHS), dtype=dtype
    )
    ids = np.array([7, 2, 2])
    expected = losses(A, P, INPUTS, TARGETS, LENGTHS, WEIGHTS)
    np.testing.assert_allclose(it.score(ids), expected[ids], rtol=1e-6)
    assert it.evaluate()["loss"] == pytest.approx(expected.mean(), rel=1e-6)
    np.testing.assert_allclose(it.train([ids]), expected[ids], rtol=1e-6)
    assert it.score(ids).mean() < expected[ids].mean()


def test_weights_of_one_and_zero_are_the_first_task_alone():
    one = NumpyLearner(A, P, INPUTS, TARGETS[:, 0])
    two = NumpyLearner(A, P, INPUTS, TARGETS, task_weights=(1.0, 0.0))
    batches = [np.arange(6), np.arange(4, N)]
    assert one.train(batches).tolist() == two.train(batches).tolist()
    assert one.score(np.arange(N)).tolist() == two.score(np.arange(N)).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_weights": (1.0,)}, r"training targets must have shape \(10, 1\), got \(10, 2\)"),
        ({"task_weights": ()}, r"task_weights must be a tuple of finite numbers, one per task, got \(\)"),
        ({"task_weights": (1.0, np.nan)}, "task_weights must be a tuple of finite numbers"),
        ({"task_weights": [1.0, 2.0]}, "task_weights must be a tuple of finite numbers"),
        ({"targets": TARGETS + 2}, r"training targets must be in \[0, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"targets": TARGETS, "task_weights": WEIGHTS, **change}
    with pytest.raises(LearnerError, match=message):
        NumpyLearner(A, P, INPUTS, given["targets"], task_weights=given["task_weights"])


def test_next_token_has_no_tasks():
    a = Architecture("next-token", length=4, outputs=3, vocabulary=3, width=8, hidden=12, depth=1)
    tokens = whole(4, 3, N, 4)
    with pytest.raises(LearnerError, match="task_weights needs an architecture of kind 'classify', got 'next-token'"):
        NumpyLearner(a, initial_parameters(a, 0), tokens, tokens, task_weights=(1.0,))
