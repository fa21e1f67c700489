"""What long runs bring: variables that training does not change, and what goes on beside the model."""

import json
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow import KerasLearner

X, Y = np.random.default_rng(0).integers(0, 500, (24, 3)), np.arange(24) % 2
BATCHES = [np.arange(9), np.arange(9, 20)]


def size(state):
    return sum(array.nbytes for array in state.values())


# What a state holds


def embedded(seed=0, trainable=False):
    """A frozen embedding, a frozen layer with statistics, and a small trained part."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((3,), dtype="int32"),
            layers.Embedding(500, 16, name="embedding"),
            layers.Flatten(),
            layers.BatchNormalization(name="norm"),
            layers.Dense(2, name="head"),
        ]
    )
    model.get_layer("embedding").trainable = trainable
    return model


def learner(model, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return KerasLearner(model, (X, Y), loss, "adam", **settings)


def test_a_state_leaves_out_frozen_layers_and_keeps_statistics(assert_same):
    it, other = learner(embedded()), learner(embedded())
    it.train(BATCHES)
    state = it.state()
    assert sorted(name for name in state if name.startswith("model/")) == [
        "model/sequential/head/bias", "model/sequential/head/kernel", "model/sequential/norm/beta",
        "model/sequential/norm/gamma", "model/sequential/norm/moving_mean", "model/sequential/norm/moving_variance",
    ]  # fmt: skip
    assert size(state) < 8_000 < 500 * 16 * 4
    assert json.loads(state["about"].tobytes())["frozen"]["count"] == 1
    other.load_state(state)
    assert np.array_equal(it.train(BATCHES), other.train(BATCHES))
    assert_same(it.state(), other.state())


def test_before_a_step_a_state_holds_all(assert_same):
    first = learner(embedded()).state()
    assert "model/sequential/embedding/embeddings" in first
    used = learner(embedded(seed=1))
    used.train(BATCHES)
    used.load_state(first)
    assert_same(used.state(), first)


class Part(tf.Module):
    """A base that no step changes, and one that the loss changes without a gradient."""

    def __init__(self, dtype, bit=0):
        base = np.random.default_rng(0).integers(0, 2, (3, 40))
        base[0, 0] ^= bit
        self.base = tf.Variable(base, dtype=dtype, trainable=False)
        self.steps = tf.Variable(tf.zeros((), tf.int64), trainable=False)
        self.head = tf.Variable(tf.zeros((40, 2), tf.float64))

    def __call__(self, x):
        return x @ tf.cast(self.base, tf.float64) @ self.head


def counted(model, batch, training):
    if training:
        model.steps.assign_add(1)
    return tf.reduce_mean((model(batch[0]) - batch[1]) ** 2, axis=1)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16, tf.int8, tf.bool])
def test_a_module_is_left_out_in_part(task, assert_same, dtype):
    it, other = (task.learner(Part(dtype), loss=counted) for _ in range(2))
    it.train(task.batches)
    state = it.state()
    assert sorted(name for name in state if name.startswith("model/")) == ["model/head", "model/steps"]
    other.load_state(state)
    assert np.array_equal(it.train(task.batches), other.train(task.batches))
    assert_same(it.state(), other.state())
    wrong = task.learner(Part(dtype, bit=1), loss=counted)
    before = wrong.state()
    with pytest.raises(LearnerError, match=r"leaves out 1 variables .* \('model/base'\), and those of this learner"):
        wrong.load_state(state)
    assert_same(wrong.state(), before)


def test_another_choice_of_what_is_frozen_is_refused(assert_same):
    it = learner(embedded())
    it.train(BATCHES)
    other = learner(embedded(trainable=True))
    before = other.state()
    with pytest.raises(LearnerError, match="it lacks 'model/sequential/embedding/embeddings'"):
        other.load_state(it.state())
    assert_same(other.state(), before)


def test_what_changes_all_the_same_is_kept(task, assert_same):
    """An averaged copy of the model, updated beside the steps."""
    it, other = (task.learner(Part(tf.float64), loss=counted) for _ in range(2))
    it.train(task.batches)
    it.model.base.assign_add(tf.ones_like(it.model.base))
    state = it.state()
    assert "model/base" in state
    other.load_state(state)
    assert np.array_equal(it.train(task.batches), other.train(task.batches))
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


class Averages(NamedTuple):
    second: tf.Variable
    half: tf.Tensor


def test_what_is_given_beside_the_model_goes_on(task, assert_same):
    def build():
        counter, second = Counter(), tf.Variable(tf.zeros((8, 2), tf.float64))

        def get():
            return [Averages(second, tf.constant([0.5], tf.bfloat16))]

        def put(state):
            assert isinstance(state[0], Averages)
            assert state[0].half.dtype == tf.bfloat16
            second.assign(state[0].second)

        return task.learner(extra={"counter": counter, "average": (get, put)}), counter, second

    it, counter, second = build()
    for batch in task.batches:
        it.train([batch])
        second.assign(0.9 * second + 0.1 * it.model.second)
        counter.count += len(batch)
    state = it.state()
    assert {"extra/counter/count", "extra/average/0/0", "extra/average/0/1"} < set(state)
    other, resumed_counter, resumed = build()
    other.load_state(state)
    assert resumed_counter.count == counter.count == sum(map(len, task.batches))
    assert np.array_equal(resumed, second)
    assert_same(other.state(), state)


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
    with pytest.raises(LearnerError, match="'extra/x/name' is str: a state of extra= must hold tensors, arrays"):
        task.learner(extra={"x": (lambda: {"name": "a"}, print)})
