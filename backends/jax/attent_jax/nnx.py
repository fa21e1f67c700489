"""Teaching flax nnx models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import nnx

from attent_jax.learner import JaxLearner
from attent_jax.signature import asked_for, asking


def from_nnx(
    model: nnx.Module,
    data: Any,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    watch: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> JaxLearner:
    """Return a learner for an nnx model; what is trained are its ``nnx.Param`` variables.

    ``loss(model, batch)`` takes the model, and by keyword what it names of ``key``, ``train`` and ``mask``; see
    `attent_jax.JaxLearner`, also for data, optimizer (of optax, not ``nnx.Optimizer``) and further ``settings``.
    The model is trained with the train/eval flags that it has, and scored in ``eval()`` mode. Variables that are
    neither parameters nor random state, such as ``nnx.BatchStat``, are the learner's model state: training updates
    them. Random streams start anew at each step from (seed, step). ``evaluate(model)`` judges and
    ``watch(model)`` watches, in ``eval()`` mode.

    The given model stays as it is. To take over what was learned: ``nnx.update(model, learner.params)``, and with
    batch statistics ``nnx.update(model, learner.params, learner.model_state)``.

    Example:
        >>> import numpy as np, optax
        >>> from flax import nnx
        >>> from attent_jax import cross_entropy, from_nnx
        >>> data = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> model = nnx.Linear(1, 2, rngs=nnx.Rngs(0))
        >>> learner = from_nnx(model, data, cross_entropy, optax.sgd(0.5))
        >>> learner.train([np.array([0, 1])] * 20).shape
        (40,)
    """
    graph, params, random, rest = nnx.split(model, nnx.Param, nnx.RngState, ...)
    judged = nnx.clone(model)
    judged.eval()
    judged_graph = nnx.split(judged, nnx.Param, nnx.RngState, ...)[0]
    stateful = bool(jax.tree.leaves(rest))
    asked = asked_for(loss, stateful=False)

    def adapted(params: Any, batch: Any, *, key: Any, train: bool, state: Any = None, **given: Any) -> Any:
        state = rest if state is None else state
        # copy: a variable may be written only by the trace that made it.
        merged = nnx.merge(graph if train else judged_graph, params, _keyed(random, key), state, copy=True)
        offered = {"key": key, "train": train, **given}
        losses = loss(merged, batch, **{name: offered[name] for name in asked})
        if not stateful:
            return losses
        return losses, nnx.split(merged, nnx.Param, nnx.RngState, ...)[3] if train else state

    def judging(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        def judge(params: Any, state: Any = None) -> Any:
            assert function is not None
            return function(nnx.merge(judged_graph, params, random, rest if state is None else state, copy=True))

        return None if function is None else judge

    return JaxLearner(
        params,
        data,
        asking(adapted, asked | {"key", "train"} | ({"state"} if stateful else set())),
        optimizer,
        model_state=rest if stateful else None,
        evaluate=judging(evaluate),
        watch=judging(watch),
        **settings,
    )


def _keyed(random: Any, key: Any) -> Any:
    """Return the random state with every key replaced by one of its own made from ``key``, as it is for None."""
    if key is None:
        return random
    leaves, structure = jax.tree.flatten(random)
    fresh = [
        jax.random.split(jax.random.fold_in(key, index), leaf.shape)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for index, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, fresh)
