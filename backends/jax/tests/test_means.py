"""One loss per example out of a function that returns only their mean: which numbers, whose gradient, what is refused."""

from __future__ import annotations

import runpy
from pathlib import Path

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attent
from attent_jax import JaxLearner, Teacher, losses_and_grad

N, SIZE = 90, 16
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"
_random = np.random.default_rng(0)
X, Y = _random.normal(size=(N, 6)), _random.integers(0, 3, N)
WEIGHTS = {
    "first": jnp.asarray(_random.normal(size=(6, 8)) / 2),
    "second": jnp.asarray(_random.normal(size=(8, 3)) / 2),
}
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=SIZE),
    "default": attent.Plan.default(epochs=4, batch_size=SIZE),
    "hard": attent.Plan(epochs=6, batch_size=SIZE, warm_up=1, ratio=0.4, select=attent.Hard()),
}
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def logits_of(params, x):
    return jnp.tanh(x @ params["first"]) @ params["second"]


def each_of(params, x, y):
    return cross_entropy(logits_of(params, x), y)


def outputs(params, x, y):
    return (logits_of(params, x) - jax.nn.one_hot(y, 3)) ** 2


@jax.jit
def jitted(params, x, y):
    return each_of(params, x, y).mean()


MEANS = {  # a function that returns a mean, and one that returns what it is the mean of
    "method": (lambda p, x, y: each_of(p, x, y).mean(), each_of),
    "outputs": (lambda p, x, y: jnp.mean(outputs(p, x, y)), lambda p, x, y: outputs(p, x, y).mean(1)),
    "minus": (
        lambda p, x, y: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits_of(p, x)), y[:, None], axis=1)),
        each_of,
    ),
    "sum over outputs": (lambda p, x, y: outputs(p, x, y).sum(1).mean(), lambda p, x, y: outputs(p, x, y).sum(1)),
    "times": (lambda p, x, y: 0.5 * (each_of(p, x, y).sum() / len(x)), lambda p, x, y: each_of(p, x, y) / 2),
    "jitted": (jitted, each_of),
    "jitted, minus": (lambda p, x, y: -2.0 * jitted(p, x, y), lambda p, x, y: -2 * each_of(p, x, y)),
    "vmapped": (lambda p, x, y: jnp.mean(jax.vmap(each_of, (None, 0, 0))(p, x, y)), each_of),
    "remade": (lambda p, x, y: jnp.mean(jax.checkpoint(each_of)(p, x, y)), each_of),
}


def furthest(one, other):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)))


CASES = [(kind, 3, jax.value_and_grad) for kind in MEANS]  # 3 outputs, 8 hidden: an axis as long as the batch
CASES += [("outputs", 1, jax.value_and_grad), ("method", 8, jax.value_and_grad)]
CASES += [(kind, 16, equinox.filter_value_and_grad) for kind in ("outputs", "jitted, minus")]


@pytest.mark.parametrize(("kind", "size", "way"), CASES, ids=[f"{kind} {size}" for kind, size, _ in CASES])
def test_a_mean_gives_what_it_is_the_mean_of(kind, size, way):
    mean, each = MEANS[kind]
    x, y = X[:size], Y[:size]
    both, weights = losses_and_grad(way)(mean), np.linspace(0, 1, size)
    losses, grads = equinox.filter_jit(both)(WEIGHTS, x, y)
    np.testing.assert_allclose(losses, each(WEIGHTS, x, y), rtol=1e-12)
    value, wanted = equinox.filter_jit(way(mean))(WEIGHTS, x, y)
    assert losses.mean() == pytest.approx(float(value), rel=1e-12)
    assert furthest(grads, wanted) == 0  # the function's own
    _, grads = both(WEIGHTS, x, y, weights=weights)
    assert furthest(grads, jax.grad(lambda params: each(params, x, y) @ weights)(WEIGHTS)) < 1e-12


def masked(params, x, y):
    kept = (y > 0).astype(float)
    return (each_of(params, x, y) * kept).sum() / kept.sum()


def decayed(params, x, y):
    return each_of(params, x, y).mean() + 1e-3 * (params["first"] ** 2).sum()


def of_time(params, x, y):
    """Its batch is the second axis, and its first is as long here."""
    return jnp.mean(outputs(params, x, y).T[:, :3] ** 2)


def of_weights(params, x, y):
    return jnp.mean(params["second"] ** 2)


def of_pairs(params, x, y):
    return jnp.mean(jnp.concatenate([each_of(params, x, y), each_of(params, -x, y)]))


def test_a_mean_in_16_bits_is_one():
    mean = losses_and_grad()(lambda p, x, y: jnp.mean(each_of(p, x, y).astype(jnp.bfloat16)).astype(float))
    losses, _ = mean(WEIGHTS, X[:37], Y[:37])  # half of whose share is not that of twice as many, in 16 bits
    np.testing.assert_allclose(losses, each_of(WEIGHTS, X[:37], Y[:37]), rtol=2e-2)


@pytest.mark.parametrize(
    ("function", "size", "told"),
    [
        (masked, 16, "masked must return one loss per example.*a number that ends in 'div'"),
        (decayed, 16, "a number that ends in 'add'"),
        (of_time, 3, r"a mean that is over an array of shape \(3, 3\), where the batch has 3 examples"),
        (of_weights, 8, r"shape \(8, 3\), where the batch has 8 examples"),
        (of_weights, 5, r"shape \(8, 3\), where the batch has 5 examples"),
        (of_pairs, 16, r"shape \(32,\), where the batch has 16 examples"),
        (lambda p, x, y: each_of(p, x, y).sum(), 16, "got a sum that weighs more the larger the batch"),
        (lambda p, x, y: 0.5 * each_of(p, x, y).sum(), 16, "got a sum that weighs more the larger the batch"),
        (lambda p, x, y: each_of(p, x, y).sum() / 16, 16, "got a sum that weighs more the larger the batch"),
        (lambda p, x, y: each_of(p, x, y).sum(), 1, "got a sum that weighs more the larger the batch"),
        (lambda p, x, y: each_of(p, x, y).max(), 16, "ends in 'reduce_max'"),
        (lambda p, x, y: jnp.mean(each_of(p, x, y) + jnp.arange(16)), 16, "for batches of 16 only"),
        (lambda p, x, y: jnp.ones(()), 16, "does not end in a mean"),
    ],
)
def test_what_is_no_plain_mean_over_the_examples_is_refused(function, size, told):
    with pytest.raises(attent.LearnerError, match=told):
        jax.jit(losses_and_grad()(function))(WEIGHTS, X[:size], Y[:size])


def test_a_mean_of_an_nnx_module_is_refused():
    model = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
    with pytest.raises(attent.LearnerError, match="a mean that is of an nnx module, which it may change"):
        nnx.jit(losses_and_grad(nnx.value_and_grad)(lambda model, x, y: cross_entropy(model(x), y).mean()))(model, X, Y)


class Watched(JaxLearner):
    def train(self, batches, weights=None):
        self.seen = [*getattr(self, "seen", []), *(ids.tolist() for ids in batches)]
        return super().train(batches, weights)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_step_that_returns_a_mean_trains_what_teach_trains(plan):
    """A tutorial's loop with nothing but a mean; taught in float64 by `attent.teach` on the losses per example."""
    optimizer = optax.adam(0.05)

    @losses_and_grad()
    def compute_loss(params, x, y):
        return each_of(params, x, y).mean()

    @jax.jit
    def step(params, state, x, y):
        losses, grads = compute_loss(params, x, y)
        updates, state = optimizer.update(grads, state)
        return losses, optax.apply_updates(params, updates), state

    params, state, seen = WEIGHTS, optimizer.init(WEIGHTS), []
    teacher = Teacher(plan, (X, Y, np.arange(N)), fill=False)
    for x, y, ids in teacher.batches():
        losses, params, state = step(params, state, x, y)
        mean = teacher.record(losses).mean().item()
        seen.append(ids.tolist())
        assert mean == pytest.approx(float(losses.mean()))
    assert teacher.finished
    assert len(seen) == plan.total_steps(N)
    learner = Watched(WEIGHTS, (X, Y), lambda params, batch: each_of(params, *batch), optimizer)
    trace = attent.teach(learner, plan)
    assert seen == learner.seen
    assert attent.first_difference(teacher.trace(), trace) is None
    assert furthest(params, learner.params) < 1e-12


def batches_seen(monkeypatch):
    """Return a list to which a teacher's batches of arrays add their ids as they are given out."""
    seen, given = [], Teacher._part

    def part(teacher, batch, weights, which):
        seen.append(batch.tolist())
        return given(teacher, batch, weights, which)

    monkeypatch.setattr(Teacher, "_part", part)
    return seen


def test_a_script_whose_step_returns_a_mean_trains_what_its_losses_say(monkeypatch):
    """The ids of each step are those of a feed that is told the losses that the script's own mean function gives."""
    seen, told = batches_seen(monkeypatch), []
    record = Teacher.record
    monkeypatch.setattr(
        Teacher, "record", lambda teacher, losses: told.append(np.asarray(losses)) or record(teacher, losses)
    )
    found = runpy.run_path(str(EXAMPLES / "equinox_mean_loss.py"))
    x, y = found["x"], found["y"]
    plan = attent.Plan.auto(epochs=7, batch_size=32)
    feed, steps = attent.Feed(plan, len(x)), iter(zip(seen, told, strict=True))
    while not feed.finished:
        for ids in feed.batches():
            taught, losses = next(steps)
            assert taught == ids.tolist()
            feed.record(losses, ids)
    assert next(steps, None) is None
    assert found["step"] + 1 == len(seen) == plan.total_steps(len(x))
    each = [float(found["compute_loss"].__wrapped__(found["model"], x[i : i + 1], y[i : i + 1])) for i in range(5)]
    np.testing.assert_allclose(found["compute_loss"](found["model"], x[:5], y[:5])[0], each, rtol=1e-5)
