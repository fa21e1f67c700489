"""attent for PyTorch: teach any module with any per-example loss on any map-style dataset."""

from attent_torch.learner import TorchLearner
from attent_torch.losses import cross_entropy, token_mean
from attent_torch.reference import ReferenceNetwork

__all__ = ["ReferenceNetwork", "TorchLearner", "cross_entropy", "token_mean"]
