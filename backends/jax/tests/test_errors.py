"""Errors name the thing, the rule, the value and the way out, and nothing has changed then (rule P7)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attent.errors import LearnerError
from attent_jax import JaxLearner, token_mean

GOOD = np.array([0, 1])
BAD_IDS = [
    (np.array([3, 24]), r"ids must be in \[0, 24\), got 24"),
    (np.array([3, -1]), r"ids must be in \[0, 24\), got -1"),
    (np.array([1.0]), r"must be a one-dimensional int64 array of example ids, got float64 of shape \(1,\)"),
    (np.array([1], np.int32), r"got int32 of shape \(1,\)"),
    (np.array([[1]]), r"got int64 of shape \(1, 1\)"),
    ([1, 2], r"got list"),
    (jnp.array([1]), r"got ArrayImpl"),
]


@pytest.mark.parametrize(("ids", "message"), BAD_IDS)
def test_ids_to_score(task, ids, message):
    with pytest.raises(LearnerError, match=f"^ids.*{message}"):
        task.learner().score(ids)


@pytest.mark.parametrize(("ids", "message"), [*BAD_IDS, (np.empty(0, np.int64), "is empty; an optimiser step needs")])
def test_ids_to_train_are_checked_before_the_first_step(task, assert_same, ids, message):
    learner = task.learner()
    before = learner.state()
    with pytest.raises(LearnerError, match=rf"^batches\[1\].*{message}"):
        learner.train([GOOD, ids])
    assert_same(learner.state(), before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones(2)], "weights must hold one array per batch, 2, got 1"),
        ([np.ones(2), np.ones(3)], r"weights\[1\] must be .* of its batch's shape \(2,\), got float64 of shape \(3,\)"),
        ([np.ones(2), np.ones(2, np.float32)], r"weights\[1\] must be float64 .*, got float32"),
        ([np.ones(2), [1.0, 1.0]], r"weights\[1\] must be float64 .*, got list"),
        ([np.ones(2), np.array([1.0, np.nan])], r"weights\[1\] must be finite, got nan for example 1"),
    ],
)
def test_weights_are_checked_before_the_first_step(task, assert_same, weights, message):
    learner = task.learner()
    before = learner.state()
    with pytest.raises(LearnerError, match=f"^{message}"):
        learner.train([GOOD, GOOD], weights)
    assert_same(learner.state(), before)


def wide(params, batch):
    return (batch[0] @ params["w1"][:, :2] - batch[1]) ** 2


LOSSES = [
    (lambda p, b: wide(p, b).mean(), None, r"got shape \(\); return per-example losses, without a mean or sum"),
    (wide, None, r"got shape \(\d+, 2\); reduce each example to one number, for tokens with attent_jax.token_mean"),
    (lambda p, b: wide(p, b)[:1, 0], None, r"got shape \(1,\); its shape must be that of the batch's first dimension"),
    (lambda p, b: wide(p, b)[:, 0].astype(int), None, "the loss must be of a floating-point dtype, got int64"),
    (lambda p, b: 0.5, None, r"must return an array of shape \(\d+,\) or a dict of them by task, got 0.5"),
    (lambda p, b: {}, None, r"or a dict of them by task, got {}"),
    (lambda p, b: {"a": wide(p, b).mean()}, None, r"loss\['a'\] must be one number per example, shape \(\d+,\), got"),
    (lambda p, b: {"a": 1.0}, None, r"loss\['a'\] must be an array of shape \(\d+,\), got 1.0"),
    (lambda p, b: {"a": wide(p, b)[:, 0]}, {"a": 1.0, "b": 1.0}, "names 'a', 'b', but the loss returned 'a'"),
    (lambda p, b: wide(p, b)[:, 0], {"a": 1.0}, "task_weights names 'a', but the loss returned one array"),
]


@pytest.mark.parametrize(("loss", "task_weights", "message"), LOSSES)
@pytest.mark.parametrize("call", ["score", "train"])
def test_losses(task, assert_same, loss, task_weights, message, call):
    learner = task.learner(loss, task_weights=task_weights)
    before = learner.state()
    with pytest.raises(LearnerError, match=message):
        learner.score(GOOD) if call == "score" else learner.train([GOOD])
    assert_same(learner.state(), before)


STATE = {"mean": np.zeros(3)}
STATES = [
    (lambda p, b, *, state: wide(p, b)[:, 0], r"a loss that takes 'state' must return \(losses, new_state\)"),
    (lambda p, b, *, state: (wide(p, b)[:, 0], {}), "the new state must have the structure of the old"),
    (
        lambda p, b, *, state: (wide(p, b)[:, 0], {"mean": b[0]}),
        r"new state's \['mean'\] must be float64 of shape \(3,\), got",
    ),
]


@pytest.mark.parametrize(("loss", "message"), STATES)
def test_new_states(task, loss, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(loss, model_state=STATE).train([GOOD])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_batch_size": 0}, "score_batch_size must be a whole number of at least 1, got 0"),
        ({"score_batch_size": True}, "score_batch_size must be a whole number of at least 1, got True"),
        ({"seed": -5}, "seed must be a whole number of at least 0, got -5"),
        ({"optimizer": "adam"}, "optimizer must be an optax GradientTransformation, such as .*, got 'adam'"),
        ({"loss": 3}, r"loss must be a function of \(params, batch\), got 3"),
        ({"loss": lambda model: 0}, r"the loss must take \(params, batch\) and, by keyword, any of key, train, state, mask"),
        ({"loss": lambda p, b, rng: 0}, r"the loss must take \(params, batch\) .*; its signature is \(p, b, rng\)"),
        ({"model_state": STATE}, "model_state was given, but the loss takes no 'state'"),
        ({"loss": lambda p, b, *, state: 0}, "the loss takes 'state', but no model_state was given"),
        ({"params": {}}, "params must hold at least one array, got none"),
        ({"params": {"w": [1.0]}}, r"params\['w'\]\[0\] must be an array, got float; keep what is static out of params"),
        ({"params": {"w": jnp.arange(3)}}, r"params\['w'\] is int64, which has no gradient"),
        ({"data": (np.zeros((4, 3)), np.zeros(5))}, r"must share their first dimension, .* got shapes \(4, 3\), \(5,\)"),
        ({"data": ()}, "must share their first dimension, the examples, got shapes none"),
        ({"data": np.zeros((0, 3))}, "data must hold at least 1 example, got 0"),
        ({"n": 3}, "n is 3, but data holds 24 examples"),
        ({"data": lambda ids: ids}, "n must say how many examples the data function has, at least 1, got None"),
        ({"batch_sharding": "data"}, "batch_sharding must be a jax.sharding.NamedSharding, .*, got 'data'"),
    ],
)  # fmt: skip
def test_settings(task, settings, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(**settings)


def test_a_data_function_that_returns_too_much(task):
    learner = task.learner(data=lambda ids: (task.x, task.y), n=24)
    with pytest.raises(LearnerError, match=r"whose first dimension is that of the ids, 2, got shape \(24, 3\)"):
        learner.score(GOOD)


def test_float64_parameters_while_jax_has_it_off(task):
    with (
        jax.enable_x64(False),
        pytest.raises(LearnerError, match=r"params\['w'\] is float64, but JAX .*'jax_enable_x64', True"),
    ):
        JaxLearner({"w": np.zeros(3)}, np.ones((4, 3)), lambda p, b: b @ p["w"], optax.sgd(0.1))


def test_errors_of_the_loss_are_its_own(task):
    with pytest.raises(TypeError, match="dot_general"):
        task.learner(lambda p, b: b[0] @ p["w2"]).score(GOOD)


def test_token_mean_averages_valid_tokens_only():
    losses = jnp.array([[1.0, 2.0, 6.0], [4.0, jnp.nan, jnp.inf], [7.0, 7.0, 7.0]])
    mask = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert token_mean(losses, mask).tolist() == [3.0, 4.0, 0.0]
    gradient = jax.grad(lambda losses: token_mean(losses, mask).sum())(losses)
    np.testing.assert_allclose(gradient, [[1 / 3] * 3, [1.0, 0.0, 0.0], [0.0] * 3])


def test_token_mean_widens_sixteen_bits():
    losses = jnp.full((1, 4096), 100.0, jnp.float16)  # their sum does not fit into float16
    means = token_mean(losses, jnp.ones((1, 4096), bool))
    assert (means.dtype, means.tolist()) == (jnp.float32, [100.0])


@pytest.mark.parametrize(("losses", "mask"), [((2, 3), (2, 4)), ((2,), (2,)), ((2, 3), (2,))])
def test_token_mean_refuses_other_shapes(losses, mask):
    with pytest.raises(LearnerError, match="token_mean takes losses and mask of one shape"):
        token_mean(jnp.zeros(losses), jnp.zeros(mask, bool))
