"""Broken in what a step trains: tasks, padding, batches, weights."""

import numpy as np
from mutant_registry import Stepping, breaks, check

from attent.reference import NumpyLearner
from attent.reference.network import gradients


class _OwnGradients(Stepping):
    """Takes its steps from ``own_gradients``."""

    def one_step(self, ids, weight):
        losses = NumpyLearner.score(self, ids)
        rate = self.learning_rate(self._steps) if callable(self.learning_rate) else self.learning_rate
        self._parameters, self._moments = self.optimiser.step(
            self._parameters, self.own_gradients(ids, weight), self._moments, count=self._steps + 1, learning_rate=rate
        )
        self._steps += 1
        return losses

    def own_gradients(self, ids, weight):
        return self.plain(ids, weight)

    def plain(self, ids, weight, task_weights=None, lengths=True):
        examples = self._train.take(ids)
        if not lengths:
            examples = examples._replace(lengths=None)
        weights = task_weights if task_weights is not None else self._task_weights
        return gradients(self.architecture, self._parameters, *examples, weights=weight, task_weights=weights)[1]


@breaks("A3")
class ThirdTaskNotTrained(_OwnGradients):
    def own_gradients(self, ids, weight):
        given = self._task_weights
        cut = None if given is None else tuple(w if i < 2 else 0.0 for i, w in enumerate(given))
        return self.plain(ids, weight, cut)


@breaks("A3")
class TaskWeightsOfOneInTraining(_OwnGradients):
    def own_gradients(self, ids, weight):
        many = self._task_weights is not None and len(self._task_weights) > 2
        return self.plain(ids, weight, (1.0,) * len(self._task_weights) if many else None)


@breaks("A3")
class PaddingTrained(_OwnGradients):
    def own_gradients(self, ids, weight):
        return self.plain(ids, weight, lengths=False)


def _mean(parts, shares):
    return {name: sum(s * part[name] for s, part in zip(shares, parts, strict=True)) for name in parts[0]}


@breaks("A3")
class MeanOfMicroBatchMeans(_OwnGradients):
    def own_gradients(self, ids, weight):
        cut = [slice(at, at + 16) for at in range(0, len(ids), 16)]
        parts = [self.plain(ids[part], None if weight is None else weight[part]) for part in cut]
        return _mean(parts, [1 / len(parts)] * len(parts))


@breaks("P4")
class WeightsLostInTheSecondMicroBatch(_OwnGradients):
    def own_gradients(self, ids, weight):
        cut = [slice(at, at + 16) for at in range(0, len(ids), 16)]
        parts = [self.plain(ids[p], None if weight is None or p.start else weight[p]) for p in cut]
        return _mean(parts, [len(ids[p]) / len(ids) for p in cut])


@breaks("A3")
class OnlySixteenAreTrained(_OwnGradients):
    def own_gradients(self, ids, weight):
        return self.plain(ids[:16], None if weight is None else weight[:16])


@breaks("P4")
class RepeatsTrainedOnce(_OwnGradients):
    def own_gradients(self, ids, weight):
        _, first = np.unique(ids, return_index=True)
        first.sort()
        return self.plain(ids[first], None if weight is None else weight[first])


@breaks("P4")
class BatchesOfOneSkipped(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, weight) if len(ids) > 1 else self.score(ids)


def _weighing(change, *rules):
    class Weighing(Stepping):
        def one_step(self, ids, weight):
            return super().one_step(ids, None if weight is None else change(weight))

    return Weighing


@breaks("P4")
def weights_capped_at_10(*arguments, **settings):
    return _weighing(lambda w: np.minimum(w, 10.0))(*arguments, **settings)


@breaks("P4")
def weights_below_0_dropped(*arguments, **settings):
    return _weighing(lambda w: np.maximum(w, 0.0))(*arguments, **settings)


@breaks("P4")
def weights_without_their_sign(*arguments, **settings):
    return _weighing(np.abs)(*arguments, **settings)


@breaks("P4")
def weights_of_0_taken_for_1(*arguments, **settings):
    return _weighing(lambda w: np.where(w == 0.0, 1.0, w))(*arguments, **settings)


@breaks("P4")
def a_batch_of_weights_0_taken_for_none(*arguments, **settings):
    return _weighing(lambda w: w if w.any() else np.ones_like(w))(*arguments, **settings)


@breaks("P4")
def weights_in_half_precision(*arguments, **settings):
    return _weighing(lambda w: w.astype(np.float16).astype(np.float64))(*arguments, **settings)


@breaks("P4")
def weights_scaled_by_the_largest(*arguments, **settings):
    return _weighing(lambda w: w / max(1.0, np.abs(w).max()))(*arguments, **settings)


@breaks("P4")
class WeightsKeptForTheNextCall(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        held = getattr(self, "held", {})
        if weights is None:
            given = [held.get(len(ids), np.ones(len(ids))) for ids in batches]
            return super().train(batches, given)
        self.held = {len(ids): w.copy() for ids, w in zip(batches, weights, strict=True)}
        return super().train(batches, weights)


@breaks("P4")
class WeightsOfTheFirstBatchAlone(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        given = weights and [w if at == 0 else np.ones_like(w) for at, w in enumerate(weights)]
        return super().train(batches, given)


@breaks("P4")
class WeightsInTheOrderOfTheIds(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, None if weight is None else weight[np.argsort(np.argsort(ids))])


@breaks("A3")
class NoCallIsAStep(NumpyLearner):
    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self._steps += not len(batches)
        return losses


@breaks("P3")
class LossesInTheOrderOfTheIds(NumpyLearner):
    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        if not len(batches):
            return losses
        parts = np.split(losses, np.cumsum([len(ids) for ids in batches])[:-1])
        return np.concatenate([p[np.argsort(ids, kind="stable")] for p, ids in zip(parts, batches, strict=True)])
