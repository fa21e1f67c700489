"""attent for PyTorch: teach any module with any per-example loss on any map-style dataset."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attent.plan.plan import Plan
    from attent_torch.learner import TorchLearner
    from attent_torch.losses import cross_entropy, token_mean
    from attent_torch.ranks import workers
    from attent_torch.reference import ReferenceNetwork, reference_loss
    from attent_torch.reference_teaching import reference_learner
    from attent_torch.trainers.loops import Teacher

_MODULE_OF = {
    "Plan": "attent",  # the plan too: a script of one's own needs one import
    "ReferenceNetwork": "attent_torch.reference",
    "Teacher": "attent_torch.trainers.loops",
    "TorchLearner": "attent_torch.learner",
    "cross_entropy": "attent_torch.losses",
    "reference_learner": "attent_torch.reference_teaching",
    "reference_loss": "attent_torch.reference",
    "token_mean": "attent_torch.losses",
    "workers": "attent_torch.ranks",
}

__all__ = [
    "Plan", "ReferenceNetwork", "Teacher", "TorchLearner", "cross_entropy", "reference_learner", "reference_loss",
    "token_mean", "workers",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Names are imported when first used, so that loading the plugin imports no PyTorch.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'attent_torch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value
