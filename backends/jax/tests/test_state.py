"""State: exact, the caller's own, checked as a whole before anything changes (P6, P7, R2); donation touches nobody."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attent.errors import LearnerError
from attent_jax import JaxLearner

SEEN = {"seen": np.zeros((), np.int64), "mean": np.zeros(3)}
CASES = {
    "adamw": lambda task: task.learner(optimizer=optax.adamw(0.01)),
    "momentum": lambda task: task.learner(),
    "clip, schedule": lambda task: task.learner(
        optimizer=optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(optax.cosine_decay_schedule(0.02, 10)))
    ),
    "injected": lambda task: task.learner(optimizer=optax.inject_hyperparams(optax.adam)(learning_rate=0.01)),
    "bfloat16": lambda task: task.learner(optimizer=optax.adamw(0.01), params=task.params(jnp.bfloat16)),
    "dropout": lambda task: task.learner(task.dropout, seed=3),
    "model state": lambda task: task.learner(task.counted, model_state=SEEN),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_equals_the_one_that_was_not_stopped(task, assert_same, case):
    whole, resumed = CASES[case](task), CASES[case](task)
    whole.train(task.batches[:3], task.weights[:3])
    state = whole.state()
    rest = whole.train(task.batches[3:], task.weights[3:])
    resumed.load_state(state)
    assert resumed.steps == 3
    # The batches left are smaller than those before: they must be padded as if nothing had happened.
    assert np.array_equal(resumed.train(task.batches[3:], task.weights[3:]), rest)
    assert_same(resumed.state(), whole.state())


def test_names_are_readable(task):
    learner = task.learner(optimizer=optax.adamw(0.01))
    assert sorted(learner.state()) == [
        "dtypes", "optimizer/0/count", "optimizer/0/mu/b1", "optimizer/0/mu/w1", "optimizer/0/mu/w2",
        "optimizer/0/nu/b1", "optimizer/0/nu/w1", "optimizer/0/nu/w2", "params/b1", "params/w1", "params/w2",
        "seed", "steps", "width",
    ]  # fmt: skip


def test_every_value_is_a_plain_contiguous_array(task):
    state = CASES["bfloat16"](task).state()
    assert state["params/w1"].dtype == np.uint16
    for name, array in state.items():
        assert type(array) is np.ndarray, name
        assert array.dtype.kind in "iuf", name
        assert array.flags.c_contiguous, name


def test_later_training_changes_no_state_that_was_handed_out(task, assert_same):
    learner = task.learner()
    state = learner.state()
    kept = {name: array.copy() for name, array in state.items()}
    learner.train(task.batches)
    learner.load_state(state)
    learner.train(task.batches)
    assert_same(state, kept)


def test_a_loaded_state_remains_the_callers(task, assert_same):
    learner = task.learner()
    learner.train(task.batches[:2])
    state = learner.state()
    kept = {name: array.copy() for name, array in state.items()}
    other = task.learner()
    other.load_state(state)
    for array in state.values():
        array[...] = 0
    assert_same(other.state(), kept)


@pytest.mark.parametrize("as_numpy", [False, True])
def test_donation_leaves_the_callers_arrays_alone(task, as_numpy):
    params = {name: np.asarray(value) if as_numpy else value for name, value in task.params().items()}
    seen = {"seen": jnp.zeros((), jnp.int64), "mean": jnp.zeros(3)}
    learners = [task.learner(params=params), task.learner(task.counted, params=params, model_state=seen)]
    for learner in learners:
        learner.train(task.batches)
    for name, value in task.params().items():
        assert np.array_equal(params[name], value), name
    assert seen["mean"].tolist() == [0, 0, 0]


def test_keys_of_random_numbers_in_the_model_state(task, assert_same):
    def loss(params, batch, *, state, mask):
        key, own = jax.random.split(state["key"])
        return task.loss(params, batch) * jax.random.uniform(own, mask.shape), {"key": key}

    one, two = (task.learner(loss, model_state={"key": jax.random.key(4)}) for _ in range(2))
    one.train(task.batches[:2])
    two.load_state(one.state())
    assert np.array_equal(one.train(task.batches), two.train(task.batches))
    assert_same(one.state(), two.state())


def edited(state, **changes):
    state = {**state, **{name.replace("__", "/"): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params__w1": None}, "it lacks 'params/w1' and has nothing too many"),
        ({"params__w9": np.zeros(1)}, "it lacks nothing and has 'params/w9' too many"),
        ({"params__w1": np.zeros((3, 9))}, r"'params/w1' is float64 of shape \(3, 9\) in the state, but float64 of shape \(3, 8\)"),
        ({"params__w1": np.zeros((3, 8), np.float32)}, r"'params/w1' is float32 of shape \(3, 8\) in the state, but float64"),
        ({"steps": np.array(-1)}, "'steps' must be at least 0 in the state, got -1"),
        ({"dtypes": None}, "this is no state of a JaxLearner: it has no array 'dtypes'"),
        ({"dtypes": np.zeros(3, np.uint8)}, "this is no state of a JaxLearner: its array 'dtypes' holds"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_changes_nothing(task, assert_same, changes, message):
    learner = task.learner()
    learner.train(task.batches[:1])
    other = task.learner()
    before = other.state()
    with pytest.raises(LearnerError, match=message):
        other.load_state(edited(learner.state(), **changes))
    assert_same(other.state(), before)


def test_a_state_of_another_optimizer(task):
    state = task.learner(optimizer=optax.adamw(0.1)).state()
    with pytest.raises(LearnerError, match="it lacks 'optimizer/0/trace/b1'.* and has 'optimizer/0/count'"):
        task.learner().load_state(state)


def test_a_state_of_another_precision(task):
    state = task.learner(params=task.params(jnp.bfloat16)).state()
    with pytest.raises(LearnerError, match=r"is bfloat16 of shape .* in the state, but float16 of shape"):
        task.learner(params=task.params(jnp.float16)).load_state(state)


def test_names_that_collide(task):
    params = {"a/b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}
    with pytest.raises(LearnerError, match="two arrays would be saved as 'optimizer/0/trace/a/b'"):
        JaxLearner(params, task.x, lambda p, b: b.sum(1), optax.sgd(0.1, momentum=0.9))
