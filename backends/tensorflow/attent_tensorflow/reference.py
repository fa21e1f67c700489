"""The reference network of `attent.reference` as a tf.Module: same parameters, same function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from attent.errors import LearnerError
from attent.reference import Architecture, Parameters, parameter_shapes
from attent_tensorflow.losses import token_mean

_NORM_EPSILON = 1e-5


class ReferenceNetwork(tf.Module):
    """A pre-norm transformer that classifies sequences or predicts each next token.

    With x = embedding + position, each block adds attention(norm1(x)) and then down(gelu(up(norm2(x))));
    a final norm and a linear head follow. "classify" takes the mean over positions between the two;
    "next-token" lets no position see a later one. Parameters have the names and shapes of
    `attent.reference.parameter_shapes` and the values of ``parameters``, in ``dtype``.

    Raises LearnerError where names or shapes differ.

    Example:
        >>> import tensorflow as tf
        >>> from attent.reference import Architecture, initial_parameters
        >>> from attent_tensorflow import ReferenceNetwork
        >>> a = Architecture("classify", length=16, outputs=10, patch=4)
        >>> network = ReferenceNetwork(a, initial_parameters(a, seed=0))
        >>> network(tf.zeros((2, 16, 4))).shape
        TensorShape([2, 10])
    """

    def __init__(self, architecture: Architecture, parameters: Parameters, dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        shapes = parameter_shapes(architecture)
        if set(parameters) != set(shapes):
            wrong = sorted(set(parameters) ^ set(shapes))
            raise LearnerError(f"parameters do not fit the architecture: {', '.join(wrong)} missing or too many")
        for name, shape in shapes.items():
            if parameters[name].shape != shape:
                raise LearnerError(f"'{name}' must have shape {shape}, got {parameters[name].shape}")
        self.architecture = architecture
        self.parameters = {
            name: tf.Variable(np.asarray(parameters[name], dtype.as_numpy_dtype), name=name) for name in shapes
        }

    @tf.autograph.experimental.do_not_convert  # traced faster, and needs no conversion
    def __call__(self, inputs: tf.Tensor, lengths: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits: (b, outputs) for "classify", (b, T, outputs) for "next-token".

        ``inputs``: (b, T) integer token ids, or (b, T, p) numbers of the parameters' dtype. ``lengths``: (b,)
        integer, 1 <= length <= T; what lies behind is padding, which no position sees.
        """
        a, p = self.architecture, self.parameters
        x = tf.gather(p["embed.weight"], inputs) if a.patch is None else self._linear(inputs, "embed")
        x += p["position"]
        hidden = _hidden(a, lengths, x.dtype)
        for i in range(a.depth):
            x = self._block(x, f"blocks.{i}", hidden)
        x = self._norm(x, "norm")
        if a.kind == "classify":
            if lengths is None:
                x = tf.reduce_mean(x, axis=1)
            else:
                share = tf.sequence_mask(lengths, a.length, x.dtype) / tf.cast(lengths, x.dtype)[:, None]
                x = tf.linalg.matvec(x, share, transpose_a=True)
        return self._linear(x, "head")

    def parameters_as_arrays(self) -> Parameters:
        """Return copies of the parameters, by name, in the order of `attent.reference.parameter_shapes`."""
        return {name: self.parameters[name].numpy().copy() for name in parameter_shapes(self.architecture)}

    def _block(self, x: tf.Tensor, name: str, hidden: tf.Tensor | None) -> tf.Tensor:
        a, shape = self.architecture, tf.shape(x)
        normed = self._norm(x, f"{name}.norm1")
        query, key, value = (
            tf.transpose(
                tf.reshape(self._linear(normed, f"{name}.{part}"), (shape[0], a.length, a.heads, a.width // a.heads)),
                (0, 2, 1, 3),
            )
            for part in ("query", "key", "value")
        )
        logits = tf.matmul(query, key, transpose_b=True) * tf.constant(1.0 / math.sqrt(query.shape[-1]), x.dtype)
        if hidden is not None:
            logits += hidden
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(logits), value), (0, 2, 1, 3))
        x += self._linear(tf.reshape(mixed, (shape[0], a.length, a.width)), f"{name}.out")
        return x + self._linear(_gelu(self._linear(self._norm(x, f"{name}.norm2"), f"{name}.up")), f"{name}.down")

    def _linear(self, x: tf.Tensor, name: str) -> tf.Tensor:
        weight = self.parameters[f"{name}.weight"]
        # One product over all tokens: a batched one would multiply sequence by sequence.
        rows = tf.nn.bias_add(tf.matmul(tf.reshape(x, (-1, weight.shape[0])), weight), self.parameters[f"{name}.bias"])
        if x.shape.rank == 2:
            return rows
        return tf.reshape(rows, (-1, x.shape[1], weight.shape[1]))

    def _norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normal = centred * tf.math.rsqrt(variance + tf.constant(_NORM_EPSILON, x.dtype))
        return normal * self.parameters[f"{name}.scale"] + self.parameters[f"{name}.shift"]


@tf.autograph.experimental.do_not_convert
def reference_loss(model: ReferenceNetwork, batch: Any, training: bool) -> tf.Tensor:
    """Return each example's loss in nats, shape (B,): cross-entropy, for "next-token" its mean over own tokens.

    ``batch`` is (inputs, targets) or (inputs, targets, lengths); targets are (B,) or, for "next-token", (B, T).
    ``training`` makes no difference to this network.
    """
    inputs, targets, *rest = batch
    lengths = rest[0] if rest else None
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, model(inputs, lengths))
    if targets.shape.rank == 1:
        return losses
    if lengths is None:
        return tf.reduce_mean(losses, axis=1)
    return token_mean(losses, tf.sequence_mask(lengths, targets.shape[1]))


@tf.autograph.experimental.do_not_convert
def task_losses(model: ReferenceNetwork, batch: Any, training: bool) -> dict[str, tf.Tensor]:
    """Return each task's cross-entropy (B,) by the task's number, from logits that the tasks share.

    ``batch`` is (inputs, targets) or (inputs, targets, lengths); targets are (B, tasks).
    """
    inputs, targets, *rest = batch
    return by_task(model(inputs, *rest), targets)


def by_task(logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return each task's cross-entropy (B,) by its number: logits (B, outputs), targets (B, tasks)."""
    columns = enumerate(tf.unstack(targets, axis=1))
    return {str(task): tf.nn.sparse_softmax_cross_entropy_with_logits(column, logits) for task, column in columns}


def _gelu(x: tf.Tensor) -> tf.Tensor:
    # Not tf.nn.gelu: it takes its coefficient through float32, also for float64.
    inner = math.sqrt(2.0 / math.pi) * x * (1.0 + 0.044715 * tf.square(x))
    return 0.5 * x * (1.0 + tf.tanh(inner))


def _hidden(architecture: Architecture, lengths: tf.Tensor | None, dtype: tf.DType) -> tf.Tensor | None:
    """Return what to add to attention logits: 0 where a query may see a key, else -infinity; None if it may always.

    Padding comes last: a causal mask hides it from every position that counts.
    """
    if architecture.kind == "next-token":
        return tf.constant(np.triu(np.full((architecture.length,) * 2, -np.inf), 1), dtype)
    if lengths is None:
        return None
    valid = tf.sequence_mask(lengths, architecture.length)[:, None, None, :]
    return tf.where(valid, tf.constant(0.0, dtype), tf.constant(-np.inf, dtype))
