"""What must not be forgotten, told by a TensorFlow and a Keras learner."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import attent
from attent_tensorflow import KerasLearner, TensorFlowLearner, cross_entropy

X, Y = np.linspace(-1, 1, 40, dtype=np.float32).reshape(40, 1), np.arange(40) % 2


def keras_learner(watch):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.build((None, 1))
    return KerasLearner(model, (X, Y), watch=watch)


def plain(watch):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.build((None, 1))
    optimizer = keras.optimizers.SGD(0.1)
    return TensorFlowLearner(model, (X, Y), cross_entropy, optimizer, watch=watch)


@pytest.mark.parametrize("make", [plain, keras_learner])
def test_watched_numbers_are_those_of_the_model_and_follow_it(make):
    learner = make(lambda model: model(tf.ones((4, 1)))[:, 0])
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
    assert plain(lambda model: tf.ones(2, tf.bfloat16)).watch().tolist() == [1.0, 1.0]
