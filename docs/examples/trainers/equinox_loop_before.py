"""A classifier of digits in Equinox."""

import equinox as eqx
import jax
import numpy as np
import optax

from attent.data import digits  # stands for your data


class Loader:
    def __init__(self, data, size):
        self.data, self.size, self.random = data, size, np.random.default_rng(0)

    def __iter__(self):
        for ids in np.split(self.random.permutation(n := len(self.data["x"])), range(self.size, n, self.size)):
            yield {name: array[ids] for name, array in self.data.items()}


def loss_fn(model, batch):
    logits = jax.vmap(model)(batch["x"].reshape(-1, 64) / 16)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean(), logits


@eqx.filter_jit
def make_step(model, opt_state, batch):
    (loss, logits), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model, batch)
    updates, opt_state = optim.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    model = eqx.apply_updates(model, updates)
    return model, opt_state, loss


x, y, x_test, y_test = digits()
train = Loader({"x": x, "y": y}, 32)
model, optim = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(0)), optax.adamw(3e-3)
opt_state = optim.init(eqx.filter(model, eqx.is_array))
for _ in range(5):
    for batch in train:
        model, opt_state, loss = make_step(model, opt_state, batch)
accuracy = float((jax.vmap(model)(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
