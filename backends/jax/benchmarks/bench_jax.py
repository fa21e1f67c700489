"""What JaxLearner costs beside JAX written by hand: paired ratios from one process.

Each round times both sides once, in alternating order, because machine speed drifts. Printed is the median
of the rounds' ratios (1.00 means no cost) with its quartiles, and how often the learner's programs were compiled.

    python bench_jax.py [--rounds 30] [--clock process|wall]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import attent
from attent.data import digits
from attent.reference import Architecture, initial_parameters
from attent_jax import JaxLearner, reference_loss

BATCH, SCORE_BATCH, EPOCHS = 64, 128, 2
ARCHITECTURE = Architecture("classify", length=16, outputs=10, patch=4)
OPTIMIZER = optax.adamw(optax.cosine_decay_schedule(1e-3, 10_000))

Side = Callable[[], object]


def vision() -> tuple[Any, jax.Array, jax.Array]:
    """Return the parameters of a small vision transformer, and digits to train it on."""
    data = digits()
    patches = data.x_train.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 16.0
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), initial_parameters(ARCHITECTURE, seed=0))
    return params, jnp.asarray(patches, jnp.float32), jnp.asarray(data.y_train, jnp.int32)


def teach_sides() -> tuple[Side, Side, JaxLearner]:
    """`attent.teach` on full data against the usual loop: one jitted, donated step per batch, no wait between."""
    params, x, y = vision()
    loss = reference_loss(ARCHITECTURE)
    learner = JaxLearner(params, (x, y), loss, OPTIMIZER)
    plan = attent.Plan(epochs=EPOCHS, batch_size=BATCH, ratio=1.0, source="reuse")

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array, ids: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, gradients = jax.value_and_grad(lambda p: loss(p, (x[ids], y[ids])).mean())(params)
        updates, state = OPTIMIZER.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    now = jax.tree.map(jnp.copy, params), OPTIMIZER.init(params)
    random = np.random.default_rng(0)

    def by_hand() -> None:
        nonlocal now
        value = None
        for _ in range(EPOCHS):
            order = random.permutation(len(x))
            for start in range(0, len(order), BATCH):
                *now, value = step(*now, x, y, order[start : start + BATCH])
        jax.block_until_ready((now, value))

    return lambda: attent.teach(learner, plan), by_hand, learner


def teach_scan_sides() -> tuple[Side, Side, JaxLearner]:
    """`attent.teach` on full data against a whole epoch as one jitted scan, the fastest form there is by hand."""
    params, x, y = vision()
    loss = reference_loss(ARCHITECTURE)
    learner = JaxLearner(params, (x, y), loss, OPTIMIZER)
    plan = attent.Plan(epochs=EPOCHS, batch_size=BATCH, ratio=1.0, source="reuse")
    random = np.random.default_rng(0)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(now: Any, x: jax.Array, y: jax.Array, order: jax.Array) -> tuple[Any, jax.Array]:
        def step(now: Any, ids: jax.Array) -> tuple[Any, jax.Array]:
            params, state = now
            value, gradients = jax.value_and_grad(lambda p: loss(p, (x[ids], y[ids])).mean())(params)
            updates, state = OPTIMIZER.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, now, order)

    now = jax.tree.map(jnp.copy, params), OPTIMIZER.init(params)

    def by_hand() -> None:
        nonlocal now
        for _ in range(EPOCHS):
            # A scan takes equal batches only: the rest of the epoch is filled up with other examples.
            order = np.resize(random.permutation(len(x)), (-(-len(x) // BATCH), BATCH))
            now, values = epoch(now, x, y, order)
            np.asarray(values)

    return lambda: attent.teach(learner, plan), by_hand, learner


def score_sides() -> tuple[Side, Side, JaxLearner]:
    """`score` of all examples against a bare jitted forward over slices, its results fetched at the end."""
    params, x, y = vision()
    loss = reference_loss(ARCHITECTURE)
    learner = JaxLearner(params, (x, y), loss, OPTIMIZER, score_batch_size=SCORE_BATCH)
    forward = jax.jit(loss)
    ids = np.arange(len(x))

    def bare() -> None:
        parts = [
            forward(params, (x[start : start + SCORE_BATCH], y[start : start + SCORE_BATCH]))
            for start in range(0, len(x), SCORE_BATCH)
        ]
        np.concatenate(jax.device_get(parts))

    return lambda: learner.score(ids), bare, learner


def paired(ours: Side, theirs: Side, rounds: int, clock: Callable[[], float]) -> list[float]:
    """Return the time of ``ours`` over that of ``theirs`` for each round, after two rounds of warming up."""
    ratios = []
    for turn in range(rounds + 2):
        seconds = {}
        for side in (ours, theirs) if turn % 2 else (theirs, ours):
            start = clock()
            side()
            seconds[side] = clock() - start
        ratios.append(seconds[ours] / seconds[theirs])
    return ratios[2:]


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--clock", choices=("process", "wall"), default="wall")
    arguments = parser.parse_args()
    # Process time is disturbed less by other programs, but counts only what this process does itself.
    clock = time.process_time if arguments.clock == "process" else time.perf_counter
    for sides in (teach_sides, teach_scan_sides, score_sides):
        ours, theirs, learner = sides()
        low, middle, high = np.quantile(paired(ours, theirs, arguments.rounds, clock), [0.25, 0.5, 0.75])
        print(f"{sides.__name__:17s} {middle:.3f}  (quartiles {low:.3f} to {high:.3f})  {learner.compilations}")


if __name__ == "__main__":
    main()
