"""A second batch, written after the checks had met the first: subtler faults of all kinds."""

import numpy as np
from mutant_registry import Stepping, breaks, check, in_float32

from attent.errors import LearnerError
from attent.learner import check_ids, checked_state
from attent.reference import NumpyLearner


@breaks("A3")
class Float32WhereABatchIsLarge(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if len(ids) > 20:
            self._parameters = {n: a.astype(np.float32).astype(a.dtype) for n, a in self._parameters.items()}
        return losses


@breaks("P4")
class SplitsOf100AreUneven(Stepping):
    def one_step(self, ids, weight):
        if len(ids) <= 100:
            return super().one_step(ids, weight)
        w = np.ones(len(ids)) if weight is None else weight.copy()
        w[100:] *= 100 / (len(ids) - 100)
        return super().one_step(ids, w)


@breaks("P2")
class TheLastOf17Lost(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        if len(ids) and len(ids) % 17 == 0:
            values[-1] = values[0]
        return values


@breaks("P2")
class NoMoreThan256AtOnce(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        values[256:] = values[:1] if len(values) else values
        return values


@breaks("P4")
class WeightsToTwoDigits(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, None if weight is None else np.round(weight, 2))


@breaks("P4")
class WeightsOfOneExampleIgnored(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, None if len(ids) == 1 else weight)


@breaks("P4")
class MeanWeightMadePositive(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, weight if weight is None or weight.sum() >= 0 else -weight)


@breaks("P6")
class PositionNotTakenUp(NumpyLearner):
    def load_state(self, state):
        kept = self._parameters["position"]
        super().load_state(state)
        self._parameters["position"] = kept


@breaks("P6")
class RateOfTheMomentOfLoading(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        if callable(self.learning_rate):
            self.given = getattr(self, "given", self.learning_rate)
            fixed = self.given(self._steps)
            self.learning_rate = lambda step: fixed


@breaks("P6")
class ScheduleBegunAnewByLoading(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self.given = getattr(self, "given", self.learning_rate)
        begun, given = self._steps, self.given
        if callable(given):
            self.learning_rate = lambda step: given(step - begun)


@breaks("P3", "P6")
class ScheduleByCalls(NumpyLearner):
    calls = 0

    def train(self, batches, weights=None):
        given = self.learning_rate
        if not callable(given):
            return super().train(batches, weights)
        check(self, batches, weights)
        at, self.calls = self.calls, self.calls + bool(len(batches))
        self.learning_rate = lambda step: given(at)
        try:
            return super().train(batches, weights)
        finally:
            self.learning_rate = given


@breaks("A3")
class StepsAtARateOf0NotCounted(Stepping):
    def one_step(self, ids, weight):
        rate = self.learning_rate(self._steps) if callable(self.learning_rate) else self.learning_rate
        if rate == 0.0 and self._steps > 0:
            self._steps += 1
            return self.score(ids)
        return super().one_step(ids, weight)


@breaks("P4", "P6")
class FirstStepLost(Stepping):
    begun = False

    def one_step(self, ids, weight):
        if not self.begun:
            self.begun = True
            self._steps += 1
            return self.score(ids)
        return super().one_step(ids, weight)


@breaks("A3")
class Every100thStepLost(Stepping):
    def one_step(self, ids, weight):
        if self._steps % 100 == 99:
            self._steps += 1
            return self.score(ids)
        return super().one_step(ids, weight)


@breaks("A3")
class NoMoreThan128StepsInACall(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        if len(batches) <= 128:
            return super().train(batches, weights)
        first = super().train(batches[:128], weights and weights[:128])
        self._steps += len(batches) - 128
        return np.concatenate([first, *(self.score(ids) for ids in batches[128:])])


@breaks("P2")
class WeightsTakenOutOfTheirList(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        if weights is not None:
            weights.clear()
        return found


@breaks("P1")
class RepeatsRefused(NumpyLearner):
    def train(self, batches, weights=None):
        for ids in batches:
            if isinstance(ids, np.ndarray) and len(np.unique(ids)) < ids.size:
                raise LearnerError("an id twice in a batch")
        return super().train(batches, weights)


@breaks("P4")
class NegativeWeightsRefused(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        if weights is not None and any((w < 0).any() for w in weights):
            raise LearnerError("weights must not be negative")
        return super().train(batches, weights)


@breaks("P2")
class ReadOnlyIdsRefused(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        if not ids.flags.writeable:
            raise ValueError("assignment destination is read-only")
        return super().score(ids)


@breaks("P6")
class ReadOnlyStatesRefused(NumpyLearner):
    def load_state(self, state):
        checked_state(state, self.state())
        for array in state.values():
            array += 0
        super().load_state(state)


@breaks("P7")
class BatchesCheckedOneByOneWithWeights(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is None or len(weights) != len(batches):
            return super().train(batches, weights)
        one = super().train
        return np.concatenate([one([]), *(one([i], [w]) for i, w in zip(batches, weights, strict=True))])


@breaks("P7")
class NoNumberIsAWeightOf0(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            weights = [
                np.where(np.isnan(w), 0.0, w) if isinstance(w, np.ndarray) and w.dtype == np.float64 else w
                for w in weights
            ]
        return super().train(batches, weights)


@breaks("P7")
class AnErrorOfPythonForWeights(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) != len(batches):
            raise ValueError("zip() argument 2 is shorter than argument 1")
        return super().train(batches, weights)


@breaks("P7")
class Int8IdsTaken(NumpyLearner):
    def score(self, ids):
        return super().score(ids.astype(np.int64) if isinstance(ids, np.ndarray) and ids.dtype == np.int8 else ids)


@breaks("P7")
class StatesOfTheOtherPrecisionTaken(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        if set(state) == set(own) and all(state[n].shape == a.shape for n, a in own.items()):
            floats = [a for a in state.values() if a.dtype.kind == "f"]
            if len({a.dtype for a in floats}) == 1 and floats[0].dtype in (np.float32, np.float64):
                state = {n: a.astype(own[n].dtype) if a.dtype.kind == "f" else a for n, a in state.items()}
        super().load_state(state)


@breaks("P7")
class OtherByteOrdersTaken(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        super().load_state(
            {
                n: a.view(own[n].dtype) if n in own and a.dtype == own[n].dtype.newbyteorder() and a.ndim else a
                for n, a in state.items()
            }
        )


@breaks("P7")
class TransposedTaken(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        super().load_state({n: a.T if n in own and a.T.shape == own[n].shape else a for n, a in state.items()})


@breaks("P6")
class OneParameterForAllLearners(NumpyLearner):
    shared = {}

    def train(self, batches, weights=None):
        key = (type(self), self.architecture, self._parameters["norm.shift"].dtype)
        if key in self.shared and self._steps > 0:
            self._parameters["norm.shift"] = self.shared[key] * 1.0
        found = super().train(batches, weights)
        self.shared[key] = self._parameters["norm.shift"]
        return found


@breaks("P2")
class ScoresKeptForAllLearners(NumpyLearner):
    kept = {}

    def score(self, ids):
        values = super().score(ids)
        return self.kept.setdefault((len(self), self._steps, ids.tobytes()), values).copy()


@breaks("P1")
class JitterThatPutsItsGeneratorBack(Stepping):
    calls = 0

    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        type(self).calls += 1
        noise = 1e-15 * np.random.default_rng(type(self).calls).normal()
        self._parameters["head.bias"] = self._parameters["head.bias"] + self._parameters["head.bias"].dtype.type(noise)
        return losses


@breaks("P1")
class GroupsInInt32(NumpyLearner):
    def groups(self):
        return super().groups().astype(np.int32)


@breaks("P1")
class EvaluatingNudges(NumpyLearner):
    def evaluate(self):
        found = super().evaluate()
        self._parameters["position"] = self._parameters["position"] * (1 + 1e-7)
        return found


@breaks("P1")
class SettingsOfNumpyChangedByEvaluating(NumpyLearner):
    def evaluate(self):
        np.seterr(under="raise")
        return super().evaluate()


@breaks("A2")
class Float32TasksOfEqualWeight(NumpyLearner):
    def __init__(self, *arguments, dtype="float64", task_weights=None, **settings):
        super().__init__(*arguments, dtype=dtype, task_weights=task_weights, **settings)
        if dtype == "float32" and task_weights is not None and len(task_weights) > 2:
            self._task_weights = (1.0,) * len(task_weights)


@breaks("P2")
class TrainGivesFloat32(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        return found.astype(np.float32) if in_float32(self) else found


@breaks("P2")
class WritesIntoWhatItIsBuiltFrom(NumpyLearner):
    def __init__(self, architecture, parameters, *data, **settings):
        super().__init__(architecture, parameters, *data, **settings)
        self.given = parameters

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        for name, array in self._parameters.items():
            self.given[name][...] = array
        return found


@breaks("P2")
class ParametersNotCopied(NumpyLearner):
    def __init__(self, architecture, parameters, *data, dtype="float64", **settings):
        super().__init__(architecture, parameters, *data, dtype=dtype, **settings)
        self._parameters = {n: parameters[n].astype(dtype, copy=False) for n in self._parameters}

    def train(self, batches, weights=None):
        before = self._parameters
        found = super().train(batches, weights)
        for name, array in before.items():
            array[...] = self._parameters[name]
        self._parameters = before
        return found


@breaks("P6")
class LossesOfTheLastCallInTheNext(NumpyLearner):
    last = 0.0

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        if not len(found):
            return found
        shown, self.last = found + 1e-13 * self.last, float(found.mean())
        return shown


@breaks("P6")
class StateKeptUntilTheNextStep(NumpyLearner):
    """Hands out a state made at the last step, also after another state was taken up."""

    def state(self):
        if getattr(self, "made", (None, None))[0] != self._steps:
            self.made = (self._steps, super().state())
        return {name: array.copy() for name, array in self.made[1].items()}
