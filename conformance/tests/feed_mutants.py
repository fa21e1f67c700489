"""Feeds that are broken in one way each: the core's with a single fault."""

import numpy as np

import attent

MUTANTS = {}


def breaks(rule):
    """Register a mutant with the rule whose check must be the first to fail."""

    def register(feed):
        MUTANTS[feed.__name__] = (feed, rule)
        return feed

    return register


@breaks("F1")
class RepeatsABatch(attent.Feed):
    """As a sampler does that asks a course again before its losses are there."""

    def batches(self):
        batches = super().batches()
        return batches[:1] + batches[:1] + batches[2:] if len(batches) > 1 else batches


@breaks("F1")
class SkipsTheLastPartOfABatch(attent.Feed):
    """As drop_last does."""

    def batches(self):
        batches = super().batches()
        return [ids for ids in batches if len(ids) == self.row.batch_size] or batches


@breaks("F1")
class TrainsEvaluationData(attent.Feed):
    """As a data set with the held-out examples at its end does."""

    def batches(self):
        batches = super().batches()
        if batches:
            batches[-1] = np.append(batches[-1], self.n)
        return batches

    def record(self, numbers, ids):
        ids = np.asarray(ids)
        kept = ids < self.n if ids.dtype.kind == "i" else slice(None)
        return super().record(np.asarray(numbers)[kept] if ids.ndim == 1 and np.ndim(numbers) else numbers, ids[kept])


@breaks("F1")
class ShufflesAgainOnEveryCall(attent.Feed):
    calls = 0

    def batches(self):
        self.calls += 1
        batches = super().batches()
        return batches[self.calls % max(1, len(batches)) :] + batches[: self.calls % max(1, len(batches))]


@breaks("F1")
class OrdersByTheNextPass(attent.Feed):
    def batches(self):
        return super().batches()[::-1]


@breaks("F2")
class LooksAcrossAPass(attent.Feed):
    """Begins the next pass when most losses are there, as a loader that prefetches does: the rest count as 0."""

    def record(self, numbers, ids):
        record = super().record(numbers, ids)
        missing = np.flatnonzero(~self._got) if record is None and self._lesson is not None else []
        if len(missing) == 1 and len(self._got) > 2:
            left = self._asked()[missing]
            return super().record(np.zeros(1), left)
        return record

    def _asked(self):
        order = np.argsort(self._place)
        return order[self._place[order] >= 0]


@breaks("F2")
class EndsAPassInSilence(attent.Feed):
    def record(self, numbers, ids):
        super().record(numbers, ids)


@breaks("F3")
class CreditsLossesInTheOrderOfTheBatches(attent.Feed):
    """As a loop does that looks ahead and records by position."""

    def record(self, numbers, ids):
        self.came = [*getattr(self, "came", []), *np.ravel(ids).tolist()]
        return super().record(numbers, ids)

    def _complete(self, lesson):
        places = self._place[[one for one in self.came if one in range(self.n)]]
        self.came = []
        if sorted(places.tolist()) == list(range(len(self._losses))):
            self._losses = self._losses[places]
        return super()._complete(lesson)


@breaks("F8")
class RoundsLossesToHalfPrecision(attent.Feed):
    def record(self, numbers, ids):
        floats = np.asarray(numbers).dtype.kind == "f"
        return super().record(np.float16(numbers) if floats else numbers, ids)


@breaks("F4")
class PassesOverIdsThatItDoesNotKnow(attent.Feed):
    """As a trainer's feed does that is given the losses of an evaluation in between."""

    def record(self, numbers, ids):
        if self._lesson is None:
            self._now()
        found = np.asarray(ids)
        if found.dtype.kind == "i" and found.ndim == 1 and np.shape(numbers) == found.shape:
            known = (found >= 0) & (found < self.n)
            known[known] = self._place[found[known]] >= 0
            return super().record(np.asarray(numbers)[known], found[known])
        return super().record(numbers, ids)


@breaks("F4")
class TakesTheLastOfTwoLosses(attent.Feed):
    def record(self, numbers, ids):
        found = np.asarray(ids)
        if found.dtype.kind == "i" and found.ndim == 1 and ((found >= 0) & (found < self.n)).all():
            self._now()
            places = self._place[found]
            self._got[places[places >= 0]] = False
        return super().record(numbers, ids)


@breaks("F4")
class TakesAMeanForEachExample(attent.Feed):
    def record(self, numbers, ids):
        return super().record(np.broadcast_to(numbers, np.shape(ids)) if np.ndim(numbers) == 0 else numbers, ids)


@breaks("F5")
class TrainsBeforeItHasScored(attent.Feed):
    def batches(self):
        if self.to_score() is None:
            return super().batches()
        return [np.arange(self.n)]


@breaks("F5")
class ScoresEverythingAgain(attent.Feed):
    def to_score(self):
        ids = super().to_score()
        return None if ids is None else np.arange(self.n)

    def record(self, numbers, ids):
        asked = super().to_score()
        if asked is not None and len(np.shape(ids)) == 1 and len(ids) == self.n:
            return super().record(np.asarray(numbers)[asked], asked)
        return super().record(numbers, ids)


@breaks("F6")
class ForgetsThePassUnderWay(attent.Feed):
    def load_state(self, state):
        super().load_state(state)
        self._lesson = None


@breaks("F6")
class KeepsNoDigest(attent.Feed):
    def load_state(self, state):
        from attent.run.feed_state import _digest

        super().load_state({**state, "digest": _digest(state["feed"])})


@breaks("F7")
class CountsWhatIsRecordedAnywhere(attent.Feed):
    @property
    def done(self):
        return 0 if self._lesson is None else int(self._got.sum()) // self.row.batch_size


@breaks("F7")
class DeclaresTheStepsOfFullTraining(attent.Feed):
    @property
    def total_steps(self):
        return self.plan.epochs * -(-self.n // self.plan.batch_size)


@breaks("F8")
class TellsThatAllWasTaught(attent.Feed):
    def trace(self):
        trace = super().trace()
        full = attent.Plan.full(epochs=self.plan.epochs, batch_size=self.plan.batch_size)
        feed = attent.Feed(full, self.n)
        while not feed.finished:
            ids = np.concatenate(feed.batches())
            feed.record(np.ones(len(ids)), ids)
        return feed.trace() if trace.finished else trace
