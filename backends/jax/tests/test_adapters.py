"""flax linen, flax nnx and equinox modules behind the same learner: modes, batch statistics, dropout, resume."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attent.errors import LearnerError
from attent_jax import cross_entropy, from_equinox, from_linen, from_nnx

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(24, 3)).astype(np.float32), RANDOM.integers(0, 2, 24)
BATCHES = [np.arange(8), np.arange(5, 13), np.array([20, 3, 1])]
ALL = np.arange(24)


class Linen(nn.Module):
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(2)(x)


class Nnx(nnx.Module):
    def __init__(self, dropout=0.5):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.second = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.second(self.dropout(self.norm(self.first(x))))


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout

    def __init__(self, dropout=0.5):
        self.first = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        self.norm = eqx.nn.BatchNorm(2, axis_name="batch", mode="batch", momentum=0.9)
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(self, x, state, key):
        x, state = self.norm(self.first(x), state)
        return self.dropout(x, key=key), state


def linen(dropout=0.5, optimizer=None):
    module = Linen(dropout)
    variables = module.init(jax.random.key(0), X[:1], False)

    def loss(model, batch, *, train):
        return cross_entropy(lambda x: model(x, train), batch)

    def judge(model):
        return {"loss": cross_entropy(lambda x: model(x, False), (X, Y)).mean()}

    return from_linen(module, variables, (X, Y), loss, optimizer or optax.adam(0.05), evaluate=judge)


def on_nnx(dropout=0.5, optimizer=None):
    def judge(model):
        return {"loss": cross_entropy(model, (X, Y)).mean()}

    return from_nnx(Nnx(dropout), (X, Y), cross_entropy, optimizer or optax.adam(0.05), evaluate=judge)


def equinox(dropout=0.5, optimizer=None):
    model, state = eqx.nn.make_with_state(Equinox)(dropout)

    def outputs(model, x, state, key):
        keys = None if key is None else jax.random.split(key, len(x))
        axes = (0, None, None if key is None else 0)
        return jax.vmap(model, in_axes=axes, out_axes=(0, None), axis_name="batch")(x, state, keys)

    def loss(model, batch, *, state, key):
        x, y = batch
        logits, state = outputs(model, x, state, key)
        return cross_entropy(lambda _: logits, (x, y)), state

    def judge(model, state):
        return {"loss": cross_entropy(lambda x: outputs(model, x, state, None)[0], (X, Y)).mean()}

    return from_equinox(model, (X, Y), loss, optimizer or optax.adam(0.05), model_state=state, evaluate=judge)


class Learners:
    """One adapter's learners with and without dropout, compiled once and set back for each test."""

    def __init__(self, make):
        self._made = {dropout: make(dropout) for dropout in (0.0, 0.5)}
        self._states = {dropout: learner.state() for dropout, learner in self._made.items()}

    def fresh(self, dropout, steps=0):
        self._made[dropout].load_state({**self._states[dropout], "steps": np.array(steps)})
        return self._made[dropout]


@pytest.fixture(scope="module", params=[linen, on_nnx, equinox], ids=["linen", "nnx", "equinox"])
def learners(request):
    return Learners(request.param)


def test_it_learns_and_judges_in_evaluation_mode(learners):
    learner = learners.fresh(dropout=0.0)
    assert learner.train(BATCHES).shape == (19,)
    before = learner.score(ALL)
    assert np.array_equal(learner.score(ALL), before)
    assert learner.evaluate() == {"loss": pytest.approx(before.mean(), rel=1e-5)}
    learner.train(BATCHES[:2] * 20)
    assert learner.score(np.arange(13)).mean() < before[:13].mean()
    # Batch statistics count no padding, so the smaller batch was not padded.
    assert learner.compilations == {"score": 1, "train": 2}


def test_dropout_and_batch_statistics_resume_exactly(learners, assert_same):
    learner = learners.fresh(dropout=0.5)
    learner.train(BATCHES[:2])
    state = learner.state()
    rest = learner.train(BATCHES[:2] * 2)
    end = learner.state()
    learner = learners.fresh(dropout=0.5)
    learner.load_state(state)
    assert np.array_equal(learner.train(BATCHES[:2] * 2), rest)
    assert_same(learner.state(), end)


def test_dropout_acts_in_training_only_and_differs_between_steps(learners):
    first, again, later = (learners.fresh(0.5, steps).train(BATCHES[:1]) for steps in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first - later).max() > 1e-3
    steady, later = (learners.fresh(0.0, steps).train(BATCHES[:1]) for steps in (0, 1))
    assert np.array_equal(steady, later)
    np.testing.assert_allclose(learners.fresh(0.5).score(ALL), learners.fresh(0.0).score(ALL), rtol=1e-5)


def test_linen_batch_statistics_are_updated_by_training_alone():
    learner = linen()
    kernel, bias = (np.asarray(learner.params["Dense_0"][name]) for name in ("kernel", "bias"))
    learner.score(ALL)
    assert not learner.model_state["batch_stats"]["BatchNorm_0"]["mean"].any()
    learner.train(BATCHES[:1])
    expected = 0.1 * (X[BATCHES[0]] @ kernel + bias).mean(0)
    np.testing.assert_allclose(learner.model_state["batch_stats"]["BatchNorm_0"]["mean"], expected, rtol=1e-5)


def test_nnx_leaves_the_model_alone_and_gives_back_what_was_learned():
    model = Nnx()
    kernel = np.asarray(model.first.kernel[...])
    learner = from_nnx(model, (X, Y), cross_entropy, optax.adam(0.05))
    learner.train(BATCHES[:2] * 3)
    assert np.array_equal(model.first.kernel[...], kernel)
    assert not model.dropout.deterministic
    nnx.update(model, learner.params, learner.model_state)
    model.eval()
    np.testing.assert_allclose(cross_entropy(model, (X, Y)), learner.score(ALL), rtol=1e-5)


def test_equinox_without_state_keeps_static_parts():
    model = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    learner = from_equinox(model, (X, Y), lambda m, b: cross_entropy(jax.vmap(m), b), optax.adam(0.05))
    learner.train(BATCHES[:2] * 3)
    assert learner.compilations["train"] == 1
    learned = eqx.combine(learner.params, model)
    np.testing.assert_allclose(cross_entropy(jax.vmap(learned), (X, Y)), learner.score(ALL), rtol=1e-5)


def test_one_model_three_ways():
    """The same affine map gives the same losses, and the same weights after five steps."""
    kernel, bias = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=2)
    data = X.astype(np.float64), Y
    dense = nn.Dense(2, param_dtype=jnp.float64)
    affine = nnx.Linear(3, 2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    affine.kernel[...], affine.bias[...] = kernel, bias
    linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    linear = eqx.tree_at(lambda m: (m.weight, m.bias), linear, (jnp.asarray(kernel.T), jnp.asarray(bias)))
    learners = [
        from_linen(dense, {"params": {"kernel": kernel, "bias": bias}}, data, cross_entropy, optax.adam(0.1)),
        from_nnx(affine, data, cross_entropy, optax.adam(0.1)),
        from_equinox(linear, data, lambda m, b: cross_entropy(jax.vmap(m), b), optax.adam(0.1)),
    ]
    losses = [learner.train(BATCHES * 2) for learner in learners]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-10)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-10)
    np.testing.assert_allclose(learners[2].params.weight.T, learners[0].params["kernel"], rtol=1e-10)


def test_linen_variables_without_params():
    with pytest.raises(LearnerError, match="variables must hold 'params', as module.init gives them, got kernel"):
        from_linen(nn.Dense(2), {"kernel": X}, (X, Y), cross_entropy, optax.sgd(0.1))
