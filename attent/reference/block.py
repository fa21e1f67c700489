"""One block of the reference network: x + attention(norm1(x)), then y + down(gelu(up(norm2(y))))."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attent.reference import layers
from attent.reference.architecture import Parameters

Array = npt.NDArray[Any]


class SavedBlock(NamedTuple):
    """What a block's gradient needs of its forward pass."""

    normed1: Array
    norm1: tuple[Array, Array]
    fused_weight: Array
    queries_keys_values: Array
    attention: Array
    mixed: Array
    normed2: Array
    norm2: tuple[Array, Array]
    up: Array
    tanh: Array
    gelu: Array


def block(p: Parameters, name: str, x: Array, shape: tuple[int, ...], hidden: Array | None) -> tuple[Array, SavedBlock]:
    """Return the block's output, (m, d) like ``x``, and what `block_gradients` needs.

    ``name`` is the prefix of its parameters, ``shape`` is (b, T, 3, heads, -1), ``hidden`` as in
    `attent.reference.layers.attention`.
    """
    normed1, norm1 = layers.layer_norm(x, p[f"{name}.norm1.scale"], p[f"{name}.norm1.shift"])
    # One product for queries, keys and values costs less than three.
    weight, bias = (
        np.concatenate([p[f"{name}.{part}.{kind}"] for part in ("query", "key", "value")], axis=-1)
        for kind in ("weight", "bias")
    )
    queries_keys_values = layers.linear(normed1, weight, bias).reshape(shape)
    mixed, attention = layers.attention(queries_keys_values, hidden)
    mixed = mixed.reshape(x.shape)
    y = layers.linear(mixed, p[f"{name}.out.weight"], p[f"{name}.out.bias"])
    y += x
    normed2, norm2 = layers.layer_norm(y, p[f"{name}.norm2.scale"], p[f"{name}.norm2.shift"])
    up = layers.linear(normed2, p[f"{name}.up.weight"], p[f"{name}.up.bias"])
    gelu, tanh = layers.gelu(up)
    z = layers.linear(gelu, p[f"{name}.down.weight"], p[f"{name}.down.bias"])
    z += y
    return z, SavedBlock(normed1, norm1, weight, queries_keys_values, attention, mixed, normed2, norm2, up, tanh, gelu)


def block_gradients(p: Parameters, name: str, dz: Array, saved: SavedBlock, result: Parameters) -> Array:
    """Return the gradient by the block's input; put those by its parameters into ``result``, by name."""

    def keep(layer: str, first: str, second: str, by: list[Array]) -> None:
        result[f"{name}.{layer}.{first}"], result[f"{name}.{layer}.{second}"] = by

    dgelu, *by = layers.linear_gradients(dz, saved.gelu, p[f"{name}.down.weight"])
    keep("down", "weight", "bias", by)
    dup = layers.gelu_gradient(dgelu, saved.up, saved.tanh)
    dnormed, *by = layers.linear_gradients(dup, saved.normed2, p[f"{name}.up.weight"])
    keep("up", "weight", "bias", by)
    dy, *by = layers.layer_norm_gradients(dnormed, p[f"{name}.norm2.scale"], saved.norm2)
    keep("norm2", "scale", "shift", by)
    dy += dz
    dmixed, *by = layers.linear_gradients(dy, saved.mixed, p[f"{name}.out.weight"])
    keep("out", "weight", "bias", by)
    shape = saved.queries_keys_values.shape
    dfused = layers.attention_gradients(
        dmixed.reshape(shape[0], shape[1], *shape[3:]), saved.queries_keys_values, saved.attention
    ).reshape(len(dz), -1)
    dnormed, weight, bias = layers.linear_gradients(dfused, saved.normed1, saved.fused_weight)
    for part, by_weight, by_bias in zip(
        ("query", "key", "value"), np.split(weight, 3, axis=1), np.split(bias, 3), strict=True
    ):
        keep(part, "weight", "bias", [by_weight, by_bias])
    dx, *by = layers.layer_norm_gradients(dnormed, p[f"{name}.norm1.scale"], saved.norm1)
    keep("norm1", "scale", "shift", by)
    dx += dy
    return dx
