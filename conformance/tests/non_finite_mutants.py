"""Backends that break P8 in one way each: NumPy's learner with a single fault."""

import numpy as np

from attent.learner import check_batches
from attent.reference import NumpyLearner

MUTANTS = {}


def breaks_p8(reference):
    """Register a mutant whose checks of P8 must fail, and no others."""
    MUTANTS[reference.__name__] = reference
    return reference


class _Steps(NumpyLearner):
    """Takes one step a call, so that a fault can be put between two."""

    def train(self, batches, weights=None):
        check_batches(batches, weights, len(self))
        parts = [self._one(ids, None if weights is None else weights[at]) for at, ids in enumerate(batches)]
        return np.concatenate([np.empty(0), *parts])

    def _one(self, ids, weight):
        before = self._skipped
        losses = super().train([ids], None if weight is None else [weight])
        if self._skipped > before:
            self._spoil(losses, ids, weight)
        return losses

    def _spoil(self, losses, ids, weight):
        raise NotImplementedError


@breaks_p8
class MomentsDecay(_Steps):
    """Puts parameters back, and lets the moments take a gradient of 0, as zeroing the gradient does."""

    def _spoil(self, losses, ids, weight):
        zeros = {name: np.zeros_like(array) for name, array in self._parameters.items()}
        _, self._moments = self.optimiser.step(
            self._parameters, zeros, self._moments, count=self._steps + 1, learning_rate=0.0
        )


@breaks_p8
class StepsByMomentum(_Steps):
    """Sets the gradient to 0 and steps, which moves parameters by what the moments hold."""

    def _spoil(self, losses, ids, weight):
        zeros = {name: np.zeros_like(array) for name, array in self._parameters.items()}
        self._parameters, self._moments = self.optimiser.step(
            self._parameters, zeros, self._moments, count=self._steps + 1, learning_rate=0.01
        )


@breaks_p8
class TrainsTheRestOfTheBatch(_Steps):
    """Leaves out the sick examples and steps on the others."""

    def _spoil(self, losses, ids, weight):
        kept = np.isfinite(losses)
        if 0 < kept.sum() < len(kept):
            NumpyLearner.train(self, [ids[kept]], None if weight is None else [weight[kept]])


@breaks_p8
class CountsItInTheMoments(_Steps):
    """Counts the step where the optimiser corrects its bias by the number of steps."""

    def _spoil(self, losses, ids, weight):
        self._steps += 1


@breaks_p8
class LooksAtLossesAlone(_Steps):
    """Trains on a gradient that is not finite, as long as the losses are."""

    def _spoil(self, losses, ids, weight):
        if np.isfinite(losses).all():
            self._parameters = {name: np.full_like(array, np.nan) for name, array in self._parameters.items()}


@breaks_p8
class LooksAtTheMeanOfTheLosses(_Steps):
    """Clips the gradient that overflows to the largest number, and steps."""

    def _spoil(self, losses, ids, weight):
        if np.isfinite(losses).all():
            NumpyLearner.train(self, [ids], [np.ones(len(ids))])


@breaks_p8
class ReturnsLossesWithoutNaN(_Steps):
    """Hides what was not finite."""

    def _one(self, ids, weight):
        return np.nan_to_num(super()._one(ids, weight), nan=0.0)

    def _spoil(self, losses, ids, weight):
        pass


@breaks_p8
class TheWholeBatchIsNaN(_Steps):
    """Returns the mean of a batch that was skipped for each of its examples."""

    def _one(self, ids, weight):
        losses = super()._one(ids, weight)
        return losses if np.isfinite(losses).all() else np.full(len(ids), np.nan)

    def _spoil(self, losses, ids, weight):
        pass


@breaks_p8
class SkipsTheRestOfTheCall(NumpyLearner):
    """Stops at the first step that is not finite, and scores what is left."""

    def train(self, batches, weights=None):
        check_batches(batches, weights, len(self))
        parts, sick = [np.empty(0)], False
        for at, ids in enumerate(batches):
            before = self._skipped
            if sick:
                parts.append(self.score(ids))
                continue
            parts.append(super().train([ids], None if weights is None else [weights[at]]))
            sick = self._skipped > before
        return np.concatenate(parts)
