"""Keras' ``fit``, taught: the compiled model, its callbacks and its history stay, on any backend of Keras."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops, tree

import attent
from attent.errors import CourseError, LearnerError, PlanError, TraceError
from attent.learner import Ids, Numbers
from attent_tensorflow.keras_losses import compiled_weights, keras_losses
from attent_tensorflow.trainers.keras_data import fetcher, inputs_of, told, validation_of
from attent_tensorflow.trainers.keras_schedule import check_schedule
from attent_tensorflow.trainers.keras_states import States

_NOT_WITH_A_PLAN = {
    "validation_split": "split the data yourself and give validation_data=",
    "steps_per_epoch": "the plan says how many steps each pass has",
}

_WAY_OUT = (
    "To leave such steps out, compile with keras.optimizers.LossScaleOptimizer(optimizer) and set non_finite='drop' "
    "in the plan, or use KerasLearner and attent.teach, which also put back what the forward pass wrote (rule P8)"
)


def taught_fit(
    model: keras.Model,
    plan: attent.Plan,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    n: int | None = None,
    callbacks: Any = None,
    verbose: Any = "auto",
    initial_epoch: int = 0,
    run: Any = None,
    **settings: Any,
) -> keras.callbacks.History:
    """Fit a compiled model by a plan, as ``model.fit`` does by epochs, and return its history.

    An epoch of Keras is a pass of the plan (``plan.epochs`` of them). Callbacks are run as in one ``fit``: begun once,
    ended once, an epoch each pass. Ranked are the losses of the training steps themselves: the compiled loss of each
    example, with loss weights and sample weights, without regularisers. ``history.trace`` tells what was taught.

    Args:
        model: compiled, with a loss. A ``train_step`` of its own must call ``compute_loss``.
        plan: what is taught when.
        x: arrays, or dicts, lists or tuples of them, whose first axis numbers the examples; or a function of ids, int64
            (B,), that returns a batch (x, y) or (x, y, sample_weight), together with ``n``.
        y: targets, as x.
        sample_weight: part of each example's loss, as in ``fit``; so is ``class_weight``.
        n: number of examples, for a function only.
        callbacks: as in ``fit``.
        verbose: as in ``fit``.
        initial_epoch: the pass to begin with, for a model restored as it was before it: the state of the plan is read
            from ``run``. ``keras.callbacks.BackupAndRestore`` sets it by itself.
        run: folder to write the run to, with a state before each pass; None: in memory.
        **settings: further ones of ``fit``, as validation_data, and of `attent.Feed`, as groups and watch.

    Raises:
        PlanError, LearnerError, CourseError or TraceError: before the first step where it can be known.

    Example:
        >>> import attent, keras, numpy as np
        >>> from attent_tensorflow.trainers.keras import taught_fit
        >>> model = keras.Sequential([keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
        >>> history = taught_fit(model, attent.Plan.default(epochs=3, batch_size=2), x, y, verbose=0)
        >>> history.epoch, int(model.optimizer.iterations)
        ([0, 1, 2], 5)
    """
    fetch, n = fetcher(x, y, sample_weight, n, settings.pop("class_weight", None))
    feed_settings = {name: settings.pop(name) for name in _FEED if name in settings}
    _check(model, plan, settings)
    check_schedule(model.optimizer, plan.total_steps(n), plan.epochs)
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    backup = _backup(callbacks, run, scaled)
    if not model.built:
        model(fetch(np.arange(min(2, n)))[0], training=False)
    every = _Callbacks(callbacks, model, plan, verbose)
    model.stop_training = False
    model._initial_epoch = None
    every.begin()  # where BackupAndRestore finds what it restores
    restored, model._initial_epoch = model._initial_epoch, None
    goes_on = restored is not None or initial_epoch > 0
    if goes_on and run is None:
        raise TraceError(
            f"to go on from pass {restored or initial_epoch} give the run's folder, where its state is: run=..."
        )
    resume = goes_on or (backup and run is not None)  # what was stopped before its first backup begins anew
    feed = attent.Feed(plan, n, run=run, resume=resume, versions={"keras": keras.__version__}, **feed_settings)
    losses = _Losses(n, _per_example(model), keras.backend.standardize_dtype(model.compute_dtype))
    finite_at_first = _finite(model)
    states = States(
        None if run is None else Path(run, "states"),
        feed,
        model,
        losses,
        check=lambda: _check_still_finite(model, finite_at_first, feed.epoch),
        within=not scaled,
    )
    if goes_on:
        model.test_on_batch(*fetch(np.arange(min(2, n))))  # so that its metrics have variables
        states.go_on(restored or initial_epoch, told=restored is None)
    elif resume:
        feed.load_state(feed.state())

    def passed() -> None:
        batches, weights = feed.batches(), feed.weights()
        if model.stop_training and losses.stopped(batches):
            return  # a callback ended training within the pass, of which nothing is written
        states.check()
        skipped = before + len(batches) - int(model.optimizer.iterations) if scaled else 0
        feed.record(losses.read(batches, weights), np.concatenate(batches), skipped, scaled=scaled)
        states.keep()

    every.passed, every.begun, every.stepping = passed, states.put_metrics_back, states.put_generators_back
    with losses.kept(model), _averaged_once(model), states.beside():
        while not feed.finished and not model.stop_training:
            while (ids := feed.to_score()) is not None:
                feed.record(_scores(model, fetch, ids, plan.batch_size), ids)
            batches, weights = feed.batches(), feed.weights()
            done, before = losses.batches_seen(batches), int(model.optimizer.iterations)
            if done == len(batches):  # the model was saved after the last step of the pass
                every.on_epoch_begin(feed.epoch)
                states.put_generators_back()
                every.on_epoch_end(feed.epoch, model.get_metrics_result() | _validated(model, feed.epoch, settings))
                continue
            every.set_params({"verbose": every.verbose, "epochs": plan.epochs, "steps": len(batches) - done})
            given = inputs_of(fetch, batches[done:], None if weights is None else weights[done:])
            with told(fetch):
                model.fit(
                    **given, epochs=feed.epoch + 1, initial_epoch=feed.epoch, callbacks=every, shuffle=False, **settings
                )
    every.end()
    model.history.trace = feed.trace()
    return model.history


_FEED = ("groups", "costs", "watch", "reference", "replay", "keep_scores", "versions", "recipe", "fingerprint")


class _Callbacks(keras.callbacks.CallbackList):
    """The callbacks of one training that takes a ``fit`` for each pass: begun once, ended once."""

    def __init__(self, callbacks: Any, model: Any, plan: attent.Plan, verbose: Any) -> None:
        self.verbose = 1 if verbose == "auto" else verbose
        self.begun: Callable[[], None] = lambda: None
        self.stepping: Callable[[], None] = lambda: None
        self.passed: Callable[[], None] = lambda: None
        self._logs: Any = None
        super().__init__(
            callbacks, add_history=True, add_progbar=self.verbose != 0, model=model, verbose=self.verbose,
            epochs=plan.epochs, steps=None,
        )  # fmt: skip

    def begin(self) -> None:
        super().on_train_begin()

    def end(self) -> None:
        super().on_train_end(self._logs)

    def on_train_begin(self, logs: Any = None) -> None:
        pass

    def on_train_end(self, logs: Any = None) -> None:
        self._logs = logs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.stepping()
        super().on_train_batch_begin(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.passed()  # before a callback saves the model, so that there is a state for what it saves
        super().on_epoch_end(epoch, logs)


class _Losses(keras.metrics.Metric):
    """The losses of a pass, in the order they were trained: on the device, read once a pass."""

    def __init__(self, n: int, per_example: Callable[..., Any], dtype: str) -> None:
        super().__init__(name="attent_losses", dtype="float64" if dtype == "float64" else "float32")
        self.per_example = per_example
        self.taken = self.add_weight(shape=(n,), initializer="zeros", name="taken")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count", dtype="int32")

    def update_state(self, losses: Any) -> None:
        losses = ops.stop_gradient(ops.cast(losses, self.taken.dtype))
        self.taken.assign(ops.slice_update(self.taken.value, [self.count.value], losses))
        self.count.assign(self.count + ops.shape(losses)[0])

    def result(self) -> dict[str, Any]:
        return {}  # nothing in the logs

    def reset_state(self) -> None:
        pass  # validation calls it too, before the pass is at its end

    def so_far(self) -> Numbers:
        """Return the losses of the pass that were seen, float64, with the plan's weights."""
        return ops.convert_to_numpy(self.taken)[: int(ops.convert_to_numpy(self.count))].astype(np.float64)

    def put_back(self, losses: Numbers) -> None:
        """Begin with losses that ``so_far`` returned."""
        taken = np.zeros(self.taken.shape)
        taken[: len(losses)] = losses
        self.taken.assign(taken)
        self.count.assign(len(losses))

    def batches_seen(self, batches: list[Ids]) -> int:
        """Return how many of a pass's batches the losses are of."""
        return int(np.searchsorted(np.cumsum([len(ids) for ids in batches]), len(self.so_far()), side="right"))

    def read(self, batches: list[Ids], weights: list[Numbers] | None) -> Numbers:
        """Return the losses of the pass, float64, without the plan's weights."""
        wanted = sum(map(len, batches))
        count = int(ops.convert_to_numpy(self.count))
        self.count.assign(0)
        if count != wanted:
            raise CourseError(
                f"{count} losses were seen in a pass of {wanted} examples: the model's train_step must call "
                "self.compute_loss(x, y, y_pred, sample_weight, training=True) once for each batch"
            )
        losses = ops.convert_to_numpy(self.taken)[:wanted].astype(np.float64)
        return losses if weights is None else losses / np.concatenate(weights)

    def stopped(self, batches: list[Ids]) -> bool:
        """Whether losses of the pass are missing; those that are there are then forgotten."""
        missing = int(ops.convert_to_numpy(self.count)) < sum(map(len, batches))
        if missing:
            self.count.assign(0)
        return missing

    @contextmanager
    def kept(self, model: Any) -> Iterator[None]:
        """Within this context the model's training steps leave their losses here."""
        own = model.compute_loss

        def compute_loss(
            x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            if training:
                self.update_state(self.per_example(y, y_pred, sample_weight))
            return own(x, y, y_pred, sample_weight, training=training)

        model.compute_loss, model.train_function = compute_loss, None
        model._metrics.append(self)  # an attribute would be part of the model, and of what is saved
        try:
            yield
        finally:
            model._metrics.remove(self)
            del model.compute_loss
            model.train_function = None


def _per_example(model: Any) -> Callable[..., Any]:
    """Return ``losses(y, outputs, sample_weight)``: shape (B,), of all outputs by their weights."""
    losses, weights = keras_losses(model.loss), compiled_weights(model, model.loss)

    def total(y: Any, outputs: Any, sample_weight: Any = None) -> Any:
        found = losses(y, outputs, sample_weight)
        if isinstance(found, dict):
            found = sum(each if weights is None else each * weights[name] for name, each in found.items())
        if len(found.shape) != 1:
            raise LearnerError(
                f"the loss gives shape {tuple(found.shape)} where one per example is needed: a loss function must "
                "return one number per example, not their mean"
            )
        return found

    return total


def _scores(model: Any, fetch: Callable[[Ids], Any], ids: Ids, size: int) -> Numbers:
    """Return the losses of the ids in evaluation mode."""
    per_example, scores = _per_example(model), []
    for start in range(0, len(ids), size):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(fetch(ids[start : start + size]))
        scores.append(ops.convert_to_numpy(per_example(y, model.predict_on_batch(x), sample_weight)))
    return np.concatenate(scores)


def _validated(model: Any, epoch: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what ``fit`` logs of validation at the end of a pass."""
    data = settings.get("validation_data")
    if data is None or not model._should_eval(epoch, settings.get("validation_freq", 1)):
        return {}
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    size, steps = settings.get("validation_batch_size"), settings.get("validation_steps")
    found = model.evaluate(x, y, size, 0, sample_weight, steps, return_dict=True)
    return {f"val_{name}": value for name, value in found.items()}


@contextmanager
def _averaged_once(model: Any) -> Iterator[None]:
    """Where the optimiser averages weights, ``fit`` puts the averages in their place: not after each pass."""
    optimizer = model.optimizer
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
    optimizer.finalize_variable_values(model.trainable_weights)


def _check(model: Any, plan: attent.Plan, settings: dict[str, Any]) -> None:
    if not getattr(model, "compiled", False) or model.loss is None:
        raise LearnerError("the model is not compiled with a loss: compile it as for fit")
    strategy = getattr(model, "distribute_strategy", None)  # on TensorFlow
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        raise LearnerError(
            f"the model is built for the {strategy.num_replicas_in_sync} replicas of a {type(strategy).__name__}, and "
            "fit keeps no order of their losses: take KerasLearner, which trains those of a MirroredStrategy, and "
            "attent.teach, or build the model outside of strategy.scope()"
        )
    if not model._compute_loss_has_training_arg:
        raise LearnerError(
            "the model's compute_loss has no argument 'training', by which training is told from validation: add it"
        )
    for name, way in _NOT_WITH_A_PLAN.items():
        if settings.get(name):
            raise PlanError(f"{name} does not go with a plan: {way}")
    for name, wanted in (("batch_size", plan.batch_size), ("epochs", plan.epochs)):
        if settings.pop(name, wanted) not in (None, wanted):
            raise PlanError(f"{name} is the plan's, which has {wanted}: leave it out")
    settings.pop("shuffle", None)
    if getattr(model.optimizer, "gradient_accumulation_steps", None):
        raise PlanError(
            f"the optimiser has gradient_accumulation_steps={model.optimizer.gradient_accumulation_steps}, which would "
            "join batches of the plan, also of two passes: leave it out, and give the plan the larger batch_size"
        )
    if plan.non_finite != "error" and not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        warnings.warn(
            f"the plan has non_finite={plan.non_finite!r}, and fit takes every step: one that is not finite will stop "
            f"the run at the end of its pass. {_WAY_OUT}",
            UserWarning,
            stacklevel=3,
        )
    if isinstance(data := settings.get("validation_data"), tuple | list):
        size = settings.setdefault("validation_batch_size", plan.batch_size)
        settings["validation_data"] = validation_of(data, size)


def _backup(callbacks: Any, run: Any, scaled: bool) -> bool:
    """Whether Keras keeps backups to go on from. Raises PlanError for those that cannot be gone on from."""
    every = getattr(callbacks, "callbacks", callbacks) or []
    found = [each for each in tree.flatten(every) if isinstance(each, keras.callbacks.BackupAndRestore)]
    for each in found:
        if each.save_freq != "epoch" and (run is None or scaled):
            needed = "LossScaleOptimizer leaves steps out, so that its steps do not tell the place in a pass: leave "
            needed = (
                f"{needed}save_freq out" if scaled else "losses of a pass must be kept with the model: give run=folder"
            )
            raise PlanError(f"BackupAndRestore has save_freq={each.save_freq}, and {needed}")
    return bool(found)


def _finite(model: Any) -> list[bool]:
    return [bool(np.isfinite(each).all()) for each in model.get_weights()]


def _check_still_finite(model: Any, before: list[bool], epoch: int) -> None:
    """Raise LearnerError naming a weight that is no longer finite: before a state or a callback keeps it."""
    for weight, was, now in zip(model.weights, before, _finite(model), strict=True):
        if was and not now:
            raise LearnerError(
                f"the weights of {weight.path!r} are not finite after pass {epoch}: fit takes every step, also one "
                "whose losses are not. The states and models saved before stay. Leave the examples out, lower the "
                f"learning rate or clip gradients. {_WAY_OUT}"
            )
