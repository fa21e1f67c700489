"""Training on all examples, as long as something else costs; and which of two values of a metric is better."""

from __future__ import annotations

import pytest

from attent import Plan
from attent.judging.metrics import better
from attent.plan.cost import full_plan, same_training, short_plan

PLANS = {
    "default": Plan.default(epochs=12, batch_size=32),
    "paper": Plan.paper(epochs=30, batch_size=64),
    "official": Plan.official(epochs=40, batch_size=16, cycles=5),
    "simple": Plan.official_simple(epochs=7, batch_size=10),
    "dearer than full": Plan(epochs=5, batch_size=8, ratio=0.95, source="fresh"),
    "cheaper than an epoch": Plan(epochs=2, batch_size=4, ratio=0.1, select="random"),
    "whole epochs": Plan(epochs=3, batch_size=10, ratio=0.5, warm_up=1, select="random"),
    "full": Plan.full(epochs=4, batch_size=8),
}


@pytest.mark.parametrize("share", [0.0, 1 / 3, 0.44])
@pytest.mark.parametrize("n", [7, 100, 1437])
@pytest.mark.parametrize("name", PLANS)
def test_the_short_arm_costs_what_the_taught_arm_costs(name, n, share):
    plan = PLANS[name]
    short = short_plan(plan, n, share)
    cost, taught = short.cost(n, share), plan.cost(n, share)
    assert cost.examples_scored == 0
    half = min(plan.batch_size, n) / 2
    assert abs(cost.examples_trained - taught.epochs * n) <= half + 0.5
    assert short.epochs == 1 or short.timeline(n)[-1].k >= half
    rows = short.timeline(n)
    assert all(row.k == n for row in rows[:-1])  # only the last epoch may be a part of one
    assert (short.batch_size, short.seed) == (plan.batch_size, plan.seed)


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, [100]), (0.51, [100]), (0.52, [100, 4]), (0.4, [80]), (0.01, [2])])
def test_the_short_arm_takes_no_step_on_less_than_half_a_batch(ratio, kept):
    plan = Plan(epochs=2, batch_size=8, ratio=ratio, select="random")
    assert [row.k for row in short_plan(plan, 100, 1 / 3).timeline(100)] == kept


def test_training_on_everything_is_the_same_however_it_is_written():
    everything = Plan(epochs=3, batch_size=8, ratio=1.0)
    assert same_training(everything, full_plan(everything), 50)
    assert not same_training(everything, Plan.full(epochs=3, batch_size=8, seed=1), 50)
    assert not same_training(everything, Plan.full(epochs=4, batch_size=8), 50)
    assert not same_training(Plan(epochs=3, batch_size=8, ratio=0.5), full_plan(everything), 50)


@pytest.mark.parametrize(
    ("metric", "one", "other", "expected"),
    [
        ("accuracy", 0.9, 0.8, True),
        ("accuracy", 0.8, 0.8, False),
        ("loss", 0.2, 0.3, True),
        ("test_loss", 0.3, 0.2, False),
        ("word_error", 0.2, 0.3, True),
        ("gloss", 0.3, 0.2, True),
        ("loss", None, 0.3, False),
        ("loss", 0.3, None, True),
        ("loss", None, None, False),
    ],
)
def test_which_of_two_values_is_better(metric, one, other, expected):
    assert better(metric, one, other) is expected
