"""Loops over a jitted step, where losses or gradients are not finite: left out, counted, and nothing of it kept."""

from __future__ import annotations

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attent
from attent_jax import JaxLearner, Teacher, all_finite, losses_and_grad

N, SIZE, SICK = 42, 8, 7
_random = np.random.default_rng(0)
X, Y = _random.normal(size=(N, 6)), _random.integers(0, 3, N)
BAD = X.copy()
BAD[SICK] = np.nan
WEIGHTS = {"w": _random.normal(size=(6, 3)) / 2, "b": np.zeros(3)}
PLAN = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, cool_down=1, non_finite="drop")


def losses_of(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(x @ params["w"] + params["b"], y)


def counted(teacher):
    return [record.steps_skipped for record in teacher.trace().records]


class Loop:
    """A script that leaves a step out by a branch; ``sick`` steps have a gradient that is not finite."""

    def __init__(self, plan=PLAN, x=BAD, sick=(), optimizer=None, **settings) -> None:
        self.optimizer = optimizer or optax.adam(0.05)
        self.teacher = Teacher(plan, (x, Y), **settings)
        self.params = jax.tree.map(jnp.asarray, WEIGHTS)
        self.state, self.sick, self.steps = self.optimizer.init(self.params), set(sick), 0
        self.step = jax.jit(self._step)

    def run(self, stop=None):
        while not self.teacher.finished:
            for batch in self.teacher:
                factor = jnp.inf if self.steps in self.sick else 1.0
                self.params, self.state, losses, finite = self.step(self.params, self.state, batch, factor)
                self.teacher.record(losses, finite)
                self.steps += 1
                if self.steps == stop:
                    return self
        return self

    def _step(self, params, state, batch, factor):
        x, y, weights = batch
        losses, grads = losses_and_grad()(losses_of)(params, x, y, weights=weights)
        grads = jax.tree.map(lambda grad: grad * factor, grads)
        finite = all_finite(losses, grads)

        def updated():
            updates, after = self.optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), after

        return *jax.lax.cond(finite, updated, lambda: (params, state)), losses, finite


@pytest.mark.parametrize("policy", ["drop", "last"])
def test_steps_left_out_are_counted_as_by_teach(policy):
    plan = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, cool_down=1, non_finite=policy)
    loop = Loop(plan).run()
    learner = JaxLearner(
        jax.tree.map(jnp.asarray, WEIGHTS), (BAD, Y), lambda params, batch: losses_of(params, *batch), optax.adam(0.05)
    )
    trace = attent.teach(learner, plan)
    assert attent.first_difference(loop.teacher.trace(), trace) is None
    assert counted(loop.teacher) == [record.steps_skipped for record in trace.records] == [1, 0, 1]
    for ours, theirs in zip(jax.tree.leaves(loop.params), jax.tree.leaves(learner.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sick", [set(), {0}, {5}, {2, 5, 6}])
def test_a_gradient_alone_counts_in_its_pass(sick):
    loop = Loop(x=X, sick=sick).run()
    assert counted(loop.teacher) == [sum(step < 6 for step in sick), sum(6 <= step < 9 for step in sick), 0]
    assert bool(all_finite(loop.params))


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_the_count_goes_on_from_a_state(stop):
    whole, first = Loop(x=X, sick={2, 3, 5}).run(), Loop(x=X, sick={2, 3, 5}).run(stop)
    again = Loop(x=X, sick={2, 3, 5})
    again.teacher.load_state(first.teacher.state())
    again.params, again.state, again.steps = first.params, first.state, first.steps
    assert counted(again.run().teacher) == counted(whole.teacher) == [3, 0, 0]


@pytest.mark.parametrize("way", ["nnx", "equinox"])
def test_optax_tells_what_it_leaves_out(way):
    """By apply_if_finite, which keeps an optimiser and parameters as they are, in nnx and Equinox alike."""
    teacher, optimizer = Teacher(PLAN, (BAD, Y)), optax.apply_if_finite(optax.sgd(0.5), 10**6)
    if way == "nnx":
        model = nnx.Linear(6, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        held = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

        @nnx.jit
        def step(model, held, x, y, weights):
            apply = losses_and_grad(nnx.value_and_grad)(
                lambda model, x, y: optax.softmax_cross_entropy_with_integer_labels(model(x), y)
            )
            losses, grads = apply(model, x, y, weights=weights)
            held.update(model, grads)
            return losses, held.opt_state.last_finite[...]
    else:
        model = equinox.nn.Linear(6, 3, key=jax.random.key(0))
        state = optimizer.init(equinox.filter(model, equinox.is_array))

        @equinox.filter_jit
        def taken(model, state, x, y, weights):
            apply = losses_and_grad(equinox.filter_value_and_grad)(
                lambda model, x, y: optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y)
            )
            losses, grads = apply(model, x, y, weights=weights)
            updates, state = optimizer.update(grads, state)
            return equinox.apply_updates(model, updates), state, losses

        def step(own, held, x, y, weights):
            nonlocal model, state
            model, state, losses = taken(model, state, x, y, weights)
            return losses, state.last_finite

        held = None

    while not teacher.finished:
        for batch in teacher:
            teacher.record(*step(model, held, *batch))
    assert counted(teacher) == [1, 0, 1]
    assert bool(all_finite(model))
    teacher.state(model)


def test_a_step_of_several_batches_is_left_out_whole():
    teacher, left_out = Teacher(PLAN, N, accumulate=2), []
    step = 0
    while not teacher.finished:
        for ids, _ in teacher:
            finite = step not in {1, 4, 5}  # parts of steps 0 and 2
            left_out.append(not finite)
            teacher.record(jnp.asarray(1.0 + ids), finite)
            step += 1
    assert counted(teacher) == [2, 0, 0]


def test_a_loop_that_does_not_tell_is_refused():
    teacher = Teacher(PLAN, N)
    given = iter(teacher)
    ids, _ = next(given)
    with pytest.raises(attent.LearnerError, match=r"non_finite='drop'.* teacher\.record\(losses, finite\)"):
        teacher.record(jnp.asarray(1.0 + ids))
    teacher.record(jnp.asarray(1.0 + ids), jnp.array(True))
    next(given)  # it was recorded


@pytest.mark.parametrize("finite", [1, jnp.ones(2, bool), jnp.float32(1), "yes"])
def test_what_is_no_truth_value_is_refused(finite):
    teacher = Teacher(PLAN, N)
    ids, _ = next(iter(teacher))
    with pytest.raises(attent.LearnerError, match=r"finite must be one truth value, bool of shape \(\), got"):
        teacher.record(jnp.asarray(1.0 + ids), finite)


def test_finite_that_is_a_tracer_is_refused():
    teacher = Teacher(PLAN, N)
    next(iter(teacher))
    with pytest.raises(attent.LearnerError, match="finite is a tracer: return it from the jitted step"):
        jax.jit(lambda finite: teacher.record(np.ones(SIZE), finite))(jnp.array(True))


def test_a_step_taken_on_a_loss_that_is_not_finite_stops_the_run():
    teacher = Teacher(PLAN, (BAD, Y))

    def train():
        for _, y, _ in teacher:
            teacher.record(np.where(np.arange(len(y)) == 1, np.nan, 1.0), True)

    with pytest.raises(attent.LearnerError, match=r"6 of 6 steps in pass 0 had a loss that is not finite, and were ta"):
        train()


def test_a_plan_that_allows_none_stops_where_a_step_was_left_out():
    plan = attent.Plan(epochs=2, batch_size=SIZE, ratio=0.5, warm_up=1)
    with pytest.raises(attent.ScoreError, match="1 of 6 steps in epoch 0 had a gradient that is not finite"):
        Loop(plan, X, sick={3}).run()
    loop = Loop(plan, X).run()
    assert counted(loop.teacher) == [0, 0]


def test_no_state_is_given_of_what_is_not_finite():
    loop = Loop(x=X).run(4)
    kept = loop.teacher.state(loop.params)
    assert kept == loop.teacher.state()
    spoilt = loop.params | {"b": loop.params["b"].at[1].set(jnp.inf)}
    with pytest.raises(attent.LearnerError, match=r"\['b'\] is not finite in pass 0\. Nothing of it is kept"):
        loop.teacher.state(spoilt)
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    loop.teacher.state(model)
    model.bias[...] = jnp.full(2, jnp.nan)
    with pytest.raises(attent.LearnerError, match=r"bias.* is not finite in pass 0"):
        loop.teacher.state(model)
