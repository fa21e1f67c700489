"""What a taught run is held against, and what the comparison may say."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from attent import Plan
from attent.cli.arms import arm_plans, names_against
from attent.cli.fields import OptionError
from attent.cli.results import ArmResult, Report
from attent.cli.verdict import measured_forward_share, verdict
from attent.judging.metrics import better
from attent.plan.cost import full_plan, same_training, short_plan
from attent.run.records import Seconds


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("full,short", ("full", "short")),
        (" random , full, random", ("random", "full")),
        ("none", ()),
    ],
)
def test_arms_are_named_by_commas(text, names):
    assert names_against(text) == names


@pytest.mark.parametrize(("text", "bad"), [("fulll", "fulll"), ("full,none", "none"), ("", ""), ("taught", "taught")])
def test_an_arm_that_is_unknown_is_named(text, bad):
    with pytest.raises(OptionError, match=f"run.against must be some of full, short, random, or none, got '{bad}'"):
        names_against(text, "run.against")


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


def test_arms_share_batch_size_seed_and_policy():
    plan = Plan(epochs=4, batch_size=8, ratio=0.5, select="hard", source="fresh", seed=9, non_finite="last")
    plans = arm_plans(plan, 100, ("full", "short", "random"), 1 / 3)
    assert list(plans) == ["taught", "full", "short", "random"]
    assert plans["taught"] is plan
    assert plans["full"] == Plan(epochs=4, batch_size=8, warm_up=4, seed=9, non_finite="last")
    assert plans["random"] == dataclasses.replace(plan, select="random")
    assert {one.non_finite for one in plans.values()} == {"last"}
    assert [row.k for row in plans["short"].timeline(100)] == [100, 100, 100, 33]


def test_training_on_everything_is_the_same_however_it_is_written():
    everything = Plan(epochs=3, batch_size=8, ratio=1.0)
    assert same_training(everything, full_plan(everything), 50)
    assert not same_training(everything, Plan.full(epochs=3, batch_size=8, seed=1), 50)
    assert not same_training(everything, Plan.full(epochs=4, batch_size=8), 50)
    assert not same_training(Plan(epochs=3, batch_size=8, ratio=0.5), full_plan(everything), 50)


def arm(name, quality, trained=500, scored=0, seconds=None):
    return ArmResult(
        name=name, epochs=10, examples_scored=scored, examples_trained=trained, steps=50,
        seconds=seconds or Seconds(0.0, 0.0, 1.0), quality=quality, plan={},
    )  # fmt: skip


def report(*arms, **changes):
    fields = {
        "attent": "0", "versions": {}, "recipe": "r", "backend": "numpy", "options": {}, "n": 100, "epochs": 10,
        "forward_share": 0.5, "arms": list(arms),
    }  # fmt: skip
    return Report(**{**fields, **changes})


FULL = arm("full", {"accuracy": 0.9, "loss": 0.2}, trained=1000)


@pytest.mark.parametrize(
    ("taught", "short", "said"),
    [
        ((0.8, 0.3), (0.7, 0.4), "Taught beats the short arm, full data at the same cost: accuracy 0.8 (short: 0.7), "
                                 "loss 0.3 (short: 0.4). This is one run with one seed, which proves nothing yet."),
        ((0.7, 0.4), (0.8, 0.3), "The short arm, full data at the same cost, did better: accuracy 0.7 (short: 0.8), "
                                 "loss 0.4 (short: 0.3). Teaching did not pay here, in this single run."),
        ((0.7, 0.4), (0.7, 0.4), "The short arm, full data at the same cost, did as well: accuracy 0.7 (short: 0.7), "
                                 "loss 0.4 (short: 0.4). Teaching did not pay here, in this single run."),
        ((0.7, 0.3), (0.8, 0.4), "Against the short arm, full data at the same cost, taught is ahead by loss and "
                                 "behind by accuracy: accuracy 0.7 (short: 0.8), loss 0.3 (short: 0.4). "
                                 "This single run does not show that teaching pays."),
        ((0.8, 0.5), (0.7, 0.4), "Against the short arm, full data at the same cost, taught is ahead by accuracy and "
                                 "behind by loss: accuracy 0.8 (short: 0.7), loss 0.5 (short: 0.4). "
                                 "This single run does not show that teaching pays."),
        ((0.7, 0.3), (0.7, 0.4), "Against the short arm, full data at the same cost, taught is ahead by loss and "
                                 "level by accuracy: accuracy 0.7 (short: 0.7), loss 0.3 (short: 0.4). "
                                 "This single run does not show that teaching pays."),
        ((None, None), (0.7, 0.4), "The short arm, full data at the same cost, did better: accuracy not finite "
                                   "(short: 0.7), loss not finite (short: 0.4). "
                                   "Teaching did not pay here, in this single run."),
    ],
)  # fmt: skip
def test_the_verdict_is_plain(taught, short, said):
    arms = [arm(name, dict(zip(("accuracy", "loss"), values, strict=True)))
            for name, values in (("taught", taught), ("short", short))]  # fmt: skip
    assert verdict(report(*arms))[1:] == [said]


@pytest.mark.parametrize(
    ("trained", "scored", "said"),
    [
        (400, 200, "Teaching cost 5.00 epochs on all examples instead of 10: 50 % saved"),
        (1000, 0, "Teaching cost as much as 10 epochs on all examples: nothing was saved"),
        (900, 1000, "Teaching cost 14.00 epochs on all examples, more than the 10 it was to shorten: 40 % were added, "
                    "nothing was saved"),
    ],
)  # fmt: skip
def test_the_saving_is_told_against_full(trained, scored, said):
    taught = arm("taught", {"accuracy": 0.8, "loss": 0.25}, trained, scored)
    assert verdict(report(taught))[0] == said + "."
    assert verdict(report(taught, FULL))[0] == said + ", with accuracy 0.8 (full: 0.9), loss 0.25 (full: 0.2)."


def test_an_adaptive_plan_is_asked_for_more_not_for_less():
    taught = msgspec.structs.replace(arm("taught", {"accuracy": 0.8}, 1000), plan={"adaptive": True})
    said = "Teaching spent what it was given, 10 epochs on all examples: did it reach more for them?"
    assert verdict(report(taught, FULL))[0] == said


def test_what_is_not_known_is_not_claimed():
    taught = arm("taught", {"accuracy": 0.8})
    assert verdict(report(FULL)) == ["The taught arm has not finished: there is nothing to say yet."]
    assert verdict(report(taught, FULL))[1].endswith("is not known: no short arm has run.")
    silent = [arm(name, {}) for name in ("taught", "short", "full")]
    assert verdict(report(*silent))[1].endswith("so whether teaching paid is not known.")
    alone = verdict(report(taught, alike={"full": "taught", "short": "taught"}))
    assert alone[1] == "This plan trains on all examples throughout: nothing was taught, nothing to compare."


def test_random_choice_that_does_as_well_is_told():
    taught, short = arm("taught", {"accuracy": 0.8}), arm("short", {"accuracy": 0.7})
    for value, said in ((0.8, "as well"), (0.9, "better")):
        told = verdict(report(taught, short, arm("random", {"accuracy": value})))
        assert told[2] == f"Choosing at random, with the same plan, did {said}: accuracy 0.8 (random: {value})."
    assert len(verdict(report(taught, short, arm("random", {"accuracy": 0.6})))) == 2


def test_a_measured_forward_share_is_told():
    taught = arm("taught", {"accuracy": 0.8}, trained=400, scored=1000, seconds=Seconds(2.0, 0.1, 4.0))
    assert measured_forward_share(report(taught)) == pytest.approx(0.2)
    assert verdict(report(taught))[2] == (
        "Measured here, scoring an example took 0.20 of training on it; the costs above count 0.50."
    )
    assert measured_forward_share(report(FULL)) is None


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
