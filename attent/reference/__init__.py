"""The reference learner: a small real attention network in NumPy, with gradients in closed form."""

from attent.reference.architecture import Architecture, Parameters, initial_parameters, parameter_shapes
from attent.reference.learner import NumpyLearner
from attent.reference.network import forward, gradients, losses, outcomes
from attent.reference.optimisers import SGD, AdamW, Optimiser, initial_moments, warm_up_cosine

__all__ = [
    "SGD",
    "AdamW",
    "Architecture",
    "NumpyLearner",
    "Optimiser",
    "Parameters",
    "forward",
    "gradients",
    "initial_moments",
    "initial_parameters",
    "losses",
    "outcomes",
    "parameter_shapes",
    "warm_up_cosine",
]
