"""The reference tasks: NumPy data and first parameters, drawn by position and so equal on every machine."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.learner import Ids
from attent.reference import Architecture, Parameters, initial_parameters

Array = npt.NDArray[Any]
_SEED = 2602  # of all data; draws of it are numbered from LEARNER on
HELD_OUT = slice(5, 42)  # the examples of a task that its learners are judged on
_MOST = 128  # examples that checks go through one by one
_WRONG = 0.35  # share of examples with a target drawn at random, so that losses keep a spread


@dataclass(frozen=True)
class Task:
    """Data and first parameters for a reference learner. ``needs``: abilities beyond a precision.

    Example:
        >>> from attent_conformance.tasks import task
        >>> task("classes").architecture.kind, len(task("classes"))
        ('classify', 96)
    """

    name: str
    architecture: Architecture
    inputs: Array
    targets: Array
    lengths: Array | None = None
    task_weights: tuple[float, ...] | None = None
    needs: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.inputs)

    @property
    def ids(self) -> Ids:
        """The ids that checks go through: all, or of many the first, the last, and those around powers of 2."""
        n = len(self)
        if n <= _MOST:
            return np.arange(n)
        powers = 2 ** np.arange(6, n.bit_length())
        return np.unique(np.concatenate([np.arange(24), powers - 1, powers, powers + 37, np.arange(n - 24, n)]) % n)

    @property
    def held_out(self) -> tuple[Array, ...]:
        """Examples to be judged on: some of the task's own, so that every backend has them."""
        return tuple(array[HELD_OUT] for array in (self.inputs, self.targets, self.lengths) if array is not None)

    @property
    def parameters(self) -> Parameters:
        """The parameters that every learner starts from: float64."""
        return initial_parameters(self.architecture, _SEED)


@functools.cache
def task(name: str) -> Task:
    """Return a task by name, one of `TASKS`."""
    return TASKS[name]()


def rate(step: int) -> float:
    """Return the learning rate of the step taken after ``step`` others: 1/500 falling as 1 / (1 + step / 400)."""
    return 0.002 / (1.0 + step / 400.0)


def _numbers(draw: int, *shape: int) -> Array:
    values: Array = uniform(raw(Noise(_SEED, LEARNER + draw), 0, math.prod(shape))).reshape(shape)
    return values


def _whole(draw: int, stop: int, *shape: int) -> Array:
    values: Array = np.floor(_numbers(draw, *shape) * stop).astype(np.int64)
    return values


def _classes() -> Task:
    """Return noisy patterns of four classes, 9 patches of 4 numbers: a small vision transformer's task."""
    architecture = Architecture("classify", length=9, outputs=4, patch=4, width=16, heads=2, depth=2, hidden=32)
    targets = _whole(1, 4, 96)
    inputs = _numbers(2, 4, 9, 4)[targets] + 1.5 * (_numbers(3, 96, 9, 4) - 0.5)
    wrong = _numbers(4, 96) < _WRONG
    return Task("classes", architecture, inputs, np.where(wrong, _whole(5, 4, 96), targets))


def _text(draw: int, n: int, length: int, tokens: int) -> tuple[Array, Array]:
    """Return sequences in which a token mostly decides the next one, and for each token its successor."""
    successor = _whole(draw, tokens, tokens)
    choices = _whole(draw + 1, tokens, n, length + 1)
    free = _numbers(draw + 2, n, length + 1) < 0.1 + 0.5 * _numbers(draw + 3, n, 1)
    text = choices.copy()
    for at in range(1, length + 1):
        text[:, at] = np.where(free[:, at], choices[:, at], (successor[text[:, at - 1]] + at) % tokens)
    return text[:, :-1], text[:, 1:]


def _next_token() -> Task:
    """Return sequences of 12 tokens out of 16, some more random than others: a small language model's task."""
    architecture = Architecture(
        "next-token", length=12, outputs=16, vocabulary=16, width=16, heads=2, depth=2, hidden=32
    )
    return Task("next-token", architecture, *_text(10, 64, 12, 16), needs=("next-token",))


def _two_tasks() -> Task:
    """Return patterns with two targets each, the second at a quarter of the first one's weight."""
    architecture = Architecture("classify", length=6, outputs=5, patch=3, width=12, heads=3, depth=1, hidden=20)
    targets = np.stack([_whole(20, 5, 48), _whole(21, 5, 48)], axis=1)
    inputs = _numbers(22, 5, 6, 3)[targets[:, 0]] + 0.5 * _numbers(23, 5, 6, 3)[targets[:, 1]]
    inputs = inputs + 0.8 * (_numbers(24, 48, 6, 3) - 0.5)
    return Task("two-tasks", architecture, inputs, targets, task_weights=(1.0, 0.25), needs=("tasks",))


def _padded() -> Task:
    """Return sequences of 3 to 10 tokens; what lies behind their end would be wrong to learn from."""
    architecture = Architecture("next-token", length=10, outputs=9, vocabulary=9, width=12, heads=2, depth=1, hidden=24)
    inputs, targets = _text(30, 48, 10, 9)
    return Task("padded", architecture, inputs, targets, 3 + _whole(39, 8, 48), needs=("next-token", "lengths"))


def _padded_classes() -> Task:
    """Return sequences of 1 to 8 tokens to classify by their mean over own positions."""
    architecture = Architecture("classify", length=8, outputs=3, vocabulary=7, width=12, heads=2, depth=1, hidden=24)
    inputs, lengths = _whole(40, 7, 48, 8), 1 + _whole(41, 8, 48)
    return Task("padded-classes", architecture, inputs, inputs[:, 0] % 3, lengths, needs=("lengths",))


def _three_tasks() -> Task:
    """Return patterns with three targets each, of unequal weights that do not sum to 1."""
    architecture = Architecture("classify", length=4, outputs=3, patch=2, width=8, heads=2, depth=1, hidden=12)
    targets = _whole(50, 3, 48, 3)
    inputs = _numbers(51, 3, 4, 2)[targets[:, 0]] + 0.5 * _numbers(52, 3, 4, 2)[targets[:, 2]]
    inputs = inputs + 0.8 * (_numbers(53, 48, 4, 2) - 0.5)
    return Task("three-tasks", architecture, inputs, targets, task_weights=(0.5, 0.25, 1.5), needs=("tasks",))


def _padded_tasks() -> Task:
    """Return sequences of 1 to 6 tokens with four targets each, one of them of weight 0, one below."""
    architecture = Architecture("classify", length=6, outputs=4, vocabulary=5, width=8, heads=1, depth=1, hidden=12)
    inputs, lengths = _whole(60, 5, 48, 6), 1 + _whole(61, 6, 48)
    targets = np.stack([inputs[:, 0] % 4, (inputs[:, 0] + lengths) % 4, lengths % 4, _whole(62, 4, 48)], axis=1)
    weights = (1.0, -0.5, 2.0, 0.0)
    return Task("padded-tasks", architecture, inputs, targets, lengths, weights, needs=("tasks", "lengths"))


def _many() -> Task:
    """Return more examples than 16 bits can number, each of two patches, for the smallest network."""
    architecture = Architecture("classify", length=2, outputs=3, patch=2, width=4, heads=1, depth=1, hidden=4)
    targets = _whole(70, 3, 70_000)
    inputs = _numbers(71, 3, 2, 2)[targets] + 1.5 * (_numbers(72, 70_000, 2, 2) - 0.5)
    return Task("many", architecture, inputs, targets)


TASKS = {
    "classes": _classes,
    "next-token": _next_token,
    "two-tasks": _two_tasks,
    "padded": _padded,
    "padded-classes": _padded_classes,
    "three-tasks": _three_tasks,
    "padded-tasks": _padded_tasks,
    "many": _many,
}
