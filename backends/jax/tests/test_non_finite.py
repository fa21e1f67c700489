"""A step with a loss or a gradient that is not finite changes nothing (rule P8); settings that a state holds."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import attent
from attent_jax import JaxLearner

SICK = 7
GOOD = np.delete(np.arange(40), SICK)
FIRST, BAD, SECOND = np.arange(10, 20), np.array([5, 6, SICK, 8]), np.arange(20, 30)


def learner(sick=True, optimizer=None, **settings):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 5)).astype(np.float32), 100 * random.normal(size=40).astype(np.float32)
    if sick:
        x[SICK] = np.nan

    def loss(params, batch, *, state, mask):
        x, y = batch
        mean = jnp.where(mask[:, None], x, 0).sum(0) / mask.sum()
        return (x @ params["w"] - y) ** 2, {"mean": 0.9 * state["mean"] + 0.1 * mean}

    state = {"mean": jnp.zeros(5)}
    optimizer = optax.adamw(0.1) if optimizer is None else optimizer
    return JaxLearner({"w": jnp.zeros(5)}, (x, y), loss, optimizer, model_state=state, **settings)


def test_nothing_is_changed():
    disturbed, plain = learner(), learner()
    losses = disturbed.train([BAD, FIRST, BAD])
    assert np.isnan(losses).tolist() == [False, False, True, False] + [False] * 10 + [False, False, True, False]
    disturbed.train([SECOND])
    plain.train([FIRST, SECOND])
    ours, theirs = disturbed.state(), plain.state()
    for name in theirs:
        assert np.array_equal(ours[name], theirs[name]) == (name != "steps"), name
    assert (disturbed.skipped, plain.skipped, int(ours["steps"])) == (2, 0, 4)


def test_a_gradient_that_is_not_finite_is_as_bad_as_a_loss():
    it, plain = learner(sick=False), learner(sick=False)
    losses = it.train([SECOND], [np.full(10, 1.7e308)])  # beyond float64 too, times the residual
    assert np.isfinite(losses).all()
    assert it.skipped == 1
    it.train([FIRST])
    plain.train([FIRST])
    assert np.array_equal(it.score(GOOD), plain.score(GOOD))


def test_a_run_goes_on_without_a_bad_example(tmp_path):
    it = learner()
    plan = attent.Plan(epochs=3, batch_size=8, ratio=0.5, warm_up=1, non_finite="drop")
    trace = attent.teach(it, plan, run=tmp_path)
    assert [record.steps_skipped for record in trace.records] == [1, 0, 0]
    assert trace.finished
    assert np.isfinite(it.score(GOOD)).all()


def test_a_held_setting_is_told_or_kept():
    def built(rate, **settings):
        return learner(sick=False, optimizer=optax.inject_hyperparams(optax.sgd)(rate), **settings)

    state = built(0.5).state()
    name = "optimizer/hyperparams/learning_rate"
    it = built(0.001)
    with pytest.warns(UserWarning, match=r"learning_rate was 0.5, is 0.001\. To go on with .* own_settings=True"):
        it.load_state(state)
    assert float(it.state()[name]) == 0.5
    it = built(0.001, own_settings=True)
    it.load_state(state)
    assert float(it.state()[name]) == pytest.approx(0.001)
    scheduled = built(optax.linear_schedule(0.5, 0.0, 9))
    scheduled.train([FIRST])
    built(optax.linear_schedule(0.5, 0.0, 9)).load_state(scheduled.state())  # a place in a schedule is no setting
