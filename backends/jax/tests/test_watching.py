"""What must not be forgotten, told by a JAX learner and by those of its model libraries."""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attent
from attent_jax import JaxLearner, cross_entropy, from_equinox, from_linen, from_nnx

X, Y = np.linspace(-1, 1, 40, dtype=np.float32).reshape(40, 1), np.arange(40) % 2
WATCHED = jnp.ones((4, 1))


def plain(watch):
    params = {"w": jnp.array([[0.5, -0.5]])}
    return JaxLearner(
        params,
        (X, Y),
        lambda p, b: cross_entropy(lambda x: x @ p["w"], b),
        optax.sgd(0.1),
        watch=lambda p: watch(lambda x: x @ p["w"]),
    )


def of_nnx(watch):
    model = nnx.Sequential(nnx.Linear(1, 2, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    return from_nnx(model, (X, Y), cross_entropy, optax.sgd(0.1), watch=watch)


def of_linen(watch):
    module = linen.Dense(2)
    variables = module.init(jax.random.key(0), X)
    return from_linen(module, variables, (X, Y), cross_entropy, optax.sgd(0.1), watch=watch)


def of_equinox(watch):
    model = eqx.nn.Linear(1, 2, key=jax.random.key(0))
    return from_equinox(
        model,
        (X, Y),
        lambda m, b: cross_entropy(jax.vmap(m), b),
        optax.sgd(0.1),
        watch=lambda m: watch(jax.vmap(m)),
    )


@pytest.mark.parametrize("make", [plain, of_nnx, of_linen, of_equinox])
def test_watched_numbers_are_those_of_the_model_at_rest_and_follow_it(make):
    learner = make(lambda model: model(WATCHED)[:, 0])
    assert isinstance(learner, attent.Watches)
    before, state = learner.watch(), learner.state()
    assert (before.dtype, before.shape) == (np.float64, (4,))
    assert (before == learner.watch()).all()
    assert all((state[name] == array).all() for name, array in learner.state().items())
    learner.train([np.arange(40)])
    assert (before != learner.watch()).any()


def test_a_plan_that_keeps_takes_them_before_each_choice():
    plan = attent.Plan.auto(epochs=3, batch_size=4, keep=0.1)
    calls = []
    trace = attent.teach(plain(lambda model: (calls.append(1), np.zeros(3))[1]), plan)
    assert len(calls) == 1 + sum(record.selection is not None for record in trace.records) == 8


def test_half_precision_is_read():
    assert plain(lambda model: jnp.ones(2, jnp.bfloat16)).watch().tolist() == [1.0, 1.0]
