"""A small task for Keras' fit, and what every backend of Keras must do with it; run as a script on another backend."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["JAX_ENABLE_X64"] = "1"
if os.environ.get("KERAS_BACKEND") != "tensorflow":
    sys.modules["tensorflow"] = None  # as where it is not installed

import keras
import numpy as np
from keras import ops

import attent
from attent_tensorflow.keras_losses import keras_losses
from attent_tensorflow.trainers.keras import taught_fit

N, SIZE = 90, 16
_random = np.random.default_rng(0)
X = np.concatenate([np.arange(N)[:, None], _random.normal(size=(N, 6))], axis=1)
Y = _random.integers(0, 3, N)
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=SIZE),
    "default": attent.Plan.default(epochs=4, batch_size=SIZE),
    "weighted": attent.Plan.infobatch(epochs=3, batch_size=SIZE),
    "scoring": attent.Plan.paper(epochs=3, batch_size=SIZE),
}

# After how many steps Keras keeps a backup, after how many of a process' own it is killed (passes have 6, 2, 2, 2, ... steps),
# and the seed of dropout. Without one it draws from PyTorch's global generator, where Keras runs on it: so does each look at
# validation data, and where a pass is killed between its last step and its end they are looked at once less.
KILLS = [("epoch", [11], None), (4, [5], None), (4, [11, 3], None), (3, [7], None), (1, [8, 1], 7)]


def cross_entropy() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # of the float type set by now


class Seen(keras.layers.Layer):
    """Takes the ids off, and, run eagerly, remembers which each training step was given."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.steps: list[list[int]] = []

    def call(self, inputs, training=False):
        if training and type(inputs).__name__ != "SymbolicTensor" and "Tracer" not in type(inputs).__name__:
            self.steps.append(ops.convert_to_numpy(inputs)[:, 0].astype(int).tolist())
        return inputs[:, 1:]


def new_model(eagerly: bool = False, **settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((7,)), Seen(), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    compiled = {"optimizer": keras.optimizers.SGD(0.5), "loss": cross_entropy(), "run_eagerly": eagerly, **settings}
    model.compile(**compiled)
    return model


def check_a_step_is_left_out() -> None:
    """One example has no finite loss: its step changes no weight, is counted, and all else is trained as by hand."""
    x, y = np.eye(8), np.arange(8) % 2
    x[3, 3] = np.nan
    plan = attent.Plan(epochs=3, batch_size=2, ratio=0.5, warm_up=1, non_finite="drop")

    def model() -> keras.Model:
        keras.utils.set_random_seed(0)
        made = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        made.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)), cross_entropy())
        return made

    taught, other = model(), model()
    trace = taught_fit(taught, plan, x, y, verbose=0).trace
    assert [record.steps_skipped for record in trace.records] == [1, 0, 0]
    assert int(taught.optimizer.iterations) == plan.total_steps(8) - 1
    feed = attent.Feed(plan, 8)
    losses = keras_losses(cross_entropy())
    other.compile(keras.optimizers.Adam(0.1), cross_entropy())
    while not feed.finished:
        for ids in feed.batches():
            feed.record(ops.convert_to_numpy(losses(y[ids], other(x[ids]))), ids)
            if 3 not in ids:
                other.train_on_batch(x[ids], y[ids])
    assert attent.first_difference(trace, feed.trace()) is None
    assert all(np.isfinite(each).all() for each in taught.get_weights())
    assert furthest(taught, other) < 1e-12


def check_overflows_are_counted(policy: str) -> None:
    """Gradients that overflow at the first scale, of finite losses: their steps are counted, under every plan."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, dtype="float32")])
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=2.0**127)
    model.compile(scaling, cross_entropy())
    plan = attent.Plan(epochs=3, batch_size=2, ratio=0.5, warm_up=1, non_finite=policy)
    x, y, taken = 16 * np.eye(8, dtype="float32"), np.arange(8) % 2, [0]
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: taken.append(int(model.optimizer.iterations)))
    trace = taught_fit(model, plan, x, y, callbacks=[seen], verbose=0).trace
    counted = [record.steps_skipped for record in trace.records]
    assert counted == (np.array([row.steps for row in plan.timeline(8)]) - np.diff(taken)).tolist()
    assert counted[0] > 0


def by_hand(plan: attent.Plan) -> tuple[attent.Trace, list[list[int]], keras.Model]:
    """Train by train_on_batch, each loss from a forward of its own before the step."""
    model, feed, steps = new_model(), attent.Feed(plan, N), []
    losses = keras_losses(cross_entropy())

    def losses_of(ids):
        return ops.convert_to_numpy(losses(ops.convert_to_tensor(Y[ids]), model(X[ids], training=False)))

    while not feed.finished:
        while (ids := feed.to_score()) is not None:
            feed.record(losses_of(ids), ids)
        weights = feed.weights()
        for step, ids in enumerate(feed.batches()):
            found = losses_of(ids)
            model.train_on_batch(X[ids], Y[ids], sample_weight=None if weights is None else weights[step])
            steps.append(ids.tolist())
            feed.record(found, ids)
    return feed.trace(), steps, model


def furthest(one: keras.Model, other: keras.Model) -> float:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs if a.size)


def check_every_step(plan: attent.Plan) -> None:
    trace, steps, wanted = by_hand(plan)
    for eagerly in (True, False):
        model = new_model(eagerly)
        history = taught_fit(model, plan, X, Y, verbose=0, validation_data=(X, Y))
        if eagerly:
            assert model.layers[0].steps == steps, (model.layers[0].steps[:3], steps[:3])
        assert attent.first_difference(history.trace, trace) is None
        # Op by op JAX multiplies by the learning rate, a float32, before it is widened.
        assert furthest(model, wanted) < (1e-6 if eagerly and keras.backend.backend() == "jax" else 1e-12)
        assert int(model.optimizer.iterations) == plan.total_steps(N)
        assert history.epoch == list(range(plan.epochs))
        assert len(history.history["val_loss"]) == plan.epochs


class Stop(keras.callbacks.Callback):
    """Kills the run after a number of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def dropping_model(seed: int | None = None) -> keras.Model:
    """All that a step leaves behind: weights, moments, running statistics, seeds of dropout, metrics."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((7,)), Seen(), keras.layers.Dense(8, "tanh"), keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3, seed=seed), keras.layers.Dense(3),
    ]  # fmt: skip
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), cross_entropy(), metrics=["accuracy"])
    return model


def check_goes_on(folder, save_freq: int | str, kills: list[int], seed: int | None) -> None:
    """A run that is killed after each of these steps goes on from its last backup, to the bit."""
    plan = PLANS["auto"]
    whole = dropping_model(seed)
    wanted = taught_fit(whole, plan, X, Y, verbose=0, validation_data=(X, Y), run=folder / "whole")

    def backed(model, *more):
        backup = keras.callbacks.BackupAndRestore(folder / "backup", save_freq=save_freq)
        settings = {"callbacks": [backup, *more], "validation_data": (X, Y), "run": folder / "run"}
        return taught_fit(model, plan, X, Y, verbose=0, **settings)

    for steps in kills:
        try:
            backed(dropping_model(seed), Stop(steps))
            raise AssertionError("was not stopped")
        except KeyboardInterrupt:
            pass
    model = dropping_model(seed)
    history = backed(model)
    assert history.epoch[-1] == plan.epochs - 1
    assert attent.first_difference(history.trace, wanted.trace) is None
    assert [record.loss for record in history.trace.records] == [record.loss for record in wanted.trace.records]
    for name in ("loss", "accuracy", "val_loss"):  # of whole passes, those begun in another process too
        assert history.history[name] == wanted.history[name][history.epoch[0] :], name
    assert furthest(model, whole) == 0


def main(plan: str, folder: str) -> None:
    from pathlib import Path

    keras.config.set_floatx("float64")
    check_every_step(PLANS[plan])
    if plan == "auto":
        for save_freq, kills, seed in KILLS:
            check_goes_on(Path(folder, f"{save_freq} {kills}"), save_freq, kills, seed)
        check_a_step_is_left_out()
        check_overflows_are_counted("error")


if __name__ == "__main__":
    main(*sys.argv[1:])
