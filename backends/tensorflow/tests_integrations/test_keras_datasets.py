"""What a pass costs beside its steps, on TensorFlow: batches as Keras makes them, without a function traced for each."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import tree
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

import attent
from attent_tensorflow.trainers.keras import taught_fit
from attent_tensorflow.trainers.keras_data import validation_of
from attent_tensorflow.trainers.keras_datasets import sliced

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on TensorFlow
_random = np.random.default_rng(1)
X, Y, WEIGHTS = _random.normal(size=(11, 3)), _random.integers(0, 3, 11), _random.uniform(1, 2, 11)


@pytest.mark.parametrize("size", [1, 4, 11, 20])
@pytest.mark.parametrize(
    "parts",
    [
        (X, Y),
        (X, Y, WEIGHTS),
        (X.astype("float16"), Y == 1),
        ({"a": X, "b": [X[:, 0], Y]}, {"c": Y, "d": X}, WEIGHTS),
        ([X, X[:, :1]], [Y, X], [WEIGHTS, WEIGHTS * 2]),
    ],
    ids=["pair", "weights", "types", "dicts", "lists"],
)
def test_slices_are_the_batches_that_keras_makes(parts, size):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(parts)
    keras_own = ArrayDataAdapter(x, y, sample_weight=sample_weight, batch_size=size).get_tf_dataset()
    ours = sliced(parts, size)
    assert ours.element_spec == keras_own.element_spec
    assert int(ours.cardinality()) == -(-11 // size)
    for got, wanted in zip(ours.as_numpy_iterator(), keras_own.as_numpy_iterator(), strict=True):
        for one, other in zip(tree.flatten(got), tree.flatten(wanted), strict=True):
            np.testing.assert_array_equal(one, other)


def model():
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def test_no_pass_traces_a_function_for_its_data(monkeypatch):
    traced, own_map = [], tf.data.Dataset.map
    monkeypatch.setattr(tf.data.Dataset, "map", lambda *given, **named: traced.append(1) or own_map(*given, **named))
    model().fit(X, Y, batch_size=4, epochs=1, verbose=0, validation_data=(X, Y))
    assert traced  # so that counting is known to count
    traced.clear()
    history = taught_fit(model(), attent.Plan.full(epochs=3, batch_size=4), X, Y, verbose=0, validation_data=(X, Y))
    assert len(history.history["val_loss"]) == 3
    assert not traced


def test_validation_is_that_of_arrays():
    made = model()
    history = taught_fit(
        made, attent.Plan.full(epochs=2, batch_size=4), X, Y, verbose=0, validation_data=(X[:7], Y[:7], WEIGHTS[:7])
    )
    wanted = made.evaluate(X[:7], Y[:7], sample_weight=WEIGHTS[:7], batch_size=4, verbose=0)
    assert history.history["val_loss"][-1] == wanted


@pytest.mark.parametrize(
    "data",
    [None, (X,), (X, None), (X, Y.tolist()), (X, np.array(["a"] * 11)), (X, Y[:-1]), (X, np.float64(1)), "text"],
    ids=lambda data: type(data).__name__,
)
def test_other_validation_data_are_for_keras_to_take_or_to_refuse(data):
    assert validation_of(data, 4) is data
