"""Broken in what they refuse, or in what a refused call leaves behind."""

import numpy as np
from mutant_registry import breaks, check

from attent.errors import LearnerError
from attent.learner import check_ids
from attent.reference import NumpyLearner


def _reading(change):
    """Return a learner that takes ids of other kinds, as ``change`` reads them."""

    class Reading(NumpyLearner):
        def score(self, ids):
            return super().score(change(ids, len(self)))

        def train(self, batches, weights=None):
            return super().train([change(ids, len(self)) for ids in batches], weights)

    return Reading


def _kind(ids, *kinds):
    return isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype in [np.dtype(kind) for kind in kinds]


@breaks("P7")
def int32_ids_taken(*arguments, **settings):
    return _reading(lambda ids, n: ids.astype(np.int64) if _kind(ids, np.int32) else ids)(*arguments, **settings)


@breaks("P7")
def bool_ids_taken(*arguments, **settings):
    return _reading(lambda ids, n: np.flatnonzero(ids) if _kind(ids, bool) else ids)(*arguments, **settings)


@breaks("P7")
def uint64_ids_taken(*arguments, **settings):
    return _reading(lambda ids, n: ids.astype(np.int64) if _kind(ids, np.uint64) else ids)(*arguments, **settings)


@breaks("P7")
def lists_taken(*arguments, **settings):
    return _reading(lambda ids, n: np.array(ids) if isinstance(ids, list) else ids)(*arguments, **settings)


@breaks("P7")
def two_dimensions_taken(*arguments, **settings):
    def flat(ids, n):
        return ids.reshape(-1) if isinstance(ids, np.ndarray) and ids.ndim == 2 else ids

    return _reading(flat)(*arguments, **settings)


@breaks("P7")
def anything_empty_taken(*arguments, **settings):
    def emptied(ids, n):
        return np.empty(0, np.int64) if isinstance(ids, np.ndarray) and ids.size == 0 else ids

    class Reading(NumpyLearner):
        def score(self, ids):
            return super().score(emptied(ids, 0))

    return Reading(*arguments, **settings)


@breaks("P7")
def far_ids_wrap_in_32_bits(*arguments, **settings):
    def wrapped(ids, n):
        return ids.astype(np.int32).astype(np.int64) if _kind(ids, np.int64) else ids

    return _reading(wrapped)(*arguments, **settings)


@breaks("P7")
def ids_below_minus_n_wrap(*arguments, **settings):
    def wrapped(ids, n):
        return np.where(ids < -n, ids % n, ids) if _kind(ids, np.int64) else ids

    return _reading(wrapped)(*arguments, **settings)


@breaks("P7")
def one_id_too_high_is_the_last(*arguments, **settings):
    return _reading(lambda ids, n: np.where(ids == n, n - 1, ids) if _kind(ids, np.int64) else ids)(
        *arguments, **settings
    )


@breaks("P7")
class OnlyTheEndsAreChecked(NumpyLearner):
    def score(self, ids):
        if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1 and len(ids) > 2:
            check_ids("ids", ids[[0, -1]], len(self))
            ids = ids % len(self)
        return super().score(ids)


@breaks("P7")
class OnlyTheFirstBatchIsChecked(NumpyLearner):
    def train(self, batches, weights=None):
        check(self, batches[:1], None)
        good = all(_kind(ids, np.int64) for ids in batches)
        return super().train([ids % len(self) for ids in batches] if good else batches, weights)


@breaks("P7")
class OneWeightForAll(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) == len(batches):
            pairs = zip(weights, batches, strict=True)
            weights = [np.repeat(w, len(i)) if np.shape(w) == (1,) else w for w, i in pairs]
        return super().train(batches, weights)


@breaks("P7")
class InfiniteWeightsMadeFinite(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            infinite = [isinstance(w, np.ndarray) and w.dtype == np.float64 and np.isinf(w).any() for w in weights]
            weights = [np.nan_to_num(w, nan=np.nan) if i else w for w, i in zip(weights, infinite, strict=True)]
        return super().train(batches, weights)


@breaks("P7")
class WeightsOfAnyPrecision(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None:
            weights = [w.astype(np.float64) if _kind(w, np.float32, np.float16) else w for w in weights]
        return super().train(batches, weights)


@breaks("P7")
class WeightsTooManyForgotten(NumpyLearner):
    def train(self, batches, weights=None):
        return super().train(batches, weights if weights is None else weights[: len(batches)])


@breaks("P7")
class NoWeightArraysAreNoWeights(NumpyLearner):
    def train(self, batches, weights=None):
        return super().train(batches, weights or None)


@breaks("P7")
class ARefusedCallIsAStep(NumpyLearner):
    def train(self, batches, weights=None):
        try:
            return super().train(batches, weights)
        except LearnerError:
            self._steps += 1
            raise


@breaks("P7")
class ARefusedCallLeavesItsMark(NumpyLearner):
    """After a refused call the next step is taken at twice its rate, which no state shows."""

    refused = False

    def train(self, batches, weights=None):
        try:
            check(self, batches, weights)
        except LearnerError:
            self.refused = True
            raise
        if not self.refused or not len(batches):
            return super().train(batches, weights)
        self.refused, rate = False, self.learning_rate
        self.learning_rate = (lambda step: 2 * rate(step)) if callable(rate) else 2 * rate
        try:
            return super().train(batches, weights)
        finally:
            self.learning_rate = rate


@breaks("P7")
class WhichIdIsNotTold(NumpyLearner):
    def score(self, ids):
        try:
            return super().score(ids)
        except LearnerError:
            raise LearnerError("wrong ids") from None


@breaks("P7")
class WordsOfNumpy(NumpyLearner):
    def train(self, batches, weights=None):
        if weights is not None and len(weights) == len(batches):
            for values, ids in zip(weights, batches, strict=True):
                np.broadcast_to(values, np.shape(ids))
        return super().train(batches, weights)


@breaks("P7")
class EmptyBatchesAtTheEndPassedOver(NumpyLearner):
    def train(self, batches, weights=None):
        while len(batches) > 1 and weights is None and _kind(batches[-1], np.int64) and not len(batches[-1]):
            batches = batches[:-1]
        return super().train(batches, weights)
