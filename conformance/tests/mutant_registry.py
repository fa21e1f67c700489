"""The table of broken backends, and what several of them need."""

import numpy as np

from attent.learner import check_batches
from attent.reference import NumpyLearner

MUTANTS = {}


def breaks(*rules):
    """Register a mutant with the rules whose checks must fail, and no others."""

    def register(reference):
        assert reference.__name__ not in MUTANTS
        MUTANTS[reference.__name__] = (reference, frozenset(rules))
        return reference

    return register


def check(learner, batches, weights):
    """Refuse what NumPy's learner refuses, for mutants that then train in parts."""
    check_batches(batches, weights, len(learner))


def in_float32(learner):
    """Return whether a learner computes in float32."""
    return learner._parameters["head.bias"].dtype == np.float32


class Stepping(NumpyLearner):
    """Trains one batch at a time through ``one_step``, after all of NumPy's refusals."""

    def train(self, batches, weights=None):
        check(self, batches, weights)
        parts = [super().train([])]
        for place, ids in enumerate(batches):
            parts.append(self.one_step(ids, None if weights is None else weights[place]))
        return np.concatenate(parts)

    def one_step(self, ids, weight):
        return NumpyLearner.train(self, [ids], None if weight is None else [weight])

    def changed_step(self, ids, weight, trained, own):
        """Return the losses of ``ids`` and step on other ids and weights in their place."""
        losses = NumpyLearner.score(self, ids)
        NumpyLearner.train(self, [trained], None if own is None else [own])
        return losses
