"""``attent plan``: the timeline and the cost, known before anything is spent."""

from __future__ import annotations

import numpy as np
import pytest

from attent import Plan
from attent.cli.plan_command import timeline_table
from attent.tests.cli_toy import RECIPE, Softmax, command, refused


def test_a_plan_needs_no_recipe():
    outcome = command("plan", "--n", 10000, "--epochs", 20, "--batch-size", 64, "--preset", "default")
    assert outcome == (
        0,
        "epochs 20, batch_size 64, ratio 0.4, select soft(temperature=0.3), source\n"
        "reuse(), warm_up 1, cool_down 1, seed 0\n"
        "\n"
        "epochs  phase      ratio       k  score  select  steps\n"
        "0       warm-up     1.00  10,000      -       -    157\n"
        "1-18    taught      0.40   4,000      -     yes     63\n"
        "19      cool-down   1.00  10,000      -       -    157\n"
        "\n"
        "1,448 optimiser steps (on all examples: 3,140), 92,000 examples trained, 0\n"
        "scored.\n"
        "Cost: 9.20 epochs on all examples instead of 20, 54 % saved, a scored example\n"
        "counting 0.33 of a trained one (--forward-share).\n",
        "",
    )


def test_a_recipe_gives_n_and_suggestions_and_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Softmax, "train", lambda *_: pytest.fail("a plan was shown, and something was trained"))
    outcome = command("plan", RECIPE, "--set", "width=3", "--epochs", 3, "--preset", "default")
    assert outcome.err == ""
    out = outcome.out
    assert out.startswith("epochs 3, batch_size 8, ratio 0.4, select soft(temperature=0.3)")
    assert "0       warm-up     1.00  60      -       -      8\n" in out
    assert "1       taught      0.40  24      -     yes      3\n" in out
    assert list(tmp_path.iterdir()) == []
    assert "1.00      500 " in command("plan", RECIPE, "--n", 500).out


def test_costs_of_the_learner_are_counted_in_their_unit(monkeypatch):
    monkeypatch.setattr(Softmax, "costs", lambda self: np.full(60, 25.0), raising=False)
    out = command("plan", RECIPE, "--epochs", 3, "--preset", "default").out  # 1 + .4 + 1 epochs of 60 * 25
    assert "About 3,600 in the unit of the learner's costs" in out
    assert "About" not in command("plan", RECIPE, "--n", 500).out
    monkeypatch.setattr(Softmax, "costs", lambda self: np.zeros(60), raising=False)
    assert "costs must be above 0 and finite, got 0.0 for example 0" in command("plan", RECIPE, "--epochs", 3).err


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("tempered", "Tempered() goes by groups, and none are known"),
        ("by_group(hard, share=(1, 1, 1))", "must be 0 for a group without examples, got 1 for group 2"),
        ("per_cost", "PerCost() goes by costs, and none are known"),
        ("auto", "groups must be at least 0, got -1 for example 0"),
    ],
)
def test_what_a_run_would_be_refused_for_is_told_before(monkeypatch, select, said):
    if "share" in select:
        monkeypatch.setattr(Softmax, "groups", lambda self: np.arange(60) % 2, raising=False)
    if select == "auto":
        monkeypatch.setattr(Softmax, "groups", lambda self: np.arange(60) % 2 - 1, raising=False)
    flags = ("--epochs", 3, "--batch-size", 6, "--warm-up", 1, "--select", select)
    assert said in " ".join(command("plan", RECIPE, *flags).err.split())
    assert command("plan", "--n", 60, *flags).code == 0


def test_the_words_are_those_of_the_plan():
    out = command("plan", "--n", 300, "--epochs", 6, "--batch-size", 10, "--preset", "auto").out
    assert out == command("plan", "--n", 300, "--epochs", 6, "--batch-size", 10).out  # without a plan it is auto
    assert out.startswith("passes 15, batch_size 10, ratio 0.333333, select auto(bonus=0.2), ")
    lines = out.partition("\n\n")[2].splitlines()
    assert lines[0].split()[:2] == ["passes", "phase"]
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["0", "warm-up"], ["1", "taught"], ["2", "taught"], ["3-13", "taught"], ["14", "cool-down"],
    ]  # fmt: skip
    lines = command("plan", "--n", 300, "--epochs", 6, "--batch-size", 10, "--preset", "full").out.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["epochs", "phase"], ["0-5", "all"]]


@pytest.mark.parametrize(
    "plan",
    [
        Plan.official(epochs=40, batch_size=16, cycles=3, select="soft"),
        Plan(epochs=40, batch_size=16, ratio=0.5, interval=3, warm_up=1),  # rows that differ in select alone
        Plan(epochs=40, batch_size=16, ratio=0.5, select="hard"),  # only the first is scored
        Plan.auto(epochs=14, batch_size=16, warm_up=2),  # passes of unequal length are one row
    ],
)
def test_every_epoch_is_there_once_however_rows_are_joined(plan):
    lines = timeline_table(plan.timeline(500)).splitlines()[1:]
    epochs = []
    for line in lines:
        first, _, last = line.split()[0].partition("-")
        epochs += range(int(first), int(last or first) + 1)
    assert epochs == list(range(plan.epochs))
    cells = [line.split() for line in lines]
    for row in plan.timeline(500):
        spans = [(cell, *map(int, (cell[0] + "-" + cell[0]).split("-")[:2])) for cell in cells]
        cell = next(cell for cell, first, last in spans if first <= row.epoch <= last)
        scored, selected = ("yes" if does else "-" for does in (row.score, row.select))
        assert [*cell[1:3], *cell[4:6]] == [row.phase, f"{row.ratio:.2f}", scored, selected]
        for told, value in ((cell[3], row.k), (cell[6], row.steps)):
            least, _, most = told.partition("-")
            assert int(least) <= value <= int(most or least)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ratio", "0.5", "--source", "fresh"), "Cost: 8.67 epochs on all examples instead of 10, 13 % saved"),
        (("--ratio", "0.5", "--source", "fresh", "--forward-share", "0.25"), "Cost: 8.00 epochs on all examples"),
        (("--ratio", "0.3", "--source", "fresh", "--select", "by_group(hard)",
          "--n", "100", "--epochs", "11", "--warm-up", "1", "--cool-down", "0"),
         "This plan costs MORE than it saves: 7.33 epochs on all examples against 4, 83 % more"),
        (("--ratio", "0.8", "--source", "fresh"),
         "This plan costs MORE than it saves: 11.07 epochs on all examples against 10, 11 % more"),
        (("--preset", "full"), "This plan saves nothing: it costs exactly what training on all examples costs."),
        (("--ratio", "1.0"), "This plan saves nothing: it costs exactly what training on all examples costs."),
        (("--preset", "paper", "--ratio", "0.9"), "keep selections for longer (--interval), or take the losses"),
    ],
)  # fmt: skip
def test_what_it_costs_is_said_plainly(flags, said):
    outcome = command("plan", "--n", 1000, "--epochs", 10, "--batch-size", 50, *flags)
    assert outcome.code == 0
    assert said in outcome.out.replace("\n", " ")


def test_a_file_is_read_too(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f'[plan]\nepochs = 3\nratio = 0.25\n[run]\nrecipe = "{RECIPE}"\n[recipe]\nwidth = 2')
    assert "0.25  15" in command("plan", "--config", path).out
    path.write_text("[plan]\nratio = 1.4")
    assert refused("plan", "--config", path, "--n", 10, "--epochs", 3, "--batch-size", 2) == (
        "plan.ratio in a.toml must be in (0, 1], got 1.4"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a recipe, for example known-digits, or the number of examples by --n"),
        (("--n", 100), "--epochs is needed: no recipe suggests a value"),
        (("--n", 100, "--epochs", 3), "--batch-size is needed: no recipe suggests a value"),
        (("--n", 0, "--epochs", 3, "--batch-size", 2), "n must be a whole number of at least 1, got 0"),
        (("--n", 9, "--set", "width=3"), "an option of a recipe (--set) needs a recipe"),
        (("nope",), "no recipe 'nope'; recipes of numpy: byte-gpt, known-digits, vit-digits; your own as package.module:function"),
        ((RECIPE, "--set", "depth=3"),
         "--set depth: recipe 'attent.tests.cli_toy:tiny' has no option 'depth'; known: width, rate, pause, tags"),
        ((RECIPE, "--forward-share", "third"), "--forward-share must be a number, got 'third'"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(arguments, message):
    assert refused("plan", *arguments) == message
