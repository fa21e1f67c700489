"""Run by test_replicas.py: a learner on two replicas of one process beside one on one device; what differs is printed."""

from __future__ import annotations

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf

import attent
from attent_tensorflow import AdamW, KerasLearner, TensorFlowLearner
from attent_tensorflow.trainers.keras import taught_fit

keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
N, SICK = 43, 7
_random = np.random.default_rng(0)
ADAM = keras.optimizers.Adam()
X, Y = _random.normal(size=(N, 6)), _random.integers(0, 3, N)
IDS = np.arange(N)
BATCHES = [IDS[:5], IDS[9:10], IDS[20:28]]
WEIGHTS = [np.linspace(0, 3, len(ids)) for ids in BATCHES]


def built(replicas, *, normed=False, embedded=False, x=X, optimizer=None, **settings):
    keras.utils.set_random_seed(0)
    with STRATEGY.scope() if replicas else contextlib.nullcontext():
        layers = [keras.layers.Dense(8, "tanh", kernel_regularizer="l2")]
        if normed:
            layers += [keras.layers.BatchNormalization()]
        if embedded:
            layers, x = [keras.layers.Embedding(5, 4), keras.layers.Flatten()], np.abs(2 * x).astype("int32") % 5
        model = keras.Sequential([keras.layers.Input((6,)), *layers, keras.layers.Dense(3)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01) if optimizer is None else optimizer(), loss)
    return KerasLearner(model, (x, Y), **settings)


def difference(one, other):
    """Return by how much the arrays of two states differ at most."""
    own, others = one.state(), other.state()
    assert set(own) == set(others)
    return max(float(np.abs(own[name] - others[name]).max()) for name in own if own[name].dtype == np.float64)


def apart(learner):
    """Return by how much the replicas of a learner's variables differ at most."""
    held = [*learner.model.variables, *learner.optimizer.variables]
    mirrored = [v.value for v in held if isinstance(v.value, tf.distribute.DistributedValues)]
    assert len(mirrored) >= len(learner.model.variables)
    return max(float(np.abs(np.subtract(*[np.float64(each) for each in v.values])).max()) for v in mirrored)


def steps(clip_norm, **settings):
    one, two = (built(replicas, clip_norm=clip_norm, **settings) for replicas in (False, True))
    losses = one.train(BATCHES, WEIGHTS) - two.train(BATCHES, WEIGHTS)
    scores = one.score(IDS[::-1]) - two.score(IDS[::-1])
    return [np.abs(losses).max(), np.abs(scores).max(), difference(one, two), apart(two), two.traces]


def runs(name):
    plan = getattr(attent.Plan, name)(epochs=4, batch_size=7)
    one, two = built(False), built(True)
    unlike = attent.first_difference(attent.teach(one, plan), attent.teach(two, plan))
    return [None if unlike is None else str(unlike), difference(one, two), apart(two)]


def goes_on():
    first = built(True, normed=True)
    first.train(BATCHES)
    kept = first.state()
    alone, again = built(False, normed=True), built(True, normed=True)
    for other in (again, alone):
        other.load_state(kept)
    scores = [learner.score(IDS) for learner in (first, again, alone)]
    for learner in (first, again):
        learner.train(BATCHES[::-1])
    equal = all(np.array_equal(value, again.state()[name]) for name, value in first.state().items())
    return [np.array_equal(scores[0], scores[1]), np.abs(scores[0] - scores[2]).max(), equal, apart(first)]


def not_finite():
    x = X.copy()
    x[SICK] = np.nan
    one, two = built(True, normed=True, x=x), built(True, normed=True, x=x)
    losses = one.train([BATCHES[0], IDS[4:9], BATCHES[2]])
    two.train([BATCHES[0], BATCHES[2]])
    plan = attent.Plan(epochs=3, batch_size=8, ratio=0.5, warm_up=1, non_finite="drop")
    trace = attent.teach(built(True, x=x), plan)
    return [
        np.flatnonzero(~np.isfinite(losses)).tolist(), one.skipped, difference(one, two), apart(one),
        [record.steps_skipped for record in trace.records],
    ]  # fmt: skip


def refusals():
    def within():
        with STRATEGY.scope():
            built(False)

    def mixed():
        with STRATEGY.scope():
            first = keras.layers.Dense(8)
            first.build((None, 6))
        model = keras.Sequential([keras.layers.Input((6,)), first, keras.layers.Dense(3)])
        KerasLearner(model, (X, Y), loss=keras.losses.SparseCategoricalCrossentropy(True), optimizer="sgd")

    def fit():
        taught_fit(built(True).model, attent.Plan.full(epochs=1, batch_size=7), X, Y, verbose=0)

    def own_optimizer():
        model = built(True).model
        TensorFlowLearner(model, (X, Y), lambda model, batch, training: model(batch[0])[:, 0], AdamW(0.1))

    told = []
    for attempt in (
        within,
        mixed,
        fit,
        own_optimizer,
        lambda: built(True, optimizer=lambda: ADAM),
        lambda: built(True, optimizer=lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())),
    ):
        try:
            attempt()
            told.append("nothing")
        except attent.AttentError as error:
            told.append(str(error))
    return told


if __name__ == "__main__":
    found = {
        "steps": steps(None),
        "clipped": steps(0.01),
        "embedded": steps(0.01, embedded=True),
        **{name: runs(name) for name in ("auto", "infobatch", "paper")},
        "goes on": goes_on(),
        "not finite": not_finite(),
        "refusals": refusals(),
    }
    json.dump(found, sys.stdout)
