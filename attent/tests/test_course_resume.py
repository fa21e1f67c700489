"""Stopped after any lesson and resumed, a run is the same run: for every built-in policy and source. Rule R1."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import attent
from attent import (
    Band,
    Course,
    Done,
    Fresh,
    Hard,
    InfoBatch,
    InTurn,
    Plan,
    Pool,
    Proxy,
    Random,
    Replay,
    Reuse,
    Score,
    Soft,
)
from attent.choose import built_in, sources
from attent.tests.test_policy import Alternate
from attent.tests.toy import Toy, drive


@dataclasses.dataclass(frozen=True)
class Counts:
    """The hardest and the easiest by turns, told apart by a memory that it changes where it was given it."""

    def choose(self, scores, k, noise, ids=None, *, memory):
        memory = memory or {"turns": [0]}
        memory["turns"][0] += 1
        sign = 1 if memory["turns"][0] % 2 else -1
        return attent.Choice(attent.hard(sign * scores, k, ids=ids), memory=memory)


N = 66  # signs of what is learnt need 60 examples
BASE = Plan(epochs=5, batch_size=11, ratio=0.4, warm_up=1, cool_down=1, seed=6)
PASSES = {"epochs": 4, "batch_size": 11, "seed": 6}
PLANS = {
    "hard": BASE,
    "soft": dataclasses.replace(BASE, select=Soft(temperature=0.3)),
    "soft corrected": dataclasses.replace(BASE, select=Soft(correction=3.0), interval=2),
    "random": dataclasses.replace(BASE, select=Random()),
    "band": dataclasses.replace(BASE, select=Band(), cycle=3, reselect=True),
    "infobatch": Plan.infobatch(epochs=5, batch_size=11),
    "in turn": dataclasses.replace(BASE, select=InTurn()),
    "in turn, the hardest": dataclasses.replace(BASE, select=InTurn(ties=Hard()), ratio=0.7),
    "balanced": Plan.balanced(**PASSES),
    "tempered": Plan.balanced(**PASSES, select=attent.Tempered(to=0)),
    "by group": Plan.balanced(**PASSES, select=attent.ByGroup(Soft(), "speed", to="loss")),
    "by group corrected": Plan.balanced(**PASSES, select=attent.ByGroup(Soft(), (3, 2, 0, 0, 1), correction=4)),
    "per cost": dataclasses.replace(BASE, select=attent.PerCost()),
    "auto": Plan.auto(**PASSES),
    "auto per cost": Plan.auto(**PASSES, per_cost=True),
    "alternate": dataclasses.replace(BASE, select=Alternate()),
    "counts": dataclasses.replace(BASE, select=Counts()),
    "bonus": dataclasses.replace(BASE, source=Reuse(bonus=0.5)),
    "progress": dataclasses.replace(BASE, source=Reuse(measure="progress", bonus=0.1), warm_up=2),
    "refresh": dataclasses.replace(BASE, source=Reuse(refresh=0.3)),
    "no warm-up": dataclasses.replace(BASE, warm_up=0),
    "fresh": dataclasses.replace(BASE, source=Fresh(), select=Soft(), reselect=True, interval=2),
    "pool": dataclasses.replace(BASE, source=Pool(share=0.6), warm_up=0),
    "proxy": dataclasses.replace(BASE, source=Proxy()),
    "proxy pool": dataclasses.replace(BASE, source=Proxy(share=0.5), select=InfoBatch()),
    "replay": dataclasses.replace(BASE, source=Replay(), select=Soft()),
    "drop": dataclasses.replace(BASE, select=Soft(), non_finite="drop", source=Fresh()),
    "last": dataclasses.replace(BASE, select=Alternate(), non_finite="last", ratio=0.99),
}


def test_every_built_in_policy_and_source_is_among_them():
    assert {type(plan.select) for plan in PLANS.values()} == {*built_in.BUILT_IN.values(), Alternate, Counts}
    assert {type(plan.source) for plan in PLANS.values()} == set(sources.BUILT_IN.values())


class Level(Toy):
    """Losses that are alike but for a few: some are hard, of which an automatic plan makes something."""

    def __init__(self, n=N, level=1.0):
        super().__init__(n)
        self.data = np.r_[np.full(n - 12, level), np.linspace(2.5, 3.5, 12)]


class Sick(Level):
    """Two examples whose loss is never a number."""

    def score(self, ids):
        return np.where(np.isin(ids, [5, 60]), np.nan, super().score(ids))

    def train(self, batches, weights=None):
        return np.where(np.isin(np.concatenate(batches), [5, 60]), np.inf, super().train(batches, weights))


def course_of(plan, replay):
    return Course(plan, N, segment_steps=1, replay=replay, groups=np.arange(N) ** 2 % 5, costs=1.0 + np.arange(N) % 7)


def replay_of(plan):
    """Return the scores of an earlier run where the plan goes by some."""
    if not isinstance(plan.source, Replay):
        return None
    earlier = attent.teach(Level(), dataclasses.replace(plan, source=Reuse(bonus=0.5)))
    return {draw: taught.scores for draw, taught in earlier.selections.items()}


def check_resumed_anywhere(plan, learner_of):
    """Compare a run that stops after each of its lessons in turn, and is resumed there, with one that does not stop.

    Return the records of the one that does not.
    """
    replay, whole = replay_of(plan), learner_of()
    course = course_of(plan, replay)
    lessons, records = [], []
    while not isinstance(lesson := course.next(), Done):
        lessons.append([lesson.ids.tolist()] if isinstance(lesson, Score) else [ids.tolist() for ids in lesson.batches])
        records += drive(course, whole, lessons=1)
    end = {name: array.tobytes() for name, array in course.state().items()}
    for stop in range(len(lessons) + 1):
        first, begun = learner_of(), course_of(plan, replay)
        before = drive(begun, first, lessons=stop)
        state = begun.state()
        if stop % 2:  # a lesson that is handed out and never recorded, of a selection that was made
            begun.next()
            state = begun.state()
        second, resumed = learner_of(), course_of(plan, replay)
        second.load_state(first.state())
        resumed.load_state({name: array.copy() for name, array in state.items()})
        rest, after = [], []
        while not isinstance(lesson := resumed.next(), Done):
            rest.append([lesson.ids.tolist()] if isinstance(lesson, Score) else [i.tolist() for i in lesson.batches])
            after += drive(resumed, second, lessons=1)
        assert rest == lessons[stop:], stop
        assert before + after == records
        assert first.weights + second.weights == whole.weights
        assert second.guess.tobytes() == whole.guess.tobytes()
        assert {name: array.tobytes() for name, array in resumed.state().items()} == end
    return records


@pytest.mark.parametrize("name", PLANS)
def test_resumed_after_any_lesson_it_teaches_the_same(name):
    records = check_resumed_anywhere(PLANS[name], Sick if name in ("drop", "last") else Level)
    assert len(records) == PLANS[name].epochs
    assert any(record.selection is not None for record in records)


@pytest.mark.parametrize(
    ("level", "rate", "hows"),
    [
        (0.7, 0.3, {"hardest", "in turn"}),
        (1.0, 0.08, {"soft", "in turn"}),
        (1.0, 0.13, {"soft"}),
        (2.4, 0.2, {"in turn"}),
    ],
)
def test_what_auto_remembers_is_taken_up(level, rate, hows):
    def learner():
        made = Level(level=level)
        made.rate = rate
        return made

    records = check_resumed_anywhere(Plan.auto(**{**PASSES, "epochs": 5}), learner)
    assert {record.selection.how for record in records if record.selection is not None} == hows
