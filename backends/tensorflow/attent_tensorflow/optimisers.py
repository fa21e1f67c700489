"""Optimisers in PyTorch's formulation, exact in every dtype. Keras' keep their rates in float32.

Both are the optimisers of `attent.reference`, on variables.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from attent import reference
from attent.errors import LearnerError
from attent_tensorflow.variables import bare


class AdamW(tf.Module):
    """Adam with decoupled weight decay, applied to every variable; see `attent.reference.AdamW` for the formula.

    Raises LearnerError for a beta outside [0, 1), an epsilon not above 0 or a negative decay.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow import AdamW
        >>> w, optimizer = tf.Variable([1.0]), AdamW(0.1, weight_decay=0.0)
        >>> optimizer.build([w])
        >>> optimizer.apply([tf.constant([3.0])], [w])
        >>> w.numpy().round(6)
        array([0.9], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        self._settings = reference.AdamW(beta1, beta2, epsilon, weight_decay)
        self.learning_rate = tf.Variable(learning_rate, trainable=False, dtype=tf.float64)
        self.count = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.mean: dict[str, tf.Variable] = {}
        self.square: dict[str, tf.Variable] = {}
        self.built = False

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Create the moments of ``variables``, zeros. Raises LearnerError for a 16-bit variable."""
        for variable in variables:
            if bare(variable).dtype.size < 4:
                raise LearnerError(
                    f"AdamW needs float32 or float64 variables, got {bare(variable).dtype.name}, where beta2 would be "
                    "1; keep parameters in float32 and compute in 16 bits, as Keras' mixed precision does"
                )
        self._places = _places(variables)
        self.mean, self.square = _zeros(variables), _zeros(variables)
        self.built = True

    @tf.autograph.experimental.do_not_convert
    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """Take one step."""
        settings = self._settings
        count = tf.cast(self.count.assign_add(1), tf.float64)
        rate = self.learning_rate.read_value()
        keep = 1.0 - rate * settings.weight_decay
        numbers: dict[tf.DType, dict[str, tf.Tensor]] = {}
        for gradient, variable in zip(gradients, map(bare, variables), strict=True):
            place, dtype = self._places[variable.ref()], variable.dtype
            if dtype not in numbers:
                numbers[dtype] = _adam_numbers(settings, rate, count, dtype)
            variable.assign(variable * tf.cast(keep, dtype))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self.mean[place].handle,
                v=self.square[place].handle,
                grad=tf.convert_to_tensor(gradient),
                **numbers[dtype],
            )


class SGD(tf.Module):
    """Stochastic gradient descent with momentum and coupled weight decay; see `attent.reference.SGD`.

    Raises LearnerError for a momentum outside [0, 1) or a negative decay.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow import SGD
        >>> w, optimizer = tf.Variable([1.0]), SGD(0.1)
        >>> optimizer.build([w])
        >>> optimizer.apply([tf.constant([3.0])], [w])
        >>> w.numpy().round(6)
        array([0.7], dtype=float32)
    """

    def __init__(self, learning_rate: float = 1e-2, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__()
        self._settings = reference.SGD(momentum, weight_decay)
        self.learning_rate = tf.Variable(learning_rate, trainable=False, dtype=tf.float64)
        self.velocity: dict[str, tf.Variable] = {}
        self.built = False

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Create the velocities of ``variables``, zeros."""
        self._places = _places(variables)
        self.velocity = _zeros(variables)
        self.built = True

    @tf.autograph.experimental.do_not_convert
    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """Take one step."""
        settings, rate = self._settings, self.learning_rate.read_value()
        for gradient, variable in zip(gradients, map(bare, variables), strict=True):
            dtype, gradient = variable.dtype, tf.convert_to_tensor(gradient)
            if settings.weight_decay:
                gradient += tf.constant(settings.weight_decay, dtype) * variable
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=self.velocity[self._places[variable.ref()]].handle,
                lr=tf.cast(rate, dtype),
                grad=gradient,
                momentum=tf.constant(settings.momentum, dtype),
            )


def _adam_numbers(
    settings: reference.AdamW, rate: tf.Tensor, count: tf.Tensor, dtype: tf.DType
) -> dict[str, tf.Tensor]:
    """Return what the fused kernel takes, in ``dtype``, worked out in float64."""
    # The kernel has betas in ``dtype``; 1 - beta2 is so small that the corrections must be for the rounded ones.
    beta1, beta2 = (float(dtype.as_numpy_dtype(beta)) for beta in (settings.beta1, settings.beta2))
    # The kernel divides by sqrt(v) + epsilon, the formula by sqrt(v / (1 - beta2**t)) + epsilon: equal once both
    # rate and epsilon are multiplied by that root. Its own corrections are turned off by powers of 0.
    root = tf.sqrt(1.0 - tf.constant(beta2, tf.float64) ** count)
    step = rate * root / (1.0 - tf.constant(beta1, tf.float64) ** count)
    numbers = {"lr": step, "beta1": beta1, "beta2": beta2, "epsilon": settings.epsilon * root}
    zero = tf.zeros((), dtype)
    return {
        **{name: tf.cast(tf.convert_to_tensor(value, tf.float64), dtype) for name, value in numbers.items()},
        "beta1_power": zero,
        "beta2_power": zero,
    }


def _places(variables: Sequence[tf.Variable]) -> dict[object, str]:
    """Return what to call each variable's moments: its own name, where names are given and tell variables apart."""
    names = [getattr(variable, "path", variable.name).split(":")[0] for variable in variables]
    # Keras numbers its names by what else was built before.
    if len(set(names)) < len(names) or any(hasattr(variable, "path") for variable in variables):
        names = [f"{index:03d}" for index in range(len(names))]
    return {bare(variable).ref(): name for variable, name in zip(variables, names, strict=True)}


def _zeros(variables: Sequence[tf.Variable]) -> dict[str, tf.Variable]:
    return {
        place: tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
        for place, variable in zip(_places(variables).values(), variables, strict=True)
    }
