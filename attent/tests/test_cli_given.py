"""What a user gives by flag and by file: read into the right types, refused in one line that names it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from attent import Band, Plan, Pool, Soft
from attent.cli.fields import PLAN_FIELDS, OptionError, read_value
from attent.cli.given import from_file, from_flags
from attent.cli.recipe_lookup import asked_plan
from attent.plan.schedules import cosine


def test_every_field_of_a_plan_can_be_set():
    assert set(PLAN_FIELDS) - {"preset", "cycles", "keep", "per_cost"} == {
        field.name for field in dataclasses.fields(Plan)
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "12", 12),
        ("seed", "18446744073709551615", 2**64 - 1),
        ("ratio", "0.4", 0.4),
        ("ratio", " cosine(0.2, 0.8) ", "cosine(0.2, 0.8)"),
        ("interval", "3", 3),
        ("cycle", "None", "none"),
        ("keep", "0.05", 0.05),
        ("keep", "None", "none"),
        ("select", "soft(temperature=0.3)", "soft(temperature=0.3)"),
        ("reselect", True, True),
    ],
)
def test_a_flag_is_read_as_its_field_wants_it(name, text, value):
    read = read_value("it", PLAN_FIELDS[name], text, text=True)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "abc", "it must be a whole number, got 'abc'"),
        ("epochs", "3.0", "it must be a whole number, got '3.0'"),
        ("cycle", "x", "it must be a whole number, or none, got 'x'"),
        ("ratio", "", "it must be a number or a schedule such as cosine(0.2, 0.8), got ''"),
        ("select", " ", "it must be a policy such as soft(temperature=0.3), got ' '"),
        ("non_finite", " ", "it must be a word, got ' '"),
    ],
)
def test_a_flag_that_cannot_be_read_is_refused(name, text, message):
    with pytest.raises(OptionError) as caught:
        read_value("it", PLAN_FIELDS[name], text, text=True)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", "12"), ("epochs", 12.0), ("epochs", True), ("interval", [1]), ("select", 3), ("reselect", "true")],
)
def test_a_file_must_have_the_right_type(name, value):
    with pytest.raises(OptionError, match="^plan.x must be"):
        read_value("plan.x", PLAN_FIELDS[name], value, text=False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"select": "soft(temperature=inf)"}, {"select": Soft(temperature=math.inf)}),
        ({"select": "band", "source": "pool(share=0.6)"}, {"select": Band(), "source": Pool(share=0.6)}),
        ({"cycle": "none"}, {"cycle": None}),
        ({"ratio": "cosine(0.2, 0.8)"}, {"ratio": cosine(0.2, 0.8)}),
        ({"preset": "paper"}, {}),
        ({"preset": "official", "cycles": "3"}, {}),
        ({"preset": "official-simple", "warm_up": "2"}, {"warm_up": 2}),
        ({"preset": "full"}, {}),
    ],
)
def test_flags_make_the_plan_that_python_makes(fields, expected):
    makers = {
        "default": Plan.default, "paper": Plan.paper, "official-simple": Plan.official_simple, "full": Plan.full,
        "official": lambda **given: Plan.official(cycles=3, **given),
    }  # fmt: skip
    given = from_flags({"preset": "default", "epochs": "12", "batch_size": "8", "seed": "4", **fields}, {})
    made = asked_plan(given.plan, {}, given).plan
    assert made == makers[fields.get("preset", "default")](epochs=12, batch_size=8, seed=4, **expected)


def test_a_recipe_suggests_and_flags_win():
    suggested = {"epochs": 9, "batch_size": 8, "ratio": 0.7, "seed": 3, "select": "hard"}
    given = from_flags({"epochs": "5"}, {})
    assert asked_plan(given.plan, suggested, given).plan == Plan.default(**{**suggested, "epochs": 5})


@pytest.mark.parametrize(
    ("flags", "suggested", "maker"),
    [
        ({}, {}, Plan.auto),
        ({"seed": "0"}, {"non_finite": "error"}, Plan.auto),
        ({"cool_down": "1"}, {}, Plan.default),
        ({}, {"select": "soft(temperature=0.3)"}, Plan.default),
    ],
)
def test_without_a_preset_it_is_auto_unless_more_is_said(flags, suggested, maker):
    given = from_flags(flags, {})
    both = {"epochs": 5, "batch_size": 8}
    assert asked_plan(given.plan, {**both, **suggested}, given).plan == maker(**both)


def test_a_preset_decides_what_it_is_about():
    suggested = {"epochs": 9, "batch_size": 8, "ratio": 0.7, "seed": 3, "select": "hard"}
    given = from_flags({"preset": "paper"}, {})
    assert asked_plan(given.plan, suggested, given).plan == Plan.paper(epochs=9, batch_size=8, seed=3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ratio": "1.4"}, "--ratio must be in (0, 1], got 1.4"),
        ({"ratio": "cosin(0, 1)"},
         "--ratio cannot be taken: no schedule 'cosin'; known: constant, linear, cosine, step; your own as package.module:Class(...)"),
        ({"ratio": "linear(0.2, 1.4)"}, "--ratio must be in (0, 1], got 1.4 from linear(0.2, 1.4) at progress 1"),
        ({"interval": "0"}, "--interval must be a whole number of at least 1, got 0"),
        ({"select": "best"}, "--select cannot be taken: no policy 'best'; known: hard, soft, random, band, infobatch, in_turn, auto, per_cost, balanced, tempered, by_group; your own as package.module:Class(...)"),
        ({"select": "soft(temperature=-1)"}, "--select cannot be taken: temperature must be at least 0, got -1"),
        ({"warm_up": "3", "cool_down": "2"}, "--warm-up + --cool-down must be at most epochs (4), got 3 + 2"),
        ({"seed": "-1"}, "--seed must be a whole number in [0, 18446744073709551615], got -1"),
        ({"source": "thin-air"}, "--source cannot be taken: no source 'thin-air'; known: reuse, fresh, pool, proxy, replay"),
        ({"preset": "best"},
         "--preset must be one of default, auto, balanced, rs2, infobatch, paper, official, official-simple, full, got 'best'"),
        ({"preset": "default", "cycles": "3"}, "--cycles belongs to the preset official, not to default"),
        ({"preset": "full", "ratio": "0.3"}, "--ratio changes nothing in a plan that trains on all examples in every epoch"),
        ({"preset": "official", "epochs": "5"}, "--epochs must be at least cycles + 1 = 11, got 5"),
    ],
)  # fmt: skip
def test_an_impossible_plan_is_refused_by_flag(flags, message):
    given = from_flags(flags, {})
    with pytest.raises(OptionError) as caught:
        asked_plan(given.plan, {"epochs": 4, "batch_size": 8}, given)
    assert str(caught.value) == message


@pytest.mark.parametrize("missing", ["epochs", "batch_size"])
def test_epochs_and_batch_size_are_needed(missing):
    given = from_flags({}, {})
    suggested = {"epochs": 4, "batch_size": 8}
    del suggested[missing]
    with pytest.raises(OptionError, match=f"--{missing.replace('_', '-')} is needed: no recipe suggests a value"):
        asked_plan({}, suggested, given)


CONFIG = """
[plan]
preset = "paper"
epochs = 20
ratio = "cosine(0.2, 0.8)"
select = {name = "soft", temperature = inf}
source = "fresh"
reselect = true

[recipe]
width = 16
tags = ["a", "b"]

[run]
recipe = "vit-digits"
against = ["full", "random"]
forward_share = 0.4
"""


def test_a_file_says_everything(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG)
    given = from_file(path)
    assert given.plan == {
        "preset": "paper", "epochs": 20, "ratio": "cosine(0.2, 0.8)", "reselect": True,
        "select": {"name": "soft", "temperature": math.inf}, "source": "fresh",
    }  # fmt: skip
    assert given.run == {"recipe": "vit-digits", "against": "full,random", "forward_share": 0.4}
    assert {name: option.value for name, option in given.options.items()} == {"width": 16, "tags": ["a", "b"]}


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(CONFIG)
    given = from_flags({"epochs": "5"}, {"against": "none"}, ["width=8"]).over(from_file(path))
    assert given.plan["epochs"] == 5
    assert given.plan["preset"] == "paper"
    assert given.run["against"] == "none"
    assert given.options["width"].value == "8"
    assert given.shown("plan", "epochs") == "--epochs"
    assert given.shown("plan", "ratio") == "plan.ratio in a.toml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plan]\nepoch = 3", "a.toml: plan.epoch is not known; known: preset, epochs, batch_size,"),
        ("[run]\nname = 3", "a.toml: run.name is not known; known: recipe, backend, folder,"),
        ("[plna]\nepochs = 3", "plna in a.toml is not known; tables: [plan], [recipe], [run]"),
        ("plan = 3", "plan in a.toml is not a table; tables: [plan], [recipe], [run]"),
        ('[plan]\nepochs = "3"', "plan.epochs in a.toml must be a whole number, got '3'"),
        ("[plan]\nratio = [1]", "plan.ratio in a.toml must be a number or a schedule such as cosine(0.2, 0.8), got"),
        ("[run]\nagainst = [1]", "run.against in a.toml must be names separated by commas, got [1]"),
        ("[plan\nepochs = 3", "a.toml is not TOML: "),
    ],
)
def test_a_file_is_refused_with_the_path_of_the_key(tmp_path, text, message):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(OptionError) as caught:
        from_file(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_impossible_value_of_a_file_is_refused_with_its_path(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[plan]\nepochs = 4\nbatch_size = 8\nratio = 1.4")
    given = from_file(path)
    with pytest.raises(OptionError, match=r"^plan.ratio in a.toml must be in \(0, 1\], got 1.4$"):
        asked_plan(given.plan, {}, given)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"cannot read .*none.toml: No such file or directory"):
        from_file(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="binary.toml is not TOML"):
        from_file(tmp_path / "binary.toml")
