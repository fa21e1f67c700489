"""attent for TensorFlow: teach any tf.Module or Keras model with any per-example loss."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attent_tensorflow.keras_learner import KerasLearner
    from attent_tensorflow.learner import TensorFlowLearner
    from attent_tensorflow.losses import cross_entropy, token_mean
    from attent_tensorflow.optimisers import SGD, AdamW
    from attent_tensorflow.reference import ReferenceNetwork, reference_loss
    from attent_tensorflow.reference_teaching import reference_learner
    from attent_tensorflow.tasks import workers

_HOME = {
    "attent_tensorflow.keras_learner": ("KerasLearner",),
    "attent_tensorflow.learner": ("TensorFlowLearner",),
    "attent_tensorflow.losses": ("cross_entropy", "token_mean"),
    "attent_tensorflow.optimisers": ("SGD", "AdamW"),
    "attent_tensorflow.reference": ("ReferenceNetwork", "reference_loss"),
    "attent_tensorflow.reference_teaching": ("reference_learner",),
    "attent_tensorflow.tasks": ("workers",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "SGD", "AdamW", "KerasLearner", "ReferenceNetwork", "TensorFlowLearner", "cross_entropy", "reference_learner",
    "reference_loss", "token_mean", "workers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Names are imported when first used: the plugin is listed without TensorFlow, which takes seconds.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'attent_tensorflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
