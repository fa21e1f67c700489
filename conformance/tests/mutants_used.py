"""Broken once they were used: what a learner keeps outlives the state it takes up."""

import numpy as np
from mutant_registry import Stepping, breaks

from attent.learner import checked_state
from attent.reference import NumpyLearner


@breaks("P6")
class ScoresCachedAcrossLoads(NumpyLearner):
    def score(self, ids):
        values = super().score(ids)
        cache = self.__dict__.setdefault("cache", {})
        return cache.setdefault(ids.tobytes(), values).copy()

    def train(self, batches, weights=None):
        if len(batches):
            self.cache = {}
        return super().train(batches, weights)


@breaks("P6")
class StaleDeviceCopyAfterLoad(NumpyLearner):
    def score(self, ids):
        live = self._parameters
        self._parameters = self.__dict__.setdefault("device", dict(live))
        try:
            return super().score(ids)
        finally:
            self._parameters = live

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self.device = dict(self._parameters)
        return losses


@breaks("P6")
class ScheduleAddsItsPosition(NumpyLearner):
    def load_state(self, state):
        before = self._steps
        super().load_state(state)
        self._schedule_offset = before

    def train(self, batches, weights=None):
        offset, rate = getattr(self, "_schedule_offset", 0), self.learning_rate
        if not callable(rate):
            return super().train(batches, weights)
        self.learning_rate = lambda step: rate(step + offset)
        try:
            return super().train(batches, weights)
        finally:
            self.learning_rate = rate


@breaks("P6")
class StepsAddUp(NumpyLearner):
    def load_state(self, state):
        before = self._steps
        super().load_state(state)
        self._steps += before


@breaks("P6")
class MomentsKeptWhereThereAreAny(NumpyLearner):
    def load_state(self, state):
        moments, used = self._moments, self._steps > 0
        super().load_state(state)
        if used:
            self._moments = moments


@breaks("P6")
class EvaluationCachedAcrossLoads(NumpyLearner):
    def evaluate(self):
        if getattr(self, "told_at", None) != self._steps:
            self.told, self.told_at = super().evaluate(), self._steps
        return dict(self.told)


@breaks("P6")
class OlderStatesIgnored(NumpyLearner):
    def load_state(self, state):
        checked_state(state, self.state())
        if int(state["steps"]) >= self._steps:
            super().load_state(state)


@breaks("P6")
class LastBatchHeldBack(Stepping):
    """Averages each step's parameters with those of before the last load, which no state tells."""

    def load_state(self, state):
        self.before = dict(self._parameters)
        super().load_state(state)

    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if hasattr(self, "before"):
            self._parameters = {n: a + 1e-9 * (self.before[n] - a).astype(a.dtype) for n, a in self._parameters.items()}
        return losses


# States in another order, and half of them


@breaks("P6")
class LoadsByPosition(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        checked_state(state, own)
        super().load_state(dict(zip(own, state.values(), strict=True)) if _fits(own, state) else state)


def _fits(own, state):
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(own.values(), state.values(), strict=True))


@breaks("P6")
class MomentsByPosition(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        for moment in self._moments:
            arrays = [state[name].copy() for name in state if name.startswith(f"{moment}.")]
            pool = {}
            for array in arrays:
                pool.setdefault(array.shape, []).append(array)
            self._moments[moment] = {n: pool[a.shape].pop(0) for n, a in self._moments[moment].items()}


@breaks("P6")
class BlocksInTheOrderGiven(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        blocks = list(dict.fromkeys(n.split(".")[2] for n in state if n.startswith("parameters.blocks.")))
        for name in self._parameters:
            if name.startswith("blocks."):
                _, at, rest = name.split(".", 2)
                self._parameters[name] = state[f"parameters.blocks.{blocks[int(at)]}.{rest}"].copy()


@breaks("P6")
class StateTakenApart(NumpyLearner):
    def load_state(self, state):
        checked_state(state, self.state())
        taken = {name: state.pop(name) for name in list(state)}
        super().load_state(taken)


@breaks("P7")
class LoadedArrayByArray(NumpyLearner):
    def load_state(self, state):
        for name in self._parameters:
            array = state.get(f"parameters.{name}")
            if isinstance(array, np.ndarray) and array.shape == self._parameters[name].shape:
                self._parameters[name] = array.astype(self._parameters[name].dtype)
        super().load_state(state)


@breaks("P7")
class MomentsTakenBeforeTheyAreChecked(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        for moment, arrays in self._moments.items():
            for name in arrays:
                key = f"{moment}.{name}"
                if key in state and state[key].shape == own[key].shape:
                    arrays[name] = np.array(state[key], own[key].dtype)
        super().load_state(state)


@breaks("P7")
class StepsTakenBeforeTheRest(NumpyLearner):
    def load_state(self, state):
        steps = state.get("steps")
        if steps is not None and steps.shape == () and steps.dtype == np.int64:
            self._steps = int(steps)
        super().load_state(state)


@breaks("P7")
class ShapesBroadcast(NumpyLearner):
    def load_state(self, state):
        own = self.state()

        def fitted(name, array):
            if name not in own or array.dtype != own[name].dtype:
                return array
            try:
                return np.broadcast_to(array.reshape(-1) if array.size == 1 else array, own[name].shape)
            except ValueError:
                return array

        super().load_state({name: fitted(name, array) for name, array in state.items()})


@breaks("P7")
class StepsOfAnyKind(NumpyLearner):
    def load_state(self, state):
        if "steps" in state and state["steps"].size == 1:
            state = {**state, "steps": np.array(int(state["steps"].reshape(-1)[0].real), np.int64)}
        super().load_state(state)


@breaks("P7")
class DeviceCopyOfARefusedState(NumpyLearner):
    """Scores with what a refused state brought, which ``state()`` does not show."""

    def load_state(self, state):
        self.device = {n: np.array(state.get(f"parameters.{n}", a)) for n, a in self._parameters.items()}
        super().load_state(state)

    def train(self, batches, weights=None):
        losses = super().train(batches, weights)
        self.device = dict(self._parameters)
        return losses

    def score(self, ids):
        live, shown = self._parameters, getattr(self, "device", None)
        if shown is not None and all(shown[n].shape == a.shape for n, a in live.items()):
            self._parameters = {n: a.astype(live[n].dtype) for n, a in shown.items()}
        try:
            return super().score(ids)
        finally:
            self._parameters = live


# States that a run folder cannot keep


def _adding(**more):
    class Adding(NumpyLearner):
        def state(self):
            return {**super().state(), **more}

        def load_state(self, state):
            super().load_state({name: array for name, array in state.items() if name not in more})

    return Adding


@breaks("P6")
def complex_numbers_in_the_state(*arguments, **settings):
    return _adding(phase=np.array([1j]))(*arguments, **settings)


@breaks("P6")
def objects_in_the_state(*arguments, **settings):
    return _adding(rng=np.array([None, {}], object))(*arguments, **settings)


@breaks("P6")
def text_in_the_state(*arguments, **settings):
    return _adding(name=np.array(["adamw"]))(*arguments, **settings)


@breaks("P6")
def big_endian_numbers_in_the_state(*arguments, **settings):
    return _adding(count=np.array([3], ">i4"))(*arguments, **settings)


@breaks("P6")
def long_doubles_in_the_state(*arguments, **settings):
    return _adding(sum=np.array([3], np.longdouble))(*arguments, **settings)


@breaks("P6")
def a_name_that_no_file_keeps(*arguments, **settings):
    return _adding(__metadata__=np.array([3]))(*arguments, **settings)


@breaks("P6")
def a_name_with_half_a_character(*arguments, **settings):
    return _adding(**{"rng\ud800": np.array([3])})(*arguments, **settings)
