"""Broken in what a call of train does and returns, in states, refusals and long runs."""

import numpy as np
from mutant_registry import breaks, check

from attent.reference import AdamW, NumpyLearner

# What is trained, and what comes back


@breaks("P3")
class PostUpdateLosses(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        found = [super().train([])]
        for at, ids in enumerate(batches):
            super().train([ids], weights and weights[at : at + 1])
            found.append(self.score(ids))
        return np.concatenate(found)


@breaks("P3")
class LossesOfTheWholeCallFromBeforeIt(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        found = np.concatenate([np.empty(0), *(self.score(ids) for ids in batches)])
        super().train(batches, weights)
        return found


@breaks("P3")
class WeightedLossesReturned(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        return found if weights is None else found * np.concatenate(weights)


@breaks("P3")
class LastBatchDropped(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        if len(batches) < 2:
            return super().train(batches, weights)
        found = super().train(batches[:-1], weights and weights[:-1])
        return np.concatenate([found, self.score(batches[-1])])


@breaks("P3")
class BatchesBackwards(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches[::-1], weights and weights[::-1])
        parts = np.split(found, np.cumsum([len(ids) for ids in batches[::-1]])[:-1]) if len(batches) else [found]
        return np.concatenate(parts[::-1])


@breaks("P3")
class AllBatchesInOneStep(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        if len(batches) < 2:
            return super().train(batches, weights)
        return super().train([np.concatenate(batches)], weights and [np.concatenate(weights)])


@breaks("A3", "R1", "R2")
class StaleBatches(NumpyLearner):
    """A prefetched batch of the call before is trained in place of the first one, if it is of its size."""

    def train(self, batches, weights=None):
        check(self, batches, weights)
        if not len(batches):
            return np.empty(0)
        held = getattr(self, "held", None)
        trained = list(batches)
        if held is not None and len(held) == len(batches[0]):
            trained[0] = held
        found = super().train(trained, weights)
        self.held = batches[-1]
        return found


@breaks("P4")
class WeightsIgnored(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        return super().train(batches)


@breaks("P4")
class WeightsAppliedTwice(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        return super().train(batches, weights and [w * w for w in weights])


@breaks("P4")
class SumOfWeightsAsDivisor(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        return super().train(batches, weights and [w * len(w) / w.sum() for w in weights])


@breaks("P4")
class SumInPlaceOfMean(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches, weights)
        if weights is None:
            weights = [np.ones(len(ids)) for ids in batches]
        return super().train(batches, [w * len(w) for w in weights])


# The optimiser


def _with_optimiser(**changes):
    def reference(*arguments, optimiser=None, **settings):
        given = optimiser if optimiser is not None else AdamW(**changes)
        return NumpyLearner(*arguments, optimiser=given, **settings)

    return reference


@breaks("A3")
def wrong_epsilon(*arguments, **settings):
    return _with_optimiser(epsilon=1e-7)(*arguments, **settings)


@breaks("A3")
def no_weight_decay(*arguments, **settings):
    return _with_optimiser(weight_decay=0.0)(*arguments, **settings)


@breaks("A3")
def schedule_off_by_one(*arguments, learning_rate=1e-3, **settings):
    late = (lambda step: learning_rate(step + 1)) if callable(learning_rate) else learning_rate
    return NumpyLearner(*arguments, learning_rate=late, **settings)


@breaks("A3")
def schedule_never_steps(*arguments, learning_rate=1e-3, **settings):
    first = learning_rate(0) if callable(learning_rate) else learning_rate
    return NumpyLearner(*arguments, learning_rate=first, **settings)


@breaks("A1")
class Float32StateInAFloat64Run(NumpyLearner):
    def _rounded(self):
        self._parameters = {n: a.astype(np.float32).astype(a.dtype) for n, a in self._parameters.items()}

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._rounded()

    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        self._rounded()
        return found


# States


@breaks("P6")
class MomentsLostOnResume(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self._moments = {m: {n: np.zeros_like(a) for n, a in each.items()} for m, each in self._moments.items()}


@breaks("P6")
class StepCountLostOnResume(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self._steps = 0


@breaks("P6")
class StateInFloat32(NumpyLearner):
    def state(self):
        return {n: a.astype(np.float32).astype(a.dtype) for n, a in super().state().items()}


@breaks("P6")
class StateAliasesLiveArrays(NumpyLearner):
    def state(self):
        return {**super().state(), **{f"parameters.{name}": array for name, array in self._parameters.items()}}


@breaks("P6")
class LoadedStateIsNotCopied(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        self._parameters = {name: state[f"parameters.{name}"] for name in self._parameters}


@breaks("P6")
class StateHoldsNumbers(NumpyLearner):
    def state(self):
        return {**super().state(), "steps": self._steps}


@breaks("P7")
class ForeignStateAccepted(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        super().load_state({n: state[n] if n in state and state[n].shape == own[n].shape else own[n] for n in own})


@breaks("P7")
class StateOfAnotherPrecisionTaken(NumpyLearner):
    def load_state(self, state):
        own = self.state()
        super().load_state({n: a.astype(own[n].dtype) if n in own else a for n, a in state.items()})


# Refusals


@breaks("P7")
class NegativeIdsWrapAround(NumpyLearner):
    def score(self, ids):
        known = ids.dtype == np.int64 and (ids >= -len(self)).all() and (ids < len(self)).all()
        return super().score(ids % len(self) if known else ids)


@breaks("P7")
class UnknownIdsClipped(NumpyLearner):
    def score(self, ids):
        return super().score(np.clip(ids, 0, len(self) - 1))


@breaks("P7")
class ErrorAfterPartialTraining(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            return super().train(batches, weights)
        one_by_one = super().train
        return np.concatenate([one_by_one([]), *(one_by_one([ids]) for ids in batches)])


@breaks("P7")
class EmptyBatchesPassedOver(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            return super().train(batches, weights)
        return super().train([ids for ids in batches if np.ndim(ids) != 1 or len(ids)])


@breaks("P7")
class ErrorsOfAnotherType(NumpyLearner):
    def score(self, ids):
        if ids.dtype == np.int64 and ids.ndim == 1 and len(ids) and ids.max() >= len(self):
            raise IndexError("index 96 is out of bounds")
        return super().score(ids)


@breaks("P7")
class WrongWeightsCutToSize(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            weights = [np.resize(w, np.shape(ids)) for w, ids in zip(weights, batches, strict=False)]
            weights += [np.ones(np.shape(ids)) for ids in batches[len(weights) :]]
        return super().train(batches, weights)


# What only long runs and later rounds show


@breaks("L1")
class RoundedAfterManySteps(NumpyLearner):
    def train(self, batches, weights=None):
        found = super().train(batches, weights)
        if self._steps > 20:
            self._parameters = {n: a.astype(np.float16).astype(a.dtype) for n, a in self._parameters.items()}
        return found


@breaks("L2")
def trained_parameters_in_half_precision(architecture, parameters, *data, dtype="float64", **settings):
    if dtype == "float32" and parameters["head.bias"].any():  # the first ones are zero
        parameters = {name: array.astype(np.float16) for name, array in parameters.items()}
    return NumpyLearner(architecture, parameters, *data, dtype=dtype, **settings)


@breaks("R1", "R2")
class MomentsLostBetweenAccumulatedSteps(NumpyLearner):
    def load_state(self, state):
        super().load_state(state)
        if self._steps % 3:  # accumulates over three batches, and keeps no half of it
            self._moments = {m: {n: np.zeros_like(a) for n, a in each.items()} for m, each in self._moments.items()}
