"""Keras models: their losses per example, and steps equal to those that Keras itself takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow import KerasLearner

layers, losses = keras.layers, keras.losses
X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 4, 24)
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2.0, 24).astype(np.float32)
IDS = np.arange(24)


def classifier(outputs=4, regularizer=None):
    inputs = keras.Input((3,))
    hidden = layers.Dense(8, activation="tanh", kernel_regularizer=regularizer, kernel_initializer="ones")(inputs)
    return keras.Model(
        inputs, layers.Dense(outputs, kernel_initializer=keras.initializers.RandomUniform(seed=1))(hidden)
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4, kernel_initializer=keras.initializers.RandomUniform(seed=1))

    def call(self, x, training=False):
        return self.dense(x) * (2.0 if training else 1.0)


CROSS = losses.SparseCategoricalCrossentropy(from_logits=True)
CASES = {
    "functional": (classifier, CROSS, LABELS),
    "regularised": (lambda: classifier(regularizer=keras.regularizers.L2(0.3)), CROSS, LABELS),
    "sequential, built late": (
        lambda: keras.Sequential([layers.Dense(4, kernel_initializer="ones")]),
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        np.eye(4, dtype=np.float32)[LABELS],
    ),
    "subclassed, name of a loss": (Subclassed, "mse", np.eye(4, dtype=np.float32)[LABELS]),
    "function, one column": (lambda: classifier(1), losses.mean_squared_error, X[:, 0]),
    "unreduced": (lambda: classifier(1), losses.BinaryCrossentropy(from_logits=True, reduction="none"), X[:, :1] > 0),
}


WEIGHTED = ["functional", "function, one column", "unreduced"]


@pytest.mark.parametrize(
    ("case", "weighted"), [*((case, False) for case in CASES), *((case, True) for case in WEIGHTED)]
)
def test_steps_equal_those_of_keras(case, weighted):
    make, loss, targets = CASES[case]
    ours, theirs = make(), make()
    data = (X, targets, WEIGHTS) if weighted else (X, targets)
    ours.compile(keras.optimizers.AdamW(0.05), loss)
    # Keras cannot step on losses that are not reduced.
    reducing = losses.BinaryCrossentropy(from_logits=True) if case == "unreduced" else loss
    theirs.compile(keras.optimizers.AdamW(0.05), reducing)
    theirs(X[:1]), ours(X[:1])
    theirs.set_weights(ours.get_weights())
    learner = KerasLearner(ours, data)
    assert learner.train([IDS[:10], IDS[10:]]).shape == (24,)
    for batch in (slice(0, 10), slice(10, 24)):
        theirs.train_on_batch(*(part[batch] for part in data))
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=2e-4, atol=2e-6)
    expected = theirs.evaluate(*data[:2], sample_weight=data[2] if weighted else None, verbose=0)
    penalty = float(sum(ours.losses)) if ours.losses else 0.0
    assert learner.score(IDS).mean() + penalty == pytest.approx(expected, rel=1e-3)


def test_outputs_are_tasks_with_the_compiled_weights():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(2, name="b")(inputs)})
    model.compile("sgd", {"a": "mse", "b": losses.MeanAbsoluteError()}, loss_weights={"a": 0.5, "b": 3.0})
    targets = {"a": X[:, :1], "b": X[:, :2]}
    outputs = {name: np.abs(value.numpy() - targets[name]) for name, value in model(X).items()}
    learner = KerasLearner(model, (X, targets))
    expected = 0.5 * (outputs["a"] ** 2).mean(1) + 3.0 * outputs["b"].mean(1)
    np.testing.assert_allclose(learner.score(IDS), expected, rtol=1e-5)
    np.testing.assert_allclose(learner.train([IDS]), expected, rtol=1e-5)


def test_masked_steps_of_a_sequence_do_not_count():
    tokens = np.array([[1, 2, 0, 0], [3, 1, 2, 0], [1, 1, 1, 1]])
    model = keras.Sequential([layers.Embedding(4, 5, mask_zero=True), layers.Dense(4)])
    learner = KerasLearner(model, (tokens, tokens), CROSS, "sgd")
    logits = model(tokens).numpy()
    each = losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True).numpy()
    expected = [each[0, :2].mean(), each[1, :3].mean(), each[2].mean()]
    np.testing.assert_allclose(learner.score(np.arange(3)), expected, rtol=1e-5)


def test_float64_models_are_scored_in_float64():
    model = keras.Sequential([layers.Input((3,), dtype="float64"), layers.Dense(1, dtype="float64")])
    x = np.random.default_rng(3).normal(size=(24, 3))
    learner = KerasLearner(model, (x, x[:, :1]), "mse", "sgd")
    kernel = model.layers[0].kernel.numpy()
    np.testing.assert_allclose(learner.score(IDS), ((x @ kernel - x[:, :1]) ** 2)[:, 0], rtol=1e-12)
    assert keras.config.floatx() == "float32"


def test_training_mode_is_on_in_training_only():
    model = Subclassed()
    learner = KerasLearner(model, (X, np.zeros((24, 4), np.float32)), "mse", "sgd")
    scores = learner.score(IDS)
    np.testing.assert_allclose(learner.train([IDS]), 4.0 * scores, rtol=1e-5)


def test_float16_overflow_skips_the_step_and_lowers_the_scale():
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1, dtype="mixed_float16")])
    learner = KerasLearner(model, (X * 30000, X[:, :1]), "mse", "sgd")
    kernel, scale = model.layers[0].kernel.numpy(), float(learner.optimizer.dynamic_scale)
    learner.train([IDS])
    assert (model.layers[0].kernel.numpy() == kernel).all()
    assert float(learner.optimizer.dynamic_scale) == scale / 2
    assert learner.steps == 1


def test_clipping_sees_gradients_without_the_loss_scale():
    moved = []
    for policy in ("mixed_float16", "float32"):
        model = keras.Sequential([layers.Input((3,)), layers.Dense(1, dtype=policy, kernel_initializer="ones")])
        KerasLearner(model, (X, X[:, :1]), "mse", keras.optimizers.SGD(1.0), clip_norm=0.01).train([IDS])
        moved.append(np.concatenate([1 - model.layers[0].kernel.numpy().ravel(), -model.layers[0].bias.numpy()]))
    assert np.linalg.norm(moved[0]) == pytest.approx(0.01, rel=1e-2)
    np.testing.assert_allclose(*moved, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (losses.MeanSquaredError(reduction="sum"), 'the loss has reduction="sum"'),
        (losses.MeanSquaredError(reduction="mean_with_sample_weight"), 'reduction="mean_with_sample_weight"'),
        (lambda y_true, y_pred: tf.reduce_mean(y_pred), 'build the loss with reduction="none"'),
        ("mean_square", "loss must be one that Keras knows, got 'mean_square'"),
        (["mse", "mse"], "there are several losses, so model outputs and targets must be dicts or lists too"),
    ],
)
def test_losses_that_cannot_be_taken_per_example_are_refused(loss, message):
    with pytest.raises(LearnerError, match=message):
        KerasLearner(classifier(1), (X, X[:, :1], WEIGHTS), loss, "sgd")


def test_a_model_that_is_not_compiled_needs_loss_and_optimizer():
    with pytest.raises(LearnerError, match="the model is not compiled with a loss: compile it, or give loss="):
        KerasLearner(classifier(1), (X, X[:, :1]))
    with pytest.raises(LearnerError, match="the model is not compiled with a optimizer|give optimizer="):
        KerasLearner(classifier(1), (X, X[:, :1]), "mse")
    with pytest.raises(LearnerError, match=r"data must be \(x, y\) or \(x, y, sample_weight\)"):
        KerasLearner(classifier(1), X, "mse", "sgd")


@pytest.mark.parametrize("given", [keras.optimizers.Adam, "adamant", lambda: keras.optimizers.Adam()])
def test_an_optimizer_that_is_not_built_is_refused(given):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    with pytest.raises(LearnerError, match="optimizer must be one of Keras', built, such as"):
        KerasLearner(model, (X, X), "mse", given)
