"""Optimisers and a learning-rate schedule: pure functions of dictionaries of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from attent.errors import LearnerError

Arrays = dict[str, npt.NDArray[Any]]
Moments = dict[str, Arrays]


class Optimiser(Protocol):
    """What the reference learner asks of an optimiser: settings only; what it remembers is passed in."""

    @property
    def moment_names(self) -> tuple[str, ...]:
        """What is remembered for each parameter, by name; each starts at 0, in the parameter's shape."""
        ...

    def step(
        self, parameters: Arrays, gradients: Arrays, moments: Moments, *, count: int, learning_rate: float
    ) -> tuple[Arrays, Moments]:
        """Return new parameters and moments after step ``count``, 1 for the first; change no argument."""
        ...


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, applied to every parameter, in PyTorch's formulation.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the decay times
    the learning rate: p *= 1 - lr * weight_decay; m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g²; p -= lr * m̂ / (sqrt(v̂) + epsilon), where m̂ = m / (1 - beta1**count)
    and v̂ = v / (1 - beta2**count).

    Raises LearnerError for a beta outside [0, 1), an epsilon not above 0 or a negative decay.

    Example:
        >>> import numpy as np
        >>> p, g = {"w": np.array([1.0])}, {"w": np.array([3.0])}
        >>> optimiser = AdamW(weight_decay=0.0)
        >>> p, _ = optimiser.step(p, g, initial_moments(optimiser, p), count=1, learning_rate=0.1)
        >>> p["w"].round(6).tolist()
        [0.9]
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check("beta1", self.beta1, "in [0, 1)", 0.0 <= self.beta1 < 1.0)
        _check("beta2", self.beta2, "in [0, 1)", 0.0 <= self.beta2 < 1.0)
        _check("epsilon", self.epsilon, "a finite number above 0", 0.0 < self.epsilon < math.inf)
        _check("weight_decay", self.weight_decay, "finite and at least 0", 0.0 <= self.weight_decay < math.inf)

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Running means of the gradient and of its square."""
        return ("mean", "square")

    def step(
        self, parameters: Arrays, gradients: Arrays, moments: Moments, *, count: int, learning_rate: float
    ) -> tuple[Arrays, Moments]:
        """Return new parameters and moments after step number ``count`` (1 for the first)."""
        beta1, beta2 = self.beta1, self.beta2
        result: Arrays = {}
        means: Arrays = {}
        squares: Arrays = {}
        for name, gradient in gradients.items():
            mean = moments["mean"][name] * beta1
            mean += gradient * (1.0 - beta1)
            square = gradient * gradient
            square *= 1.0 - beta2
            square += moments["square"][name] * beta2
            divisor = np.sqrt(square)
            divisor /= math.sqrt(1.0 - beta2**count)
            divisor += self.epsilon
            change = mean / divisor
            change *= learning_rate / (1.0 - beta1**count)
            result[name] = parameters[name] * (1.0 - learning_rate * self.weight_decay) - change
            means[name], squares[name] = mean, square
        return result, {"mean": means, "square": squares}


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum and coupled weight decay, in PyTorch's formulation.

    g += weight_decay * p; u = momentum * u + g; p -= lr * u. (Polyak 1964; no dampening, no Nesterov.)

    Raises LearnerError for a momentum outside [0, 1) or a negative decay.

    Example:
        >>> import numpy as np
        >>> p, g = {"w": np.array([1.0])}, {"w": np.array([3.0])}
        >>> p, _ = SGD().step(p, g, initial_moments(SGD(), p), count=1, learning_rate=0.1)
        >>> p["w"].round(6).tolist()
        [0.7]
    """

    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check("momentum", self.momentum, "in [0, 1)", 0.0 <= self.momentum < 1.0)
        _check("weight_decay", self.weight_decay, "finite and at least 0", 0.0 <= self.weight_decay < math.inf)

    @property
    def moment_names(self) -> tuple[str, ...]:
        """The velocity."""
        return ("velocity",)

    def step(
        self, parameters: Arrays, gradients: Arrays, moments: Moments, *, count: int, learning_rate: float
    ) -> tuple[Arrays, Moments]:
        """Return new parameters and moments; ``count`` does not matter."""
        velocities = {
            name: moments["velocity"][name] * self.momentum + (gradient + self.weight_decay * parameters[name])
            for name, gradient in gradients.items()
        }
        return (
            {name: parameters[name] - learning_rate * velocity for name, velocity in velocities.items()},
            {"velocity": velocities},
        )


def initial_moments(optimiser: Optimiser, parameters: Arrays) -> Moments:
    """Return what ``optimiser`` remembers before its first step: zeros."""
    return {moment: {name: np.zeros_like(p) for name, p in parameters.items()} for moment in optimiser.moment_names}


def warm_up_cosine(peak: float, total_steps: int, warm_up_steps: int = 0) -> Callable[[int], float]:
    """Return the schedule ``step -> learning rate``, where ``step`` counts the steps already taken, from 0.

    Rises in a straight line, peak * (step + 1) / warm_up_steps, then falls as
    peak/2 * (1 + cos(π * (step - warm_up_steps) / (total_steps - warm_up_steps))), reaching 0 at
    ``total_steps`` and staying there (Loshchilov and Hutter 2017, "SGDR", equation 5).

    Raises LearnerError unless ``peak`` is finite and above 0 and 0 <= warm_up_steps < total_steps.

    Example:
        >>> rate = warm_up_cosine(0.1, total_steps=6, warm_up_steps=2)
        >>> [round(rate(step), 3) for step in range(7)]
        [0.05, 0.1, 0.1, 0.085, 0.05, 0.015, 0.0]
    """
    _check("peak", peak, "a finite number above 0", 0.0 < peak < math.inf)
    fits = 0 <= warm_up_steps < total_steps
    _check("warm_up_steps", warm_up_steps, f"in [0, total_steps), where total_steps={total_steps}", fits)

    def rate(step: int) -> float:
        if step < warm_up_steps:
            return peak * (step + 1) / warm_up_steps
        done = min(1.0, (step - warm_up_steps) / (total_steps - warm_up_steps))
        return 0.5 * peak * (1.0 + math.cos(math.pi * done))

    return rate


def _check(name: str, value: float, rule: str, holds: bool) -> None:
    if not holds:
        raise LearnerError(f"{name} must be {rule}, got {value}")
