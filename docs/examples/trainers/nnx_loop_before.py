"""A classifier of digits in Flax nnx."""

import numpy as np
import optax
from flax import nnx

from attent.data import digits  # stands for your data


class Loader:
    def __init__(self, data, size):
        self.data, self.size, self.random = data, size, np.random.default_rng(0)

    def __iter__(self):
        order = self.random.permutation(len(self.data["x"]))
        for ids in np.split(order, range(self.size, len(order), self.size)):
            yield {name: array[ids] for name, array in self.data.items()}


@nnx.jit
def train_step(model, optimizer, batch):
    def loss_fn(model):
        logits = model(batch["x"].reshape(-1, 64) / 16)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean(), logits

    (loss, logits), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads)
    return loss


x, y, x_test, y_test = digits()
train = Loader({"x": x, "y": y}, 32)
rngs = nnx.Rngs(0)
model = nnx.Sequential(nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs))
optimizer = nnx.Optimizer(model, optax.adamw(3e-3), wrt=nnx.Param)
for _ in range(5):
    for batch in train:
        loss = train_step(model, optimizer, batch)
accuracy = float((model(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
