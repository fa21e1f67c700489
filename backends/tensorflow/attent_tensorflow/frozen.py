"""The variables that training does not change: left out of a learner's state, and known again by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from attent_tensorflow.variables import Named, bare, model_variables

_PART = 2**22  # elements looked at together
_STRIDE = 2 * 0x1E3779B97F4A7C15  # between the odd numbers that places are multiplied by
_BITS = {1: tf.uint8, 2: tf.uint16, 4: tf.int32, 8: tf.int64}


class Frozen:
    """A model's variables outside of those that are trained, for as long as they are what they were at first.

    One that changes all the same, as a statistic or an averaged copy of the model does, counts as trained from then on.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow.frozen import Frozen
        >>> class Line(tf.Module):
        ...     def __init__(self):
        ...         self.base, self.mean = tf.Variable(1.0, trainable=False), tf.Variable(0.0, trainable=False)
        >>> line = Line()
        >>> frozen = Frozen(line, [])
        >>> _ = line.mean.assign(2.0)
        >>> list(frozen.unchanged())
        ['model/base']
    """

    def __init__(self, model: Any, trained: Iterable[Any]) -> None:
        own = {id(bare(variable)) for variable in trained}
        self._variables: Named = {
            f"model/{name}": variable
            for name, variable in model_variables(model).items()
            if id(variable) not in own and variable.dtype.size in _BITS
        }
        self._first = self.checksums(self._variables)

    def __contains__(self, name: object) -> bool:
        """Say whether this is the name of one that is not trained."""
        return name in self._variables

    def unchanged(self) -> dict[str, int]:
        """Return the checksums, by name, of those that have not changed since this was made."""
        now = self.checksums(self._variables)
        return {name: found for name, found in now.items() if self._first[name] == found}

    def checksums(self, names: Iterable[str]) -> dict[str, int]:
        """Return the checksums, by name."""
        return {name: checksum(self._variables[name]) for name in names}

    def digest(self, checksums: Mapping[str, int]) -> str:
        """Return a SHA-256 over what the variables of these names and checksums hold."""
        rows = [
            [name, self._variables[name].dtype.name, list(self._variables[name].shape), found]
            for name, found in checksums.items()
        ]
        return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def checksum(variable: Any) -> int:
    """Return a number that changes with any bit of a variable: computed where it lies, the same on every device.

    The sum of its elements' bits modulo 2^64, each times an odd number of its place, the upper half mixed into the
    lower.

    Example:
        >>> import tensorflow as tf
        >>> from attent_tensorflow.frozen import checksum
        >>> checksum(tf.constant([1.0, 2.0])) != checksum(tf.constant([2.0, 1.0]))
        True
    """
    value = tf.reshape(tf.convert_to_tensor(variable), (-1,))
    value = tf.cast(value, tf.uint8) if value.dtype == tf.bool else value
    total = tf.zeros((), tf.int64)
    for start in range(0, len(value), _PART):
        bits = tf.bitcast(value[start : start + _PART], _BITS[value.dtype.size])
        words, places = tf.cast(bits, tf.int64), tf.range(start, start + len(bits), dtype=tf.int64)
        product = _mixed(words) * (places * _STRIDE + 1)
        total += tf.reduce_sum(_mixed(product))
    return int(total)


def _mixed(words: tf.Tensor) -> tf.Tensor:
    half = tf.constant(32, tf.int64)
    return tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, half))
