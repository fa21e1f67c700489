"""A pass, or validation data, as Keras on TensorFlow takes it fastest. TensorFlow is imported here."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree


def sliced(parts: Any, size: int) -> tf.data.Dataset:
    """Return arrays in batches of ``size``, the last one smaller: the batches that ``fit`` makes of them unshuffled.

    parts: (x, y) or (x, y, sample_weight), of arrays or dicts, lists or tuples of them, whose first axis numbers the
    examples. For arrays Keras traces four functions for each ``fit`` and one for each validation, some 27 ms of
    processor time; slices need none.

    Example:
        >>> import numpy as np
        >>> from attent_tensorflow.trainers.keras_datasets import sliced
        >>> [(x.tolist(), y.tolist()) for x, y in sliced((np.arange(3), np.arange(3) * 10), 2).as_numpy_iterator()]
        [([0, 1], [0, 10]), ([2], [20])]
    """
    x, y, *weights = parts
    if weights and tree.is_nested(y) and not tree.is_nested(weights[0]):
        weights = [tree.map_structure(lambda _: weights[0], y)]  # as Keras does: those of every output
    with tf.device("CPU:0"):
        arrays = tree.map_structure(_as_keras_has_it, tree.lists_to_tuples((x, y, *weights)))
        n = len(tree.flatten(arrays)[0])
        steps, rest = divmod(n, size)
        batches = tree.map_structure(lambda each: each[: n - rest].reshape(steps, size, *each.shape[1:]), arrays)
        dataset = tf.data.Dataset.from_tensor_slices(batches)
        if rest:
            last = tree.map_structure(lambda each: each[n - rest :], arrays)
            dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last))
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False  # rewriting takes longer than it saves
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _as_keras_has_it(array: Any) -> Any:
    """Return an array with floating-point numbers of Keras' float type."""
    dtype, floatx = keras.backend.standardize_dtype(array.dtype), keras.config.floatx()
    return array.astype(floatx) if keras.backend.is_float_dtype(dtype) and dtype != floatx else np.asarray(array)
