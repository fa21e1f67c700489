"""What a loss asks for beside parameters and batch: the names of its keyword arguments say it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from attent.errors import LearnerError

OFFERED = ("key", "train", "state", "mask")


def asked_for(loss: Callable[..., Any], *, stateful: bool) -> frozenset[str]:
    """Return which of "key", "train", "state" and "mask" the loss names as keyword arguments.

    Raises LearnerError where it cannot be called as ``loss(params, batch, ...)``, or where ``stateful`` (there is
    a model state) and the argument "state" do not come together.

    Example:
        >>> from attent_jax.signature import asked_for
        >>> sorted(asked_for(lambda params, batch, *, key, train: 0.0, stateful=False))
        ['key', 'train']
    """
    if not callable(loss):
        raise LearnerError(f"loss must be a function of (params, batch), got {loss!r:.200}")
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # some callables written in C hide theirs
        return frozenset()
    by_keyword = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = list(signature.parameters)[:2]
    names = frozenset(
        name
        for name, parameter in signature.parameters.items()
        if name in OFFERED and parameter.kind in by_keyword and name not in positional
    )
    try:
        signature.bind(None, None, **dict.fromkeys(names))
    except TypeError as error:
        raise LearnerError(
            f"the loss must take (params, batch) and, by keyword, any of {', '.join(OFFERED)}; "
            f"its signature is {signature}"
        ) from error
    if stateful != ("state" in names):
        raise LearnerError(
            "model_state was given, but the loss takes no 'state': write loss(params, batch, *, state) and return "
            "(losses, new_state)"
            if stateful
            else "the loss takes 'state', but no model_state was given"
        )
    return names


def asking(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """Return ``function(params, batch, **given)`` as one that asks for ``names``: for losses that wrap another.

    Example:
        >>> from attent_jax.signature import asked_for, asking
        >>> sorted(asked_for(asking(lambda params, batch, **given: 0.0, {"mask", "train"}), stateful=False))
        ['mask', 'train']
    """
    positional = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("params", "batch")]
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in sorted(names)]

    def wrapped(params: Any, batch: Any, **given: Any) -> Any:
        return function(params, batch, **given)

    wrapped.__signature__ = inspect.Signature(positional + named)  # type: ignore[attr-defined]
    return wrapped
