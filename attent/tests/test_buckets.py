"""Batches of examples that cost alike (rule T14): the exact batches, the same ids, in parts, resumed, in every arm."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import attent
from attent.choose.noise import ORDER, Noise, raw_at
from attent.errors import CourseError, PlanError
from attent.judging.arms import Question, plans_of, read_policies
from attent.tests.toy import Toy, drive

N, SIZE = 107, 8
COSTS = np.random.default_rng(3).integers(1, 40, N).astype(np.float64)  # with ties
PLANS = {
    "full": attent.Plan.full(epochs=3, batch_size=SIZE),
    "auto": attent.Plan.auto(epochs=4, batch_size=SIZE),
    "default": attent.Plan.default(epochs=4, batch_size=SIZE),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=SIZE),
    "per_cost": attent.Plan.default(epochs=4, batch_size=SIZE, select="per_cost"),
}
EVERY = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
BUCKETS = pytest.mark.parametrize("bucket", [2, 3, 50])


def by_definition(ids, row, seed, bucket):
    """The batches of a pass, straight from the rule, one example at a time."""
    noise = raw_at(Noise(seed, ORDER + row.shuffle), ids)
    order = [example for _, example in sorted(zip(noise.tolist(), ids.tolist(), strict=True))]
    whole = len(order) // SIZE
    batches = []
    for start in range(0, whole, bucket):
        some = order[start * SIZE : min(start + bucket, whole) * SIZE]
        place = {example: at for at, example in enumerate(some)}
        some.sort(key=lambda example: (-COSTS[example], place[example]))
        cut = [some[at : at + SIZE] for at in range(0, len(some), SIZE)]
        batches += sorted(cut, key=lambda batch: min(place[example] for example in batch))
    return batches + ([order[whole * SIZE :]] if len(order) > whole * SIZE else [])


def driven(course, state_after=None):
    """Each pass's batches and weights, and the trace's ids; losses depend on the id and on how often it was seen."""
    seen, passes, lessons = np.zeros(N), {}, 0
    while not isinstance(lesson := course.next(), attent.Done):
        if isinstance(lesson, attent.Score):
            course.record(1.0 + np.sin(lesson.ids))
            continue
        ids = np.concatenate(lesson.batches)
        passes.setdefault(course.epoch, []).extend(batch.tolist() for batch in lesson.batches)
        course.record(2.0 + np.sin(ids * (1.0 + seen[ids])))
        seen[ids] += 1
        lessons += 1
        if lessons == state_after:
            state, course = course.state(), attent.Course(course.plan, N, segment_steps=2, costs=COSTS)
            course.load_state(state)
    return passes


@EVERY
@BUCKETS
def test_the_batches_are_those_of_the_rule(plan, bucket):
    plan = dataclasses.replace(plan, bucket=bucket)
    passes = driven(attent.Course(plan, N, costs=COSTS))
    rows = plan.timeline(N)
    assert len(passes) == len(rows)
    for row in rows:
        ids = np.sort(np.concatenate(passes[row.epoch]))
        assert passes[row.epoch] == by_definition(ids, row, plan.seed, bucket)
        assert [len(batch) for batch in passes[row.epoch]] == [SIZE] * (row.k // SIZE) + [row.k % SIZE] * (
            row.k % SIZE > 0
        )


@EVERY
@BUCKETS
def test_each_pass_takes_the_ids_that_it_takes_without(plan, bucket):
    grouped, without = (
        driven(attent.Course(each, N, costs=COSTS)) for each in (dataclasses.replace(plan, bucket=bucket), plan)
    )
    for epoch, batches in without.items():
        assert sorted(sum(grouped[epoch], [])) == sorted(sum(batches, []))
        assert grouped[epoch] != batches


@EVERY
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_neither_parts_nor_a_stop_change_a_batch(plan, steps):
    plan = dataclasses.replace(plan, bucket=3)
    whole = driven(attent.Course(plan, N, costs=COSTS))
    assert driven(attent.Course(plan, N, segment_steps=steps, costs=COSTS)) == whole
    assert driven(attent.Course(plan, N, segment_steps=steps, costs=COSTS), state_after=4) == whole


def test_batches_hold_what_costs_alike_and_come_in_an_order_that_tells_nothing_of_it():
    plan = attent.Plan.full(epochs=1, batch_size=SIZE, bucket=50)
    firsts, shares = [], []
    for seed in range(200):
        batches = driven(attent.Course(dataclasses.replace(plan, seed=seed), N, costs=COSTS))[0]
        dearest = [COSTS[batch].max() for batch in batches]
        shares.append(sum(COSTS) / sum(most * len(batch) for most, batch in zip(dearest, batches, strict=True)))
        firsts.append(int(np.argmax(dearest[:-1])))
    assert np.mean(shares) > 0.85  # at random .55
    counts = np.bincount(firsts, minlength=N // SIZE)
    assert counts.min() >= 5  # of 200 about 15 in each of 13 places
    assert counts.max() <= 30


def test_a_plan_without_buckets_is_written_as_it_always_was():
    plan = attent.Plan.default(epochs=3, batch_size=SIZE)
    assert "bucket" not in plan.to_dict()
    grouped = dataclasses.replace(plan, bucket=4)
    assert grouped.to_dict() == {**plan.to_dict(), "bucket": 4}
    assert attent.Plan.from_dict(grouped.to_dict()) == grouped


@pytest.mark.parametrize("given", [0, 1, -3, 2.5, True, "50"])
def test_a_bucket_of_fewer_than_two_batches_is_refused(given):
    with pytest.raises(PlanError, match="bucket must be a whole number of at least 2"):
        attent.Plan.full(epochs=1, batch_size=SIZE, bucket=given)


def test_teach_and_a_feed_train_the_batches_of_a_course():
    class Costly(Toy):
        def costs(self):
            return COSTS

    plan = attent.Plan.auto(epochs=4, batch_size=SIZE, bucket=3)
    learner, driven_by_hand, fed = Costly(N), Toy(N), Toy(N)
    trace = attent.teach(learner, plan)
    drive(attent.Course(plan, N, costs=COSTS), driven_by_hand)
    feed = attent.Feed(plan, N, costs=COSTS)
    while not feed.finished:
        for ids in feed.batches():
            feed.record(fed.train([ids]), ids)
    assert learner.trained == driven_by_hand.trained == fed.trained
    assert attent.first_difference(trace, feed.trace()) is None
    with pytest.raises(PlanError, match="bucket=3 goes by costs, and none are known: give the learner a method costs"):
        attent.teach(Toy(N), plan)


def test_costs_are_needed():
    plan = attent.Plan.full(epochs=1, batch_size=SIZE, bucket=4)
    for make in (attent.Course, attent.Feed):
        with pytest.raises(PlanError, match="bucket=4 goes by costs, and none are known"):
            make(plan, N)


@pytest.mark.parametrize(("one", "other"), [(None, 4), (4, None), (4, 5)])
def test_a_run_goes_on_with_its_own_buckets_only(one, other):
    plan = attent.Plan.default(epochs=3, batch_size=SIZE)
    courses = [attent.Course(dataclasses.replace(plan, bucket=each), N, costs=COSTS) for each in (one, other)]
    with pytest.raises(CourseError, match=f"bucket was {one}, is {other}"):
        courses[1].load_state(courses[0].state())


def test_a_run_goes_on_with_its_own_costs_only():
    plan = attent.Plan.default(epochs=3, batch_size=SIZE, bucket=4)
    first, second = attent.Course(plan, N, costs=COSTS), attent.Course(plan, N, costs=COSTS + 1)
    with pytest.raises(CourseError, match="other reference losses, replay, groups or costs"):
        second.load_state(first.state())


def arms(given, suggested):
    against = ("full", "short", "random", "balanced")
    question = Question("mine", given, 6, SIZE, [0.5, 1], against, suggested=suggested)
    return {name: plan.bucket for name, (plan, _) in plans_of(question, n=N, batch_size=SIZE, seed=0).items()}


def test_all_arms_of_a_judgement_are_bucketed_alike():
    policies = read_policies(["rs2", "auto", "default"])
    assert set(arms(policies, {}).values()) == {None}
    assert set(arms(policies, {"bucket": 7}).values()) == {7}
    mine = attent.Plan.default(epochs=6, batch_size=SIZE, bucket=9)
    assert set(arms({**policies, "mine": mine}, {}).values()) == {9}
    with pytest.raises(PlanError, match="bucket is the same for all arms, got 9 in 'mine', 4 in 'other'"):
        arms({"mine": mine, "other": dataclasses.replace(mine, bucket=4)}, {})
    with pytest.raises(PlanError, match="bucket is the same for all arms"):
        read_policies(["greedy:default,bucket=4"])
