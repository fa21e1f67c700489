"""A classifier of digits in Keras, on TensorFlow, JAX or PyTorch."""

import math

import keras

from attent.data import digits  # stands for your data

x, y, x_test, y_test = digits()
steps = 5 * math.ceil(len(x) / 32)

model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Rescaling(1 / 16),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(5e-3, steps)),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
callbacks = [
    keras.callbacks.EarlyStopping("val_loss", patience=5),
    keras.callbacks.ModelCheckpoint("best.keras", "val_accuracy", save_best_only=True),
]
history = model.fit(x, y, batch_size=32, epochs=5, validation_data=(x_test, y_test), callbacks=callbacks)
