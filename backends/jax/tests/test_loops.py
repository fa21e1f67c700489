"""Loops over a jitted step: the ids of every step, one compilation, going on exactly; in plain JAX, flax and Equinox."""

from __future__ import annotations

import difflib
import importlib.util
import json
import runpy
import warnings
from dataclasses import replace
from pathlib import Path

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attent
from attent.cli.report_command import show_difference, show_report
from attent_jax import JaxLearner, Teacher, from_nnx

_spec = importlib.util.spec_from_file_location("loop_task", Path(__file__).with_name("loop_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
AUTO, DATA, DEFAULT, N, PLANS = task.AUTO, task.DATA, task.DEFAULT, task.N, task.PLANS
SIZE, WEIGHTS, X, Y, furthest = task.SIZE, task.WEIGHTS, task.X, task.Y, task.furthest
losses_of = task.losses_of

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"


class Loop:
    """A user's script: a jitted step, an optax schedule, and a loop that remembers the ids of each step."""

    def __init__(self, plan, **settings) -> None:
        steps = plan.total_steps(N)
        self.optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))
        self.params = jax.tree.map(jnp.asarray, WEIGHTS)
        self.state = self.optimizer.init(self.params)
        self.teacher = Teacher(plan, DATA, score=lambda batch: self.score(self.params, batch), **settings)
        self.seen: list[list[int]] = []
        self.losses: list[jax.Array] = []
        self.score = jax.jit(losses_of)
        self.step = jax.jit(self._step)

    def _step(self, params, state, batch):
        def loss(params):
            losses = losses_of(params, batch)
            return losses @ batch["weights"], losses

        grads, losses = jax.grad(loss, has_aux=True)(params)
        updates, state = self.optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, losses

    def run(self, epochs, stop=None):
        for _ in range(epochs):
            for batch in self.teacher:
                self.seen.append(batch["id"][batch["weights"] > 0].tolist())
                assert batch["x"].shape == (SIZE, 6)
                assert set(batch["id"][batch["weights"] == 0]) <= set(self.seen[-1])
                self.params, self.state, losses = self.step(self.params, self.state, batch)
                self.losses.append(self.teacher.record(losses))
                if len(self.seen) == stop:
                    return self
        return self


class Watched(JaxLearner):
    def train(self, batches, weights=None):
        self.seen = [*getattr(self, "seen", []), *(ids.tolist() for ids in batches)]
        return super().train(batches, weights)


def by_teach(plan):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, plan.total_steps(N)))
    params = jax.tree.map(jnp.asarray, WEIGHTS)
    learner = Watched(
        params, (X, Y), lambda params, batch: losses_of(params, {"x": batch[0], "y": batch[1]}), optimizer
    )
    return attent.teach(learner, plan), learner


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_step_trains_what_teach_trains(plan):
    trace, learner = by_teach(plan)
    loop = Loop(plan).run(plan.full_epochs)
    assert loop.seen == learner.seen
    assert attent.first_difference(loop.teacher.trace(), trace) is None
    assert furthest(loop.params, learner.params) < 1e-12
    assert loop.teacher.finished
    assert len(loop.seen) == loop.teacher.total_steps == plan.total_steps(N) == int(loop.state[0].count)
    with pytest.warns(UserWarning, match=f"at its end after {plan.full_epochs} epochs"):
        assert list(loop.teacher) == []


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_step_is_compiled_once(plan):
    loop = Loop(plan).run(plan.full_epochs)
    assert len({row.k % SIZE for row in plan.timeline(N)}) > 1  # last batches of several sizes
    assert loop.step._cache_size() == 1
    assert loop.score._cache_size() <= 1


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 9, 20])
def test_goes_on_exactly_from_any_step(stop, tmp_path):
    whole = Loop(AUTO).run(4)
    first = Loop(AUTO, run=tmp_path / "run").run(4, stop)
    kept = json.loads(json.dumps(first.teacher.state()))
    again = Loop(AUTO, run=tmp_path / "run", resume=True)
    again.teacher.load_state(kept)
    again.params, again.state = first.params, first.state
    while not again.teacher.finished:
        again.run(1)
    assert first.seen + again.seen == whole.seen
    assert furthest(again.params, whole.params) == 0
    assert attent.first_difference(again.teacher.trace(), whole.teacher.trace()) is None


def test_tuples_and_numbers_of_examples():
    tuples, numbers = Teacher(DEFAULT, (X, Y)), Teacher(DEFAULT, N)
    x, y, weights = next(iter(tuples))
    ids, same = next(iter(numbers))
    np.testing.assert_array_equal(X[ids], x)
    np.testing.assert_array_equal(Y[ids], y)
    np.testing.assert_array_equal(weights, same)
    assert weights.sum() == pytest.approx(1)
    assert Teacher(DEFAULT, 5)._part(np.array([3, 1]), None, 0)[0].tolist() == [3, 1] + [3] * 14


def broken(ids):
    if 17 in ids:
        raise OSError("disk gone")
    return X[ids]


def test_a_function_of_ids_gives_the_batches():
    """Of any form; a list, as torch's default_collate gives it, is a tuple."""
    arrays, plan = Loop(DEFAULT).run(4), DEFAULT
    for form in (lambda ids: [X[ids], Y[ids], ids], lambda ids: {"x": X[ids], "y": Y[ids], "id": ids}):
        teacher, seen = Teacher(plan, form, n=N), []
        for batch, losses in zip(teacher.batches(), arrays.losses, strict=True):
            batch = batch if isinstance(batch, dict) else dict(zip(("x", "y", "id", "weights"), batch, strict=True))
            seen.append(batch["id"][batch["weights"] > 0].tolist())
            np.testing.assert_array_equal(batch["x"], X[batch["id"]])
            assert teacher.record(losses) is losses
        assert seen == arrays.seen
        assert teacher.finished
        assert list(teacher.batches()) == []


@pytest.mark.parametrize(
    ("told", "data", "n"),
    [
        ("^example 17 cannot be fetched: OSError: disk gone$", broken, N),
        (r"asked for 16 examples, its arrays have \[15\]", lambda ids: X[ids[1:]], N),
        ('the batch has "weights"', lambda ids: {"weights": X[ids]}, N),
        ("a function of ids does not tell how many examples there are: give n=, got None", broken, None),
        ("n must be a whole number of at least 1, got 0", broken, np.int64(0)),
        ("n must be a whole number of at least 1, got 50.0", broken, 50.0),
        ("n is for a function of ids", DATA, N),
    ],
)
def test_a_function_of_ids_that_fails_is_told_of(told, data, n):
    def train():
        for _ in (teacher := Teacher(DEFAULT, data, n=n)):
            teacher.record(jnp.ones(SIZE))

    assert Teacher(DEFAULT, lambda ids: X[ids], n=np.int64(N)).total_steps == Teacher(DEFAULT, N).total_steps
    with pytest.raises(attent.AttentError, match=told):
        train()


@pytest.mark.parametrize(("steps", "told"), [(3, "after 3 of the plan's"), (8, "after 8 of the plan's"), (99, None)])
def test_a_loop_with_a_limit_of_its_own_is_told_that_it_ends_early(steps, told):
    teacher = Teacher(DEFAULT, N)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _, (ids, _) in zip(range(steps), teacher.batches(), strict=False):
            teacher.record(jnp.asarray(1.0 + ids))
    assert [told in str(each.message) for each in caught] == [True] * (told is not None)
    assert teacher.finished == (told is None)


@nnx.jit
def nnx_step(model, optimizer, batch):
    def loss(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(batch["x"]), batch["y"])
        return losses @ batch["weights"], losses

    (_, losses), grads = nnx.value_and_grad(loss, has_aux=True)(model)
    optimizer.update(model, grads)
    return losses


def test_nnx_equals_teach():
    def module():
        return nnx.Linear(6, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

    model, other, teacher = module(), module(), Teacher(DEFAULT, DATA)
    optimizer = nnx.Optimizer(model, optax.sgd(0.5), wrt=nnx.Param)
    for _ in range(4):
        for batch in teacher:
            teacher.record(nnx_step(model, optimizer, batch))
    losses = lambda model, batch: optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1])  # noqa: E731
    trace = attent.teach(from_nnx(other, (X, Y), losses, optax.sgd(0.5)), DEFAULT)
    assert attent.first_difference(teacher.trace(), trace) is None


def test_equinox_equals_plain_jax():
    class Net(equinox.Module):
        weights: dict

        def __call__(self, x):
            return jnp.tanh(x @ self.weights["first"]) @ self.weights["second"]

    optim = optax.adam(optax.cosine_decay_schedule(0.05, DEFAULT.total_steps(N)))

    def loss(model, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(batch["x"]), batch["y"])
        return losses @ batch["weights"], losses

    @equinox.filter_jit
    def step(model, state, batch):
        (_, losses), grads = equinox.filter_value_and_grad(loss, has_aux=True)(model, batch)
        updates, state = optim.update(grads, state, model)
        return equinox.apply_updates(model, updates), state, losses

    model, teacher = Net(jax.tree.map(jnp.asarray, WEIGHTS)), Teacher(DEFAULT, DATA)
    state = optim.init(model)
    for _ in range(4):
        for batch in teacher:
            model, state, losses = step(model, state, batch)
            teacher.record(losses)
    plain = Loop(DEFAULT).run(4)
    assert attent.first_difference(teacher.trace(), plain.teacher.trace()) is None
    assert furthest(model.weights, plain.params) < 1e-12


@pytest.mark.parametrize(
    ("told", "plan", "data"),
    [
        ("must be a dict or tuple of arrays", DEFAULT, [X, Y]),
        (r"data\['name'\] is a list, and an array is wanted", DEFAULT, {"x": X, "name": ["a"] * N}),
        (r"data\[1\] is a list, and an array is wanted", DEFAULT, (X, Y.tolist())),
        (r"data\['name'\] has dtype <U1, which no jitted step takes", DEFAULT, {"x": X, "name": np.array(["a"] * N)}),
        ("differ in their number of examples", DEFAULT, (X, Y[:-1])),
        ('data has "weights"', DEFAULT, {"x": X, "weights": Y}),
        ("the plan has scoring passes", PLANS["scoring"], DATA),
    ],
)
def test_says_what_is_wrong_before_the_first_step(told, plan, data):
    with pytest.raises(attent.AttentError, match=told):
        Teacher(plan, data)


def test_losses_are_recorded_once_a_batch_and_one_per_example():
    teacher = Teacher(DEFAULT, DATA)
    with pytest.raises(attent.CourseError, match="no batch waits"):
        teacher.record(np.zeros(SIZE))
    given = iter(teacher)
    next(given)
    with pytest.raises(attent.LearnerError, match="which is their mean"):
        teacher.record(jnp.float32(1))
    with pytest.raises(attent.CourseError, match="of the last batch were not recorded"):
        next(given)


def test_losses_that_cannot_be_kept_are_refused_at_once():
    teacher = Teacher(DEFAULT, DATA)
    given = iter(teacher)
    next(given)
    with pytest.raises(attent.LearnerError, match="the losses are a tracer: return them from the jitted step"):
        jax.jit(lambda: teacher.record(jnp.ones(SIZE)))()
    with pytest.raises(attent.LearnerError, match="must be floating-point numbers, got int64"):
        teacher.record(jnp.ones(SIZE, int))
    teacher.record(jnp.ones(SIZE, jnp.bfloat16))
    next(given)  # one was kept


def test_losses_that_were_donated_are_told_of():
    teacher = Teacher(DEFAULT, DATA)
    losses = [jnp.ones(SIZE) for _ in range(teacher.feed.row.steps)]
    given = iter(teacher)
    for each in losses[:-1]:
        next(given)
        teacher.record(each)
        each.delete()  # as a step does to which they are donated
    next(given)
    with pytest.raises(attent.LearnerError, match=r"Array has been deleted.* leave them out of donate_argnums"):
        teacher.record(losses[-1])


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(attent.PlanError, match="a Teacher is for one process"):
        Teacher(DEFAULT, DATA)


@pytest.mark.parametrize("name", ["nnx_loop", "equinox_loop", "equinox_mean_loss"])
def test_at_most_five_lines_of_the_script_change(name):
    before, after = ((EXAMPLES / f"{name}{kind}.py").read_text().splitlines() for kind in ("_before", ""))
    added = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert 0 < len(added) <= 5, added
    assert len(after) <= 40


@pytest.mark.parametrize(
    "name", ["nnx_loop_before", "nnx_loop", "equinox_loop_before", "equinox_loop", "equinox_mean_loss_before"]
)
def test_the_example_runs(name):
    found = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert found["accuracy"] > 0.9
    if "Teacher" in found:
        assert found["train"].finished
        assert len(found["train"].trace().records) == found["train"].feed.plan.epochs


READ_BACK = {
    "hard": attent.Plan(epochs=3, batch_size=SIZE, warm_up=1, ratio=0.4, select=attent.Hard()),
    "weighted": PLANS["weighted"],
    "scoring": PLANS["scoring"],
}


@pytest.mark.parametrize("plan", READ_BACK.values(), ids=READ_BACK)
def test_a_runs_folder_is_shown_compared_and_replayed(plan, tmp_path):
    Loop(plan, run=tmp_path / "run").run(3)
    trace = attent.Trace.read(tmp_path / "run")
    again = Loop(replace(plan, source=attent.Replay()), run=tmp_path / "again", replay=trace).run(3).teacher.trace()
    assert [again.ids(row).tolist() for row in range(3)] == [trace.ids(row).tolist() for row in range(3)]
    assert sum(record.examples_scored for record in again.records) == 0
    told = []
    show_report(tmp_path / "run", tell=told.append)
    assert "examples, finished" in told[0]
    assert not show_difference(tmp_path / "run", tmp_path / "again", tell=told.append)
    assert told[-1] == "the same 3 epochs"
