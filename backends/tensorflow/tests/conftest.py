"""A small problem with known answers: 24 examples, and a network with dropout that resumes exactly."""

from __future__ import annotations

import functools
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

from attent_tensorflow import SGD, TensorFlowLearner

N = 24


class Net(tf.Module):
    """Two layers; ``dropout`` is stateless, drawn from the loss's seed."""

    def __init__(self, dtype=tf.float64, seed=1, width=8):
        super().__init__()
        random = np.random.default_rng(seed)
        self.first = tf.Variable(random.normal(size=(3, width)), dtype=dtype)
        self.shift = tf.Variable(np.zeros(width), dtype=dtype)
        self.second = tf.Variable(random.normal(size=(width, 2)) / 3, dtype=dtype)

    def __call__(self, x, drop=lambda h: h):
        return drop(tf.tanh(x @ self.first + self.shift)) @ self.second


class Task:
    """Builds equal models, optimisers and learners as often as asked."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.x = random.normal(size=(N, 3))
        self.y = random.normal(size=(N, 2))
        order = random.permutation(N)
        self.batches = [order[:6], order[6:11], order[11:18], order[3:9], order[18:]]
        self.weights = [random.uniform(0.1, 3.0, size=len(ids)) for ids in self.batches]
        self.model = Net

    @staticmethod
    def loss(model, batch, training):
        x, y = batch
        return tf.reduce_mean((model(x) - y) ** 2, axis=1)

    @staticmethod
    def dropped(model, batch, training, seed):
        x, y = batch
        rate = 0.4 if training else 0.0
        drop = functools.partial(tf.nn.experimental.stateless_dropout, rate=rate, seed=seed)
        return tf.reduce_mean((model(x, drop) - y) ** 2, axis=1)

    def learner(self, model=None, data=None, **settings):
        optimizer = settings.pop("optimizer", None) or SGD(0.1)
        loss = settings.pop("loss", self.loss)
        return TensorFlowLearner(
            Net() if model is None else model, (self.x, self.y) if data is None else data, loss, optimizer, **settings
        )

    def by_hand(self, model, rate, momentum=0.9, weights=None, batches=None):
        """The loop that a user would write, in NumPy's order of things; returns what train() must return."""
        losses, velocity = [], None
        for step, ids in enumerate(self.batches if batches is None else batches):
            with tf.GradientTape() as tape:
                each = self.loss(model, (self.x[ids], self.y[ids]), True)
                objective = tf.reduce_mean(each if weights is None else each * weights[step])
            gradients = tape.gradient(objective, model.trainable_variables)
            velocity = (
                gradients if velocity is None else [momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
            )
            for variable, change in zip(model.trainable_variables, velocity, strict=True):
                variable.assign_sub(rate(step) * change)
            losses.append(each.numpy())
        return np.concatenate(losses)


@pytest.fixture
def task():
    return Task()


@pytest.fixture
def assert_same():
    """Two states are equal to the last bit, in names, dtypes and values."""

    def check(a, b):
        assert list(a) == list(b)
        for name in a:
            assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape), name
            assert a[name].tobytes() == b[name].tobytes(), name

    return check
