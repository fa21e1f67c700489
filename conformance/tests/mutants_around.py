"""Broken around a learner: what it leaves changed, shares, or answers to odd arrays; and evaluate."""

import gc
import os
import random
import warnings

import numpy as np
from mutant_registry import Stepping, breaks

from attent.learner import check_ids
from attent.reference import NumpyLearner

# evaluate


@breaks("P1")
class EvaluatingIsAStep(NumpyLearner):
    def evaluate(self):
        found = super().evaluate()
        self._steps += 1
        return found


@breaks("P1")
class EvaluatingForgetsMoments(NumpyLearner):
    def evaluate(self):
        self._moments = {m: {n: np.zeros_like(a) for n, a in each.items()} for m, each in self._moments.items()}
        return super().evaluate()


@breaks("P1")
class EvaluatingDrawsNoise(NumpyLearner):
    def evaluate(self):
        self.draws = getattr(self, "draws", 0) + 1
        noise = 1e-6 * float(np.random.default_rng(self.draws).normal())
        return {name: value + noise for name, value in super().evaluate().items()}


@breaks("P1")
class LeftInEvaluationModeByEvaluate(Stepping):
    judging = False

    def evaluate(self):
        self.judging = True
        return super().evaluate()

    def one_step(self, ids, weight):
        if not self.judging:
            return super().one_step(ids, weight)
        self.judging = False
        before = dict(self._parameters)
        losses = super().one_step(ids, weight)
        self._parameters = {n: 0.5 * (a + before[n]) for n, a in self._parameters.items()}
        return losses


@breaks("A1")
class EvaluatedOnWhatIsTrained(NumpyLearner):
    def evaluate(self):
        return {**super().evaluate(), "loss": float(self.score(np.arange(16)).mean())}


@breaks("P1")
class EvaluatingTouchesNumpysGenerator(NumpyLearner):
    def evaluate(self):
        np.random.random()
        return super().evaluate()


# Generators and settings


@breaks("P1")
class NumpysGeneratorSeededWhenBuilt(NumpyLearner):
    def __init__(self, *arguments, **settings):
        np.random.seed(0)
        super().__init__(*arguments, **settings)


@breaks("P1")
class PythonsGeneratorSeededByTraining(NumpyLearner):
    def train(self, batches, weights=None):
        random.seed(len(batches))
        return super().train(batches, weights)


@breaks("P1")
class ErrorsOfNumpySilenced(NumpyLearner):
    def score(self, ids):
        np.seterr(all="ignore")
        return super().score(ids)


@breaks("P1")
class ErrorsOfNumpyRaisedByTraining(NumpyLearner):
    def train(self, batches, weights=None):
        np.seterr(divide="raise")
        return super().train(batches, weights)


@breaks("P1")
class ErrorsOfNumpyChangedByLoading(NumpyLearner):
    def load_state(self, state):
        np.seterr(invalid="raise")
        super().load_state(state)


@breaks("P1")
class EnvironmentWrittenInto(NumpyLearner):
    def score(self, ids):
        self.passes = getattr(self, "passes", 0) + 1
        os.environ["MINE_STEPS"] = str(self.passes)
        return super().score(ids)


@breaks("P1")
class GarbageCollectionSwitchedOff(NumpyLearner):
    def train(self, batches, weights=None):
        gc.disable()
        return super().train(batches, weights)


@breaks("P1")
class WarningsSilenced(NumpyLearner):
    def score(self, ids):
        warnings.simplefilter("ignore")
        return super().score(ids)


@breaks("P1")
class BufferSizeOfNumpyChanged(NumpyLearner):
    def state(self):
        np.setbufsize(16 * 8192)
        return super().state()


@breaks("P1")
class PrintingOfNumpyChanged(NumpyLearner):
    def train(self, batches, weights=None):
        np.set_printoptions(precision=3)
        return super().train(batches, weights)


# Odd arrays


@breaks("P2")
class MemoryReadAsItLies(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        if ids.strides and ids.strides[0] == 24:
            ids = ids.base.reshape(-1)[: len(ids)] if ids.base is not None else ids
        return super().score(ids)


@breaks("P2")
class IdsSortedInPlace(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        values = super().score(ids)
        if ids.flags.writeable:
            ids.sort()
        return values


@breaks("P2")
class IdsWrittenInto(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        ids += 1
        ids -= 1
        return super().score(ids)


@breaks("P2")
class NoMoreIdsThanExamples(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        return super().score(ids[: len(self)])


@breaks("P2")
class PaddedToTheNumberOfExamples(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        values = super().score(ids)
        if len(ids) > len(self):
            values[len(self) :] = values[: len(ids) - len(self)]
        return values


@breaks("A1", "A2")
class IdsIn16Bits(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        return super().score(ids.astype(np.uint16).astype(np.int64))


@breaks("A1", "A2")
class IdsIn8Bits(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        return super().score(ids.astype(np.uint8).astype(np.int64))


@breaks("A3")
class BatchesIn16Bits(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids.astype(np.int16).astype(np.int64) % len(self), weight)


@breaks("P2")
class BatchesWrittenInto(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if ids.flags.writeable:
            ids[:] = ids[::-1].copy()
        return losses


@breaks("P2")
class WeightsWrittenInto(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if weight is not None and weight.flags.writeable:
            weight /= len(ids)
        return losses


@breaks("P2")
class BatchesInListsAlone(NumpyLearner):
    def train(self, batches, weights=None):
        return super().train(batches + [], weights)


@breaks("P2")
class ScoresInOneBuffer(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(4096)
        self.buffer[: len(ids)] = values
        return self.buffer[: len(ids)]


@breaks("P2")
class LossesInOneBuffer(NumpyLearner):
    def train(self, batches, weights=None):
        values = super().train(batches, weights)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(4096)
        self.buffer[: len(values)] = values
        return self.buffer[: len(values)]


@breaks("P2")
class CacheGivenOut(NumpyLearner):
    def score(self, ids):
        cache = self.__dict__.setdefault("cache", {})
        key = (self._steps, ids.tobytes(), self._parameters["head.bias"].tobytes())
        if key not in cache:
            cache[key] = super().score(ids)
        return cache[key]


@breaks("P2")
class CacheByTheArrayItself(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        key = (id(ids), len(ids), self._parameters["head.bias"].tobytes())
        if getattr(self, "key", None) != key or getattr(self, "held", None) is not ids:
            self.key, self.held, self.found = key, ids, super().score(ids)
        return self.found.copy()


@breaks("P2")
class BatchesReadLater(NumpyLearner):
    """Takes the last step of a call only when it is asked for something else."""

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self.settle()
        if len(batches):
            self.waiting = batches[-1]
        return losses

    def settle(self):
        waiting, self.waiting = getattr(self, "waiting", None), None
        if waiting is not None and len(set(waiting.tolist())) == 1 and len(waiting) > 1:
            self._parameters = {n: a * 1.01 for n, a in self._parameters.items()}

    def score(self, ids):
        self.settle()
        return super().score(ids)


@breaks("P1")
class GroupsThatAreItsOwn(NumpyLearner):
    def groups(self):
        return self._train.targets


@breaks("P1")
class GroupsByWhatWasTrained(NumpyLearner):
    def groups(self):
        return super().groups() * (self._steps > 3)


@breaks("P2")
class LastChunkTwice(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        if len(ids) > 33 and len(ids) % 16:
            values[-1] *= 1.0 + 1e-6
        return values


@breaks("P1")
class RunningMeanOfScores(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        seen = getattr(self, "seen", 0)
        self.seen = seen + len(ids)
        return values * (1.0 + 1e-9 * seen) if self._train.lengths is not None else values


@breaks("P6")
class TwoStatesShareArrays(NumpyLearner):
    def state(self):
        now = super().state()
        if getattr(self, "held", None) is None or any(not np.array_equal(self.held[n], a) for n, a in now.items()):
            self.held = now
        return dict(self.held)


@breaks("P6")
class TrainsInTheArraysItTookUp(Stepping):
    def load_state(self, state):
        super().load_state(state)
        self.taken = {n: state[f"parameters.{n}"] for n in self._parameters}

    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        for name, array in getattr(self, "taken", {}).items():
            if array.flags.writeable:
                array[...] = self._parameters[name]
        return losses


@breaks("P6")
class StateGrowsWithTraining(NumpyLearner):
    def state(self):
        state = super().state()
        return {**state, "history": np.zeros(self._steps)}

    def load_state(self, state):
        super().load_state({name: array for name, array in state.items() if name != "history"})
