"""A classifier of digits in Keras, on TensorFlow, JAX or PyTorch."""

import keras

import attent
from attent.data import digits  # stands for your data
from attent_tensorflow.trainers.keras import taught_fit

x, y, x_test, y_test = digits()
plan = attent.Plan.auto(epochs=5, batch_size=32)
steps = plan.total_steps(len(x))

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
history = taught_fit(model, plan, x, y, validation_data=(x_test, y_test), callbacks=callbacks)
