"""Whole taught runs, several plans one after another on one learner, told epoch by epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from attent.choose.gumbel import Keys, is_zero
from attent.choose.noise import Noise
from attent.choose.policies import Band, Hard, Soft
from attent.choose.rules import count
from attent.choose.scaling import scale
from attent.choose.sources import share_of
from attent.learner import Ids, Learner, Numbers
from attent.plan.plan import Plan
from attent.run.course import Course, Done, Score
from attent.run.records import digest_of


@dataclass(frozen=True)
class TaughtEpoch:
    """One epoch: what was selected for it, from which ranked numbers, and a digest of its batches in order.

    ``ids`` and ``scores`` are None where nothing was selected for it.
    """

    plan: str
    epoch: int
    draw: int
    k: int
    ids: Ids | None
    scores: Numbers | None
    batches: str

    @property
    def digests(self) -> list[str]:
        """The digest of the selection, empty where there was none, and that of the batches."""
        return ["" if self.ids is None else digest_of(self.ids), self.batches]


def taught(learner: Learner, plans: Mapping[str, Plan]) -> Iterator[TaughtEpoch]:
    """Take a learner through the plans in order, yielding each epoch as it ends. Example i costs 1 + i mod 5.

    Example:
        >>> import attent
        >>> from attent_conformance.runs import taught
        >>> from attent_conformance.subject import numpy_learner
        >>> from attent_conformance.tasks import task
        >>> plan = attent.Plan(epochs=1, batch_size=24, ratio=0.25, source="fresh")
        >>> [len(epoch.ids) for epoch in taught(numpy_learner(task("classes")), {"hard": plan})]
        [24]
    """
    for name, plan in plans.items():
        course = Course(plan, len(learner), costs=1.0 + np.arange(len(learner)) % 5)
        batches = hashlib.sha256()
        chosen: tuple[Ids | None, Numbers | None] = (None, None)
        while not isinstance(lesson := course.next(), Done):
            if isinstance(lesson, Score):
                course.record(learner.score(lesson.ids))
                continue
            if course.selection is not None and course.step == 0:
                assert course.ids is not None  # a selection leaves its ids
                chosen = course.ids, course.ranked.copy()
            for ids in lesson.batches:
                batches.update(digest_of(ids).encode())
            draw, epoch = course.draw - 1, course.epoch
            record = course.record(learner.train(lesson.batches, lesson.weights))
            if record is not None:
                yield TaughtEpoch(name, epoch, draw, record.k, *chosen, batches.hexdigest())
                batches, chosen = hashlib.sha256(), (None, None)


def keys(plan: Plan, scores: Numbers, draw: int) -> Numbers | None:
    """Return the numbers that a selection orders examples by, None where no single order of all decides.

    That is a policy that looks at no score, chooses by turns, or chooses among a part.
    """
    select = plan.select
    if share_of(plan.source) < 1 or not isinstance(select, Hard | Soft | Band):
        return None
    if isinstance(select, Soft) and not is_zero(select.temperature):
        every = np.arange(len(scores), dtype=np.int64)
        return Keys(scale(scores, select.scaling), Noise(plan.seed, draw), select.temperature).exact(every)
    return scores


def gap(plan: Plan, ordering: Numbers, k: int) -> float:
    """Return the smallest distance, at the cuts of a selection, between the last taken and the first left."""
    n = len(ordering)
    passed = min(n - count(plan.select.cap, n), n - k) if isinstance(plan.select, Band) else 0
    descending = np.sort(ordering)[::-1]
    cuts = [at for at in (passed, passed + k) if 0 < at < n]
    return min((float(descending[at - 1] - descending[at]) for at in cuts), default=np.inf)


def nearest(ordering: Numbers, k: int, most: int = 4) -> Ids:
    """Return the ids that lie nearest to the cut below the k-th highest."""
    cut = np.sort(ordering)[::-1][k - 1]
    return np.argsort(np.abs(ordering - cut), kind="stable")[:most]
