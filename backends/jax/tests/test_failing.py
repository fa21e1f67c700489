"""A step that fails in the middle of train(): donated arrays are gone, which is said, and a state brings them back."""

import jax
import numpy as np
import optax
import pytest

import attent
from attent.errors import LearnerError

BATCHES = [np.array([0, 1, 2])] * 4


class Failing:
    """A loss whose host callback fails when asked to; training in the compiled program fails with it."""

    on = False

    def check(self, values):
        if self.on:
            raise RuntimeError("device lost")
        return values

    def loss(self, task):
        def loss(params, batch):
            first = jax.pure_callback(self.check, jax.ShapeDtypeStruct(batch[0].shape, batch[0].dtype), batch[0])
            return task.loss(params, (jax.lax.stop_gradient(first), batch[1]))

        return loss


@pytest.mark.parametrize("trainable", [None, {"w1": False, "b1": True, "w2": True}])
def test_a_step_that_fails_is_told_until_a_state_is_taken_up(task, assert_same, trainable):
    failing = Failing()
    learner, other = (task.learner(failing.loss(task), optax.adam(0.01), trainable=trainable) for _ in range(2))
    for one in (learner, other):
        one.train(BATCHES)
    state = learner.state()
    failing.on = True
    with pytest.raises(Exception, match="device lost"):
        learner.train(BATCHES)
    failing.on = False
    for call in (learner.state, lambda: learner.score(BATCHES[0]), lambda: learner.train(BATCHES)):
        with pytest.raises(LearnerError, match="a step failed in the middle of train.*device lost.*load_state"):
            call()
    learner.load_state(state)
    assert learner.train(BATCHES).tolist() == other.train(BATCHES).tolist()
    assert_same(learner.state(), other.state())


def test_a_loss_that_is_refused_takes_nothing(task, assert_same):
    """Nothing is donated before the program is compiled."""

    def loss(params, batch, *, train):
        return task.loss(params, batch).mean() if train else task.loss(params, batch)

    learner = task.learner(loss)
    before = learner.state()
    with pytest.raises(LearnerError, match="must be one number per example"):
        learner.train(BATCHES)
    assert_same(learner.state(), before)


def test_data_that_fail_leave_the_steps_before_counted(task):
    """Batches made on the host: the steps taken are taken, and the state says how many."""
    calls = []

    def data(ids):
        calls.append(ids)
        if len(calls) == 3:
            raise OSError("no such file")
        return task.x[ids], task.y[ids]

    learner, other = task.learner(data=data, n=24), task.learner()
    with pytest.raises(OSError, match="no such file"):
        learner.train(BATCHES)
    other.train(BATCHES[:2])
    assert learner.steps == int(learner.state()["steps"]) == 2
    np.testing.assert_allclose(learner.train(BATCHES), other.train(BATCHES), rtol=1e-12)


def test_overflow_in_float16_is_named_with_its_ids(task):
    def loss(params, batch):
        x, y = (300 * part.astype(params["w1"].dtype) for part in batch)
        return ((x @ params["w1"])[:, :2] * 9 - y).mean(1) ** 2

    learner = task.learner(loss, params=task.params(np.float16))
    scores = learner.score(np.arange(24))
    first = int(np.flatnonzero(~np.isfinite(scores))[0])
    plan = attent.Plan(epochs=2, batch_size=8, ratio=0.5, select="hard", source="fresh")
    with pytest.raises(attent.ScoreError, match=rf"numbers that are not finite in epoch 0: id {first} \(inf\)"):
        attent.teach(learner, plan)
