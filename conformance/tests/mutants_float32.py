"""Broken in float32 alone."""

import numpy as np
from mutant_registry import Stepping, breaks, in_float32

from attent.reference import NumpyLearner


@breaks("P4")
class Float32WeightsIgnored(Stepping):
    def one_step(self, ids, weight):
        return super().one_step(ids, None if in_float32(self) else weight)


@breaks("P6")
class Float32MomentsLost(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        if in_float32(self):
            self._moments = {m: {n: np.zeros_like(a) for n, a in each.items()} for m, each in self._moments.items()}


def _halved(arrays):
    return {n: a.astype(np.float16).astype(a.dtype) for n, a in arrays.items()}


@breaks("A3")
class Float32MomentsInHalfPrecision(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if in_float32(self) and "mean" in self._moments:
            self._moments["mean"] = _halved(self._moments["mean"])
        return losses


@breaks("A3")
class Float32SquaresInBfloat16(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if in_float32(self) and "square" in self._moments:
            cut = {n: (a.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, a in self._moments["square"].items()}
            self._moments["square"] = cut
        return losses


@breaks("A3")
class Float32VelocityInHalfPrecision(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        if in_float32(self) and "velocity" in self._moments:
            self._moments["velocity"] = _halved(self._moments["velocity"])
        return losses


@breaks("P7")
class Float32TakesAnyPrecision(NumpyLearner):
    def load_state(self, state):
        if in_float32(self):
            own = self.state()
            state = {n: np.asarray(a).astype(own[n].dtype) if n in own else a for n, a in state.items()}
        super().load_state(state)


@breaks("P6")
class Float32StateInHalfPrecision(NumpyLearner):
    def state(self):
        state = super().state()
        if not in_float32(self):
            return state
        return {n: a.astype(np.float16).astype(a.dtype) if n.startswith("square") else a for n, a in state.items()}


@breaks("P1")
class Float32ScoreCountsAsAStep(NumpyLearner):
    def score(self, ids):
        self._steps += in_float32(self)
        return super().score(ids)


@breaks("P3")
class Float32LossesFromAfterTheStep(Stepping):
    def one_step(self, ids, weight):
        losses = super().one_step(ids, weight)
        return self.score(ids) if in_float32(self) else losses
