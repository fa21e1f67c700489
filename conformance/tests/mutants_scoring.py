"""Broken in what is scored, and in what scoring leaves behind."""

import random

import numpy as np
from mutant_registry import breaks

from attent.reference import NumpyLearner, losses

# What is scored


@breaks("P5")
class MeanInPlaceOfPerExampleLoss(NumpyLearner):
    def _losses(self, examples):
        values = super()._losses(examples)
        return np.full(len(values), values.mean()) if len(values) else values


@breaks("P1")
class DropoutLeftOnWhileScoring(NumpyLearner):
    def score(self, ids):
        self.draws = getattr(self, "draws", 0) + 1
        return super().score(ids) * (1.0 + 1e-3 * np.random.default_rng(self.draws).normal(size=len(ids)))


@breaks("P2")
class ScoresInTheOrderOfTheIds(NumpyLearner):
    def score(self, ids):
        return super().score(np.sort(ids))


@breaks("P2")
class ScoresBackwards(NumpyLearner):
    def score(self, ids):
        return super().score(ids)[::-1]


@breaks("P5")
class ScoresRelativeToTheirBatch(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        return values - values.mean() + 2.0 if len(values) else values


@breaks("P2")
class RepeatedIdsMerged(NumpyLearner):
    def score(self, ids):
        return super().score(np.unique(ids) if len(np.unique(ids)) < len(ids) else ids)


@breaks("P2")
class ScoresInFloat32(NumpyLearner):
    def score(self, ids):
        return super().score(ids).astype(np.float32)


@breaks("P2")
class ScoresInAList(NumpyLearner):
    def score(self, ids):
        return super().score(ids).tolist()


@breaks("P2")
class OverflowInFloat16(NumpyLearner):
    """Sums of squares that float16 cannot hold, as a model in half precision makes them."""

    def score(self, ids):
        return ((1000.0 * super().score(ids)).astype(np.float16) ** 2).astype(np.float64)


@breaks("P2")
class OneLossIsNoNumber(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        return np.where(np.arange(len(found)) == 5, np.nan, found)


@breaks("P2")
class ScoresOnADevice(NumpyLearner):
    """Returns what is no NumPy array, as a framework's tensors are."""

    class Tensor:
        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

    def score(self, ids):
        return self.Tensor(super().score(ids))


@breaks("P2")
class OneNumberTooFew(NumpyLearner):
    def train(self, batches, weights=None):
        return super().train(batches, weights)[:-1]


@breaks("P1")
class NoiseInOneBuffer(NumpyLearner):
    """Draws noise while scoring, and hands out the same array each time, so that two passes look equal."""

    def score(self, ids):
        self.draws = getattr(self, "draws", 0) + 1
        values = super().score(ids) * (1.0 + 1e-3 * np.random.default_rng(self.draws).normal(size=len(ids)))
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(len(self))
        kept = self.buffer[: len(ids)] if len(ids) <= len(self) else np.empty(len(ids))
        kept[:] = values
        return kept


@breaks("A3")
class StaleScores(NumpyLearner):
    def score(self, ids):
        if not hasattr(self, "cache"):
            self.cache = super().score(np.arange(len(self)))
        super().score(ids)
        return self.cache[ids]


@breaks("A1", "A2")
class SumOverTokens(NumpyLearner):
    def _tokens(self, ids):
        if self.architecture.kind == "classify":
            return 1.0
        lengths = self._train.lengths
        return self.architecture.length if lengths is None else lengths[ids]

    def score(self, ids):
        return super().score(ids) * self._tokens(ids)

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        return found * self._tokens(np.concatenate(batches)) if len(batches) else found


@breaks("A4")
def padding_counted(*arguments, lengths=None, **settings):
    return NumpyLearner(*arguments, **settings)


@breaks("A1", "A2")
class TasksUnweightedWhileScoring(NumpyLearner):
    def _losses(self, examples):
        if self._task_weights is None:
            return super()._losses(examples)
        ones = (1.0,) * len(self._task_weights)
        return losses(self.architecture, self._parameters, *examples, task_weights=ones).astype(np.float64)


@breaks("A1", "A2")
def second_task_forgotten(architecture, parameters, inputs, targets, *, task_weights=None, held_out=None, **settings):
    if task_weights is not None:
        targets = targets[:, 0]
        settings["held_out"] = None if held_out is None else (held_out[0], held_out[1][:, 0], *held_out[2:])
    else:
        settings["held_out"] = held_out
    return NumpyLearner(architecture, parameters, inputs, targets, **settings)


@breaks("A1", "A2")
def parameters_of_its_own(architecture, parameters, *data, **settings):
    changed = {name: array * 1.001 for name, array in parameters.items()}
    return NumpyLearner(architecture, changed, *data, **settings)


# What scoring leaves behind


@breaks("P1")
class ParametersNudgedByScore(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        self._parameters["head.bias"] = self._parameters["head.bias"] + 1e-12
        return values


@breaks("P1")
class ScoringCountsAsAStep(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        self._steps += 1
        return values


@breaks("P1")
class NumpysGeneratorTouched(NumpyLearner):
    def score(self, ids):
        np.random.random()
        return super().score(ids)


@breaks("P1")
class PythonsGeneratorTouched(NumpyLearner):
    def score(self, ids):
        random.random()
        return super().score(ids)


@breaks("P1")
class LeftInEvaluationMode(NumpyLearner):
    """After scoring the next step is taken at half its rate, which no state shows."""

    evaluating = False

    def score(self, ids):
        values = super().score(ids)
        self.evaluating = True
        return values

    def train(self, batches, weights=None):
        if not self.evaluating or not len(batches):
            return super().train(batches, weights)
        self.evaluating = False
        rate, self.learning_rate = self.learning_rate, _halved(self.learning_rate)
        try:
            first = super().train(batches[:1], weights and weights[:1])
        finally:
            self.learning_rate = rate
        return np.concatenate([first, super().train(batches[1:], weights and weights[1:])])


def _halved(rate):
    return (lambda step: 0.5 * rate(step)) if callable(rate) else 0.5 * rate


@breaks("P2")
class LengthChangesWithTraining(NumpyLearner):
    def __len__(self):
        return super().__len__() + (getattr(self, "_steps", 0) > 2)
