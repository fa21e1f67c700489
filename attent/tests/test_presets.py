"""The one table of presets, and the way from fields given in words to a plan."""

import math

import pytest

import attent
from attent import Fresh, Plan, PlanError, Reuse, Soft
from attent.plan.presets import PRESETS, preset_plan

BOTH = {"epochs": 12, "batch_size": 8}


def test_the_table_names_every_preset():
    assert list(PRESETS) == [
        "default", "auto", "balanced", "rs2", "infobatch", "paper", "official", "official-simple", "full",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "official"])
def test_a_preset_by_name_is_the_one_of_python(name):
    assert preset_plan(name, {**BOTH, "seed": 4}) == (PRESETS[name](**BOTH, seed=4), None)


@pytest.mark.parametrize(
    ("preset", "fields", "plan"),
    [
        ("default", {"ratio": "linear(0.6, 0.3)"}, Plan.default(**BOTH, ratio=attent.linear(0.6, 0.3))),
        ("default", {"select": "soft(temperature=inf)"}, Plan.default(**BOTH, select=Soft(temperature=math.inf))),
        ("default", {"select": {"name": "soft", "temperature": "inf"}}, Plan.default(**BOTH, select=Soft(math.inf))),
        ("default", {"source": {"name": "reuse", "bonus": 0.1}}, Plan.default(**BOTH, source=Reuse(bonus=0.1))),
        ("default", {"source": "fresh"}, Plan.default(**BOTH, source=Fresh())),
        ("default", {"cycle": "none"}, Plan.default(**BOTH)),
        ("official_simple", {"warm_up": 2}, Plan.official_simple(**BOTH, warm_up=2)),
        ("official", {"cycles": 3}, Plan.official(**BOTH, cycles=3)),
        ("full", {"non_finite": "last"}, Plan(**BOTH, warm_up=12, non_finite="last")),
    ],
)
def test_words_become_values(preset, fields, plan):
    assert preset_plan(preset, {**BOTH, **fields}).plan == plan


def test_default_takes_all_that_a_recipe_suggests_and_others_what_all_share():
    suggested = {"epochs": 9, "batch_size": 8, "ratio": 0.7, "seed": 3, "non_finite": "last"}
    assert preset_plan("default", {"epochs": 5}, suggested).plan == Plan.default(**{**suggested, "epochs": 5})
    assert preset_plan("paper", {}, suggested).plan == Plan.paper(epochs=9, batch_size=8, seed=3, non_finite="last")


@pytest.mark.parametrize("preset", ["auto", "balanced", "rs2"])
def test_a_suggestion_that_a_preset_cannot_have_is_told(preset):
    made = preset_plan(preset, BOTH, {"non_finite": "drop"})
    assert made.plan == PRESETS[preset](**BOTH)
    assert made.note == "non_finite error and not the recipe's drop, which it cannot have"


@pytest.mark.parametrize(
    ("preset", "fields", "field", "rule"),
    [
        (
            "best",
            {},
            "preset",
            "must be one of default, auto, balanced, rs2, infobatch, paper, official, official-simple, full, got 'best'",
        ),
        ("default", {"cycles": 3}, "cycles", "belongs to the preset official, not to default"),
        ("default", {"ratoi": 3}, "ratoi", "is no field of a plan; known: epochs, batch_size, ratio,"),
        ("default", {"ratio": 1.4}, "ratio", "must be in (0, 1], got 1.4"),
        ("default", {"ratio": "cosin(0, 1)"}, "ratio", "cannot be taken: no schedule 'cosin'; known: "),
        ("default", {"warm_up": 9, "cool_down": 5}, ("warm_up", "cool_down"), "must be at most epochs (12), got 9 + 5"),
        ("official", {"epochs": 5}, "epochs", "must be at least cycles + 1 = 11, got 5"),
        ("full", {"ratio": 0.3}, "ratio", "changes nothing in a plan that trains on all examples in every epoch"),
        ("default", {"source": "replay"}, "source", "replay() needs the trace of an earlier run, which only Python"),
    ],
)
def test_an_impossible_plan_is_refused_by_field(preset, fields, field, rule):
    with pytest.raises(PlanError) as caught:
        preset_plan(preset, {**BOTH, **fields})
    assert caught.value.field == field
    assert caught.value.rule.startswith(rule)


@pytest.mark.parametrize("missing", ["epochs", "batch_size"])
def test_epochs_and_batch_size_are_needed(missing):
    with pytest.raises(PlanError, match=f"{missing} is needed: no recipe suggests a value"):
        preset_plan("auto", {key: value for key, value in BOTH.items() if key != missing})
