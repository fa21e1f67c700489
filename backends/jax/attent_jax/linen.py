"""Teaching flax linen modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax

from attent.errors import LearnerError
from attent_jax.learner import JaxLearner
from attent_jax.signature import asked_for, asking


def from_linen(
    module: nn.Module,
    variables: Mapping[str, Any],
    data: Any,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    rngs: Sequence[str] = ("dropout",),
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    watch: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> JaxLearner:
    """Return a learner for a linen module and the variables that ``module.init`` gave.

    ``loss(model, batch)`` takes the module bound to its variables, callable as ``model(inputs)``, and by keyword
    what it names of ``key``, ``train`` and ``mask``; see `attent_jax.JaxLearner`, also for data, optimizer and
    further ``settings``. Collections beside "params", such as "batch_stats", are the learner's model state:
    training updates them. In training each name in ``rngs`` has its own stream of random numbers; in scoring
    there is none. ``evaluate(model)`` judges, ``watch(model)`` watches. Trained variables: ``{"params": learner.params,
    **(learner.model_state or {})}``.

    Raises LearnerError where ``variables`` lacks "params", or as `attent_jax.JaxLearner`.

    Example:
        >>> import flax.linen as nn, jax, numpy as np, optax
        >>> from attent_jax import cross_entropy, from_linen
        >>> module, data = nn.Dense(2), (np.array([[0.0], [1.0]]), np.array([0, 1]))
        >>> variables = module.init(jax.random.key(0), data[0])
        >>> learner = from_linen(module, variables, data, cross_entropy, optax.sgd(0.5))
        >>> learner.train([np.array([0, 1])] * 20).shape
        (40,)
    """
    if "params" not in variables:
        raise LearnerError(f"variables must hold 'params', as module.init gives them, got {', '.join(variables)}")
    rest = {name: collection for name, collection in variables.items() if name != "params"}
    stateful = bool(jax.tree.leaves(rest))
    asked = asked_for(loss, stateful=False)

    def adapted(params: Any, batch: Any, *, key: Any, train: bool, state: Any = None, **given: Any) -> Any:
        streams = None if key is None else {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs)}
        mutable = list(rest) if train and stateful else False
        model = module.bind({"params": params, **(state or {})}, rngs=streams, mutable=mutable)
        offered = {"key": key, "train": train, **given}
        losses = loss(model, batch, **{name: offered[name] for name in asked})
        if not stateful:
            return losses
        return losses, {name: model.variables[name] for name in rest} if train else state

    def judging(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        def judge(params: Any, state: Any = None) -> Any:
            assert function is not None
            return function(module.bind({"params": params, **(state or {})}))

        return None if function is None else judge

    return JaxLearner(
        variables["params"],
        data,
        asking(adapted, asked | {"key", "train"} | ({"state"} if stateful else set())),
        optimizer,
        model_state=rest if stateful else None,
        evaluate=judging(evaluate),
        watch=judging(watch),
        **settings,
    )
