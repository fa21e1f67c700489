"""The reference network of `attent.reference` as pure functions of its parameters: same names, same function.

A pre-norm transformer. With x = embedding + position, each block adds attention(norm1(x)) and then
down(gelu(up(norm2(x)))); a final norm and a linear head follow. "classify" takes the mean over positions
between the two; "next-token" lets no position see a later one. Parameters are a dict of arrays with the names
and shapes of `attent.reference.parameter_shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attent.reference import Architecture
from attent_jax.losses import token_mean

Arrays = dict[str, jax.Array]
_NORM_EPSILON = 1e-5


def reference_logits(
    architecture: Architecture, parameters: Arrays, inputs: jax.Array, lengths: jax.Array | None = None
) -> jax.Array:
    """Return logits: (b, outputs) for "classify", (b, T, outputs) for "next-token", in the parameters' dtype.

    ``inputs``: (b, T) token ids, or (b, T, p) numbers. ``lengths``: (b,), 1 <= length <= T; what lies behind is
    padding, which no position sees.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_jax import reference_logits
        >>> a = Architecture("classify", length=16, outputs=10, patch=4)
        >>> reference_logits(a, initial_parameters(a, seed=0, dtype="float32"), np.zeros((2, 16, 4), "float32")).shape
        (2, 10)
    """
    p = parameters
    valid = None if lengths is None else _valid(inputs.shape[1], lengths)
    x = p["embed.weight"][inputs] if architecture.vocabulary is not None else _affine(p, "embed", inputs)
    x = x + p["position"]
    visible = _visible(architecture, valid)
    for i in range(architecture.depth):
        x = _block(p, f"blocks.{i}", x, architecture.heads, visible)
    x = _norm(p, "norm", x)
    if architecture.kind == "classify":
        kept = x if valid is None else x * valid[:, :, None]
        x = kept.sum(1) / (x.shape[1] if lengths is None else lengths[:, None].astype(x.dtype))
    return _affine(p, "head", x)


def reference_loss(architecture: Architecture) -> Callable[[Arrays, Any], jax.Array | dict[str, jax.Array]]:
    """Return the loss ``(parameters, batch) -> (B,)`` of the network: cross-entropy in nats.

    ``batch`` is (inputs, targets) or (inputs, targets, lengths). Targets are (B,); for "next-token" (B, T), whose
    loss is the mean over the example's own tokens; or for "classify" (B, tasks), whose losses are a dict by task,
    "0", "1" and so on, from the same logits.
    """

    def loss(parameters: Arrays, batch: Any) -> jax.Array | dict[str, jax.Array]:
        inputs, targets, *rest = batch
        lengths = rest[0] if rest else None
        logits = reference_logits(architecture, parameters, inputs, lengths)
        if architecture.kind == "classify" and targets.ndim == 2:
            return {str(task): cross_entropies(logits, targets[:, task]) for task in range(targets.shape[1])}
        losses = cross_entropies(logits, targets)
        if losses.ndim == 1:
            return losses
        return losses.mean(1) if lengths is None else token_mean(losses, token_mask(targets, lengths))

    return loss


def cross_entropies(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return -log softmax(logits)[target] in nats: logits (..., outputs), targets and result (...)."""
    own = jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="clip")[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - own


def token_mask(targets: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Return which tokens are no padding: bool (B, T); all where ``lengths`` is None."""
    if lengths is None:
        return jnp.ones(targets.shape, bool)
    return _valid(targets.shape[1], lengths)


def _valid(length: int, lengths: jax.Array) -> jax.Array:
    return jnp.arange(length) < lengths[:, None]


def _visible(architecture: Architecture, valid: jax.Array | None) -> jax.Array | None:
    """Return which keys each query sees, (T, T) or (b, 1, 1, T), or None for all."""
    if architecture.kind == "next-token":
        # Padding comes last: a causal mask hides it from every position that counts.
        return jnp.tri(architecture.length, dtype=bool)
    return None if valid is None else valid[:, None, None, :]


def _affine(p: Arrays, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def _norm(p: Arrays, name: str, x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + _NORM_EPSILON) * p[f"{name}.scale"] + p[f"{name}.shift"]


def _block(p: Arrays, name: str, x: jax.Array, heads: int, visible: jax.Array | None) -> jax.Array:
    normed = _norm(p, f"{name}.norm1", x)
    query, key, value = (
        _affine(p, f"{name}.{part}", normed).reshape(*x.shape[:2], heads, -1) for part in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])
    if visible is not None:
        scores = jnp.where(visible, scores, -jnp.inf)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)
    x = x + _affine(p, f"{name}.out", mixed.reshape(x.shape))
    hidden = jax.nn.gelu(_affine(p, f"{name}.up", _norm(p, f"{name}.norm2", x)), approximate=True)
    return x + _affine(p, f"{name}.down", hidden)
