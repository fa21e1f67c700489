"""Arms: what a name or a few words come to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import attent
from attent.judging.arms import (
    DEFAULT_ARMS,
    NOTHING_KNOWN,
    Policy,
    Question,
    alike,
    checked_lengths,
    named_arm,
    plans_of,
    policy_plan,
    read_policies,
)
from attent.judging.controls import Known


def plan_of(text, epochs=12, suggested=None):
    (name, policy), *_ = read_policies([text]).items()
    return policy_plan(name, policy, epochs=epochs, batch_size=8, seed=3, suggested=suggested or {})[0]


KNOWN = Known({0: 80, 3: 20})


def made(policies, epochs=6, lengths=(0.4, 1), against=("full",), n=100, share=1 / 3, known=NOTHING_KNOWN):
    question = Question("mine", read_policies(policies), epochs, 10, lengths, against, share)
    return plans_of(question, n=n, batch_size=10, seed=3, known=known)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("default", attent.Plan.default(epochs=12, batch_size=8, seed=3)),
        ("paper", attent.Plan.paper(epochs=12, batch_size=8, seed=3)),
        ("official-simple", attent.Plan.official_simple(epochs=12, batch_size=8, seed=3)),
        ("mine:full", attent.Plan.full(epochs=12, batch_size=8, seed=3)),
        ("mine:default,ratio=0.2", attent.Plan.default(epochs=12, batch_size=8, seed=3, ratio=0.2)),
        (
            "mine:default,ratio=linear(0.6, 0.3),select=hard,reselect=true,cycle=none",
            attent.Plan.default(
                epochs=12, batch_size=8, seed=3, ratio=attent.linear(0.6, 0.3), select="hard", reselect=True
            ),
        ),
        ("o:official,cycles=2", attent.Plan.official(epochs=12, batch_size=8, seed=3, cycles=2)),
        (
            "t:default,select=in_turn(ties=soft(temperature=inf, scaling=rank)),warm_up=2",
            attent.Plan.default(
                epochs=12,
                batch_size=8,
                seed=3,
                warm_up=2,
                select=attent.InTurn(ties=attent.Soft(temperature=float("inf"), scaling="rank")),
            ),
        ),
    ],
)
def test_from_words_to_a_plan(text, plan):
    assert plan_of(text) == plan


def test_tables_say_the_same():
    table = {"mine": {"preset": "default", "ratio": 0.2}, "paper": "paper"}
    assert read_policies(table) == read_policies(["mine:default,ratio=0.2", "paper"])
    assert read_policies({"mine": {"ratio": 0.2}})["mine"] == Policy("default", {"ratio": 0.2})
    assert named_arm("mine:default")[1] == {"preset": "default"}


def test_the_recipe_suggests_to_default_alone():
    suggested = {"epochs": 3, "batch_size": 4, "ratio": 0.25, "seed": 9, "non_finite": "last"}
    plan = plan_of("default", suggested=suggested)
    assert (plan.ratio, plan.epochs, plan.batch_size, plan.seed, plan.non_finite) == (0.25, 12, 8, 3, "last")
    plan = plan_of("official-simple", suggested=suggested)
    assert (plan.ratio, plan.non_finite) == (0.7, "last")
    assert plan_of("x:default,ratio=0.5", suggested=suggested).ratio == 0.5


def test_a_suggestion_that_a_preset_cannot_have_is_left_and_told():
    for name, told in (("rs2", None), ("auto", "given 7 of 12 epochs, since it spends all that it is given")):
        policy = read_policies([name])[name]
        plan, note = policy_plan(name, policy, epochs=12, batch_size=8, seed=3, suggested={"non_finite": "drop"})
        assert plan.non_finite == "error"
        left = "non_finite error and not the recipe's drop, which it cannot have"
        assert note == (left if told is None else f"{told}; {left}")


def test_a_policy_that_is_a_length_of_full_training_leaves_the_curve_its_point():
    found = made(["mine:full,epochs=3"], lengths=(0.5, 1))
    assert alike(found, 100) == {"mine": "full-0.5"}
    found = made(["mine:full,epochs=3"], lengths=(0.4, 1), against=("full", "short"))
    assert alike(found, 100) == {"mine": "short"}


def test_full_takes_other_epochs():
    assert plan_of("mine:full,epochs=4") == attent.Plan.full(epochs=4, batch_size=8, seed=3)


@pytest.mark.parametrize(("epochs", "cycles"), [(2, 1), (6, 1), (7, 2), (12, 3), (30, 9), (31, 10), (100, 10)])
def test_official_has_as_many_cycles_as_fit(epochs, cycles):
    plan, note = policy_plan("o", Policy("official"), epochs=epochs, batch_size=8, seed=0, suggested={})
    assert plan == attent.Plan.official(epochs=epochs, batch_size=8, cycles=cycles)
    assert (note is None) == (cycles == 10)


@pytest.mark.parametrize(
    ("arms", "complaint"),
    [
        (["rs3"], "arm 'rs3': preset must be one of default, auto, balanced, "),
        (["m:default,ratoi=1"], "arm 'm': ratoi is no field of a plan; known: "),
        (["m:default,batch_size=3"], "arm 'm': batch_size is the same for all arms"),
        (["m:default,ratio"], "arm 'm': fields read field=value, separated by commas, got 'ratio'"),
        (["default", "default"], "arm 'default' is named twice"),
        (
            ["full"],
            "must be letters, digits, '_', '-' and '.', and not full, short, random, balanced, tempered, new-only, replay, filter, "
            "got 'full'",
        ),
        (["full-0.4:default"], "got 'full-0.4'"),
        (["short-x:default"], "got 'short-x'"),
        (["a/b:default"], "got 'a/b'"),
        ([], "no arm to judge"),
    ],
)
def test_arms_that_cannot_be(arms, complaint):
    with pytest.raises(attent.PlanError) as error:
        read_policies(arms)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("m:default,ratio=1.4", "arm 'm': ratio must be in (0, 1], got 1.4"),
        ("m:default,ratio=wave(3)", "arm 'm': ratio cannot be taken: no schedule 'wave'; known: "),
        ("m:official,cycles=20", "arm 'm': epochs must be at least cycles + 1 = 21, got 12"),
        ("m:default,select=hardest", "arm 'm': select cannot be taken: no policy 'hardest'"),
        ("x:default,source=replay", "arm 'x': source replay() needs the trace of an earlier run"),
        ("x:full,ratio=0.5", "arm 'x': ratio changes nothing in a plan that trains on all examples in every epoch"),
    ],
)
def test_plans_that_cannot_be(text, complaint):
    with pytest.raises(attent.PlanError) as error:
        plan_of(text)
    assert str(error.value).startswith(complaint)


def test_lengths_are_shares_of_the_epochs():
    found = made(["default"], lengths=(1, 0.55, 0.4))
    assert list(found) == ["full", "default", "full-0.55", "full-0.4"]
    rows = {name: [row.k for row in plan.timeline(100)] for name, (plan, _) in found.items()}
    assert rows["full"] == [100] * 6
    assert rows["full-0.55"] == [100, 100, 100, 30]
    assert rows["full-0.4"] == [100, 100, 40]
    assert [arm.length for _, arm in found.values()] == [1, None, 0.55, 0.4]
    assert found["full-0.4"][0].seed == 3


def test_longer_than_full_is_a_length_too():
    found = made(["default"], lengths=(1, 1.5))
    assert list(found) == ["full-1.5", "default", "full"]
    assert found["full-1.5"][0].epochs == 9


def test_short_costs_what_the_last_policy_does():
    found = made(["default", "paper"], against=("full", "short"))
    paper, short = found["paper"][0], found["short"][0]
    assert short.cost(100).examples_trained == pytest.approx(paper.cost(100).epochs * 100, abs=5)
    assert list(found)[:4] == ["full", "default", "paper", "short"]
    assert found["short"][1].note == "all examples at the cost of paper, a scored one counted as 0.33 of a trained one"
    assert "short-default" not in found
    found = made(["default", "paper"], against=("full", "shorts"))
    assert list(found) == ["full", "default", "paper", "short", "short-default", "full-0.4"]
    assert found["short-default"][0].cost(100).examples_trained == found["default"][0].cost(100).examples_trained
    assert found["short-default"][1].note == "all examples at the cost of default"


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([], "lengths must be at least one share of the epochs, such as 1, got none"),
        ([0, 1], "a length must be a share of the epochs in (0, 10], got 0"),
        ([float("nan"), 1], "got nan"),
        ([11, 1], "got 11"),
        ([0.5, 0.5001], "lengths must differ in their first three digits, got 0.5 and 0.5001"),
    ],
)
def test_lengths_that_cannot_be(lengths, complaint):
    with pytest.raises(attent.PlanError) as error:
        checked_lengths(lengths)
    assert complaint in str(error.value)


def test_what_trains_alike_is_run_once():
    assert alike(made(["a:full", "b:default", "c:default"]), 100) == {"a": "full", "c": "b"}
    # At 5 examples an epoch more or less is lost in rounding: both lengths are two whole epochs.
    assert alike(made(["default"], lengths=(0.33, 0.34, 1), n=5), 5) == {"full-0.33": "full-0.34"}


def test_by_default_four_presets_are_judged():
    assert list(read_policies(DEFAULT_ARMS)) == ["rs2", "official", "default", "auto"]


def test_a_plan_is_a_policy_as_it_stands():
    plan = attent.Plan.default(epochs=4, batch_size=2, ratio=0.25)
    found = made({"mine": plan})
    assert found["mine"][0] == attent.Plan.default(epochs=4, batch_size=10, ratio=0.25, seed=3)


def test_chance_is_the_plan_of_the_last_policy_without_its_scores():
    found = made(["paper", "auto"], against=("random",))
    assert list(found) == ["paper", "auto", "random"]
    auto, chance = found["auto"][0], found["random"][0]
    assert chance == dataclasses.replace(auto, epochs=auto.epochs - 1, select=attent.InTurn())  # no pass is cut in two
    assert chance.cost(100).epochs == pytest.approx(auto.cost(100).epochs, abs=0.1)
    assert (found["random"][1].kind, found["random"][1].of, found["random"][1].folder) == (
        "control", "auto", "random-auto",
    )  # fmt: skip
    assert list(made(["mine:full"], against=("random",))) == ["mine"]  # nothing is drawn in it


def test_evenly_by_class_costs_what_the_last_policy_does():
    found = made(["default", "auto"], against=("balanced",), known=KNOWN)
    assert list(found) == ["default", "auto", "balanced"]
    assert found["balanced"][0] == attent.Plan.balanced(epochs=found["auto"][0].full_epochs, batch_size=10, seed=3)
    found = made(["paper"], epochs=8, against=("balanced",), known=KNOWN)
    paper, balanced = found["paper"][0], found["balanced"][0]
    assert balanced == dataclasses.replace(paper, select=attent.Balanced(), source=attent.Reuse())
    assert balanced.cost(100).examples_trained == paper.cost(100).examples_trained
    assert list(made(["auto"], against=("balanced",))) == ["auto"]  # no groups are known


def test_nothing_need_be_held_against():
    assert list(made(["default"], against=())) == ["default"]


def test_tempered_costs_what_the_last_policy_does():
    found = made(["auto"], against=("tempered",), known=KNOWN)
    assert found["tempered"][0] == dataclasses.replace(
        attent.Plan.balanced(epochs=found["auto"][0].full_epochs, batch_size=10, seed=3), select=attent.Tempered()
    )
    assert found["tempered"][1].folder == "tempered-auto"
    many = Known(dict.fromkeys(range(100), 1))
    assert list(made(["auto"], against=("tempered", "balanced"), known=many)) == ["auto"]  # more than a pass has


def test_what_is_new_alone_and_replay_cost_what_the_last_policy_does():
    known = Known({0: 50, 1: 40, 2: 7, 3: 3}, [2, 3])
    found = made(["auto"], against=("new-only", "replay"), known=known)
    assert list(found) == ["auto", "new-only", "replay-0.25", "replay-0.5"]
    trained = found["auto"][0].cost(100).examples_trained
    groups = np.repeat([0, 1, 2, 3], [50, 40, 7, 3])
    for name, taken in (("new-only", [0, 0, 7, 3]), ("replay-0.25", [17, 13, 7, 3]), ("replay-0.5", [6, 4, 7, 3])):
        plan, arm = found[name]
        assert (arm.kind, arm.of, arm.folder) == ("control", "auto", f"{name}-auto")
        assert plan.cost(100).examples_trained == pytest.approx(trained, abs=20)
        never = {"groups": groups, "turns": np.ones(100, np.int64)}
        chosen = plan.select.choose(np.zeros(100), sum(taken), attent.Noise(0, 0), **never).ids
        assert np.bincount(groups[chosen], minlength=4).tolist() == taken
    half = Known({0: 40, 1: 60}, [1])  # more than a replay share
    assert list(made(["auto"], against=("new-only", "replay"), known=half)) == ["auto", "new-only"]
    assert list(made(["auto"], against=("new-only", "replay"), known=KNOWN)) == ["auto"]  # nothing is called new
