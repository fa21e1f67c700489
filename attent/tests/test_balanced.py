"""Balanced: as many of each group as of any other, against a slow oracle; and the groups it needs. Rule T10."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attent
from attent import Balanced, Course, Noise, Plan
from attent.choose.noise import raw
from attent.tests import oracle
from attent.tests.driving import drive
from attent.tests.toy import Toy


@st.composite
def problems(draw):
    """Draw names of groups, the turns since each example was trained, which examples there are, and k."""
    n = draw(st.integers(2, 40))
    names = draw(st.lists(st.integers(0, 2**40), min_size=2, max_size=6, unique=True))
    groups = np.array(draw(st.lists(st.sampled_from(names), min_size=n, max_size=n)))
    turns = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    some = np.flatnonzero(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    ids = some if len(some) and draw(st.booleans()) else None
    return groups, turns, ids, draw(st.integers(1, n if ids is None else len(ids)))


@given(problems(), st.integers(0, 2**64 - 1), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_it_takes_what_the_oracle_takes(problem, seed, draw):
    groups, turns, ids, k = problem
    n, noise = len(groups), Noise(seed, draw)
    here = np.arange(n) if ids is None else ids
    wanted = oracle.balanced(groups[here], turns[here], k, raw(noise, 0, n)[here], here)
    found = Balanced().choose(np.full(len(here), np.nan), k, noise, ids, groups=groups[here], turns=turns[here])
    assert found.ids.tolist() == wanted
    assert (found.weights, found.how, found.why) == (None, "balanced", {"groups": len(set(groups[here].tolist()))})


@pytest.mark.parametrize(
    ("sizes", "k", "shares"),
    [
        ([9, 9, 9], 9, [3, 3, 3]),
        ([9, 9, 9], 10, [4, 3, 3]),
        ([9, 9, 9], 11, [4, 4, 3]),
        ([9, 2, 9], 9, [4, 2, 3]),  # what the small one cannot give is spread over the others
        ([1, 1, 20], 10, [1, 1, 8]),
        ([1, 3, 20], 10, [1, 3, 6]),
        ([20, 3, 1], 2, [1, 1, 0]),
        ([2, 2], 4, [2, 2]),
    ],
)
def test_shares_are_even_as_far_as_groups_go(sizes, k, shares):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chosen = Balanced().choose(np.zeros(len(groups)), k, Noise(0, 0), groups=groups, turns=np.zeros(len(groups), int))
    assert np.bincount(groups[chosen.ids], minlength=len(sizes)).tolist() == shares


def test_within_a_group_those_trained_longest_ago_come_first_and_others_by_chance():
    groups, turns = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([1, 3, 1, 2, 9, 1, 1, 1])
    chosen = {tuple(Balanced().choose(np.zeros(8), 6, Noise(0, d), groups=groups, turns=turns).ids) for d in range(40)}
    assert {ids[:3] for ids in chosen} == {(0, 1, 3), (1, 2, 3)}
    assert {ids[3:] for ids in chosen} == {(4, 5, 6), (4, 5, 7), (4, 6, 7)}


class Grouped(Toy):
    """A toy of four groups: one that is small, and a large one."""

    def __init__(self, n=24, given=None, **more):
        super().__init__(n, **more)
        self.given = np.minimum(np.arange(n) // 3, 3) if given is None else given

    def groups(self):
        return self.given


SIZES = [3, 3, 3, 15]


def test_every_group_is_covered_in_turn():
    plan = Plan(epochs=16, batch_size=12, ratio=0.5, interval=1, warm_up=1, select=Balanced(), seed=5)
    assert [row.shuffle for row in plan.timeline(24)] == list(range(16))  # each pass an order and a turn of its own
    trace = attent.teach(Grouped(), plan)
    counts = np.zeros(24, int)
    for epoch in range(1, 16):
        counts[trace.ids(epoch)] += 1
        for group in range(4):
            held = counts[Grouped().given == group]
            assert held.max() - held.min() <= 1, (epoch, group)
        assert np.bincount(Grouped().given[trace.ids(epoch)]).tolist() == [3, 3, 3, 3]
    assert counts.tolist() == [15] * 9 + [3] * 15


def test_within_an_epoch_of_passes_none_of_a_large_group_is_taken_twice():
    plan = Plan.balanced(epochs=5, batch_size=4, seed=1)
    assert [row.shuffle for row in plan.timeline(24)] == [0, *np.repeat([1, 2, 3, 4], 3)]
    trace = attent.teach(Grouped(), plan)
    taken = [trace.ids(epoch)[Grouped().given[trace.ids(epoch)] == 3].tolist() for epoch in range(1, 13)]
    assert [len(ids) for ids in taken] == [2] * 12  # 8 of 24: two of each group
    for first in range(0, 12, 3):
        assert len(set(sum(taken[first : first + 3], []))) == 6
    assert len(set(sum(taken[:7], []))) == 14  # of the 15 the longest ago first, across epochs too
    assert sum(record.examples_trained for record in trace.records) == 24 * 5


def test_it_is_the_same_twice_and_another_by_seed():
    plans = [Plan.balanced(epochs=5, batch_size=4, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (
        [trace.ids(e).tolist() for e in range(13)] for trace in (attent.teach(Grouped(), p) for p in plans)
    )
    assert one == same
    assert one != other
    for seed in (7, 8):  # losses change nothing
        assert [attent.teach(Grouped(seed=seed), plans[0]).ids(e).tolist() for e in range(13)] == one


def test_it_never_scores():
    learner = Grouped()
    attent.teach(learner, Plan(epochs=3, batch_size=4, ratio=0.5, select="balanced"))
    assert learner.scored == 0


NEEDS = (
    "Balanced() goes by groups, and none are known: give a backend's learner, feed or trainer groups=..., one per "
    "example, or a learner of your own a method groups() (int64, from 0); or choose by another policy"
)
WRONG = "groups must be an int64 array of shape (24,), one group per example, got "


@pytest.mark.parametrize(
    ("learner", "error", "words"),
    [
        (Toy(24), attent.PlanError, NEEDS),
        (Grouped(given=np.zeros(24, np.int32)), attent.LearnerError, f"{WRONG}int32 (24,)"),
        (Grouped(given=np.zeros(24)), attent.LearnerError, f"{WRONG}float64 (24,)"),
        (Grouped(given=np.arange(23)), attent.LearnerError, f"{WRONG}int64 (23,)"),
        (Grouped(given=np.zeros((24, 1), int)), attent.LearnerError, f"{WRONG}int64 (24, 1)"),
        (Grouped(given=[0, 1] * 12), attent.LearnerError, f"{WRONG}list"),
        (
            Grouped(given=np.arange(24) - 2),
            attent.LearnerError,
            "groups must be at least 0, got -2 for example 0",
        ),
        (
            Grouped(given=np.full(24, 3)),
            attent.LearnerError,
            "groups must be two or more, got one (3) for all 24 examples",
        ),
    ],
    ids=["none", "int32", "float64", "short", "matrix", "list", "negative", "one"],
)
def test_groups_that_are_none_are_told_before_anything_runs(tmp_path, learner, error, words):
    with pytest.raises(error) as caught:
        attent.teach(learner, Plan.balanced(epochs=3, batch_size=4), run=tmp_path / "run")
    assert str(caught.value) == words
    assert (learner.trained, learner.scored, list(tmp_path.rglob("*.json*"))) == ([], 0, [])


def test_who_does_not_go_by_groups_asks_for_none():
    class Broken(Toy):
        def groups(self):
            raise RuntimeError("not asked")

    assert attent.teach(Broken(24), Plan(epochs=2, batch_size=4, warm_up=1)).finished


def test_a_course_goes_on_only_with_the_groups_it_began_with():
    plan, groups = Plan.balanced(epochs=3, batch_size=4), Grouped().given
    course = Course(plan, 24, groups=groups)
    drive_one(course)
    with pytest.raises(attent.CourseError, match="of a course with other reference losses, replay, groups or costs"):
        Course(plan, 24, groups=groups[::-1].copy()).load_state(course.state())
    again = Course(plan, 24, groups=groups.copy())
    again.load_state(course.state())
    assert drive(again, lambda epoch: np.ones(24)) == drive(course, lambda epoch: np.ones(24))


def drive_one(course):
    course.record(np.ones(sum(map(len, course.next().batches))))


def test_groups_given_without_need_change_nothing():
    plan = Plan(epochs=3, batch_size=4, warm_up=1)
    course = Course(plan, 24, groups=Grouped().given)
    drive_one(course)
    Course(plan, 24).load_state(course.state())
    assert dataclasses.replace(plan, select=Balanced()).unit == "pass"
