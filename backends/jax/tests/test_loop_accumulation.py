"""Loops over a jitted step whose batch comes in several parts, and losses with their gradient."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from pathlib import Path

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attent
from attent_jax import Teacher, losses_and_grad

_spec = importlib.util.spec_from_file_location("loop_task", Path(__file__).with_name("loop_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
AUTO, DATA, DEFAULT, N, PLANS = task.AUTO, task.DATA, task.DEFAULT, task.N, task.PLANS
SIZE, WEIGHTS, X, Y, furthest = task.SIZE, task.WEIGHTS, task.X, task.Y, task.furthest
losses_of = task.losses_of


@pytest.mark.parametrize("kind", ["auto", "default", "infobatch"])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_step_trains_the_plans_batch_whatever_the_accumulation(kind, parts):
    plan = getattr(attent.Plan, kind)(epochs=4, batch_size=20)

    @jax.jit
    def step(params, held, batch):  # optax.MultiSteps takes its means in float32
        grads, losses = jax.grad(loss_fn, has_aux=True)(params, batch)
        return jax.tree.map(jnp.add, held, grads), losses

    def loss_fn(params, batch):
        logits = jnp.tanh(batch["x"] @ params["first"]) @ params["second"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        return losses @ batch["weights"], losses

    params, teacher = jax.tree.map(jnp.asarray, WEIGHTS), Teacher(plan, DATA, accumulate=parts)
    held, taken = jax.tree.map(jnp.zeros_like, params), 0
    wanted, feed = jax.tree.map(jnp.asarray, WEIGHTS), attent.Feed(plan, N)
    for _ in range(4):
        for batch in teacher:
            assert len(batch["x"]) == 20 // parts
            held, losses = step(params, held, batch)
            teacher.record(losses)
            taken += 1
            if taken % parts == 0:
                params = jax.tree.map(lambda own, grad: own - 0.5 * grad / parts, params, held)
                held = jax.tree.map(jnp.zeros_like, params)
    while not feed.finished:
        weights = feed.weights()
        for place, ids in enumerate(feed.batches()):
            each = np.ones(len(ids)) if weights is None else weights[place]
            batch = {name: part[ids] for name, part in DATA.items()} | {"weights": each / len(ids)}
            grads, losses = jax.grad(loss_fn, has_aux=True)(wanted, batch)
            wanted = jax.tree.map(lambda own, grad: own - 0.5 * grad, wanted, grads)
            feed.record(losses, ids)
    assert taken == parts * teacher.total_steps
    assert step._cache_size() == 1
    assert attent.first_difference(teacher.trace(), feed.trace()) is None
    assert furthest(params, wanted) < 1e-12


@pytest.mark.parametrize("plan", [AUTO, DEFAULT, PLANS["scoring"]], ids=["auto", "default", "scoring"])
@pytest.mark.parametrize("way", [jax.value_and_grad, equinox.filter_value_and_grad], ids=["jax", "equinox"])
def test_a_step_that_takes_a_plain_mean_trains_the_same(way, plan):
    """Batches as a tutorial's: no weights, the last one smaller; the losses beside the gradient by one decorator."""

    @losses_and_grad(way)
    def compute_loss(params, x, y):
        return losses_of(params, {"x": x, "y": y})

    params = jax.tree.map(jnp.asarray, WEIGHTS)
    score = lambda batch: losses_of(params, dict(zip("xy", batch[:2], strict=True)))  # noqa: E731
    teacher, seen = Teacher(plan, (X, Y, np.arange(N)), fill=False, score=score), []
    for x, y, ids in (batch for _ in range(plan.full_epochs) for batch in teacher):
        losses, grads = compute_loss(params, x, y)
        params = jax.tree.map(lambda own, grad: own - 0.5 * grad, params, grads)
        teacher.record(losses)
        seen.append(ids.tolist())
    wanted, filled, expected = jax.tree.map(jnp.asarray, WEIGHTS), [], []
    other = Teacher(plan, DATA, score=lambda batch: losses_of(wanted, batch))
    for batch in (batch for _ in range(plan.full_epochs) for batch in other):
        losses, grads = losses_and_grad()(losses_of)(wanted, batch, weights=batch["weights"])
        wanted = jax.tree.map(lambda own, grad: own - 0.5 * grad, wanted, grads)
        other.record(losses)
        expected.append(batch["id"][batch["weights"] > 0].tolist())
        filled.append(len(batch["id"]))
    assert teacher.finished
    assert seen == expected
    assert set(filled) == {SIZE}
    assert min(map(len, seen)) < SIZE
    assert attent.first_difference(teacher.trace(), other.trace()) is None
    assert furthest(params, wanted) < 1e-12


def test_losses_and_their_gradient_of_an_nnx_module():
    model = nnx.Linear(6, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

    def losses(model, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y)

    found, grads = nnx.jit(losses_and_grad(nnx.value_and_grad)(losses))(model, X, Y)
    mean, wanted = nnx.value_and_grad(lambda model: losses(model, X, Y).mean())(model)
    assert found.shape == (N,)
    assert abs(float(found.mean() - mean)) < 1e-12
    assert furthest(grads, wanted) < 1e-12


def test_without_weights_what_must_be_weighed_is_refused():
    with pytest.raises(attent.PlanError, match="fill=False is for steps of one batch"):
        Teacher(DEFAULT, DATA, fill=False, accumulate=2)
    teacher = Teacher(attent.Plan.infobatch(epochs=3, batch_size=SIZE), N, fill=False)
    given = iter(ids for _ in range(3) for ids in teacher)
    for ids in itertools.islice(given, 6):  # the first epoch is on all examples
        teacher.record(jnp.asarray(1.0 + ids))
    with pytest.raises(attent.PlanError, match="the plan weighs examples, and fill=False leaves the weights out"):
        next(given)
    teacher = Teacher(DEFAULT, N, fill=False)
    next(iter(teacher))
    with pytest.raises(attent.LearnerError, match=r"must be one per example, shape \(16,\), got shape \(10,\)"):
        teacher.record(jnp.zeros(10))


@pytest.mark.parametrize(
    ("given", "told"), [(lambda x: x[:, None], r"got shape \(90, 1\)"), (lambda x: (x,), "got tuple")]
)
def test_a_loss_function_that_returns_something_else_is_refused_when_it_is_traced(given, told):
    with pytest.raises(attent.LearnerError, match=f"<lambda> must return one loss per example, shape .B,.,.*{told}"):
        jax.jit(losses_and_grad()(lambda params, x: given(x @ params)))(jnp.zeros(6), X)


def test_a_loop_that_never_ends_is_told_so():
    teacher = Teacher(DEFAULT, N)

    def train():
        while True:  # as Equinox' tutorial writes it
            for ids, _ in teacher:
                teacher.record(jnp.asarray(1.0 + ids))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(attent.CourseError, match=r"at its end after 4 epochs.* 100 more were asked for"):
            train()
    assert len(told) == 99
    assert teacher.finished


@pytest.mark.parametrize("accumulate", [0, 1.5, True])
def test_an_accumulation_of_no_batches_is_refused(accumulate):
    with pytest.raises(attent.PlanError, match="accumulate must be a whole number of at least 1"):
        Teacher(DEFAULT, DATA, accumulate=accumulate)
