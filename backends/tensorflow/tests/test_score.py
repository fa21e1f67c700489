"""score(): what it returns and that it changes nothing (rules P1, P2, P5)."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow import KerasLearner

IDS = np.arange(24)


def test_scores_follow_the_ids_in_their_order(task):
    learner = task.learner(score_batch_size=5)
    expected = task.loss(learner.model, (task.x, task.y), False).numpy()
    order = np.array([7, 0, 23, 7, 11, 2])
    np.testing.assert_allclose(learner.score(order), expected[order], rtol=1e-14)
    assert learner.score(order).dtype == np.float64
    assert learner.score(IDS[:0]).shape == (0,)


@pytest.mark.parametrize("size", [1, 7, 24, 100])
def test_the_split_does_not_matter(task, size):
    whole = task.learner().score(IDS)
    np.testing.assert_allclose(task.learner(score_batch_size=size).score(IDS), whole, rtol=1e-14)


def test_one_trace_for_all_lengths(task):
    learner = task.learner(score_batch_size=5)
    for count in (24, 3, 1, 17):
        learner.score(IDS[:count])
    assert learner.traces == {"score": 1, "train": 0}


def test_float32_losses_come_back_as_float64(task):
    learner = task.learner(task.model(tf.float32), (task.x.astype(np.float32), task.y.astype(np.float32)))
    scores = learner.score(IDS)
    assert scores.dtype == np.float64
    assert (scores == scores.astype(np.float32)).all()


def test_batch_norm_dropout_and_global_generators_stay_as_they_were(assert_same):
    model = keras.Sequential(
        [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    learner = KerasLearner(model, (x, x[:, :1]))
    learner.train([IDS[:9]])
    generator = tf.random.get_global_generator()
    before, python, numpy = learner.state(), random.getstate(), np.random.get_state()[1].copy()
    drawn, floatx = generator.state.numpy(), keras.config.floatx()
    scores = learner.score(IDS)
    assert (learner.score(IDS) == scores).all()
    np.testing.assert_allclose(scores, ((model(x, training=False) - x[:, :1]) ** 2).numpy()[:, 0], rtol=1e-5)
    assert_same(learner.state(), before)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()
    assert (generator.state.numpy() == drawn).all()
    assert keras.config.floatx() == floatx
    assert {"model/sequential/batch_normalization/moving_mean", "model/seed_generator/seed_generator_state"} < set(
        before
    )


class Busy(tf.Module):
    """Counts its calls and draws from its own generator, in inference too."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones((3, 2), tf.float64))
        self.calls = tf.Variable(0, trainable=False)
        self.random = tf.random.Generator.from_seed(3)

    def __call__(self, x):
        self.calls.assign_add(1)
        return x @ self.weight + self.random.normal((1, 2), dtype=tf.float64)


def test_what_a_model_writes_while_scoring_is_put_back(task, assert_same):
    learner = task.learner(Busy())
    before = learner.state()
    first = learner.score(IDS)
    assert (learner.score(IDS) == first).all()
    assert_same(learner.state(), before)
    assert before["model/calls"] == 0
    learner.train(task.batches)
    after = learner.state()
    assert after["model/calls"] == 5
    assert (after["model/random/_state_var"] != before["model/random/_state_var"]).any()


def test_a_random_loss_scores_the_same_twice(task):
    def noisy(model, batch, training, seed):
        return task.loss(model, batch, training) + tf.random.stateless_uniform(
            (tf.shape(batch[0])[0],), seed, dtype=tf.float64
        )

    learner = task.learner(loss=noisy, seed=4)
    scores = learner.score(IDS)
    learner.train(task.batches[:1])
    learner.model.first.assign(task.model().first)
    learner.model.shift.assign(task.model().shift)
    learner.model.second.assign(task.model().second)
    assert (learner.score(IDS) == scores).all()
    assert (task.learner(loss=noisy, seed=5).score(IDS) != scores).all()


def test_stateful_random_operations_are_refused(task):
    def loss(model, batch, training):
        return task.loss(model, batch, training) * tf.random.uniform((), dtype=tf.float64)

    with pytest.raises(LearnerError, match="draw random numbers by RandomUniform, whose state cannot be saved"):
        task.learner(loss=loss).score(IDS)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([0, 24]), r"ids: ids must be in \[0, 24\), got 24"),
        (np.array([-1]), "ids: ids must be in .* got -1"),
        (np.array([0], np.int32), "ids must be a one-dimensional int64 array of example ids, got int32 of shape"),
        (np.array([[0]]), r"got int64 of shape \(1, 1\)"),
        ([0], "got list"),
    ],
)
def test_wrong_ids_are_named(task, ids, message):
    with pytest.raises(LearnerError, match=message):
        task.learner().score(ids)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda each: tf.reduce_mean(each), r"got shape \(\); build the loss with reduction=\"none\""),
        (lambda each: each[:, None] * [[1.0, 2.0]], r"got shape \(2, 2\); reduce each example to one number"),
        (lambda each: each[:1], r"got shape \(1,\); its shape must be that of the ids"),
        (lambda each: tf.cast(each, tf.int32), "the loss must be of a floating-point dtype, got int32"),
        (lambda each: None, r"the loss must return a tensor of shape \(2,\) or a dict of them by task, got None"),
        (lambda each: {"a": tf.reduce_mean(each)}, r"loss\['a'\] must be one number per example"),
    ],
    ids=["scalar", "tokens", "short", "integer", "none", "task"],
)
def test_losses_that_are_not_per_example_are_refused_when_the_learner_is_built(task, loss, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(loss=lambda model, batch, training: loss(task.loss(model, batch, training)))


def test_evaluate_is_there_if_given_and_changes_nothing(task, assert_same):
    learner = task.learner(Busy(), evaluate=lambda model: {"loss": tf.reduce_mean(model(task.x)[:, 0])})
    before = learner.state()
    assert list(learner.evaluate()) == ["loss"]
    assert learner.evaluate() == learner.evaluate()
    assert_same(learner.state(), before)
    assert not hasattr(task.learner(), "evaluate")
