"""A small problem with known answers: 24 examples, two numbers to predict from three, and a two-layer network."""

from __future__ import annotations

import os

# The tests compile some hundred tiny programs and run each a few times: optimising them costs more than it saves.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attent_jax import JaxLearner

jax.config.update("jax_enable_x64", True)

N = 24


class Task:
    """Builds equal parameters and learners as often as asked."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.x = random.normal(size=(N, 3))
        self.y = random.normal(size=(N, 2))
        order = random.permutation(N)
        self.batches = [order[:6], order[6:11], order[11:18], order[3:9], order[18:19]]
        self.weights = [random.uniform(0.1, 3.0, size=len(ids)) for ids in self.batches]
        self._values = {"w1": random.normal(size=(3, 8)) / 2, "b1": np.zeros(8), "w2": random.normal(size=(8, 2)) / 3}

    def params(self, dtype=np.float64):
        return {name: jnp.asarray(value, dtype) for name, value in self._values.items()}

    @staticmethod
    def loss(params, batch):
        x, y = (part.astype(params["w1"].dtype) for part in batch)
        return ((jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] - y) ** 2).mean(1)

    @staticmethod
    def dropout(params, batch, *, key):
        x, y = batch
        hidden = jnp.tanh(x @ params["w1"] + params["b1"])
        if key is not None:
            hidden = jnp.where(jax.random.bernoulli(key, 0.5, hidden.shape), hidden * 2, 0)
        return ((hidden @ params["w2"] - y) ** 2).mean(1)

    @staticmethod
    def counted(params, batch, *, state, train, mask):
        """A loss whose state is the number of examples seen and their mean."""
        x, y = batch
        losses = ((x @ params["w1"][:, :2] - y - state["mean"][:2]) ** 2).mean(1)
        mean = jnp.where(mask[:, None], x, 0).sum(0) / mask.sum()
        return losses, {"seen": state["seen"] + mask.sum(), "mean": 0.9 * state["mean"] + 0.1 * mean}

    def learner(self, loss=None, optimizer=None, *, params=None, data=None, **settings) -> JaxLearner:
        return JaxLearner(
            self.params() if params is None else params,
            (self.x, self.y) if data is None else data,
            self.loss if loss is None else loss,
            optax.sgd(0.1, momentum=0.9) if optimizer is None else optimizer,
            **settings,
        )

    def by_hand(self, optimizer=None, weights=None, batches=None):
        """The loop that a user would write, without padding: the losses, and the parameters after each step."""
        optimizer = optax.sgd(0.1, momentum=0.9) if optimizer is None else optimizer
        params = self.params()
        state, losses, trail = optimizer.init(params), [], []
        for step, ids in enumerate(self.batches if batches is None else batches):
            batch = self.x[ids], self.y[ids]
            scale = 1.0 if weights is None else weights[step]
            losses.append(self.loss(params, batch))
            gradients = jax.grad(lambda p, batch=batch, scale=scale: (scale * self.loss(p, batch)).mean())(params)
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            trail.append(params)
        return np.concatenate(losses), trail


@pytest.fixture
def task() -> Task:
    return Task()


@pytest.fixture
def assert_same():
    """Two states, or pytrees of arrays, are equal to the last bit."""

    def check(a, b):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for (path, one), two in zip(jax.tree_util.tree_flatten_with_path(a)[0], jax.tree.leaves(b), strict=True):
            one, two = np.asarray(one), np.asarray(two)
            assert one.dtype == two.dtype, path
            assert np.array_equal(one, two), path

    return check
