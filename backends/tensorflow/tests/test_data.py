"""Where batches come from: structures in memory, and functions of ids."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from attent.errors import LearnerError

IDS = np.arange(24)
Pair = collections.namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    "structure",
    [
        lambda x, y: {"inputs": {"x": x}, "y": y},
        lambda x, y: Pair(x, y),
        lambda x, y: [tf.constant(x), tf.Variable(y)],
    ],
    ids=["dicts", "namedtuple", "tensors"],
)
def test_batches_have_the_structure_of_the_data(task, structure):
    def loss(model, batch, training):
        x, y = (batch["inputs"]["x"], batch["y"]) if isinstance(batch, dict) else batch
        return task.loss(model, (x, y), training)

    learner = task.learner(data=structure(task.x, task.y), loss=loss)
    assert learner.score(IDS).tolist() == task.learner().score(IDS).tolist()
    assert len(learner) == 24


def test_a_function_of_ids_gives_the_same_run(task, assert_same):
    x, y = tf.constant(task.x), tf.constant(task.y)
    fetched = task.learner(data=lambda ids: (tf.gather(x, ids), tf.gather(y, ids)), n=24, score_batch_size=7)
    plain = task.learner(score_batch_size=7)
    for batches in (task.batches, task.batches[:1]):
        assert (
            fetched.train(batches, task.weights[: len(batches)]).tolist()
            == plain.train(batches, task.weights[: len(batches)]).tolist()
        )
        assert fetched.score(IDS).tolist() == plain.score(IDS).tolist()
    assert_same(fetched.state(), plain.state())
    assert fetched.traces == {"score": 1, "train": 1}


def test_a_function_of_ids_may_read_what_tensorflow_cannot(task):
    asked = []

    def load(ids):
        asked.append(ids.tolist())
        return task.x[ids], task.y[ids]

    def fetch(ids):
        x, y = tf.numpy_function(load, [ids], (tf.float64, tf.float64))
        return tf.ensure_shape(x, (None, 3)), tf.ensure_shape(y, (None, 2))

    learner = task.learner(data=fetch, n=24)
    losses = learner.train(task.batches)
    assert losses.tolist() == task.learner().train(task.batches).tolist()
    assert sorted(asked) == sorted(ids.tolist() for ids in task.batches)


def test_scores_may_see_other_data(task):
    learner = task.learner(score_data=(task.x * 0, task.y))
    np.testing.assert_allclose(learner.score(IDS), (task.y**2).mean(1), rtol=1e-13)
    np.testing.assert_allclose(learner.train([IDS]), task.learner().score(IDS), rtol=1e-13)
    with pytest.raises(LearnerError, match="score_data must hold the same examples as data, 24, got 23"):
        task.learner(score_data=(task.x[:23], task.y[:23]))


@pytest.mark.parametrize(
    ("data", "n", "message"),
    [
        (
            (np.zeros((3, 1)), np.zeros(2)),
            None,
            r"must share their first dimension, the examples, got shapes \(3, 1\), \(2,\)",
        ),
        ((np.zeros(()),), None, "must share their first dimension"),
        ((), None, "got shapes of nothing"),
        ([1, 2, 3], None, "data must be tensors or arrays in memory .* or a function of ids, got int"),
        (lambda ids: ids, None, "n, the number of examples, must be given, got None"),
        (np.zeros((3, 1)), 3, "n is only for data given as a function of ids"),
    ],
)
def test_impossible_data_are_named(task, data, n, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(data=data, n=n)
