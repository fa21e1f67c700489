"""A classifier of digits in Equinox, whose step returns nothing but the mean loss."""

import equinox as eqx
import jax
import optax

from attent.data import digits  # stands for your data
from attent_jax import Plan, Teacher, losses_and_grad


@losses_and_grad(eqx.filter_value_and_grad)
def compute_loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x.reshape(-1, 64) / 16), y).mean()


@eqx.filter_jit
def make_step(model, x, y, opt_state):
    loss, grads = compute_loss(model, x, y)
    updates, opt_state = optim.update(grads, opt_state, eqx.filter(model, eqx.is_array))
    return loss, eqx.apply_updates(model, updates), opt_state


x, y, x_test, y_test = digits()
teacher = Teacher(Plan.auto(epochs=7, batch_size=32), (x, y), fill=False)
model, optim = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(0)), optax.adamw(3e-3)
opt_state = optim.init(eqx.filter(model, eqx.is_array))
for step, (images, labels) in enumerate(teacher.batches()):
    loss, model, opt_state = make_step(model, images, labels, opt_state)
    loss = teacher.record(loss).mean().item()
    print(f"{step=}, {loss=}")
accuracy = float((jax.vmap(model)(x_test.reshape(-1, 64) / 16).argmax(1) == y_test).mean())
