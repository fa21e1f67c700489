"""Choosing by benefit per cost: what is ranked, what a run counts, and costs that are none. Rule T13."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import attent
from attent import ByGroup, Hard, Noise, PerCost, Plan, Reuse, Soft
from attent.choose.policies import Band
from attent.tests.toy import Toy


def plan_of(select, **changes):
    return Plan(**{"epochs": 3, "batch_size": 4, "ratio": 0.5, "warm_up": 1, "select": select, **changes})


class Costly(Toy):
    """A toy whose examples cost what is given."""

    def __init__(self, given, n=24):
        super().__init__(n)
        self.given = given

    def costs(self):
        return self.given


def test_per_cost_ranks_scores_by_what_they_cost():
    costs = np.array([1.0, 4.0, 2.0, 8.0, 1.0, 3.0])
    scores = np.array([2.0, 4.0, 3.0, 9.0, -1.0, -1.0])  # per cost 2, 1, 1.5, 1.125, -1 and -3
    found = PerCost().choose(scores, 3, Noise(0, 0), costs=costs)
    assert (found.ids.tolist(), found.ranked.tolist()) == ([0, 2, 3], [2, 1, 1.5, 1.125, -1, -3])
    assert PerCost().choose(scores, 5, Noise(0, 0), costs=costs).ids.tolist() == [0, 1, 2, 3, 4]
    soft = Soft(0.3)
    wanted = attent.soft(found.ranked, 3, Noise(4, 0), temperature=0.3, scaling="std")
    assert PerCost(soft).choose(scores, 3, Noise(4, 0), costs=costs).ids.tolist() == wanted.tolist()


def test_a_run_goes_by_costs_of_the_learner():
    learner = Costly(1.0 + np.arange(24) % 3)
    trace = attent.teach(learner, plan_of(PerCost(), source=Reuse()))
    plain = attent.teach(Costly(np.ones(24)), plan_of(Hard()))
    assert trace.ids(1).tolist() != plain.ids(1).tolist()
    scores = plain.selections[0].scores
    assert trace.ids(1).tolist() == attent.hard(scores / learner.given, 12).tolist()
    assert trace.selections[0].scores.tolist() == (scores / learner.given).tolist()  # what was ranked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones(23), "costs must be a float64 array of shape (24,), one cost per example, got float64 (23,)"),
        (np.ones(24, int), "costs must be a float64 array of shape (24,), one cost per example, got int64 (24,)"),
        ([1.0] * 24, "costs must be a float64 array of shape (24,), one cost per example, got list"),
        (np.r_[np.ones(23), 0.0], "costs must be above 0 and finite, got 0.0 for example 23"),
        (np.r_[-2.0, np.ones(23)], "costs must be above 0 and finite, got -2.0 for example 0"),
        (np.r_[1.0, np.nan, np.ones(22)], "costs must be above 0 and finite, got nan for example 1"),
        (np.r_[1.0, np.inf, np.ones(22)], "costs must be above 0 and finite, got inf for example 1"),
    ],
)
@pytest.mark.parametrize("select", [Hard(), PerCost()])
def test_costs_that_are_none_are_told_before_anything_runs(tmp_path, select, given, words):
    learner = Costly(given)
    with pytest.raises(attent.LearnerError) as caught:
        attent.teach(learner, plan_of(select), run=tmp_path / "run")
    assert str(caught.value) == words
    assert (learner.trained, learner.scored, list(tmp_path.rglob("*.json*"))) == ([], 0, [])


def test_who_goes_by_costs_needs_them():
    with pytest.raises(attent.PlanError, match=r"PerCost\(\) goes by costs, and none are known: give the learner"):
        attent.teach(Toy(24), plan_of(PerCost()))


def test_costs_that_change_are_an_error():
    class Rising(Costly):
        def train(self, batches, weights=None):
            self.given = self.given * 2
            return super().train(batches, weights)

    with pytest.raises(
        attent.LearnerError, match=r"costs\(\) changed during the run: example 0 had 1.0 at first, then"
    ):
        attent.teach(Rising(np.ones(24)), plan_of(Hard()))


def test_band_and_others_choose_within_groups_per_cost():
    groups, costs = np.repeat([0, 1], 4), np.array([1.0, 2, 4, 8] * 2)
    policy = ByGroup(PerCost(Band(0.75)))
    assert attent.choose.policy.asks(policy) == {"groups", "costs"}
    found = policy.choose(np.full(8, 8.0), 4, Noise(0, 0), groups=groups, costs=costs)
    assert found.ids.tolist() == [1, 2, 5, 6]  # per cost 8, 4, 2, 1: the first is passed over
    assert dataclasses.replace(policy, share="size") == ByGroup(PerCost(Band(0.75)), "size")


def test_records_tell_what_was_trained_and_scored_in_the_unit_of_costs():
    costs = 1.0 + np.arange(24) % 3
    trace = attent.teach(Costly(costs), plan_of(Hard(), source="fresh"))
    for record in trace.records:
        assert record.cost_trained == costs[trace.ids(record.epoch)].sum()
        assert record.cost_scored == (costs.sum() if record.epoch else 0)
    refreshed = attent.teach(Costly(costs), plan_of(Hard(), source=Reuse(refresh=0.5), epochs=4))
    # Nothing is scored before the first choice; then 12 of 24, counted as their mean.
    assert [record.cost_scored for record in refreshed.records] == [0, 12 * 2.0, 12 * 2.0, 12 * 2.0]
    assert [record.cost_trained for record in attent.teach(Toy(24), plan_of(Hard())).records] == [None] * 3


def test_a_replay_of_scores_per_cost_is_not_divided_again():
    costs = 1.0 + np.arange(24) % 5
    plan = plan_of(PerCost(), source="fresh")
    trace = attent.teach(Costly(costs), plan)
    with pytest.raises(attent.TraceError, match=r"replay is of a run with per_cost.*Replay it by the policy within"):
        attent.teach(Costly(costs), dataclasses.replace(plan, source="replay"), replay=trace)
    again = attent.teach(Costly(costs), dataclasses.replace(plan, select=Hard(), source="replay"), replay=trace)
    assert attent.first_difference(trace, again) is None
