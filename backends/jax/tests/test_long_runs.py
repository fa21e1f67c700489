"""What long runs bring: parameters that training does not change, and what goes on beside the model."""

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

ONLY_W2 = {"w1": False, "b1": False, "w2": True}


def size(state):
    return sum(array.nbytes for array in state.values())


# What a state holds


def test_a_state_leaves_out_what_is_not_trained(task, assert_same):
    it, other = (task.learner(trainable=ONLY_W2, optimizer=optax.adam(0.1)) for _ in range(2))
    it.train(task.batches)
    state = it.state()
    assert sorted(state) == [
        "dtypes", "frozen", "optimizer/0/count", "optimizer/0/mu/w2", "optimizer/0/nu/w2", "params/w2", "seed",
        "steps", "width",
    ]  # fmt: skip
    assert size(state) < size(task.learner(optimizer=optax.adam(0.1)).state()) - 3 * 8 * (24 + 8) + 200
    other.load_state(state)
    assert np.array_equal(it.train(task.batches), other.train(task.batches))
    assert_same(it.state(), other.state())
    assert_same({name: it.params[name] for name in ("w1", "b1")}, {n: task.params()[n] for n in ("w1", "b1")})


@pytest.mark.parametrize(
    "trainable",
    [
        ONLY_W2,
        lambda params: {name: name == "w2" for name in params},
        lambda params: jax.tree_util.tree_map_with_path(lambda path, _: "w2" in jax.tree_util.keystr(path), params),
    ],
)
def test_training_is_that_of_an_optimizer_which_sets_the_rest_to_zero(task, assert_same, trainable):
    labels = {name: "train" if keep else "stay" for name, keep in ONLY_W2.items()}
    optimizer = optax.multi_transform({"train": optax.adam(0.1), "stay": optax.set_to_zero()}, labels)
    losses, trail = task.by_hand(optimizer)
    it = task.learner(optimizer=optax.adam(0.1), trainable=trainable)
    assert np.allclose(it.train(task.batches), losses, rtol=1e-13)
    for name, value in trail[-1].items():
        assert np.allclose(it.params[name], value, rtol=1e-13), name


def test_a_place_stands_for_all_arrays_below_it(task):
    params = {"base": task.params(), "head": jnp.ones(2)}

    def loss(params, batch):
        return task.loss(params["base"], batch) * params["head"].sum()

    it = task.learner(loss, params=params, trainable={"base": False, "head": True})
    it.train(task.batches)
    assert [name for name in it.state() if name.startswith("params")] == ["params/head"]
    assert not np.array_equal(it.params["head"], params["head"])
    assert np.array_equal(it.params["base"]["w2"], params["base"]["w2"])


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        ({"w1": True}, "trainable must be True or False for each array of params"),
        ({**ONLY_W2, "w2": "yes"}, r"trainable\['w2'\] must be True or False, got 'yes'"),
        (lambda params: False, "trainable is False for all of params: nothing would be trained"),
    ],
)
def test_a_mask_that_does_not_fit(task, trainable, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(trainable=trainable)


def test_other_parameters_than_those_left_out_are_refused(task, assert_same):
    state = task.learner(trainable=ONLY_W2).state()
    changed = {**task.params(), "b1": jnp.full(8, 1e-300)}
    cases = [
        (task.learner(params=changed, trainable=ONLY_W2), "the 2 of this learner are others"),
        (task.learner(trainable={**ONLY_W2, "b1": True}), "the 1 of this learner are others"),
        (task.learner(), "the state has parameters that training does not change, this learner has none"),
    ]
    for it, message in cases:
        before = it.state()
        with pytest.raises(LearnerError, match=message):
            it.load_state(state)
        assert_same(it.state(), before)
    with pytest.raises(LearnerError, match="this learner has parameters that training does not change, the state has"):
        task.learner(trainable=ONLY_W2).load_state(task.learner().state())


X, Y = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32), np.arange(24) % 2


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="head")(nn.tanh(nn.Dense(4, name="base")(x)))


class Nnx(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.base, self.head = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.tanh(self.base(x)))


class Equinox(eqx.Module):
    base: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self):
        keys = jax.random.split(jax.random.key(0))
        self.base, self.head = eqx.nn.Linear(3, 4, key=keys[0]), eqx.nn.Linear(4, 2, key=keys[1])

    def __call__(self, x):
        return self.head(jnp.tanh(self.base(x)))


def head_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: "head" in jax.tree_util.keystr(path), params)


def linen():
    variables = Linen().init(jax.random.key(0), X)
    return from_linen(Linen(), variables, (X, Y), cross_entropy, optax.adam(0.1), trainable=head_only)


def flax_nnx():
    return from_nnx(Nnx(), (X, Y), cross_entropy, optax.adam(0.1), trainable=head_only)


def equinox():
    def loss(model, batch):
        return cross_entropy(jax.vmap(model), batch)

    return from_equinox(Equinox(), (X, Y), loss, optax.adam(0.1), trainable=head_only)


@pytest.mark.parametrize("make", [linen, flax_nnx, equinox])
def test_modules_are_trained_in_part(assert_same, make):
    it, other = make(), make()
    first = jax.tree.leaves(it.params)
    it.train([np.arange(12), np.arange(12, 24)])
    state = it.state()
    names = [name for name in state if name.startswith("params/")]
    assert len(names) == 2
    assert all("head" in name for name in names)
    assert sum(np.array_equal(a, b) for a, b in zip(first, jax.tree.leaves(it.params), strict=True)) == 2
    other.load_state(state)
    assert np.array_equal(it.train([np.arange(24)]), other.train([np.arange(24)]))
    assert_same(it.state(), other.state())


# What goes on beside the model


class Counter:
    def __init__(self):
        self.count, self.rate = 0, 0.5

    def state_dict(self):
        return {"count": self.count, "rate": self.rate, "seen": np.float32(self.count)}

    def load_state_dict(self, state):
        if state["count"] < 0:
            raise ValueError("below zero")
        assert [type(state[name]) for name in ("count", "rate", "seen")] == [int, float, np.float32]
        self.count, self.rate = state["count"], state["rate"]


class Average:
    """An average of the parameters, a NamedTuple of optax and a key, given as two functions."""

    def __init__(self, learner=None):
        self.optimizer, self.state = optax.ema(0.9), None

    def begin(self, learner):
        self.state = self.optimizer.init(learner.params), jnp.zeros(2, jnp.bfloat16), jax.random.key(3)

    def update(self, learner):
        self.state = self.optimizer.update(learner.params, self.state[0])[1], *self.state[1:]

    def get(self):
        return self.state

    def set(self, state):
        assert isinstance(state[0], optax.EmaState)
        self.state = state


def test_what_is_given_beside_the_model_goes_on(task, assert_same):
    def build():
        counter, average = Counter(), Average()
        average.begin(task.learner())
        it = task.learner(extra={"counter": counter, "average": (average.get, average.set)})
        return it, counter, average

    it, counter, average = build()
    for batch in task.batches:
        it.train([batch])
        average.update(it)
        counter.count += len(batch)
    state = it.state()
    assert {"extra/counter/count", "extra/average/0/ema/w1", "extra/average/1"} < set(state)
    other, resumed_counter, resumed = build()
    other.load_state(state)
    assert resumed_counter.count == counter.count == 25
    for learner, one in ((it, average), (other, resumed)):
        learner.train(task.batches)
        one.update(learner)
    assert_same(resumed.state[:2], average.state[:2])
    assert jnp.array_equal(jax.random.key_data(resumed.state[2]), jax.random.key_data(average.state[2]))


def test_something_beside_the_model_that_refuses_changes_nothing(task, assert_same):
    first, second = Counter(), Counter()
    it = task.learner(extra={"first": first, "second": second})
    first.count, second.count = 5, -1
    state = it.state()
    first.count = second.count = 2
    before = it.state()
    with pytest.raises(LearnerError, match=r"extra\['second'\] refused its state: ValueError: below zero"):
        it.load_state(state)
    assert_same(it.state(), before)
    with pytest.raises(LearnerError, match="has 'extra/first/count', .* too many"):
        task.learner().load_state(state)
    with pytest.raises(LearnerError, match=r"extra\['x'\] must have state_dict\(\), object has none"):
        task.learner(extra={"x": object()})
    with pytest.raises(LearnerError, match=r"extra\['x'\]\['name'\] is str in its state, which must be a pytree"):
        task.learner(extra={"x": (lambda: {"name": "a"}, print)})
