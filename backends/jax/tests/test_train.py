"""`train`: one step per batch on mean(w * loss), losses from before the step, padding without a trace (P2 to P4)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attent_jax import JaxLearner

OPTIMIZERS = {
    "adamw": lambda: optax.adamw(0.01, weight_decay=0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.cosine_decay_schedule(0.02, 5))),
}


@pytest.mark.parametrize(
    ("name", "weighted"), [("adamw", False), ("adamw", True), ("momentum", True), ("clipped", True)]
)
def test_it_is_the_loop_that_a_user_would_write(task, name, weighted):
    weights = task.weights if weighted else None
    expected, trail = task.by_hand(OPTIMIZERS[name](), weights)
    learner = task.learner(optimizer=OPTIMIZERS[name]())
    losses = learner.train(task.batches, weights)
    assert (losses.dtype, losses.shape, learner.steps) == (np.float64, (25,), 5)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    for key, value in trail[-1].items():
        np.testing.assert_allclose(learner.params[key], value, rtol=1e-10, atol=1e-13, err_msg=key)


def test_losses_are_unweighted_and_from_before_the_update(task):
    learner = task.learner()
    before = learner.score(task.batches[0])
    np.testing.assert_allclose(learner.train(task.batches[:1], task.weights[:1]), before, rtol=1e-14)
    assert np.abs(learner.score(task.batches[0]) - before).min() > 1e-4


def test_weight_zero_leaves_an_example_out_but_counts_it(task):
    ids = task.batches[0]
    weights = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 1.0])
    learner = task.learner(optimizer=optax.sgd(1.0))
    learner.train([ids], [weights])
    _, trail = task.by_hand(optax.sgd(1.0), [weights], [ids])
    for key, value in trail[-1].items():
        np.testing.assert_allclose(learner.params[key], value, rtol=1e-12, err_msg=key)


def test_how_steps_are_split_into_calls_changes_no_bit(task, assert_same):
    batches = [np.roll(np.arange(24), -shift)[: 3 + shift % 4] for shift in range(70)]  # more than one chunk of 64
    whole, split = task.learner(), task.learner()
    # The first call fixes what batches are padded to.
    cuts = [0, 4, 5, 40, 70]
    parts = [split.train(batches[a:b]) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(whole.train(batches), np.concatenate(parts))
    assert_same(whole.state(), split.state())


def test_no_batches(task, assert_same):
    learner = task.learner()
    before = learner.state()
    losses = learner.train([])
    assert (losses.dtype, losses.shape) == (np.float64, (0,))
    assert_same(learner.state(), before)


def test_padding_repeats_an_example_of_the_batch(task):
    # The gradient of sqrt at 0 is infinite, and 0 times infinity is NaN: example 0 poisons a step that touches it.
    x = np.arange(24.0)

    def loss(params, batch):
        return jnp.sqrt(batch) * params["w"]

    learner = JaxLearner({"w": jnp.ones(1)}, x, loss, optax.sgd(0.1))
    learner.train([np.array([1, 4, 9, 16]), np.array([4])])
    np.testing.assert_allclose(learner.params["w"], 1 - 0.1 * (1 + 2 + 3 + 4) / 4 - 0.1 * 2)
    poisoned = JaxLearner({"x": jnp.asarray(x)}, np.arange(24), lambda p, ids: jnp.sqrt(p["x"][ids]), optax.sgd(0.1))
    poisoned.train([np.array([1, 4, 9, 16]), np.array([4])])
    assert np.isfinite(poisoned.params["x"]).all()


def test_a_nan_in_padding_does_not_leak(task):
    def loss(params, batch, *, mask):
        return jnp.where(mask, task.loss(params, batch), jnp.nan)

    expected, trail = task.by_hand()
    learner = task.learner(loss)
    np.testing.assert_allclose(learner.train(task.batches), expected, rtol=1e-12)
    np.testing.assert_allclose(learner.params["w1"], trail[-1]["w1"], rtol=1e-10)
    assert np.isfinite(learner.score(np.arange(23))).all()


def test_a_nan_of_an_example_is_not_hidden(task):
    task.y[5] = np.nan
    losses = task.learner().train([np.array([4, 5, 6])])
    assert np.isnan(losses).tolist() == [False, True, False]


def test_padding_has_no_gradient_even_where_examples_see_each_other(task):
    def centred(params, batch):
        losses = task.loss(params, batch)
        return losses - losses.mean()

    ids = [np.array([1, 2, 3, 4]), np.array([5, 6])]
    exact = task.learner(centred, pad=False)
    losses = exact.train(ids)
    np.testing.assert_allclose([losses[:4].sum(), losses[4:].sum()], 0, atol=1e-15)
    assert exact.compilations["train"] == 2


def test_tasks_are_summed_by_weight(task):
    def tasks(params, batch):
        losses = task.loss(params, batch)
        return {"near": losses, "far": losses**2}

    ids = np.arange(24)
    each = task.learner().score(ids)
    np.testing.assert_allclose(task.learner(tasks).score(ids), each + each**2, rtol=1e-14)
    weighted = task.learner(tasks, task_weights={"near": 0.5, "far": 2.0})
    np.testing.assert_allclose(weighted.score(ids), 0.5 * each + 2 * each**2, rtol=1e-14)
    np.testing.assert_allclose(weighted.train([ids]), 0.5 * each + 2 * each**2, rtol=1e-14)
    single = task.learner(lambda p, b: 0.5 * task.loss(p, b) + 2 * task.loss(p, b) ** 2)
    single.train([ids])
    np.testing.assert_allclose(weighted.params["w1"], single.params["w1"], rtol=1e-12)


def test_the_model_state_follows_training_and_leaves_padding_out(task):
    state = {"seen": np.zeros((), np.int64), "mean": np.zeros(3)}
    learner = task.learner(task.counted, model_state=state)
    learner.train(task.batches)
    mean = np.zeros(3)
    for ids in task.batches:
        mean = 0.9 * mean + 0.1 * task.x[ids].mean(0)
    assert int(learner.model_state["seen"]) == 25
    np.testing.assert_allclose(learner.model_state["mean"], mean, rtol=1e-12)
    assert learner.compilations["train"] == 1


def test_without_a_mask_a_stateful_loss_is_not_padded(task):
    def loss(params, batch, *, state):
        x, _ = batch
        return task.loss(params, batch), {"mean": x.mean(0)}

    learner = task.learner(loss, model_state={"mean": np.zeros(3)})
    learner.train([np.array([1, 2, 3]), np.array([4, 5])])
    np.testing.assert_allclose(learner.model_state["mean"], task.x[[4, 5]].mean(0), rtol=1e-14)


def test_dropout_is_a_function_of_seed_and_step(task):
    ids = [np.arange(24)]
    first, second = (task.learner(task.dropout, optax.sgd(0.0), seed=7) for _ in range(2))
    a, b = first.train(ids), first.train(ids)
    assert np.abs(a - b).max() > 1e-3
    assert np.array_equal(second.train(ids * 2), np.concatenate([a, b]))
    other = task.learner(task.dropout, optax.sgd(0.0), seed=7 + 2**32).train(ids)
    assert np.abs(a - other).max() > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lower_precision(task, dtype):
    learner = task.learner(params=task.params(dtype))
    losses = learner.train(task.batches)
    expected, _ = task.by_hand()
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, expected, rtol=1e-5 if dtype == jnp.float32 else 0.1, atol=0.02)
    assert {leaf.dtype for leaf in jax.tree.leaves(learner.params)} == {np.dtype(dtype)}


def test_a_float32_schedule_on_bfloat16_moments(task):
    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 10))
    learner = task.learner(optimizer=optimizer, params=task.params(jnp.bfloat16))
    before = learner.score(np.arange(24)).mean()
    learner.train(task.batches * 4)
    assert learner.score(np.arange(24)).mean() < before


def test_the_objective_is_offered_to_the_optimizer(task):
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1, factor=0.5, atol=10.0))
    learner = task.learner(optimizer=plateau)
    learner.train([np.arange(24)] * 6)
    assert float(learner.state()["optimizer/1/scale"]) < 1.0
