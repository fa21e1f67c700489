"""The shape of a reference network, the names and shapes of its parameters, and their first values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.errors import LearnerError

Parameters = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Architecture:
    """A pre-norm transformer that classifies sequences or predicts each next token.

    kind: "classify" (mean over positions, one loss per sequence) or "next-token" (causal attention, one loss
    per position). Exactly one of ``vocabulary`` (inputs are token ids) and ``patch`` (inputs are vectors of
    that many numbers) is given. ``length`` is the longest sequence, ``width`` the numbers per token,
    ``hidden`` the inner width of the two-layer perceptron, ``outputs`` the number of classes or of tokens.

    Raises LearnerError naming the value that does not fit.

    Example:
        >>> from attent.reference import Architecture
        >>> Architecture("classify", length=16, outputs=10, patch=4).heads
        4
    """

    kind: Literal["classify", "next-token"]
    length: int
    outputs: int
    vocabulary: int | None = None
    patch: int | None = None
    width: int = 32
    heads: int = 4
    depth: int = 2
    hidden: int = 64

    def __post_init__(self) -> None:
        if self.kind not in ("classify", "next-token"):
            raise LearnerError(f"kind must be 'classify' or 'next-token', got {self.kind!r}")
        if (self.vocabulary is None) == (self.patch is None):
            raise LearnerError(
                "exactly one of vocabulary (inputs are token ids) and patch (inputs are vectors) must be "
                f"given, got vocabulary={self.vocabulary} and patch={self.patch}"
            )
        for name in ("length", "outputs", "vocabulary", "patch", "width", "heads", "depth", "hidden"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise LearnerError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.width % self.heads:
            raise LearnerError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return each parameter's shape by name, in the order used everywhere. Matrices are (inputs, outputs).

    Example:
        >>> from attent.reference import Architecture, parameter_shapes
        >>> shapes = parameter_shapes(Architecture("classify", length=16, outputs=10, patch=4))
        >>> shapes["embed.weight"], shapes["blocks.1.up.weight"], len(shapes)
        ((4, 32), (32, 64), 39)
    """
    width, hidden = architecture.width, architecture.hidden
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"] = (inputs, outputs)
        shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str) -> None:
        shapes[f"{name}.scale"] = (width,)
        shapes[f"{name}.shift"] = (width,)

    if architecture.patch is not None:
        linear("embed", architecture.patch, width)
    elif architecture.vocabulary is not None:
        shapes["embed.weight"] = (architecture.vocabulary, width)
    shapes["position"] = (architecture.length, width)
    for i in range(architecture.depth):
        norm(f"blocks.{i}.norm1")
        for name in ("query", "key", "value", "out"):
            linear(f"blocks.{i}.{name}", width, width)
        norm(f"blocks.{i}.norm2")
        linear(f"blocks.{i}.up", width, hidden)
        linear(f"blocks.{i}.down", hidden, width)
    norm("norm")
    linear("head", width, architecture.outputs)
    return shapes


def initial_parameters(architecture: Architecture, seed: int, dtype: npt.DTypeLike = np.float64) -> Parameters:
    """Return first values drawn from ``seed``, equal to the last bit on every machine.

    Biases and shifts are 0, scales 1. A weight matrix is uniform with mean 0 and variance 1 / inputs;
    ``out`` and ``down``, which add to the residual stream, have that over 2 * depth. Token and position
    tables have the standard deviation 0.1, but positions beside patches 1, or training is slow to tell
    them apart. Uniform, because it needs no function that libraries round differently. Number j of draw
    LEARNER of the seed belongs to the j-th element of all parameters laid end to end, row by row, in the
    order of `parameter_shapes`. They are drawn in float64, then rounded to ``dtype``.

    Example:
        >>> from attent.reference import Architecture, initial_parameters
        >>> a = Architecture("next-token", length=8, outputs=256, vocabulary=256)
        >>> initial_parameters(a, seed=0)["norm.scale"].sum()
        np.float64(32.0)
    """
    shapes = parameter_shapes(architecture)
    numbers = uniform(raw(Noise(seed, LEARNER), 0, sum(math.prod(shape) for shape in shapes.values())))
    result: Parameters = {}
    start = 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        values = numbers[start:stop].reshape(shape)
        start = stop
        if len(shape) == 1:
            values = np.full(shape, 1.0 if name.endswith(".scale") else 0.0)
        else:
            # A uniform variable on (-a, a) has the variance a**2 / 3.
            values = (2.0 * values - 1.0) * math.sqrt(3.0 * _variance(architecture, name, shape))
        result[name] = values.astype(dtype)
    return result


def _variance(architecture: Architecture, name: str, shape: tuple[int, ...]) -> float:
    if name == "position":
        return 0.01 if architecture.patch is None else 1.0
    if name == "embed.weight" and architecture.patch is None:
        return 0.01
    if name.endswith((".out.weight", ".down.weight")):
        return 1.0 / (shape[0] * 2 * architecture.depth)
    return 1.0 / shape[0]
