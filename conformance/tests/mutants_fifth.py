"""Broken in ways of a batch on four frameworks: counted by size, told apart by a part, checked in parts, set once more."""

import decimal
import logging
import os
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
from mutant_registry import Stepping, breaks, in_float32

from attent.errors import LearnerError
from attent.learner import check_batches, check_ids
from attent.reference import NumpyLearner

# What `skipped` counts


@breaks("P8")
class SkippedCountsExamples(Stepping):
    def one_step(self, ids, weight):
        before = self._skipped
        losses = super().one_step(ids, weight)
        if self._skipped > before:
            self._skipped = before + max(1, int((~np.isfinite(losses)).sum()))
        return losses


@breaks("P8")
class StepsOfWeight0CountAsSkipped(NumpyLearner):
    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self._skipped += 0 if weights is None else sum(not weight.any() for weight in weights)
        return losses


@breaks("P8")
class SkippedOncePerCall(NumpyLearner):
    def train(self, batches, weights=None):
        before = self._skipped
        losses = super().train(batches, weights)
        self._skipped = min(self._skipped, before + 1)
        return losses


@breaks("P8")
class ScoringCountsWhatIsNotFinite(NumpyLearner):
    def score(self, ids):
        found = super().score(ids)
        self._skipped += not np.isfinite(found).all()
        return found


@breaks("P8")
class SkippedForgottenWithAState(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self._skipped = 0


@breaks("P8")
class BatchesAllNaNCountTwice(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        self._skipped += not np.isfinite(losses).any()
        return losses


# Steps that are not finite, of some tasks or some batches alone


class _Decaying(Stepping):
    """Lets moments decay at a step that is not finite, where ``blind`` says so."""

    def one_step(self, ids, weight):
        before = self._skipped
        losses = super().one_step(ids, weight)
        if self._skipped > before and self.blind(losses):
            self._moments = {
                moment: {name: array * array.dtype.type(0.9) for name, array in arrays.items()}
                for moment, arrays in self._moments.items()
            }
        return losses


@breaks("P8")
class NotFiniteOfLanguageUnseen(_Decaying):
    def blind(self, losses):
        return self.architecture.kind == "next-token"


@breaks("P8")
class NotFiniteOfTasksUnseen(_Decaying):
    def blind(self, losses):
        return self._task_weights is not None


@breaks("P8")
class NotFiniteOfLargeBatchesUnseen(_Decaying):
    def blind(self, losses):
        return len(losses) > 16


@breaks("P8")
class NotFiniteOfVectorsInFloat32Unseen(_Decaying):
    def blind(self, losses):
        return in_float32(self) and self.architecture.vocabulary is None


# States told apart by a part of them


class _Kept(NumpyLearner):
    """Keeps scores as long as ``key`` gives the same."""

    def score(self, ids):
        check_ids("ids", ids, len(self))
        key = ids.tobytes(), self.key()
        if self.__dict__.get("kept", (None,))[0] != key:
            self.kept = key, super().score(ids)
        return self.kept[1].copy()


@breaks("P6")
class ScoresKeptByTheHeadsBias(_Kept):
    def key(self):
        return self._parameters["head.bias"].tobytes()


@breaks("P6")
class ScoresKeptByAllWeightsButVectors(_Kept):
    def key(self):
        return tuple(array.tobytes() for array in self._parameters.values() if array.ndim > 1)


@breaks("P6")
class ScoresKeptByTheFirstMoment(_Kept):
    def key(self):
        moment = next(iter(self._moments.values()), {})
        return self._steps, tuple(array.tobytes() for array in moment.values())


@breaks("P6")
class OnlyMomentsThatChangeAreTaken(NumpyLearner):
    """Takes up the moments only where the first parameters differ from its own."""

    def load_state(self, state):
        moments, first = self._moments, next(iter(self._parameters))
        same = self._steps and np.array_equal(self._parameters[first], state[f"parameters.{first}"])
        super().load_state(state)
        if same:
            self._moments = moments


# Calls checked in parts


@breaks("P7")
class EightBatchesCheckedAtATime(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) != len(batches):
            raise LearnerError(f"weights must hold one array per batch, {len(batches)}, got {len(weights)}")
        starts = range(0, len(batches), 8)
        parts = [super(EightBatchesCheckedAtATime, self).train(*self.part(batches, weights, at)) for at in starts]
        return np.concatenate([np.empty(0), *parts])

    @staticmethod
    def part(batches, weights, at):
        return batches[at : at + 8], None if weights is None else weights[at : at + 8]


@breaks("P7")
class OnlyTheFirst32IdsChecked(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids[:32] if isinstance(ids, np.ndarray) and ids.ndim == 1 else ids, len(self))
        return self._losses(self._train.take(np.minimum(ids, len(self) - 1)))


@breaks("P7")
class WeightsOfTheFirstBatchesChecked(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) == len(batches):
            check_batches(batches[:6], weights[:6], len(self))
            rest = [np.nan_to_num(weight, nan=1.0, posinf=1.0) for weight in weights[6:]]
            weights = [*weights[:6], *rest]
        return super().train(batches, weights)


# Set once more at every call, to the same


@breaks("P1")
class EnvironmentSetByTraining(NumpyLearner):
    def train(self, batches, weights=None):
        os.environ["ATTENT_MUTANT_WORKSPACE"] = ":4096:8"
        return super().train(batches, weights)


@breaks("P1")
class EnvironmentSetByLoading(NumpyLearner):
    def load_state(self, state):
        os.environ["ATTENT_MUTANT_LOADED"] = "1"
        super().load_state(state)


@breaks("P1")
class WarningsSilencedByLoading(NumpyLearner):
    def load_state(self, state):
        warnings.simplefilter("ignore")
        super().load_state(state)


@breaks("P1")
class DigitsOfDecimalsSetByScoring(NumpyLearner):
    def score(self, ids):
        decimal.getcontext().prec = 28
        return super().score(ids)


@breaks("P1")
class PathOfModulesSet(NumpyLearner):
    def state(self):
        if os.sep + "mutant" not in sys.path:
            sys.path.append(os.sep + "mutant")
        return super().state()


@breaks("P1")
class HandlersOfTheRootLogger(NumpyLearner):
    def train(self, batches, weights=None):
        logging.root.addHandler(logging.NullHandler())
        return super().train(batches, weights)


@breaks("P1")
class WarningsShownOtherwise(NumpyLearner):
    def score(self, ids):
        warnings.showwarning = lambda *told: None
        return super().score(ids)


# Modes that stay as the first call left them


class _Module:
    """Stands for a framework's module, with one in it."""

    def __init__(self, *inside):
        self.training, self.inside = True, inside

    def modules(self):
        return [self, *(module for one in self.inside for module in one.modules())]


class _WithModules(NumpyLearner):
    """Holds modules whose modes its steps leave as they are."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.module = _Module(_Module(), _Module())


@breaks("P1")
class InnerModulesStayInEvaluationMode(_WithModules):
    def score(self, ids):
        for module in self.module.inside:
            module.training = False
        return super().score(ids)


@breaks("P1")
class ModulesPutIntoTrainingModeByScore(_WithModules):
    def score(self, ids):
        for module in self.module.modules():
            module.training = True
        return super().score(ids)


@breaks("P1")
class ModulesInTheModeOfTheFirstByEvaluate(_WithModules):
    def evaluate(self):
        for module in self.module.modules():
            module.training = self.module.training
        return super().evaluate()


# What few calls leave behind


class _Every(NumpyLearner):
    """Leaves something in each ``every``-th call of ``score``."""

    every = 3

    def score(self, ids):
        self.calls = self.__dict__.get("calls", 0) + 1
        if not self.calls % self.every:
            self.__dict__.setdefault("left", []).append(self.leave())
        return super().score(ids)

    def __del__(self):
        for one in self.__dict__.get("left", ()):
            self.remove(one)


@breaks("P9")
class AFileOfEveryThirdCall(_Every):
    def leave(self):
        return os.open(os.devnull, os.O_RDONLY)

    def remove(self, one):
        os.close(one)


@breaks("P9")
class AThreadOfEverySecondCall(_Every):
    every = 2

    def leave(self):
        end = threading.Event()
        threading.Thread(target=end.wait, daemon=True).start()
        return end

    def remove(self, one):
        one.set()


@breaks("P9")
class ATemporaryFileOfEveryThirdCall(_Every):
    def leave(self):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            return file.name

    def remove(self, one):
        Path(one).unlink(missing_ok=True)


# A factor of every gradient, which AdamW hides, in float32 alone, on some tasks


class _Factor(Stepping):
    def one_step(self, ids, weight):
        factor = self.factor() if in_float32(self) else 1.0
        return super().one_step(ids, factor * (np.ones(len(ids)) if weight is None else weight))


@breaks("P4")
class TaskWeightsSummedInFloat32(_Factor):
    def factor(self):
        return 1.0 if self._task_weights is None else float(sum(self._task_weights))


@breaks("P4")
class TokensCountTwiceInFloat32(_Factor):
    def factor(self):
        return 2.0 if self.architecture.kind == "next-token" else 1.0


@breaks("P4")
class PaddedExamplesHalvedInFloat32(_Factor):
    def factor(self):
        return 1.0 if self._train.lengths is None else 0.5


# What is returned


@breaks("P2")
class ScoresCannotBeWritten(NumpyLearner):
    def score(self, ids):
        return np.frombuffer(super().score(ids).tobytes())


@breaks("P2")
class LossesCannotBeWritten(NumpyLearner):
    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        losses.flags.writeable = False
        return losses


@breaks("P2")
class LossesBroadcast(NumpyLearner):
    def train(self, batches, weights=None):
        return np.broadcast_to(super().train(batches, weights), sum(map(len, batches)))


# What is told of examples


@breaks("P1")
class CostsThatGrow(NumpyLearner):
    def costs(self):
        return np.full(len(self), 1.0 + self._steps)


@breaks("P1")
class CostsThatAreItsOwn(NumpyLearner):
    def costs(self):
        if "own" not in self.__dict__:
            self.own = np.ones(len(self))
        return self.own


@breaks("P1")
class WatchesMoreWithEachStep(NumpyLearner):
    def watch(self):
        return np.ones(1 + self._steps)


@breaks("P1")
class WatchingIsAStep(NumpyLearner):
    def watch(self):
        self._steps += 1
        return self.score(np.arange(4))


@breaks("P1")
class WatchedAsItWasBuilt(NumpyLearner):
    def watch(self):
        self.looks = self.__dict__.get("looks", 0) + 1
        return self.score(np.arange(4)) + 1e-3 * self.looks


# How a call's only batch lies in memory


@breaks("P2")
class OneBatchOfWeightsAsItLiesInMemory(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) == 1 and len(batches[0]) > 1:
            start = weights[0] if weights[0].strides[0] > 0 else weights[0][::-1]
            weights = [np.lib.stride_tricks.as_strided(start, start.shape, (start.itemsize,)).copy()]
        return super().train(batches, weights)


@breaks("P2")
class OneBatchOfIdsMayNotRunBackwards(NumpyLearner):
    def train(self, batches, weights=None):
        if len(batches) == 1 and np.ndim(batches[0]) == 1 and batches[0].strides[0] < 0:
            raise ValueError("negative strides are not supported")
        return super().train(batches, weights)


@breaks("P2")
class OneBatchIsWrittenBack(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) == 1:
            weights[0][...] = weights[0].copy()
        return super().train(batches, weights)
