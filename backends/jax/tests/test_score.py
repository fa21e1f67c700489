"""`score`: evaluation mode, any split of the ids, nothing changed (P1, P2, P5); and what data may be."""

import jax
import numpy as np
import optax
import pytest

import attent
from attent_jax import JaxLearner

IDS = np.array([4, 1, 7, 1, 23, 0])


def test_scores_come_in_the_order_of_the_ids(task):
    expected = np.asarray(task.loss(task.params(), (task.x, task.y)))
    scores = task.learner(score_batch_size=4).score(IDS)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected[IDS], rtol=1e-14)


@pytest.mark.parametrize("size", [1, 5, 24, 1000])
def test_how_ids_are_split_does_not_matter(task, size):
    learner, whole = task.learner(score_batch_size=size), task.learner()
    ids = np.arange(24)
    np.testing.assert_allclose(learner.score(ids), whole.score(ids), rtol=1e-13)
    np.testing.assert_allclose([learner.score(ids[i : i + 1])[0] for i in ids], whole.score(ids), rtol=1e-13)


def test_more_passes_than_one_chunk(task):
    ids = np.resize(np.arange(24), 300)
    np.testing.assert_allclose(task.learner(score_batch_size=2).score(ids), task.learner().score(ids), rtol=1e-13)


def test_no_ids(task):
    scores = task.learner().score(np.empty(0, np.int64))
    assert (scores.dtype, scores.shape) == (np.float64, (0,))


def test_scoring_changes_nothing(task, assert_same):
    seen = {"seen": np.zeros((), np.int64), "mean": np.zeros(3)}
    for learner in (task.learner(task.counted, model_state=seen), task.learner(task.dropout)):
        learner.train(task.batches[:2])
        before = learner.state()
        params = jax.tree.leaves(learner.params)
        assert np.array_equal(learner.score(IDS), learner.score(IDS))
        assert_same(learner.state(), before)
        assert all(a is b for a, b in zip(params, jax.tree.leaves(learner.params), strict=True))


def test_there_is_no_dropout_while_scoring(task):
    np.testing.assert_allclose(task.learner(task.dropout).score(IDS), task.learner().score(IDS), rtol=1e-14)


def test_a_loss_is_told_whether_it_trains(task):
    def loss(params, batch, *, train):
        return task.loss(params, batch) + (100.0 if train else 0.0)

    learner = task.learner(loss)
    assert learner.score(IDS).max() < 100 < learner.train([IDS]).min()


def test_losses_come_to_the_host_once_per_call(task, monkeypatch):
    learner = task.learner(score_batch_size=2)
    calls = []
    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: calls.append(1) or fetch(tree))
    learner.score(np.resize(np.arange(24), 300))
    learner.train(task.batches * 30)
    assert len(calls) == 2


class TestData:
    def results(self, task, data, **settings):
        learner = task.learner(data=data, **settings)
        return learner.train(task.batches, task.weights), learner.score(IDS), learner.state()

    def test_on_the_host(self, task, tmp_path, assert_same):
        np.save(tmp_path / "x.npy", task.x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        host = self.results(task, (mapped, task.y), keep_on_host=True)
        for ours, theirs in zip(host[:2], self.results(task, None)[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-13)

    def test_from_a_function(self, task):
        asked = []

        def fetch(ids):
            asked.append(ids.tolist())
            return task.x[ids], task.y[ids]

        made = self.results(task, fetch, n=24, score_batch_size=4)
        for ours, theirs in zip(made[:2], self.results(task, None)[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-13)
        # The function sees true ids, without padding.
        assert asked == [ids.tolist() for ids in task.batches] + [IDS[:4].tolist(), IDS[4:].tolist()]

    def test_a_buffer_that_the_function_uses_again(self, task):
        buffer = np.empty((6, 3)), np.empty((6, 2))

        def fetch(ids):
            buffer[0][: len(ids)], buffer[1][: len(ids)] = task.x[ids], task.y[ids]
            return buffer[0][: len(ids)], buffer[1][: len(ids)]

        batches = [np.roll(np.arange(24), -i)[:6] for i in range(24)]
        np.testing.assert_allclose(
            task.learner(data=fetch, n=24).train(batches), task.learner().train(batches), rtol=1e-12
        )

    def test_a_dict_of_arrays_is_copied(self, task):
        x = task.x.copy()
        learner = JaxLearner(
            task.params(), {"x": x, "y": task.y}, lambda p, b: task.loss(p, (b["x"], b["y"])), optax.sgd(0.1)
        )
        x[:] = 0
        np.testing.assert_allclose(learner.score(IDS), task.learner().score(IDS), rtol=1e-14)


def test_it_evaluates_only_if_it_can(task):
    assert isinstance(task.learner(), attent.Learner)
    assert not isinstance(task.learner(), attent.Evaluates)
    learner = task.learner(evaluate=lambda params: {"loss": task.loss(params, (task.x, task.y)).mean()})
    assert isinstance(learner, attent.Evaluates)
    assert learner.evaluate() == {"loss": pytest.approx(learner.score(np.arange(24)).mean())}
    assert type(learner.evaluate()["loss"]) is float


def test_evaluation_sees_the_model_state(task):
    state = {"seen": np.zeros((), np.int64), "mean": np.zeros(3)}
    learner = task.learner(task.counted, model_state=state, evaluate=lambda params, state: {"seen": state["seen"]})
    learner.train(task.batches)
    assert learner.evaluate() == {"seen": 25.0}
