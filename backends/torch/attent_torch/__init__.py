"""attent for PyTorch: teach any module with any per-example loss on any map-style dataset."""

from attent_torch.learner import TorchLearner
from attent_torch.losses import cross_entropy, token_mean
from attent_torch.reference import ReferenceNetwork, reference_loss
from attent_torch.reference_learner import reference_learner

__all__ = ["ReferenceNetwork", "TorchLearner", "cross_entropy", "reference_learner", "reference_loss", "token_mean"]
