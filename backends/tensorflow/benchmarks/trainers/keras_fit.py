"""Keras' fit, with validation. Run by ``backends/bench_trainers.py``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    sys.modules["tensorflow"] = None  # as where it is not installed

import keras
import numpy as np

import attent
from attent_tensorflow.trainers.keras import taught_fit

STEPS, BATCH = 50, 64
random = np.random.default_rng(0)
X, Y = random.random((STEPS * BATCH, 28, 28, 1), dtype=np.float32), random.integers(0, 10, STEPS * BATCH)
VALIDATION = X[: 4 * BATCH], Y[: 4 * BATCH]


def convolutions() -> keras.Model:
    """Return the compiled model of Keras' "Simple MNIST convnet"."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


class Turns(keras.callbacks.Callback):
    """Tells of each step taken."""

    def __init__(self, step_taken: Callable[[], None]) -> None:
        super().__init__()
        self.step_taken = step_taken

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell of it."""
        self.step_taken()


def cases() -> dict[str, Any]:
    """Return the case."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if backend == "torch":
        import torch

        torch.set_num_threads(1)

    def side(passes: int, step_taken: Callable[[], None], taught: bool) -> None:
        settings = {"validation_data": VALIDATION, "verbose": 0, "callbacks": [Turns(step_taken)]}
        if taught:
            taught_fit(convolutions(), attent.Plan.full(epochs=passes, batch_size=BATCH), X, Y, **settings)
        else:
            convolutions().fit(X, Y, batch_size=BATCH, epochs=passes, **settings)

    return {f"Keras fit on {backend}: convnet": (partial(side, taught=True), partial(side, taught=False), STEPS)}
