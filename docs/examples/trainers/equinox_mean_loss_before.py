"""A classifier of digits in Equinox, whose step returns nothing but the mean loss."""

import equinox as eqx
import jax
import numpy as np
import optax

from attent.data import digits  # stands for your data


def endless(arrays, size):
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(arrays[0]))
        for start in range(0, len(order) - size + 1, size):
            yield tuple(array[order[start : start + size]] for array in arrays)


@eqx.filter_value_and_grad
def compute_loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x.reshape(-1, 64) / 16), y).mean()


@eqx.filter_jit
def make_step(model, x, y, opt_state):
    loss, grads = compute_loss(model, x, y)
    updates, opt_state = optim.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    return loss, eqx.apply_updates(model, updates), opt_state


x, y, x_test, y_test = digits()
iter_data = endless((x, y), 32)
model, optim = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(0)), optax.adamw(3e-3)
opt_state = optim.init(eqx.filter(model, eqx.is_array))
for step, (images, labels) in zip(range(300), iter_data, strict=False):
    loss, model, opt_state = make_step(model, images, labels, opt_state)
    loss = loss.item()
    print(f"{step=}, {loss=}")
accuracy = float((jax.vmap(model)(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
