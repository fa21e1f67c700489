"""Keras' fit by a plan: the ids of every step, callbacks as in one fit, and going on exactly; on three backends."""

from __future__ import annotations

import difflib
import importlib.util
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import attent
from attent.cli.report_command import show_difference, show_report
from attent.errors import LearnerError
from attent_tensorflow import KerasLearner
from attent_tensorflow.trainers.keras import taught_fit

_spec = importlib.util.spec_from_file_location("keras_task", Path(__file__).with_name("keras_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
DEFAULT, AUTO = task.PLANS["default"], task.PLANS["auto"]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on TensorFlow
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"


@pytest.fixture(autouse=True)
def float64():
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


def fit(model, plan=DEFAULT, x=task.X, y=task.Y, **settings):
    return taught_fit(model, plan, x, y, verbose=0, **settings)


@pytest.mark.parametrize("plan", task.PLANS.values(), ids=task.PLANS)
def test_every_step_trains_what_the_plan_says(plan):
    task.check_every_step(plan)


@pytest.mark.parametrize("plan", task.PLANS.values(), ids=task.PLANS)
def test_equals_teach(plan):
    model, other = task.new_model(), task.new_model()
    history = fit(model, plan)
    assert attent.first_difference(history.trace, attent.teach(KerasLearner(other, (task.X, task.Y)), plan)) is None
    assert task.furthest(model, other) == 0


@pytest.mark.parametrize(("save_freq", "kills", "seed"), task.KILLS)
def test_goes_on_from_a_backup_to_the_bit(save_freq, kills, seed, tmp_path):
    task.check_goes_on(tmp_path, save_freq, kills, seed)


@pytest.mark.parametrize(
    ("backend", "plan"), [("jax", "auto"), ("torch", "auto"), ("jax", "weighted"), ("torch", "scoring")]
)
def test_on_another_backend_of_keras(backend, plan, tmp_path):
    environment = os.environ | {"KERAS_BACKEND": backend}
    script = Path(task.__file__)
    done = subprocess.run(
        [sys.executable, script, plan, tmp_path], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("start", [1, 3, 7])
def test_goes_on_from_a_saved_model(start, tmp_path):
    whole = task.new_model()
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    trace = fit(whole, AUTO, callbacks=[keep], run=tmp_path / "run").trace
    path = tmp_path / f"{start}.keras"
    model = keras.models.load_model(path, custom_objects={"Seen": task.Seen})
    history = fit(model, AUTO, initial_epoch=start, run=tmp_path / "run")
    assert history.epoch == list(range(start, AUTO.epochs))
    assert task.furthest(model, whole) == 0
    assert attent.first_difference(history.trace, trace) is None
    other = task.new_model()
    with pytest.raises(attent.CourseError, match=f"the model has taken 0 steps, and states of pass {start} are of "):
        fit(other, AUTO, initial_epoch=start, run=tmp_path / "run")
    with pytest.raises(attent.TraceError, match="there is no state of pass 99"):
        fit(other, AUTO, initial_epoch=99, run=tmp_path / "run")


def test_goes_on_from_a_model_that_was_saved_within_a_pass(tmp_path):
    whole = task.dropping_model()
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=1)
    trace = fit(whole, callbacks=[keep], run=tmp_path / "run").trace  # passes have 6 and 3 steps
    model = keras.models.load_model(tmp_path / "2-2.keras", custom_objects={"Seen": task.Seen})
    assert int(model.optimizer.iterations) == 8
    again = fit(model, initial_epoch=1, run=tmp_path / "run")
    assert again.epoch == [1, 2, 3]
    assert attent.first_difference(again.trace, trace) is None
    assert task.furthest(model, whole) == 0
    other = task.new_model()
    with pytest.raises(attent.CourseError, match=r"the model has taken 0 steps, and states of pass 1 are of \[6, 7, 8"):
        fit(other, initial_epoch=1, run=tmp_path / "run")


def test_a_backup_within_a_pass_needs_steps_that_tell_the_place(tmp_path):
    model = task.new_model(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)))
    plan = attent.Plan.default(epochs=4, batch_size=task.SIZE, non_finite="drop")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=4)
    with pytest.raises(
        attent.PlanError, match="save_freq=4, and LossScaleOptimizer leaves steps out.*leave save_freq out"
    ):
        fit(model, plan, callbacks=[backup], run=tmp_path / "run")


class Calls(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, sorted(logs)))

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_callbacks_see_one_training(tmp_path):
    calls, board = Calls(), keras.callbacks.TensorBoard(tmp_path)
    fit(task.new_model(metrics=["accuracy"]), callbacks=[calls, board])
    assert calls.calls == ["begin", *((epoch, ["accuracy", "loss"]) for epoch in range(4)), "end"]
    assert len(list(tmp_path.glob("train/*tfevents*"))) == 1


def test_early_stopping_counts_across_passes(tmp_path):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, mode="max", restore_best_weights=True)
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", "val_loss", mode="max", save_best_only=True, save_weights_only=True
    )
    model = task.new_model(optimizer=keras.optimizers.SGD(0.01))
    history = fit(model, AUTO, callbacks=[stop, best], validation_data=(task.X, task.Y))
    assert history.epoch == [0, 1, 2]
    assert len(history.trace.records) == 3
    fresh = task.new_model()
    fresh.load_weights(tmp_path / "best.weights.h5")  # holds nothing of ours
    assert task.furthest(fresh, model) == 0


def test_the_model_is_as_before_afterwards():
    model = task.new_model()
    fit(model)
    assert [each.name for each in model.metrics] == ["loss"]
    assert "compute_loss" not in vars(model)
    before = int(model.optimizer.iterations)
    model.fit(task.X, task.Y, batch_size=task.SIZE, verbose=0)
    assert int(model.optimizer.iterations) == before + 6


def test_averaged_weights_are_put_in_place_once():
    def averaging():
        return task.new_model(optimizer=keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))

    plan = attent.Plan.full(epochs=3, batch_size=task.SIZE)
    model, plain = averaging(), averaging()
    trace = fit(model, plan).trace
    feed = attent.Feed(plan, task.N)  # a full plan's order does not depend on losses
    order = []
    while not feed.finished:
        for ids in feed.batches():
            order.append(ids)
            feed.record(np.zeros(len(ids)), ids)
    for ids in order:
        plain.train_on_batch(task.X[ids], task.Y[ids])
    plain.optimizer.finalize_variable_values(plain.trainable_weights)
    assert trace.finished
    assert task.furthest(model, plain) < 1e-12


@pytest.mark.parametrize(
    "settings", [{"steps_per_execution": 3}, {"jit_compile": True}, {"run_eagerly": True}], ids=str
)
def test_however_the_step_is_compiled(settings):
    model, wanted = task.new_model(**settings), task.new_model()
    assert attent.first_difference(fit(model).trace, fit(wanted).trace) is None
    assert task.furthest(model, wanted) < 1e-12


def two_outputs():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7,), name="x")
    heads = {"a": keras.layers.Dense(3, name="a")(inputs), "b": keras.layers.Dense(1, name="b")(inputs)}
    model = keras.Model({"x": inputs}, heads)
    model.compile(
        keras.optimizers.SGD(0.01), {"a": task.cross_entropy(), "b": "mse"}, loss_weights={"a": 1.0, "b": 0.5}
    )
    return model


def test_dicts_of_inputs_and_outputs_and_a_function_of_ids():
    targets = {"a": task.Y, "b": task.X[:, 1:2]}
    model, other, third = two_outputs(), two_outputs(), two_outputs()
    trace = fit(model, x={"x": task.X}, y=targets).trace
    assert attent.first_difference(trace, attent.teach(KerasLearner(other, ({"x": task.X}, targets)), DEFAULT)) is None
    assert task.furthest(model, other) < 1e-12

    def fetch(ids):
        return {"x": task.X[ids]}, {name: each[ids] for name, each in targets.items()}

    assert attent.first_difference(fit(third, x=fetch, y=None, n=task.N).trace, trace) is None


def test_sample_weights_train_and_rank():
    weights = np.random.default_rng(3).uniform(0.2, 3, task.N)
    model, other = task.new_model(), task.new_model()
    trace = fit(model, sample_weight=weights).trace
    assert attent.first_difference(trace, attent.teach(KerasLearner(other, (task.X, task.Y, weights)), DEFAULT)) is None
    assert task.furthest(model, other) < 1e-12


@pytest.mark.parametrize("plan", [DEFAULT, task.PLANS["weighted"]], ids=["default", "weighted"])
def test_class_weights_train_and_rank_as_sample_weights(plan):
    by_class = {0: 0.3, 2: 2.5}
    weights = np.array([by_class.get(label, 1.0) for label in task.Y])
    model, other = task.new_model(), task.new_model()
    trace = fit(model, plan, class_weight=by_class).trace
    assert attent.first_difference(trace, fit(other, plan, sample_weight=weights).trace) is None
    assert task.furthest(model, other) == 0
    assert attent.first_difference(trace, fit(task.new_model(), plan).trace) is not None


class Stops(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        self.model.stop_training = self.left <= 0


@pytest.mark.parametrize(("steps", "passes"), [(3, 0), (6, 1), (8, 1)])  # passes have 6 and 3 steps
def test_a_callback_may_end_training_within_a_pass(steps, passes, tmp_path):
    model = task.new_model()
    history = fit(model, callbacks=[Stops(steps)], run=tmp_path / "run")
    assert int(model.optimizer.iterations) == steps
    assert len(history.trace.records) == passes
    assert len(attent.Trace.read(tmp_path / "run").records) == passes
    model.fit(task.X, task.Y, batch_size=task.SIZE, verbose=0)
    assert int(model.optimizer.iterations) == steps + 6


def test_a_run_stopped_before_its_first_backup_begins_anew(tmp_path):
    whole = task.new_model()
    trace = fit(whole, run=tmp_path / "whole").trace

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    def backed(*more):
        model = task.new_model()
        callbacks = [keras.callbacks.BackupAndRestore(tmp_path / "backup"), *more]
        return model, fit(model, callbacks=callbacks, run=tmp_path / "run")

    with pytest.raises(KeyboardInterrupt):
        backed(Interrupts())
    model, history = backed()
    assert attent.first_difference(history.trace, trace) is None
    assert task.furthest(model, whole) == 0


def broken(ids):
    if 17 in ids:
        raise OSError("disk gone")
    return task.X[ids], task.Y[ids]


@pytest.mark.parametrize(
    ("fetch", "told"),
    [
        (broken, r"^example 17 cannot be fetched: OSError: disk gone$"),
        (lambda ids: (task.X[ids], task.Y[ids[:-1]]), r"asked for 16 examples, its arrays have \[15, 16\]"),
    ],
)
def test_a_function_of_ids_that_fails_is_told_of(fetch, told):
    with pytest.raises(attent.LearnerError, match=told):
        fit(task.new_model(), x=fetch, y=None, n=task.N)


def mean_of(y, outputs):
    return keras.ops.mean(outputs)


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return {"loss": 0.0}


class NoTraining(keras.Sequential):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, y_pred, sample_weight)


def of_class(kind):
    model = kind([keras.Input((7,)), keras.layers.Dense(3)])
    model.compile("sgd", task.cross_entropy())
    return model


def dying():
    return keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.1)


def decaying(steps):
    return task.new_model(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.5, steps)))


def test_a_schedule_of_the_plans_length_ends_with_it():
    model = decaying(DEFAULT.total_steps(task.N))
    fit(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ("not compiled with a loss", {"model": lambda: keras.Sequential([keras.layers.Dense(1)])}),
        ("has no argument 'training'", {"model": lambda: of_class(NoTraining)}),
        ("CosineDecay has decay_steps=400, and the plan takes", {"model": lambda: decaying(400)}),
        ("batch_size is the plan's, which has 16", {"batch_size": 8}),
        ("epochs is the plan's, which has 4", {"epochs": 9}),
        ("validation_split does not go with a plan", {"validation_split": 0.1}),
        ("steps_per_epoch does not go with a plan", {"steps_per_epoch": 3}),
        (
            "gradient_accumulation_steps=2, which would join batches of the plan",
            {"model": lambda: task.new_model(optimizer=keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))},
        ),
        (
            "ExponentialDecay has decay_steps=1 and decay_rate=0.1",
            {"model": lambda: task.new_model(optimizer=keras.optimizers.SGD(dying()))},
        ),
        (
            "BackupAndRestore has save_freq=4, and losses of a pass must be kept with the model: give run=folder",
            {"callbacks": [keras.callbacks.BackupAndRestore("backup", save_freq=4)]},
        ),
        ("both class_weight and sample_weight", {"class_weight": {0: 2.0}, "sample_weight": np.ones(task.N)}),
        ("class_weight is for arrays", {"class_weight": {0: 2.0}, "x": broken, "y": None, "n": task.N}),
        ("leave texts and objects out", {"x": {"x": task.X, "name": np.array(["a"] * task.N)}}),
        ("differ in their number of examples", {"y": task.Y[:-1]}),
        ("must be arrays", {"x": task.X.tolist()}),
        ("or x a function of ids", {"x": iter([1])}),
        (
            "one number per example, not their mean",
            {"model": lambda: task.new_model(loss=mean_of)},
        ),
        ("where its state is", {"initial_epoch": 2}),
    ],
)
def test_says_what_is_wrong_before_the_first_step(told, given):
    settings = dict(given)
    model = settings.pop("model", task.new_model)()
    before = [each.copy() for each in model.get_weights()]
    with pytest.raises(attent.AttentError, match=told):
        fit(model, **settings)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_a_learner_for_tensorflow_names_the_way_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(attent.LearnerError, match=r"runs on jax: use attent_tensorflow.trainers.keras.taught_fit"):
        KerasLearner(task.new_model(), (task.X, task.Y))


def test_a_train_step_without_losses_is_refused():
    with pytest.raises(attent.CourseError, match="train_step must call self.compute_loss"):
        fit(of_class(OwnStep))


def test_at_most_five_lines_of_the_script_change():
    before, after = ((EXAMPLES / f"keras_fit{kind}.py").read_text().splitlines() for kind in ("_before", ""))
    added = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert 0 < len(added) <= 5, added
    assert len(after) <= 40


@pytest.mark.parametrize("name", ["keras_fit_before", "keras_fit"])
def test_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    found = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert max(found["history"].history["val_accuracy"]) > 0.9


def test_a_step_that_is_not_finite_is_left_out_by_an_optimizer_that_scales_losses():
    task.check_a_step_is_left_out()


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_steps_that_the_loss_scaler_leaves_out_are_counted(policy):
    task.check_overflows_are_counted(policy)


def test_weights_that_are_not_finite_stop_the_run_before_they_are_kept(tmp_path):
    x, y = np.eye(8, dtype="float32"), np.arange(8) % 2
    x[3, 3] = np.nan
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = attent.Plan(epochs=3, batch_size=2, ratio=0.5, warm_up=1, non_finite="drop")
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    with (
        pytest.warns(UserWarning, match="the plan has non_finite='drop', and fit takes every step.*LossScaleOptimizer"),
        pytest.raises(LearnerError, match="are not finite after pass 0: fit takes every step.*LossScaleOptimizer"),
    ):
        taught_fit(model, plan, x, y, callbacks=[saved], run=tmp_path / "run", verbose=0)
    assert not (tmp_path / "model.keras").exists()
    assert list((tmp_path / "run").glob("states/*")) == []


READ_BACK = {
    "hard": attent.Plan(epochs=3, batch_size=task.SIZE, warm_up=1, ratio=0.4, select=attent.Hard()),
    "weighted": task.PLANS["weighted"],
    "scoring": task.PLANS["scoring"],
}


@pytest.mark.parametrize("plan", READ_BACK.values(), ids=READ_BACK)
def test_a_runs_folder_is_shown_compared_and_replayed(plan, tmp_path):
    trace = fit(task.new_model(), plan, run=tmp_path / "run").trace
    replaying = replace(plan, source=attent.Replay())
    again = fit(task.new_model(), replaying, run=tmp_path / "again", replay=attent.Trace.read(tmp_path / "run")).trace
    assert [again.ids(row).tolist() for row in range(3)] == [trace.ids(row).tolist() for row in range(3)]
    assert sum(record.examples_scored for record in again.records) == 0
    told = []
    show_report(tmp_path / "run", tell=told.append)
    assert "examples, finished" in told[0]
    assert not show_difference(tmp_path / "run", tmp_path / "again", tell=told.append)
    assert told[-1] == "the same 3 epochs"
