"""Broken in ways of a batch on four frameworks that the checks did not see: what calls leave behind, count or keep."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

import numpy as np
from mutant_registry import Stepping, breaks

from attent.learner import check_ids
from attent.reference import SGD, NumpyLearner

# What calls leave behind


@breaks("P9")
class FilesLeftOpen(NumpyLearner):
    def score(self, ids):
        self.__dict__.setdefault("files", []).append(os.open(os.devnull, os.O_RDONLY))
        return super().score(ids)

    def __del__(self):
        for file in self.__dict__.get("files", ()):
            os.close(file)


@breaks("P9")
class ThreadsThatWait(NumpyLearner):
    def train(self, batches, weights=None):
        ends = self.__dict__.setdefault("ends", [])
        ends.append(threading.Event())
        threading.Thread(target=ends[-1].wait, daemon=True).start()
        return super().train(batches, weights)

    def __del__(self):
        for end in self.__dict__.get("ends", ()):
            end.set()


@breaks("P9")
class ChildrenNotWaitedFor(NumpyLearner):
    def state(self):
        self.__dict__.setdefault("children", []).append(subprocess.Popen([sys.executable, "-S", "-c", ""]))
        return super().state()

    def __del__(self):
        for child in self.__dict__.get("children", ()):
            child.wait()


@breaks("P9")
class TemporaryFilesOfStates(NumpyLearner):
    def load_state(self, state):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"state")
        super().load_state(state)


@breaks("P9")
class HistoryOfLosses(NumpyLearner):
    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self.__dict__.setdefault("history", []).append((list(batches), losses.copy()))
        return losses


@breaks("P9")
class RefusedCallsKept(NumpyLearner):
    def score(self, ids):
        try:
            return super().score(ids)
        except Exception as error:
            self.__dict__.setdefault("errors", []).append(error)
            raise


# What is counted, and what is kept by a count


@breaks("P8")
class GradientsSkippedUncounted(Stepping):
    def one_step(self, ids, weight):
        before = self._skipped
        losses = super().one_step(ids, weight)
        if np.isfinite(losses).all():
            self._skipped = before
        return losses


@breaks("P6")
class MetricsOfEachNumberOfSteps(NumpyLearner):
    def evaluate(self):
        kept = self.__dict__.setdefault("kept", {})
        if self._steps not in kept:
            kept[self._steps] = super().evaluate()
        return dict(kept[self._steps])


# Other optimisers than the usual one


@breaks("P6")
class VelocitiesRescaledByState(NumpyLearner):
    def state(self):
        state = super().state()
        for name, array in self._moments.get("velocity", {}).items():
            self._moments["velocity"][name] = array * array.dtype.type(1 - 1e-6)
        return state


@breaks("P6")
class VelocitiesOutliveAFreshState(NumpyLearner):
    def load_state(self, state):
        before = self._moments
        super().load_state(state)
        if isinstance(self.optimiser, SGD) and not self._steps:
            self._moments = before


# Modes


class _Module:
    """Stands for a framework's module."""

    def __init__(self):
        self.training = True

    def modules(self):
        return [self]


class _WithModule(Stepping):
    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.module = _Module()

    def one_step(self, ids, weight):
        self.module.training = True
        return super().one_step(ids, weight)


@breaks("P1")
class LeftInEvaluationModeByScore(_WithModule):
    def score(self, ids):
        self.module.training = False
        return super().score(ids)


@breaks("P1")
class LeftInEvaluationModeByEvaluating(_WithModule):
    def evaluate(self):
        self.module.training = False
        return super().evaluate()


@breaks("P2")
class MappedIdsRefused(NumpyLearner):
    def score(self, ids):
        check_ids("ids", ids, len(self))
        if type(ids) is not np.ndarray:
            raise TypeError("ids must be a numpy.ndarray")
        return super().score(ids)


# Kinds of the batch after that


@breaks("P1")
class HandlerOfSigtermReplaced(NumpyLearner):
    def train(self, batches, weights=None):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().train(batches, weights)


@breaks("P3")
class OneArrayTwiceIsOneStep(Stepping):
    def train(self, batches, weights=None):
        losses = {}
        for place, ids in enumerate(batches):
            if id(ids) not in losses:
                losses[id(ids)] = super().train([ids], None if weights is None else weights[place : place + 1])
        return np.concatenate([np.empty(0), *(losses[id(ids)] for ids in batches)])


@breaks("P4")
class AllExamplesInTheirOwnOrder(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(np.arange(len(self)) if len(ids) == len(self) else ids, weight)


@breaks("P2")
class LongCallsTurned(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        return np.concatenate([values[4096:], values[:4096]])


@breaks("P2")
class BiasesBuiltAnew(NumpyLearner):
    def __init__(self, architecture, parameters, *arguments, **settings):
        own = {name: np.zeros_like(a) if name.endswith(".bias") else a for name, a in parameters.items()}
        super().__init__(architecture, own, *arguments, **settings)
