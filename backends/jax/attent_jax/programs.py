"""The two compiled programs: a loop of scoring passes, and a loop of optimiser steps.

The number of steps is an argument of the program: one compilation serves calls of every length, and how
steps are split into calls changes no bit of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from attent.errors import LearnerError
from attent_jax.data import Source
from attent_jax.frozen import joined
from attent_jax.losses import per_example


class Carry(NamedTuple):
    """All that a step changes: pytrees of arrays. They are donated to the step that replaces them.

    ``params`` has None where training changes nothing; those arrays are given beside it, as ``frozen``.
    """

    params: Any
    optimizer: Any
    model_state: Any


class Programs:
    """``train`` and ``score``, compiled at their first call for each shape; ``traces`` counts how often.

    ``asked`` names the keyword arguments that the loss takes; see `attent_jax.signature`.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        asked: frozenset[str],
        task_weights: Mapping[str, float] | None,
        optimizer: optax.GradientTransformation,
        source: Source,
        batch_sharding: NamedSharding | None,
        carry: Carry,
    ) -> None:
        self._loss, self._asked, self._task_weights = loss, asked, task_weights
        self._optimizer = optax.with_extra_args_support(optimizer)
        self._source, self._batch_sharding = source, batch_sharding
        self.traces = Counter({"score": 0, "train": 0})
        places = jax.tree.map(lambda leaf: leaf.sharding, carry)
        on_mesh = any(isinstance(place, NamedSharding) for place in jax.tree.leaves(places))
        # On a mesh the results' places are pinned: else XLA may choose others, and compile anew for them.
        pinned = {"out_shardings": (places, None)} if on_mesh else {}
        self.train = jax.jit(self._train, donate_argnums=0, **pinned)
        self.score = jax.jit(self._score, static_argnames="width")

    def _train(
        self,
        carry: Carry,
        frozen: Any,
        key: jax.Array,
        examples: Any,
        coefficients: jax.Array,
        counts: jax.Array,
        first: jax.Array,
        steps: jax.Array,
    ) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
        """Take ``steps`` steps; return the new carry, the losses before each: (S, B), and how many were skipped."""
        self.traces["train"] += 1  # runs while tracing only

        def step(index: jax.Array, now: tuple[Carry, jax.Array, jax.Array]) -> tuple[Carry, jax.Array, jax.Array]:
            before, record, skipped = now
            batch = self._batch(examples, index)
            own_key = jax.random.fold_in(key, first + index) if "key" in self._asked else None
            after, losses, finite = self._step(before, frozen, batch, own_key, coefficients[index], counts[index])
            return after, record.at[index].set(losses.astype(record.dtype)), skipped + ~finite

        # The widest dtype of losses there is: the loss's own is known only once it is traced.
        record = jnp.zeros(coefficients.shape, jnp.result_type(float))
        carry, record, skipped = jax.lax.fori_loop(0, steps, step, (carry, record, jnp.zeros((), jnp.int32)))
        return carry, (record, skipped)

    def _score(
        self, carry: Carry, frozen: Any, examples: Any, counts: jax.Array, steps: jax.Array, *, width: int
    ) -> jax.Array:
        """Return the losses of ``steps`` batches of ``width`` examples in evaluation mode: (S, B)."""
        self.traces["score"] += 1

        def step(index: jax.Array, record: jax.Array) -> jax.Array:
            mask = jnp.arange(width) < counts[index]
            losses, _ = self._losses(
                joined(carry.params, frozen), carry.model_state, self._batch(examples, index), None, mask
            )
            return record.at[index].set(losses.astype(record.dtype))

        return jax.lax.fori_loop(0, steps, step, jnp.zeros((len(counts), width), jnp.result_type(float)))

    def _step(
        self,
        carry: Carry,
        frozen: Any,
        batch: Any,
        key: jax.Array | None,
        coefficients: jax.Array,
        count: jax.Array,
    ) -> tuple[Carry, jax.Array, jax.Array]:
        """Return the carry after a step, its losses, and whether they and the gradient are finite.

        If not, the carry is the one before (rule P8).
        """
        mask = jnp.arange(len(coefficients)) < count

        def objective(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            losses, state = self._losses(joined(params, frozen), carry.model_state, batch, key, mask, train=True)
            # where, not only a coefficient of 0: 0 times NaN is NaN.
            total = jnp.sum(jnp.where(mask, losses, 0) * coefficients.astype(losses.dtype))
            return total, (losses, state)

        (value, (losses, state)), gradients = jax.value_and_grad(objective, has_aux=True)(carry.params)

        def updated() -> Carry:
            updates, optimizer = self._optimizer.update(gradients, carry.optimizer, carry.params, value=value)
            params = optax.apply_updates(carry.params, updates)
            # A float32 schedule on bfloat16 moments would widen them, and a loop must keep its dtypes.
            optimizer = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), optimizer, carry.optimizer)
            return Carry(params, optimizer, state)

        finite = jnp.isfinite(jnp.where(mask, losses, 0)).all()
        for gradient in jax.tree.leaves(gradients):
            finite &= jnp.isfinite(gradient).all()
        # A branch: to choose between old and new arrays costs four times as much.
        return jax.lax.cond(finite, updated, lambda: carry), losses, finite

    def _losses(
        self, params: Any, state: Any, batch: Any, key: jax.Array | None, mask: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, Any]:
        offered = {"key": key, "train": train, "state": state, "mask": mask}
        output = self._loss(params, batch, **{name: offered[name] for name in self._asked})
        if "state" in self._asked:
            if not isinstance(output, tuple) or len(output) != 2:
                raise LearnerError(f"a loss that takes 'state' must return (losses, new_state), got {output!r:.200}")
            output, new = output
            _check_state(new, state)
            state = new
        return self._replicated(per_example(output, len(mask), self._task_weights)), state

    def _batch(self, examples: Any, step: jax.Array) -> Any:
        batch = self._source.batch(examples, step)
        if self._batch_sharding is None:
            return batch
        return jax.lax.with_sharding_constraint(batch, self._batch_sharding)

    def _replicated(self, losses: jax.Array) -> jax.Array:
        if self._batch_sharding is None:
            return losses
        return jax.lax.with_sharding_constraint(losses, NamedSharding(self._batch_sharding.mesh, PartitionSpec()))


def _check_state(new: Any, old: Any) -> None:
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise LearnerError(
            f"the new state must have the structure of the old, {jax.tree.structure(old)}, "
            f"got {jax.tree.structure(new)}"
        )
    paths = jax.tree_util.tree_flatten_with_path(old)[0]
    for (path, before), after in zip(paths, jax.tree.leaves(new), strict=True):
        ours, theirs = (f"{leaf.dtype} of shape {leaf.shape}" for leaf in (before, jnp.asarray(after)))
        if ours != theirs:
            raise LearnerError(f"the new state's {jax.tree_util.keystr(path)} must be {ours}, got {theirs}")
