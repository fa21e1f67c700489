"""attent for JAX: teach any pure per-example loss with any optax optimizer, and flax and equinox modules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attent.plan.plan import Plan
    from attent_jax.equinox import from_equinox
    from attent_jax.learner import JaxLearner
    from attent_jax.linen import from_linen
    from attent_jax.losses import cross_entropy, token_mean
    from attent_jax.nnx import from_nnx
    from attent_jax.processes import workers
    from attent_jax.reference import reference_logits, reference_loss
    from attent_jax.reference_training import reference_learner
    from attent_jax.trainers.gradients import all_finite, losses_and_grad
    from attent_jax.trainers.loops import Teacher

_HOME = {
    "attent_jax.equinox": ("from_equinox",),
    "attent_jax.learner": ("JaxLearner",),
    "attent_jax.linen": ("from_linen",),
    "attent_jax.losses": ("cross_entropy", "token_mean"),
    "attent_jax.nnx": ("from_nnx",),
    "attent_jax.processes": ("workers",),
    "attent_jax.reference": ("reference_logits", "reference_loss"),
    "attent_jax.reference_training": ("reference_learner",),
    "attent_jax.trainers.gradients": ("all_finite", "losses_and_grad"),
    "attent_jax.trainers.loops": ("Plan", "Teacher"),  # the plan too: a script of one's own needs one import
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "JaxLearner", "Plan", "Teacher", "all_finite", "cross_entropy", "from_equinox", "from_linen", "from_nnx",
    "losses_and_grad", "reference_learner", "reference_logits", "reference_loss", "token_mean", "workers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Names are imported when first used: listing plugins imports no JAX, and flax only its adapters.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'attent_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
