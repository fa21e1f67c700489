"""The reference network: forward pass, per-example losses, and gradients in closed form.

A pre-norm transformer. With x = embedding + position, each block adds attention(norm1(x)) and then
down(gelu(up(norm2(x)))); a final norm and a linear head follow. "classify" takes the mean over positions
between the two; "next-token" lets no position see a later one.

Shapes, T being the architecture's length: ``inputs`` is (b, T) integer token ids or (b, T, p) numbers;
``targets`` is (b,) integer, for "next-token" (b, T), with ``task_weights``, one number per task,
(b, tasks); ``lengths`` is (b,), from 1 to T, or None where nothing
is padded. Padding is no key, no part of the mean, and has no loss; what it holds does not matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attent.learner import Numbers
from attent.reference import layers
from attent.reference.architecture import Architecture, Parameters
from attent.reference.block import SavedBlock, block, block_gradients
from attent.reference.products import inner_product

Array = npt.NDArray[Any]


class _Pass(NamedTuple):
    """What the network's gradient needs of its forward pass."""

    logits: Array
    features: Array
    norm: tuple[Array, Array]
    share: Array
    blocks: list[SavedBlock]


def forward(architecture: Architecture, parameters: Parameters, inputs: Array, lengths: Array | None = None) -> Array:
    """Return the logits: shape (b, outputs) for "classify", (b, T, outputs) for "next-token".

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, forward, initial_parameters
        >>> a = Architecture("classify", length=16, outputs=10, patch=4)
        >>> forward(a, initial_parameters(a, seed=0), np.zeros((2, 16, 4))).shape
        (2, 10)
    """
    logits = _forward(architecture, parameters, inputs, lengths, keep=False).logits
    return logits if architecture.kind == "classify" else logits.reshape(*inputs.shape[:2], -1)


def losses(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    lengths: Array | None = None,
    task_weights: tuple[float, ...] | None = None,
) -> Array:
    """Return each example's loss in nats, shape (b,), in the dtype of the parameters.

    "classify": the cross-entropy; with ``task_weights`` its weighted sum over the tasks, which share the
    logits. "next-token": its mean over the example's own tokens, padding left out.
    """
    run = _forward(architecture, parameters, inputs, lengths, keep=False)
    return _losses(architecture, run, targets, task_weights)[0]


def outcomes(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    lengths: Array | None = None,
    task_weights: tuple[float, ...] | None = None,
) -> tuple[Array, Array]:
    """Return each example's loss, and the share of its targets that have the highest logit: (b,) each."""
    run = _forward(architecture, parameters, inputs, lengths, keep=False)
    best = run.logits.argmax(axis=-1)
    if task_weights is not None:
        hits = (best[:, None] == targets).mean(axis=1, dtype=run.logits.dtype)
    else:
        hits = (best == targets.ravel()).astype(run.logits.dtype)
    if architecture.kind == "next-token":
        hits = np.vecdot(hits.reshape(run.share.shape), run.share)
    return _losses(architecture, run, targets, task_weights)[0], hits


def gradients(
    architecture: Architecture,
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    lengths: Array | None = None,
    weights: Numbers | None = None,
    task_weights: tuple[float, ...] | None = None,
) -> tuple[Array, Parameters]:
    """Return each example's unweighted loss, and the gradient of ``mean_i(w_i * loss_i)`` by every parameter.

    ``weights`` is (b,), 1 each where None. The mean divides by b, not by the sum of the weights.

    Example:
        >>> import numpy as np
        >>> from attent.reference import Architecture, gradients, initial_parameters
        >>> a = Architecture("classify", length=16, outputs=10, patch=4)
        >>> p = initial_parameters(a, seed=0)
        >>> losses, g = gradients(a, p, np.zeros((2, 16, 4)), np.array([0, 1]))
        >>> losses.shape, g["head.bias"].shape
        ((2,), (10,))
    """
    p, result = parameters, Parameters()
    count, length = inputs.shape[:2]
    run = _forward(architecture, p, inputs, lengths, keep=True)
    values, dlogits = _losses(architecture, run, targets, task_weights)
    scale = np.full(count, 1.0) if weights is None else weights
    scale = (scale / count).astype(dlogits.dtype)
    per_row = scale[:, None] if architecture.kind == "classify" else (scale[:, None] * run.share).reshape(-1, 1)
    dlogits *= per_row
    dx, *by = layers.linear_gradients(dlogits, run.features, p["head.weight"])
    result["head.weight"], result["head.bias"] = by
    if architecture.kind == "classify":
        dx = (run.share[:, :, None] * dx[:, None, :]).reshape(count * length, -1)
    dx, *by = layers.layer_norm_gradients(dx, p["norm.scale"], run.norm)
    result["norm.scale"], result["norm.shift"] = by
    for i in reversed(range(architecture.depth)):
        dx = block_gradients(p, f"blocks.{i}", dx, run.blocks[i], result)
    result["position"] = dx.reshape(count, length, -1).sum(axis=0)
    if architecture.patch is not None:
        result["embed.weight"] = inner_product(inputs.reshape(count * length, -1), dx)
        result["embed.bias"] = result["position"].sum(axis=0)
    else:
        result["embed.weight"] = _rows_by_token(dx, inputs.ravel(), len(p["embed.weight"]))
    return values, {name: result[name] for name in parameters}


def _forward(architecture: Architecture, p: Parameters, inputs: Array, lengths: Array | None, *, keep: bool) -> _Pass:
    count, length = inputs.shape[:2]
    hidden, share = _masks(architecture, count, lengths, p["position"].dtype)
    if architecture.patch is not None:
        x = layers.linear(inputs.reshape(count * length, -1), p["embed.weight"], p["embed.bias"])
    else:
        x = p["embed.weight"][inputs.ravel()]
    x.reshape(count, length, -1)[...] += p["position"]
    blocks = []
    for i in range(architecture.depth):
        x, saved = block(p, f"blocks.{i}", x, (count, length, 3, architecture.heads, -1), hidden)
        if keep:
            blocks.append(saved)
    features, norm = layers.layer_norm(x, p["norm.scale"], p["norm.shift"])
    if architecture.kind == "classify":
        features = (share[:, None, :] @ features.reshape(count, length, -1))[:, 0]
    return _Pass(layers.linear(features, p["head.weight"], p["head.bias"]), features, norm, share, blocks)


def _masks(
    architecture: Architecture, count: int, lengths: Array | None, dtype: npt.DTypeLike
) -> tuple[Array | None, Array]:
    """Return the keys hidden, (T, T) or (b, 1, 1, T) or None, and each position's share of its example, (b, T)."""
    length = architecture.length
    positions = np.arange(length)
    # Padding comes last: a causal mask hides it from every position that counts.
    hidden = positions > positions[:, None] if architecture.kind == "next-token" else None
    if lengths is None:
        return hidden, np.full((count, length), 1.0 / length, dtype)
    valid = positions < lengths[:, None]
    if hidden is None:
        hidden = ~valid[:, None, None, :]
    return hidden, (valid / lengths[:, None]).astype(dtype)


def _losses(
    architecture: Architecture, run: _Pass, targets: Array, task_weights: tuple[float, ...] | None
) -> tuple[Array, Array]:
    """Return the losses per example, and the gradient of each row's own loss by its logits."""
    if task_weights is not None:
        parts = [_row_losses(run.logits, targets[:, task]) for task in range(len(task_weights))]
        pairs = list(zip(task_weights, parts, strict=True))
        values, slopes = (sum(weight * part[which] for weight, part in pairs) for which in (0, 1))
        return np.asarray(values), np.asarray(slopes)
    values, slopes = _row_losses(run.logits, targets.ravel())
    if architecture.kind == "next-token":
        values = np.vecdot(values.reshape(run.share.shape), run.share)
    return values, slopes


def _row_losses(logits: Array, targets: Array) -> tuple[Array, Array]:
    values, slopes = layers.cross_entropy(logits, targets)
    slopes[np.arange(len(slopes)), targets] -= 1.0
    return values, slopes


def _rows_by_token(rows: Array, tokens: Array, vocabulary: int) -> Array:
    """Return the sum of each token's rows, (vocabulary, d). Sorted runs: np.add.at is far slower."""
    order = np.argsort(tokens, kind="stable")
    present, starts = np.unique(tokens[order], return_index=True)
    result = np.zeros((vocabulary, rows.shape[1]), rows.dtype)
    result[present] = np.add.reduceat(rows[order], starts, axis=0)
    return result
