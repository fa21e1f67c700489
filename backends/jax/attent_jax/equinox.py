"""Teaching equinox modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import optax

from attent_jax.learner import JaxLearner
from attent_jax.signature import asked_for, asking


def from_equinox(
    model: eqx.Module,
    data: Any,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    model_state: Any = None,
    evaluate: Callable[..., Mapping[str, Any]] | None = None,
    watch: Callable[..., Any] | None = None,
    **settings: Any,
) -> JaxLearner:
    """Return a learner for an equinox module; what is trained are its floating-point arrays.

    ``loss(model, batch)`` takes the model, which is per example as usual (``jax.vmap(model)``), and by keyword what
    it names of ``key``, ``train``, ``state`` and ``mask``; see `attent_jax.JaxLearner`, also for data, optimizer
    and further ``settings``. Training uses the model's own ``inference`` flags; scoring, ``watch(model)`` and
    ``evaluate(model)`` (``(model, state)`` where there is one) set them all to True. ``model_state`` is the state that
    ``eqx.nn.make_with_state`` gave; the loss then takes ``state`` and returns (losses, new_state).

    The given model stays as it is. The trained one is ``eqx.combine(learner.params, model)``.

    Example:
        >>> import equinox as eqx, jax, numpy as np, optax
        >>> from attent_jax import cross_entropy, from_equinox
        >>> data = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> model = eqx.nn.Linear(1, 2, key=jax.random.key(0))
        >>> learner = from_equinox(model, data, lambda m, b: cross_entropy(jax.vmap(m), b), optax.sgd(0.5))
        >>> learner.train([np.array([0, 1])] * 20).shape
        (40,)
    """
    params, static = eqx.partition(model, eqx.is_inexact_array)
    asked = asked_for(loss, stateful=model_state is not None)

    def combined(params: Any, *, train: bool) -> Any:
        whole = eqx.combine(params, static)
        return whole if train else eqx.nn.inference_mode(whole)

    def adapted(params: Any, batch: Any, *, train: bool, **given: Any) -> Any:
        offered = {"train": train, **given}
        return loss(combined(params, train=train), batch, **{name: offered[name] for name in asked})

    def judging(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        def judge(params: Any, *state: Any) -> Any:
            assert function is not None
            return function(combined(params, train=False), *state)

        return None if function is None else judge

    return JaxLearner(
        params,
        data,
        asking(adapted, asked | {"train"}),
        optimizer,
        model_state=model_state,
        evaluate=judging(evaluate),
        watch=judging(watch),
        **settings,
    )
