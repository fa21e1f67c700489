"""state() and load_state(): going on exactly (rules P6, P7, R2)."""

import json

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow import SGD, AdamW, KerasLearner

DECAY = keras.optimizers.schedules.CosineDecay
OPTIMIZERS = {
    "SGD": lambda: SGD(0.05),
    "AdamW": lambda: AdamW(0.05),
    "Keras SGD, momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "Keras Adam": lambda: keras.optimizers.Adam(0.05, amsgrad=True),
    "Keras AdamW, schedule": lambda: keras.optimizers.AdamW(DECAY(0.05, 8), weight_decay=0.1),
    "Keras Lion, averaged": lambda: keras.optimizers.Lion(0.01, use_ema=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_going_on_is_exact(task, assert_same, optimizer):
    rate = None if "schedule" in optimizer else lambda step: 0.05 / (1 + step)

    def make(seed):
        return task.learner(
            task.model(seed=seed), loss=task.dropped, optimizer=OPTIMIZERS[optimizer](), learning_rate=rate
        )

    learner = make(1)
    learner.train(task.batches, task.weights)
    saved = safetensors.numpy.save(learner.state())
    losses, state = learner.train(task.batches).tolist(), learner.state()

    learner.load_state(safetensors.numpy.load(saved))
    assert learner.train(task.batches).tolist() == losses
    assert_same(learner.state(), state)

    fresh = make(9)
    fresh.load_state(safetensors.numpy.load(saved))
    assert fresh.steps == 5
    assert fresh.train(task.batches).tolist() == losses
    assert_same(fresh.state(), state)
    assert learner.traces["train"] == 1


def test_dropout_differs_from_step_to_step_and_by_seed(task):
    ids = np.arange(24)

    def still(seed):
        return task.learner(loss=task.dropped, optimizer=SGD(0.0), seed=seed)

    one, two = np.split(still(3).train([ids, ids]), 2)
    assert (one != two).all()
    assert still(3).train([ids]).tolist() == one.tolist()
    assert (still(4).train([ids]) != one).all()
    assert (still(3).score(ids) != one).all()


def keras_model(policy=None):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(8, activation="relu", dtype=policy),
            layers.BatchNormalization(dtype=policy),
            layers.Dropout(0.4, dtype=policy),
            layers.Dense(2, dtype=policy),
        ]
    )


@pytest.mark.parametrize(
    ("policy", "optimizer"),
    [
        ("float64", "sgd"),
        ("mixed_bfloat16", "adamw"),
        ("bfloat16", "sgd"),
        ("mixed_float16", "adam"),
    ],
)
def test_keras_models_resume_in_every_precision(task, assert_same, policy, optimizer):
    dtype = np.float64 if policy == "float64" else np.float32
    data = task.x.astype(dtype), task.y.astype(dtype)

    def make():
        return KerasLearner(keras_model(policy), data, "mse", optimizer)

    learner = make()
    learner.train(task.batches)
    saved = safetensors.numpy.save(learner.state())
    losses = learner.train(task.batches)
    keras.layers.Dense(1)  # so that automatic names go on counting
    fresh = make()
    fresh.load_state(safetensors.numpy.load(saved))
    assert fresh.train(task.batches).tolist() == losses.tolist()
    assert_same(fresh.state(), learner.state())
    assert np.isfinite(losses).all()
    kernel = fresh.state()["model/sequential/dense/kernel"]
    assert kernel.dtype == {"float64": np.float64, "bfloat16": np.uint16}.get(policy, np.float32)
    if policy == "bfloat16":
        dtypes = json.loads(fresh.state()["about"].tobytes())["dtypes"]
        assert dtypes["model/sequential/dense/kernel"] == "bfloat16"
        bits = kernel.astype(np.uint32) << 16
        assert (bits.view(np.float32) == tf.cast(fresh.model.layers[0].kernel.value, tf.float32).numpy()).all()


def test_names_are_those_of_the_parameters(task):
    state = task.learner(optimizer=keras.optimizers.Adam()).state()
    assert set(state) == {
        "model/first", "model/second", "model/shift", "optimizer/iteration", "optimizer/learning_rate",
        "optimizer/first/momentum", "optimizer/first/velocity", "optimizer/second/momentum",
        "optimizer/second/velocity", "optimizer/shift/momentum", "optimizer/shift/velocity", "steps", "about",
    }  # fmt: skip
    own = KerasLearner(keras_model(), (task.x, task.y), "mse", "adam").state()
    assert {
        "model/sequential/dense/kernel",
        "model/sequential/dense_1/bias",
        "optimizer/sequential/dense_1/bias/velocity",
    } < set(own)


def test_a_state_is_a_copy(task, assert_same):
    learner = task.learner(optimizer=AdamW())
    learner.train(task.batches)
    state = learner.state()
    kept = {name: array.copy() for name, array in state.items()}
    learner.train(task.batches)
    assert_same(state, kept)
    learner.load_state(state)
    learner.train(task.batches)
    assert_same(state, kept)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in state.values())


def test_a_global_generator_resumes(task):
    def loss(model, batch, training):
        return task.loss(model, batch, training) * (
            tf.random.get_global_generator().uniform((), dtype=tf.float64) if training else 1.0
        )

    learner = task.learner(loss=loss)
    learner.train(task.batches[:2])
    state = learner.state()
    losses = learner.train(task.batches)
    assert learner.train(task.batches).tolist() != losses.tolist()
    learner.load_state(state)
    assert learner.train(task.batches).tolist() == losses.tolist()
    assert [name for name in state if name.startswith("other/")] != []


OTHERS = {
    "another width": (
        lambda task: task.learner(task.model(width=4), optimizer=AdamW()),
        r"'model/first' is float64 of shape \(3, 4\) in the state, but float64 of shape \(3, 8\) in this learner",
    ),
    "another dtype": (
        lambda task: task.learner(
            task.model(tf.float32), (task.x.astype(np.float32), task.y.astype(np.float32)), optimizer=AdamW()
        ),
        r"'model/first' is float32 of shape \(3, 8\) in the state, but float64",
    ),
    "another optimizer": (lambda task: task.learner(), "the state's optimizer is SGD, this learner's is AdamW"),
    "another model": (
        lambda task: KerasLearner(keras_model(), (task.x, task.y), "mse", keras.optimizers.AdamW()),
        "it lacks 'model/first', 'model/second', 'model/shift'",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_something_else_is_refused_and_changes_nothing(task, assert_same, other):
    make, message = OTHERS[other]
    learner = task.learner(optimizer=AdamW())
    learner.train(task.batches[:2])
    before = learner.state()
    with pytest.raises(LearnerError, match=message):
        learner.load_state(make(task).state())
    assert_same(learner.state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": None}, "it has no array 'about'"),
        ({"about": np.frombuffer(b"{", np.uint8)}, "its array 'about' holds"),
        ({"steps": None}, "it has no array 'steps'"),
        ({"steps": np.array(-1)}, "'steps' must be one int64 of at least 0"),
        ({"model/first": None}, "it lacks 'model/first' and has nothing too many"),
        ({"model/ninth": np.zeros(2)}, "it lacks nothing and has 'model/ninth' too many"),
        ({"model/shift": np.zeros(3)}, r"'model/shift' is float64 of shape \(3,\) in the state"),
        ({"model/shift": np.zeros(8, np.float32)}, "'model/shift' is float32 of shape"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(task, assert_same, change, message):
    learner = task.learner()
    learner.train(task.batches[:2])
    before = learner.state()
    with pytest.raises(LearnerError, match=message):
        learner.load_state({name: array for name, array in {**before, **change}.items() if array is not None})
    assert_same(learner.state(), before)


def test_numbers_in_the_other_byte_order_are_refused_and_change_nothing(task, assert_same):
    learner = task.learner(task.model(), loss=task.dropped, optimizer=AdamW(0.05))
    learner.train(task.batches)
    before = learner.state()
    name = next(name for name, array in before.items() if array.dtype.kind == "f" and array.ndim)
    with pytest.raises(LearnerError, match=rf"'{name}' is >f[48] of shape .* but float(32|64) of shape"):
        learner.load_state({**before, name: before[name].astype(before[name].dtype.newbyteorder(">"))})
    assert_same(learner.state(), before)
