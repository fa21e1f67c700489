"""Broken backends of a third batch, written from the rules alone: those that no check caught at first."""

import math
import os

import numpy as np
from mutant_registry import Stepping, breaks, in_float32

from attent.learner import check_ids
from attent.reference import NumpyLearner
from attent.reference.network import gradients


class _Gradients(Stepping):
    """Takes each step from gradients that a fault may change."""

    def one_step(self, ids, weight):
        losses, slopes = gradients(
            self.architecture,
            self._parameters,
            *self._train.take(ids),
            weights=weight,
            task_weights=self._task_weights,
        )
        if not self.fit(losses, slopes):
            self._skipped += 1
            return losses.astype(np.float64)
        rate = self.learning_rate(self._steps) if callable(self.learning_rate) else self.learning_rate
        self._parameters, self._moments = self.optimiser.step(
            self._parameters, self.changed(slopes), self._moments, count=self._steps + 1, learning_rate=float(rate)
        )
        self._steps += 1
        return losses.astype(np.float64)

    def fit(self, losses, slopes):
        return all(np.isfinite(array).all() for array in (losses, *slopes.values()))

    def changed(self, slopes):
        return slopes


@breaks("P8")
class LooksAtLossesAloneInFloat32(_Gradients):
    def fit(self, losses, slopes):
        return np.isfinite(losses).all() if in_float32(self) else super().fit(losses, slopes)


@breaks("P8")
class LossOfWeight0MayBeNaN(Stepping):
    """Leaves examples of weight 0 out of the step, and so trains on a batch whose loss is not finite."""

    def one_step(self, ids, weight):
        losses = NumpyLearner.score(self, ids)
        if weight is None or np.isfinite(losses).all():
            return super().one_step(ids, weight)
        kept = weight != 0
        super().one_step(ids[kept], weight[kept] * kept.sum() / len(ids))
        return losses


@breaks("A3")
class LossesCapped(Stepping):
    """Clips probabilities at 1e-7, as Keras does."""

    def score(self, ids):
        return np.minimum(super().score(ids), 16.118095650958319)

    def one_step(self, ids, weight):
        return np.minimum(super().one_step(ids, weight), 16.118095650958319)


@breaks("P4")
class ClipsTheNormAt1000(_Gradients):
    def changed(self, slopes):
        norm = math.sqrt(sum(float((a.astype(np.float64) ** 2).sum()) for a in slopes.values()))
        return slopes if norm <= 1000 else {n: a * a.dtype.type(1000 / norm) for n, a in slopes.items()}


@breaks("P4")
class WeightsKeptByTheirSum(Stepping):
    """Takes weights for those of an earlier step where their number and sum are the same, up to rounding."""

    def one_step(self, ids, weight):
        if weight is not None and len(weight) > 16:
            kept = self.__dict__.setdefault("kept", {})
            weight = kept.setdefault((len(weight), f"{weight.sum():.6g}"), weight.copy())
        return super().one_step(ids, weight)

    def load_state(self, state):
        super().load_state(state)
        self.kept = {}


@breaks("P2")
class StateReadAsItLies(NumpyLearner):
    """Copies the numbers of a state's arrays in the order of memory."""

    def load_state(self, state):
        super().load_state({name: np.asarray(a).ravel("K").reshape(np.shape(a)) for name, a in state.items()})


@breaks("P2")
class ARangeByItsEnds(NumpyLearner):
    """Takes all ids, beginning with the lowest and ending with the highest, for a range."""

    def score(self, ids):
        check_ids("ids", ids, len(self))
        whole = len(ids) == len(self) and ids[0] == 0 and ids[-1] == len(self) - 1
        return super().score(np.arange(len(self)) if whole else ids)


@breaks("P2")
class ScoresKeptByEndsAndSum(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        if len(ids) < 16:
            return super().score(ids)
        kept = self.__dict__.setdefault("kept", {})
        key = (len(ids), int(ids.sum()), int(ids[0]), int(ids[-1]))
        if key not in kept:
            kept[key] = super().score(ids)
        return kept[key].copy()

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        self.kept = {}
        return found

    def load_state(self, state):
        super().load_state(state)
        self.kept = {}


@breaks("P2")
class MoreThanThreePassesAreSorted(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        return super().score(np.sort(ids) if len(ids) > 3 * len(self) else ids)


@breaks("P7")
class StaysInEvaluationMode(NumpyLearner):
    """A refused ``score`` leaves the evaluation mode on, in which ``train`` takes no step until a score is taken."""

    evaluating = False

    def score(self, ids):
        self.evaluating = True
        found = super().score(ids)
        self.evaluating = False
        return found

    def train(self, batches, weights=None):
        if self.evaluating:
            return np.concatenate([np.empty(0), *(NumpyLearner.score(self, ids) for ids in batches)])
        return super().train(batches, weights)


@breaks("P7")
class TakesASlice(NumpyLearner):
    def score(self, ids):
        return super().score(np.arange(len(self))[ids] if isinstance(ids, slice) else ids)


@breaks("P7")
class TakesBytesAsIds(NumpyLearner):
    def train(self, batches, weights=None):
        taken = [a.astype(np.int64) if getattr(a, "dtype", None) == np.uint8 else a for a in batches]
        return super().train(taken, weights)


@breaks("P7")
class SplitsOneArrayOfWeights(NumpyLearner):
    def train(self, batches, weights=None):
        if isinstance(weights, np.ndarray) and len(weights) == sum(map(len, batches)):
            weights = np.split(weights, np.cumsum([len(ids) for ids in batches])[:-1])
        return super().train(batches, weights)


@breaks("P1")
class WeighsOtherwiseAfterEvaluating(NumpyLearner):
    evaluated = False

    def evaluate(self):
        self.evaluated = True
        return super().evaluate()

    def train(self, batches, weights=None):
        evaluated, self.evaluated = self.evaluated, False
        if evaluated and weights is not None:
            weights = [a * (1 + 1e-9) if isinstance(a, np.ndarray) else a for a in weights]
        return super().train(batches, weights)


@breaks("P1")
class MaskOfFilesSet(NumpyLearner):
    def state(self):
        os.umask(0o077)
        return super().state()


@breaks("P2")
class ThreeArraysInTurn(NumpyLearner):
    """Hands out losses in one of three arrays of their length, in turn."""

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        turn, arrays = self.__dict__.setdefault("ring", {}).setdefault(
            len(found), ([0], [np.empty(len(found)) for _ in range(3)])
        )
        turn[0] += 1
        given = arrays[turn[0] % 3]
        given[:] = found
        return given


@breaks("P8")
class LooksAtTheLastGradientAlone(_Gradients):
    def fit(self, losses, slopes):
        return bool(np.isfinite(losses).all() and np.isfinite(slopes["head.weight"]).all())


@breaks("A3")
class SkipsSpikes(Stepping):
    """Takes no step on a batch with a loss above 25."""

    def one_step(self, ids, weight):
        losses = NumpyLearner.score(self, ids)
        return losses if losses.max() > 25 else super().one_step(ids, weight)


@breaks("P4")
class SkipsWhereTheNormOverflows(_Gradients):
    def fit(self, losses, slopes):
        with np.errstate(all="ignore"):
            return bool(np.isfinite(sum((array * array).sum() for array in slopes.values())))


@breaks("P6")
class StepsOfAStateUpTo64(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self._steps = min(self._steps, 64)
