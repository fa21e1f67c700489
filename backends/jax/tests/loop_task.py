"""Examples, losses and a loop in plain JAX, and what teach trains of the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import attent

N, SIZE = 90, 16
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=SIZE),
    "default": attent.Plan.default(epochs=4, batch_size=SIZE),
    "weighted": attent.Plan.infobatch(epochs=3, batch_size=SIZE),
    "scoring": attent.Plan.paper(epochs=3, batch_size=SIZE),
}
AUTO, DEFAULT = PLANS["auto"], PLANS["default"]
_random = np.random.default_rng(0)
X, Y = _random.normal(size=(N, 6)), _random.integers(0, 3, N)
DATA = {"x": X, "y": Y, "id": np.arange(N)}
WEIGHTS = {"first": _random.normal(size=(6, 8)) / 2, "second": _random.normal(size=(8, 3)) / 2}


def losses_of(params, batch):
    logits = jnp.tanh(batch["x"] @ params["first"]) @ params["second"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def furthest(one, other):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)))
