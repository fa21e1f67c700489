"""A policy: teach the examples whose scores lie nearest to a quantile, neither learnt nor beyond reach."""

import dataclasses

import numpy as np

import attent


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The k scores nearest to a quantile in [0, 1]; of two as near, the higher id gives way."""

    quantile: float = 0.75

    def __post_init__(self):
        """Check the parameter, so that a plan that cannot be is refused where it is written."""
        if not 0 <= self.quantile <= 1:
            raise attent.PlanError(f"must be in [0, 1], got {self.quantile}", field="quantile")

    def choose(self, scores, k, noise, ids=None):
        """Return k of the ids: the highest of minus the distance."""
        distances = np.abs(scores - np.quantile(scores, self.quantile))
        return attent.hard(-distances, k, ids=ids)


@attent.hookimpl
def attent_policies():
    """Make the policy known by name: ``nearest(quantile=0.6)``."""
    return {"nearest": Nearest}
