"""The layers of the reference network: each forward pass, and its gradient in closed form.

Activations are matrices with one row per token: shape (m, d) with m = examples * length. Each gradient
function takes ``dy``, the gradient of the objective by the layer's output, and returns the gradients by
its inputs. Every function keeps the floating dtype that it is given and changes none of its arguments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.reference.products import inner_product, product

Array = npt.NDArray[Any]

NORM_EPSILON = 1e-5
_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Return ``x @ weight + bias``: x (m, a), weight (a, b), bias (b,), result (m, b).

    Example:
        >>> import numpy as np
        >>> linear(np.ones((1, 2)), np.ones((2, 3)), np.zeros(3)).tolist()
        [[2.0, 2.0, 2.0]]
    """
    y = product(x, weight)
    y += bias
    return y


def linear_gradients(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the gradients by x, weight and bias: dy Wᵀ, xᵀ dy and the column sums of dy."""
    return product(dy, weight.T), inner_product(x, dy), dy.sum(axis=0)


def layer_norm(x: Array, scale: Array, shift: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return each row centred, over sqrt(variance + 1e-5), scaled and shifted; and what the gradient needs.

    The variance is the biased one, a mean over the row (Ba et al. 2016, "Layer normalization", equation 3).

    Example:
        >>> import numpy as np
        >>> y, _ = layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2))
        >>> y.round(3).tolist()
        [[-1.0, 1.0]]
    """
    width = x.shape[-1]
    normal = x - x.sum(axis=-1, keepdims=True) / width
    inverse = np.vecdot(normal, normal)[:, None]
    inverse /= width
    inverse += NORM_EPSILON
    np.sqrt(inverse, out=inverse)
    np.divide(1.0, inverse, out=inverse)
    normal *= inverse
    y = normal * scale
    y += shift
    return y, (normal, inverse)


def layer_norm_gradients(dy: Array, scale: Array, saved: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Return the gradients by x, scale and shift of `layer_norm`, given what it saved.

    With n the normalised row, g = dy * scale: dx = (g - mean(g) - n * mean(g * n)) / sqrt(variance + 1e-5).
    """
    normal, inverse = saved
    width = normal.shape[-1]
    product = dy * normal
    dscale = product.sum(axis=0)
    dx = dy * scale
    np.multiply(normal, np.vecdot(dx, normal)[:, None] / -width, out=product)
    dx -= dx.sum(axis=-1, keepdims=True) / width
    dx += product
    dx *= inverse
    return dx, dscale, dy.sum(axis=0)


def gelu(x: Array) -> tuple[Array, Array]:
    """Return x/2 * (1 + tanh(sqrt(2/π) * (x + 0.044715 x³))), and the tanh for the gradient.

    The tanh approximation of the Gaussian error linear unit (Hendrycks and Gimpel 2016, section 2).

    Example:
        >>> import numpy as np
        >>> gelu(np.array([0.0, 1.0]))[0].round(4).tolist()
        [0.0, 0.8412]
    """
    tanh = x * x
    tanh *= _GELU_CUBIC * _GELU_SCALE
    tanh += _GELU_SCALE
    tanh *= x
    np.tanh(tanh, out=tanh)
    y = tanh + 1.0
    y *= x
    y *= 0.5
    return y, tanh


def gelu_gradient(dy: Array, x: Array, tanh: Array) -> Array:
    """Return the gradient by x of `gelu`, given the tanh that it returned."""
    inner = x * x
    inner *= 3.0 * _GELU_CUBIC * _GELU_SCALE
    inner += _GELU_SCALE
    inner *= x
    slope = tanh * tanh
    np.subtract(1.0, slope, out=slope)
    slope *= inner
    slope += tanh
    slope += 1.0
    slope *= 0.5
    slope *= dy
    return slope


def attention(queries_keys_values: Array, hidden: Array | None) -> tuple[Array, Array]:
    """Return the attention output (b, T, h, d/h) and the attention weights (b, h, T, T).

    Vaswani et al. 2017, "Attention is all you need", equation 1, in each head: softmax(QKᵀ / sqrt(d/h)) V.
    ``queries_keys_values`` has shape (b, T, 3, h, d/h). ``hidden``, bool and broadcast to (b, h, T, T), is
    True where a query may not see a key; every query must see one. Hidden keys get the weight 0 exactly.

    Example:
        >>> import numpy as np
        >>> mixed, weights = attention(np.ones((1, 2, 3, 1, 4)), np.array([[False, True], [False, False]]))
        >>> weights[0, 0].tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    queries, keys, values = (queries_keys_values[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    weights: Array = queries @ keys.swapaxes(-1, -2)
    weights *= 1.0 / math.sqrt(queries.shape[-1])
    if hidden is not None:
        np.copyto(weights, -np.inf, where=hidden)
    weights -= weights.max(axis=-1, keepdims=True)  # exp cannot overflow
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = np.empty_like(queries_keys_values[:, :, 0], order="C")
    # Written through a view, so that heads lie side by side in each token's row without a copy.
    np.matmul(weights, values, out=mixed.transpose(0, 2, 1, 3))
    return mixed, weights


def attention_gradients(dy: Array, queries_keys_values: Array, weights: Array) -> Array:
    """Return the gradient by ``queries_keys_values`` of `attention`, given the weights A that it returned.

    dV = Aᵀ dy; with dA = dy Vᵀ, the gradient by the logits is A * (dA - rowsum(dA * A)), which times K
    and (transposed) Q, over sqrt(d/h), gives dQ and dK.
    """
    queries, keys, values = (queries_keys_values[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    result = np.empty_like(queries_keys_values)
    dqueries, dkeys, dvalues = (result[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    dmixed = dy.transpose(0, 2, 1, 3)
    np.matmul(weights.swapaxes(-1, -2), dmixed, out=dvalues)
    dlogits: Array = dmixed @ values.swapaxes(-1, -2)
    dlogits -= np.vecdot(dlogits, weights)[..., None]
    dlogits *= weights
    dlogits *= 1.0 / math.sqrt(queries.shape[-1])
    np.matmul(dlogits, keys, out=dqueries)
    np.matmul(dlogits.swapaxes(-1, -2), queries, out=dkeys)
    return result


def cross_entropy(logits: Array, targets: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Return -log softmax(logits)[target] in nats, shape (m,), and the softmax, shape (m, classes).

    The gradient by the logits is the softmax with 1 taken off at the target.

    Example:
        >>> import numpy as np
        >>> cross_entropy(np.zeros((1, 2)), np.array([0]))[0].round(4).tolist()
        [0.6931]
    """
    softmax = logits - logits.max(axis=-1, keepdims=True)  # exp cannot overflow
    losses: Array = -softmax[np.arange(len(targets)), targets]
    np.exp(softmax, out=softmax)
    total = softmax.sum(axis=-1)
    losses += np.log(total)
    softmax /= total[:, None]
    return losses, softmax
