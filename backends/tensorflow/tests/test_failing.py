"""A call of train() that fails in its middle: how far it came is not known, which is said until a state is taken up."""

import numpy as np
import pytest
import tensorflow as tf

import attent
from attent.errors import LearnerError
from attent_tensorflow import SGD, AdamW


class Data:
    """Batches read by Python code, which fails when it is asked for the third time."""

    def __init__(self, task):
        self.task, self.calls, self.failing = task, 0, False

    def read(self, ids):
        self.calls += 1
        if self.failing and self.calls == 3:
            raise OSError("no such file")
        return self.task.x[ids], self.task.y[ids]

    def __call__(self, ids):
        x, y = tf.numpy_function(self.read, [ids], (tf.float64, tf.float64))
        return tf.ensure_shape(x, (None, 3)), tf.ensure_shape(y, (None, 2))


def test_data_that_fail_lose_no_step_in_silence(task, assert_same):
    data = Data(task)

    def make():
        return task.learner(data=data, n=24, optimizer=AdamW(), learning_rate=lambda step: 0.1 / (1 + step))

    learner, other = make(), make()
    for one in (learner, other):
        one.train(task.batches)
    state = learner.state()
    data.failing, data.calls = True, 0
    with pytest.raises(tf.errors.OpError, match="no such file"):
        learner.train(task.batches)
    data.failing = False
    for call in (learner.state, lambda: learner.train(task.batches)):
        with pytest.raises(LearnerError, match="after how many of its steps is not known; load_state"):
            call()
    learner.load_state(state)
    assert learner.steps == 5
    assert learner.train(task.batches).tolist() == other.train(task.batches).tolist()
    assert_same(learner.state(), other.state())


def test_what_is_refused_before_the_first_step_needs_no_state(task, assert_same):
    learner, other = task.learner(), task.learner()
    with pytest.raises(LearnerError, match="got 24"):
        learner.train([np.array([0]), np.array([24])])
    assert learner.train(task.batches).tolist() == other.train(task.batches).tolist()
    assert_same(learner.state(), other.state())


def test_a_loss_that_is_refused_needs_no_state(task):
    def loss(model, batch, training):
        losses = task.loss(model, batch, training)
        return tf.reduce_mean(losses) if training else losses

    learner = task.learner(loss=loss)
    for _ in range(2):
        with pytest.raises(LearnerError, match="must be one number per example"):
            learner.train(task.batches)
    with pytest.raises(LearnerError, match="must be one number per example"):
        learner.state()


def test_overflow_in_float16_is_named_with_its_ids(task):
    def loss(model, batch, training):
        x, y = (300 * tf.cast(part, tf.float16) for part in batch)
        return tf.reduce_mean((x @ model.first)[:, :2] * 9 - y, axis=1) ** 2

    learner = task.learner(task.model(tf.float16), loss=loss, optimizer=SGD(0.1))
    scores = learner.score(np.arange(24))
    first = int(np.flatnonzero(~np.isfinite(scores))[0])
    plan = attent.Plan(epochs=2, batch_size=8, ratio=0.5, select="hard", source="fresh")
    with pytest.raises(attent.ScoreError, match=rf"numbers that are not finite in epoch 0: id {first} \(inf\)"):
        attent.teach(learner, plan)
