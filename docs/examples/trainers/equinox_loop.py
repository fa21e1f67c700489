"""A classifier of digits in Equinox."""

import equinox as eqx
import jax
import optax

from attent.data import digits  # stands for your data
from attent_jax import Plan, Teacher


def loss_fn(model, batch):
    logits = jax.vmap(model)(batch["x"].reshape(-1, 64) / 16)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]) @ batch["weights"], logits


@eqx.filter_jit
def make_step(model, opt_state, batch):
    (loss, logits), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model, batch)
    updates, opt_state = optim.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    model = eqx.apply_updates(model, updates)
    return model, opt_state, optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


x, y, x_test, y_test = digits()
train = Teacher(Plan.auto(epochs=5, batch_size=32), {"x": x, "y": y})
model, optim = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(0)), optax.adamw(3e-3)
opt_state = optim.init(eqx.filter(model, eqx.is_array))
for _ in range(5):
    for batch in train:
        model, opt_state, loss = make_step(model, opt_state, batch)
        train.record(loss)
accuracy = float((jax.vmap(model)(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
