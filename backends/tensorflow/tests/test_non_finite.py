"""A step with a loss or a gradient that is not finite changes nothing (rule P8); a learning rate that a state holds."""

import keras
import numpy as np
import pytest

import attent
from attent_tensorflow import KerasLearner

SICK = 7
GOOD = np.delete(np.arange(40), SICK)
FIRST, BAD, SECOND = np.arange(10, 20), np.array([5, 6, SICK, 8]), np.arange(20, 30)


def learner(sick=True, rate=0.01, **settings):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 5)).astype(np.float32), random.integers(3, size=40)
    if sick:
        x[SICK] = np.nan
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.layers.Input((5,)), *layers])
    model.compile(keras.optimizers.AdamW(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return KerasLearner(model, (x, y), **settings)


def test_nothing_is_changed():
    disturbed, plain = learner(), learner()
    assert not np.isfinite(disturbed.train([BAD, FIRST, BAD])).all()
    disturbed.train([SECOND])
    plain.train([FIRST, SECOND])
    ours, theirs = disturbed.state(), plain.state()
    assert any("moving_mean" in name for name in theirs)
    for name in theirs:
        assert np.array_equal(ours[name], theirs[name]) == (name != "steps"), name
    assert (disturbed.skipped, plain.skipped, int(ours["steps"])) == (2, 0, 4)


def test_a_gradient_that_is_not_finite_is_as_bad_as_a_loss():
    def built():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.AdamW(0.01), "mse")
        random = np.random.default_rng(0)
        return KerasLearner(model, (random.normal(size=(40, 5)), 100 + 4 * random.normal(size=(40, 1))))

    it, plain = built(), built()
    losses = it.train([SECOND], [np.full(10, 1.7e308)])  # beyond float64 too, times the residual
    assert np.isfinite(losses).all()
    assert it.skipped == 1
    it.train([FIRST])
    plain.train([FIRST])
    assert np.array_equal(it.score(GOOD), plain.score(GOOD))


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_step_that_the_loss_scaler_leaves_out_changes_nothing_and_is_counted(policy):
    """At the largest scale that float32 has the first step's gradient overflows, of finite losses."""

    def built(scale):
        keras.utils.set_random_seed(0)
        random = np.random.default_rng(0)
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        model = keras.Sequential([keras.layers.Input((5,)), *layers])
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=scale), "mse")
        return KerasLearner(model, (random.normal(size=(40, 5)).astype(np.float32), random.normal(size=(40, 1))))

    it, plain = built(2.0**127), built(1024.0)
    assert np.isfinite(it.train([FIRST])).all()
    assert (it.skipped, it.scales_losses, learner().scales_losses) == (1, True, False)
    for variable, other in zip(it.model.variables, plain.model.variables, strict=True):
        np.testing.assert_array_equal(variable, other)
    it.optimizer.dynamic_scale.assign(1024.0)
    it.train([SECOND])
    plain.train([SECOND])
    np.testing.assert_array_equal(it.score(GOOD), plain.score(GOOD))
    plan, taught = attent.Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, non_finite=policy), built(2.0**127)
    trace = attent.teach(taught, plan)
    assert trace.records[0].steps_skipped > 0
    assert sum(record.steps_skipped for record in trace.records) == taught.skipped
    assert int(taught.optimizer.iterations) == plan.total_steps(40) - taught.skipped


def test_a_run_goes_on_without_a_bad_example(tmp_path):
    it = learner()
    plan = attent.Plan(epochs=3, batch_size=8, ratio=0.5, warm_up=1, non_finite="drop")
    trace = attent.teach(it, plan, run=tmp_path)
    assert [record.steps_skipped for record in trace.records] == [1, 0, 0]
    assert trace.finished
    assert np.isfinite(it.score(GOOD)).all()


def test_another_learning_rate_is_told_or_kept():
    state = learner(rate=0.5).state()
    it = learner(rate=0.001)
    with pytest.warns(UserWarning, match=r"learning_rate was 0.5, is 0.001\. To go on with .* own_settings=True"):
        it.load_state(state)
    assert float(it.optimizer.learning_rate) == 0.5
    it = learner(rate=0.001, own_settings=True)
    it.load_state(state)
    assert float(it.optimizer.learning_rate) == pytest.approx(0.001)
