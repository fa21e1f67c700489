"""Loops over a jitted step in flax nnx and Equinox. Run by ``backends/bench_trainers.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from flax import nnx

import attent
from attent_jax import Teacher

STEPS, BATCH, WIDTH = 50, 128, 768
random = np.random.default_rng(0)
DATA = {
    "x": random.random((STEPS * BATCH, 784), dtype=np.float32),
    "y": random.integers(0, 10, STEPS * BATCH, dtype=np.int32),
}
per_example = optax.softmax_cross_entropy_with_integer_labels


class Loader:
    """Batches in random order, as the examples have them."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for ids in random.permutation(STEPS * BATCH).reshape(STEPS, BATCH):
            yield {name: array[ids] for name, array in DATA.items()}


def loops(new: Callable[[Callable[..., Any]], Callable[[Any], Any]]) -> tuple[Any, Any, int]:
    """Return a loop with a `Teacher`, one without, and the steps of a pass; ``new`` makes a step of an objective."""

    def taught(passes: int, step_taken: Callable[[], None]) -> None:
        step = new(lambda losses, batch: (losses @ batch["weights"], losses))
        teacher = Teacher(attent.Plan.full(epochs=passes, batch_size=BATCH), DATA)
        for _ in range(passes):
            for batch in teacher:
                losses = step(batch)
                teacher.record(losses)
                jax.block_until_ready(losses)  # a turn ends with its step
                step_taken()

    def own(passes: int, step_taken: Callable[[], None]) -> None:
        step = new(lambda losses, batch: (losses.mean(), losses.mean()))
        for _ in range(passes):
            for batch in Loader():
                jax.block_until_ready(step(batch))
                step_taken()

    return taught, own, STEPS


def flax(objective: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a step of an nnx model."""
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(784, WIDTH, rngs=rngs), nnx.relu, nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.relu]
    model = nnx.Sequential(*layers, nnx.Linear(WIDTH, 10, rngs=rngs))
    optimizer = nnx.Optimizer(model, optax.adamw(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        def loss(model: Any) -> Any:
            return objective(per_example(model(batch["x"]), batch["y"]), batch)

        (_, told), gradients = nnx.value_and_grad(loss, has_aux=True)(model)
        optimizer.update(model, gradients)
        return told

    return lambda batch: step(model, optimizer, batch)


def equinox(objective: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a step of an Equinox model."""
    optimizer = optax.adamw(1e-3)
    model = eqx.nn.MLP(784, 10, WIDTH, 2, key=jax.random.key(0))
    kept = [model, optimizer.init(eqx.filter(model, eqx.is_array))]

    @eqx.filter_jit
    def step(model: Any, moments: Any, batch: Any) -> Any:
        def loss(model: Any) -> Any:
            return objective(per_example(jax.vmap(model)(batch["x"]), batch["y"]), batch)

        (_, told), gradients = eqx.filter_value_and_grad(loss, has_aux=True)(model)
        updates, moments = optimizer.update(gradients, moments, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), moments, told

    def taken(batch: Any) -> Any:
        *kept[:], told = step(*kept, batch)
        return told

    return taken


def cases() -> dict[str, Any]:
    """Return the cases."""
    return {"flax nnx loop: MLP": loops(flax), "Equinox loop: MLP": loops(equinox)}
