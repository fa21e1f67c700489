"""The learner for Keras 3 models, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from attent.errors import LearnerError
from attent_tensorflow.keras_losses import compiled_weights, keras_loss, penalty
from attent_tensorflow.learner import TensorFlowLearner


class KerasLearner(TensorFlowLearner):
    """Teaches a Keras 3 model on Keras' TensorFlow backend; in everything else a `TensorFlowLearner`.

    Args:
        model: Functional, sequential or subclassed. Regularisers and ``add_loss`` are minimised with the losses,
            as in ``fit``; metrics and callbacks are not run.
        data: (x, y) or (x, y, sample_weight), each nested as in ``fit``; or a function of ids that returns such
            batches, together with ``n``.
        loss: What ``compile`` takes; see `attent_tensorflow.keras_losses`. The compiled one where None, its
            ``loss_weights`` as task weights; what it reduces to does not matter, as long as it is a mean.
        optimizer: The compiled one where None. Under the policy mixed_float16 one without loss scaling is
            wrapped in a LossScaleOptimizer, as ``compile`` does.

    The other arguments are those of `TensorFlowLearner`. Raises LearnerError for a model that is neither compiled
    nor given loss and optimizer, and where Keras runs on another backend.

    Example:
        >>> import keras, numpy as np
        >>> from attent_tensorflow import KerasLearner
        >>> model = keras.Sequential([keras.layers.Dense(2, kernel_initializer="zeros")])
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> data = np.array([[0.0], [1.0]], np.float32), np.array([0, 1])
        >>> KerasLearner(model, data).score(np.array([0, 1])).round(4)
        array([0.6931, 0.6931])
    """

    def __init__(
        self,
        model: keras.Model,
        data: Any,
        loss: Any = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        learning_rate: Callable[[int], float] | None = None,
        *,
        task_weights: Mapping[str, float] | None = None,
        **settings: Any,
    ) -> None:
        if keras.backend.backend() != "tensorflow":
            raise LearnerError(
                f"KerasLearner is for Keras on TensorFlow, and it runs on {keras.backend.backend()}: use "
                "attent_tensorflow.trainers.keras.taught_fit(model, plan, x, y), which fits on every backend of Keras, "
                "or set KERAS_BACKEND=tensorflow before importing it"
            )
        compiled = getattr(model, "compiled", False)
        for name, given in (("loss", loss), ("optimizer", optimizer)):
            if given is None and (not compiled or getattr(model, name) is None):
                raise LearnerError(f"the model is not compiled with a {name}: compile it, or give {name}=")
        if loss is None:
            loss = model.loss
            task_weights = compiled_weights(model, loss) if task_weights is None else task_weights
        optimizer = model.optimizer if optimizer is None else _optimizer(optimizer)
        if _needs_scaling(model) and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().__init__(
            model,
            data,
            keras_loss(loss),
            optimizer,
            learning_rate,
            task_weights=task_weights,
            penalty=penalty,
            **settings,
        )


def _optimizer(given: Any) -> Any:
    try:
        return keras.optimizers.get(given)
    except ValueError as error:
        got = f"the class {given.__name__}" if isinstance(given, type) else f"{given!r:.100}"
        raise LearnerError(
            'optimizer must be one of Keras\', built, such as keras.optimizers.Adam(1e-3), or its name ("adam"), got '
            f"{got}"
        ) from error


def _needs_scaling(model: keras.Model) -> bool:
    return any(layer.dtype_policy.name == "mixed_float16" for layer in [model, *getattr(model, "layers", [])])
