"""``attent report`` and ``attent diff``: run folders read back, in words and in exit codes."""

from __future__ import annotations

import platform
import shutil

import numpy as np
import pytest

import attent
from attent import Plan
from attent.choose import auto
from attent.cli.phases import shown_phases
from attent.cli.report_command import epochs_legend
from attent.tables import digits
from attent.tests.cli_toy import RECIPE, command, refused, tiny
from attent.tests.toy import Toy, edit


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with runs: ``arms`` of the command line, ``one``, ``again`` and ``other`` of Python."""
    folder = tmp_path_factory.mktemp("runs")
    assert command("teach", RECIPE, "--run", folder / "arms", "--epochs", "4", "--preset", "default").code == 0
    plan = Plan.default(epochs=4, batch_size=8)
    for name, one in (
        ("one", plan),
        ("again", plan),
        ("other", Plan.default(epochs=4, batch_size=8, select="hard")),
        ("seeded", Plan.default(epochs=4, batch_size=8, seed=1)),
        ("longer", Plan(**{**plan.to_dict(), "epochs": 5, "cool_down": 2})),
    ):
        attent.teach(tiny(one), one, run=folder / name)
    return folder


def test_a_report_shows_every_epoch_and_the_arms(runs):
    out = command("report", runs / "arms").out
    parts = out.split("\n\n")
    assert [part.partition(":")[0] for part in parts[:3]] == ["taught", "full", "short-taught"]
    head = parts[0].splitlines()
    assert head[0] == f"taught: {RECIPE}, 60 examples, finished"
    assert head[1] == "plan: epochs 4, batch_size 8, ratio 0.4, select soft(temperature=0.3), source"
    assert head.pop(2) == "reuse(), warm_up 1, cool_down 1, seed 0"
    assert head[2].startswith("attent 0.1.0, python 3.")
    assert parts[1].splitlines()[1] == "plan: epochs 4 on all examples, batch_size 8, seed 0"
    record = attent.Trace.read(runs / "arms/seed-0/taught").records[1]
    cells = head[5].split()
    assert cells[:5] == ["1", "taught", "0.40", "24", f"{record.loss:.4g}"]
    assert cells[5:9] == [digits(value) for value in (
        record.selection.score_min, record.selection.score_mean, record.selection.score_max, record.selection.age_mean
    )]  # fmt: skip
    assert head[4].split()[5:9] == ["-"] * 4  # nothing was chosen in the first epoch
    assert head[8:] == [
        "epoch: counted from 0, as in trace.ids(epoch); kept: examples taught; score:",
        "over all examples, the loss last seen, less a reference's if one was given; age:",
        "epochs since it was seen, on average.",
    ]
    assert out.count("counted from 0") == 1
    for name, phases in (("full", ["all"] * 4), ("short-taught", ["all", "all", "part"])):
        rows = next(part for part in parts if part.startswith(f"{name}: ")).partition("\nepoch  ")[2].splitlines()[1:]
        assert [row.split()[1] for row in rows] == phases
    assert "\narm     cost  seconds  accuracy    loss" in out
    assert max(map(len, out.splitlines())) <= 80


BONUS = (
    "pass: counted from 0, as in trace.ids(epoch); kept: examples taught; score: over all examples, the loss last "
    "seen, less a reference's if one was given, in passes on the hardest in standard deviations from its mean (hence "
    "below 0), plus a bonus for each pass unseen; age: passes since it was seen, on average."
)


def test_a_report_of_an_adaptive_plan_counts_passes_and_says_how_each_chose(tmp_path):
    plan = Plan.auto(epochs=4, batch_size=8, seed=2)
    trace = attent.teach(tiny(plan), plan, run=tmp_path / "run")
    assert repr(trace) == "<Trace: 9 of 9 passes, 60 examples, 7 selections>"
    lines = command("report", tmp_path / "run").out.splitlines()
    assert lines[1].startswith("plan: passes 9, batch_size 8, ")
    lines.pop(2)
    assert lines[3].split()[:2] == ["pass", "phase"]
    phases = shown_phases(plan.to_dict(), trace.records)
    assert [line[6:15].strip() for line in lines[4:13]] == phases
    assert {"warm-up", "in turn", "cool-down"} <= set(phases)
    told = " ".join(lines[13:]).strip()
    assert told.startswith(f"pass 1: {auto.told(trace.records[1].selection.why)} pass 2: ")
    assert told.endswith(BONUS)
    assert command("diff", tmp_path / "run", tmp_path / "run").out == "the same 9 passes\n"


def test_the_numbers_ranked_with_a_bonus_are_what_the_legend_says():
    plan = Plan(epochs=3, batch_size=8, warm_up=1, source="reuse(bonus=0.5)")
    made = attent.teach(tiny(plan), plan).records[1].selection
    assert made.score_mean == pytest.approx(0.5)  # standardised, plus the bonus for one epoch
    assert made.score_min < 0
    assert "in standard deviations from its mean (hence below 0), plus a bonus for each epoch unseen" in epochs_legend(
        plan.to_dict()
    )


def test_a_report_of_one_run_or_one_arm(runs):
    for folder, name in ((runs / "one", "one"), (runs / "arms/seed-0/short-taught", "short-taught")):
        out = command("report", folder).out
        assert out.startswith(f"{name}: ")
        assert "arm     forward" not in out


def test_a_report_of_a_run_under_way(runs, tmp_path):
    plan, calls = Plan.default(epochs=4, batch_size=8), []

    def stop():
        calls.append(1)
        return len(calls) == 2

    attent.teach(tiny(plan), plan, run=tmp_path / "now/taught", stop=stop, segment_steps=64)
    out = command("report", tmp_path / "now").out
    assert out.startswith("taught: no recipe, 60 examples, 2 of 4 epochs so far\n")
    attent.teach(tiny(plan), plan, run=tmp_path / "begun", stop=lambda: True, segment_steps=1)
    assert "0 of 4 epochs so far" in command("report", tmp_path / "begun").out


@pytest.mark.parametrize(
    ("first", "second"), [("one", "again"), ("arms", "one"), ("arms/seed-0/taught", "again"), ("arms", "arms")]
)
def test_equal_runs_do_not_differ(runs, first, second):
    assert command("diff", runs / first, runs / second) == (0, "the same 4 epochs\n", "")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("one", "other", "epoch 1: the first teaches 24 examples, the second 24, "),
        ("one", "seeded", "epoch 0: seed is 0 in the first and 1 in the second"),
        (
            "arms/seed-0/full",
            "arms/seed-0/short-taught",
            "epoch 2: the first teaches 60 examples, the second 48, 12 differ",
        ),
        ("one", "longer", "epoch 4: the first has 4 epochs, the second 5"),
    ],
)
def test_runs_that_differ_are_told_and_the_exit_code_is_1(runs, first, second, said):
    outcome = command("diff", runs / first, runs / second)
    assert outcome.code == 1
    assert outcome.out.startswith(said)
    assert outcome.err == ""


def test_versions_that_differ_are_told_with_a_difference(runs, tmp_path):
    for name in ("one", "again", "other"):
        shutil.copytree(runs / name, tmp_path / name)
    for name in ("again", "other"):
        was = f'"python": "{platform.python_version()}"'
        edit(tmp_path / name / "run.json", was, '"python": "3.0.0", "jax": "0.1"')
    assert command("diff", tmp_path / "one", tmp_path / "again") == (0, "the same 4 epochs\n", "")
    out = command("diff", tmp_path / "one", tmp_path / "other").out
    assert " in the first, " in out.splitlines()[1]
    assert out.splitlines()[-2:] == [
        "jax: - in the first, 0.1 in the second",
        f"python: {platform.python_version()} in the first, 3.0.0 in the second",
    ]


def test_what_is_no_run_is_named(runs, tmp_path):
    said = f"no run in {tmp_path}: neither it nor a folder in it has a run.json"
    assert refused("report", tmp_path) == said
    assert refused("diff", runs / "one", tmp_path) == said
    assert refused("diff", runs, runs / "one") == (
        f"{runs} has several runs: name one of again, longer, one, other, seeded"
    )
    (tmp_path / "run.json").write_text("{}")
    assert "run.json has no checksum" in refused("report", tmp_path)


def test_a_report_tells_what_was_trained_and_scored_in_the_unit_of_costs(tmp_path):
    class Costly(Toy):
        def costs(self):
            return np.full(20, 50.0)

    plan = Plan(epochs=3, batch_size=4, warm_up=1, ratio=0.2, select="per_cost", source="fresh")
    attent.teach(Costly(), plan, run=tmp_path / "scored")
    out = " ".join(command("report", tmp_path / "scored").out.split())
    assert "trained: 1,400 and scored: 2,000 in all, in the unit of the learner's costs" in out
    assert "less a reference's if one was given, over what the example costs; age" in out
    attent.teach(Costly(), Plan.full(epochs=3, batch_size=4), run=tmp_path / "full")
    assert "trained: 3,000 in all, in the unit" in command("report", tmp_path / "full").out


def test_reasons_of_another_policy_are_told_as_they_are():
    assert auto.told({"sign": ["end"], "groups": 3}) == "sign: ['end'], groups: 3"
    assert auto.told({}) == ""
