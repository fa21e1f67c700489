"""`Auto` by loss per cost: which ids, the signs that costs do not move, and what a pass of it may cost."""

import dataclasses

import numpy as np
import pytest

import attent
from attent import Auto, Course, Noise, PerCost, Plan, Soft
from attent.choose.scores import deviations
from attent.plan.cost import InUnit, cost_in_unit
from attent.tests.driving import drive
from attent.tests.toy import Toy

N = 100
COSTS = np.where(np.arange(N) % 2, 4.0, 1.0)


def losses_of(level):
    """Return losses by epoch: of 100 examples 70 have this loss; the other 30 are hard and fall, fastest at once."""
    hard = np.r_[np.full(70, level), np.linspace(2.0, 3.0, 30)]
    return lambda epoch: hard * np.r_[np.ones(70), np.full(30, 0.7 ** (epoch + 1 if epoch else 0))]


def choices(plan, losses, costs=COSTS):
    """Return how, why and which of each choice of a run."""
    course, found = Course(plan, N, costs=costs), []
    while not isinstance(lesson := course.next(), attent.Done):
        if course.selection is not None and course.step == 0:
            found.append((course.selection.how, dict(course.selection.why), course.ids.tolist()))
        course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
    return found


def test_the_hardest_are_those_of_most_loss_per_cost():
    losses, plan = losses_of(0.12), Plan.auto(epochs=4, batch_size=10, seed=5, per_cost=True)
    (how, why, first), (_, _, rest) = choices(plan, losses)[:2]
    assert (how, why["sign"], len(first), len(rest)) == ("hardest", "known", 10, 20)
    # 2 to 3 over a cost of 4 are more than .12 over 1; beside a cost of 30 they are not.
    per_cost = deviations(losses(0) / COSTS, bonus=0.2, ages=np.zeros(N, int))
    assert sorted(first + rest) == attent.hard(per_cost, 30).tolist() == [*range(70, 100)]
    dear = np.where(np.arange(N) < 90, 1.0, 30.0)  # the ten that are hardest
    (_, _, first), (_, _, rest) = choices(plan, losses, dear)[:2]
    assert sorted(first + rest) == [*range(10), *range(70, 90)]


def test_a_soft_choice_draws_by_loss_per_cost():
    losses, plan = losses_of(0.3), Plan.auto(epochs=4, batch_size=10, seed=5, per_cost=True)
    how, why, ids = choices(plan, losses)[0]
    assert (how, why["sign"]) == ("soft", "uneven")
    whole = attent.soft(losses(0) / COSTS, 30, Noise(5, 0), temperature=1.0, scaling="std").tolist()
    assert ids == [14, 18, 35, 43, 70, 72, 78, 84, 88, 92]  # a third of it, drawn evenly
    assert set(ids) <= set(whole)
    assert not set(choices(Plan.auto(epochs=4, batch_size=10, seed=5), losses)[0][2]) <= set(whole)


@pytest.mark.parametrize("level", [0.12, 0.3])
def test_costs_move_no_sign_at_first_sight(level):
    both = [
        choices(Plan.auto(epochs=4, batch_size=10, seed=5, per_cost=per), losses_of(level))[0] for per in (0 > 1, True)
    ]
    assert both[0][:2] == both[1][:2]


def test_in_turn_costs_do_not_count():
    whole = np.ones(N)
    plain, per_cost = (
        choices(Plan.auto(epochs=4, batch_size=10, seed=5, per_cost=per), lambda epoch: whole) for per in (False, True)
    )
    assert plain == per_cost
    assert {how for how, _, _ in plain} == {"in turn"}


@pytest.mark.parametrize("level", [0.12, 0.3])
def test_where_all_cost_alike_it_is_auto(level):
    plan, per_cost = (Plan.auto(epochs=6, batch_size=10, seed=5, per_cost=per) for per in (False, True))
    alike = np.full(N, 8.0)  # a power of two: no score changes by a bit but for its exponent
    assert choices(plan, losses_of(level), alike) == choices(per_cost, losses_of(level), alike)


def test_what_is_ranked_is_kept_over_the_cost():
    plan = Plan.auto(epochs=4, batch_size=10, seed=5, per_cost=True)
    course = Course(plan, N, costs=COSTS)
    losses = losses_of(0.3)
    while course.epoch == 0:
        course.record(losses(0)[np.concatenate(course.next().batches)])
    course.next()
    assert course.ranked.tolist() == (losses(0) / COSTS).tolist()


def test_the_preset_is_auto_within_per_cost():
    plan = Plan.auto(epochs=4, batch_size=8, keep=0.1, per_cost=True)
    assert plan == dataclasses.replace(Plan.auto(epochs=4, batch_size=8), select=PerCost(Auto(bonus=0.2, keep=0.1)))
    assert (plan.unit, plan.full_epochs, plan.to_dict()["select"]) == (
        "pass", 4, "per_cost(inner=auto(bonus=0.2, keep=0.1))",
    )  # fmt: skip
    assert Plan.from_dict(plan.to_dict()) == plan
    given = Plan.auto(epochs=4, batch_size=8, select="per_cost(auto(soft=soft(temperature=2.0)))")
    assert given.select == PerCost(Auto(soft=Soft(temperature=2.0)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"per_cost": 1}, "per_cost must be true or false, got 1"),
        (
            {"per_cost": True, "select": Auto()},
            "per_cost belongs to the policy where one is given: select=PerCost(Auto())",
        ),
        ({"select": "per_cost(hard)"}, "select must count passes, as Auto() does, got PerCost()"),
        ({"select": "per_cost(per_cost(auto))"}, "inner must be a policy that goes by scores, got per_cost"),
    ],
)
def test_what_cannot_be_asked(fields, words):
    with pytest.raises(attent.PlanError) as error:
        Plan.auto(epochs=4, batch_size=8, **fields)
    assert words in str(error.value)


def test_a_learner_without_costs_is_told_before_anything_is_trained(tmp_path):
    learner, plan = Toy(24), Plan.auto(epochs=2, batch_size=4, per_cost=True)
    with pytest.raises(attent.PlanError, match=r"PerCost\(inner=Auto\(bonus=0.2\)\) goes by costs, and none are known"):
        attent.teach(learner, plan, run=tmp_path / "run")
    assert (learner.trained, learner.scored, list(tmp_path.rglob("*.json*"))) == ([], 0, [])


def test_what_a_plan_may_cost_in_the_unit_of_costs_holds_whatever_it_chooses():
    plan = Plan.auto(epochs=4, batch_size=10, per_cost=True)
    whole, chosen = cost_in_unit(plan, COSTS)
    # All cost 250; two epochs of passes of 30 (cut in two), 40 and 30: their cheapest cost as many, their dearest four
    # times that.
    assert chosen == InUnit(40.0, 100.0, 160.0)
    assert whole == InUnit(2 * 250 + 2 * 100, 4 * 250, 2 * 250 + 2 * 400)
    dear = np.where(np.arange(N) < 90, 1.0, 31.0)
    taught, _ = drive(Course(plan, N, costs=dear), losses_of(0.3))
    ends = cost_in_unit(plan, dear)[0]
    # Both ends on all; softly in two, the hardest, and a pass in turn that takes what was left.
    assert [dear[ids].sum() for ids in taught] == [400, 70, 50, 40, 30, 30, 40, 330, 400]
    assert ends.least <= 1390 < ends.about == 1600
    assert cost_in_unit(Plan.full(epochs=2, batch_size=10), COSTS) == (InUnit(500, 500, 500), InUnit(0, 0, 0))
    fresh = Plan(epochs=2, batch_size=10, warm_up=1, ratio=0.2, source="fresh")
    assert cost_in_unit(fresh, COSTS, 0.5)[0] == InUnit(250 + 125 + 20, 250 + 125 + 50, 250 + 125 + 80)
