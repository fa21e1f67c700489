"""A classifier of digits in Flax nnx."""

import optax
from flax import nnx

from attent.data import digits  # stands for your data
from attent_jax import Plan, Teacher


@nnx.jit
def train_step(model, optimizer, batch):
    def loss_fn(model):
        logits = model(batch["x"].reshape(-1, 64) / 16)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]) @ batch["weights"], logits

    (loss, logits), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


x, y, x_test, y_test = digits()
train = Teacher(Plan.auto(epochs=5, batch_size=32), {"x": x, "y": y})
rngs = nnx.Rngs(0)
model = nnx.Sequential(nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs))
optimizer = nnx.Optimizer(model, optax.adamw(3e-3), wrt=nnx.Param)
for _ in range(5):
    for batch in train:
        loss = train_step(model, optimizer, batch)
        train.record(loss)
accuracy = float((model(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
