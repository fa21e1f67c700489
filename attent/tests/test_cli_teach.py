"""``attent teach``: one plan taught, compared and kept; what is refused leaves nothing behind."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import attent
from attent import Plan, first_difference
from attent.plan.cost import short_plan
from attent.tests.cli_toy import (
    ALL,
    DEFAULT,
    RECIPE,
    Judged,
    N,
    command,
    refused,
    result,
    rows_of,
    tiny,
    trace,
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_every_arm_is_run_as_python_would_run_it(elsewhere):
    outcome = command("teach", RECIPE, *ALL, "--ratio", "0.3", "--source", "fresh", "--set", "width=3")
    assert outcome.code == 0
    plan = Plan.default(epochs=6, batch_size=8, ratio=0.3, source="fresh")
    plans = {
        "taught": plan,
        "full": Plan.full(epochs=6, batch_size=8),
        "short": short_plan(plan, N, 1 / 3),
        "random": Plan.default(epochs=6, batch_size=8, ratio=0.3, source="fresh", select="random"),
    }
    told = result("runs/tiny-1")
    jobs = {job["arm"]: job for job in told["jobs"]}
    assert jobs.keys() == plans.keys()
    for arm, job in jobs.items():
        learner = Judged(plans[arm], width=3)
        alone = attent.teach(learner, plans[arm])
        kept = trace("runs/tiny-1", arm)
        assert kept.finished
        assert first_difference(alone, kept) is None
        assert [record.loss for record in alone.records] == [record.loss for record in kept.records]
        assert job["quality"] == learner.evaluate()
        assert job["plan"] == plans[arm].to_dict()


def test_without_a_plan_it_is_auto_against_longer_training_too(elsewhere):
    outcome = command("teach", RECIPE, "--run", "mine")
    plans = {
        "taught": Plan.auto(epochs=6, batch_size=8),
        "full": Plan.full(epochs=6, batch_size=8),
        "full-1.5": Plan.full(epochs=9, batch_size=8),
        "full-2": Plan.full(epochs=12, batch_size=8),
    }
    jobs = {job["arm"]: job["plan"] for job in result("mine")["jobs"]}
    assert jobs == {arm: plan.to_dict() for arm, plan in plans.items()}
    assert "short: the same training as full, run once." in outcome.out
    assert list(rows_of(outcome.out))[-1] == "taught"  # where it is seen


def test_the_table_says_what_the_traces_say(elsewhere):
    outcome = command("teach", RECIPE, *ALL, "--source", "fresh", "--epochs", "7", "--forward-share", "0.25")
    rows = rows_of(outcome.out)
    found = result("runs/tiny-1")
    assert list(rows) == ["short", "full", "random", "taught"]
    for job in found["jobs"]:
        records = trace("runs/tiny-1", job["arm"]).records
        scored = sum(record.examples_scored for record in records)
        trained = sum(record.examples_trained for record in records)
        row = rows[job["arm"]]
        assert (job["examples_scored"], job["examples_trained"]) == (scored, trained)
        for phase in ("scoring", "selecting", "training"):
            assert job["seconds"][phase] == pytest.approx(sum(getattr(r.seconds, phase) for r in records))
        assert row["cost"] == f"{(trained + scored / 4) / N:.2f}"
        assert row["accuracy"].rstrip("*") == f"{job['quality']['accuracy']:.4g}"
        assert row["loss"].rstrip("*") == f"{job['quality']['loss']:.4g}"
    assert rows["taught"]["cost"] == pytest.approx(rows["short"]["cost"])
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.out.endswith("Picture: runs/tiny-1/judge.svg\nFolder: runs/tiny-1\n")
    assert (elsewhere / "runs/tiny-1/judge.svg").read_text().startswith("<svg")
    assert (elsewhere / "runs/tiny-1/report.md").exists()


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_what_is_said_fits_the_terminal(elsewhere, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = command("teach", RECIPE, "--run", "mine").out + command("plan", RECIPE).out + command("report", "mine").out
    assert max(map(len, out.splitlines())) <= columns
    assert ("  by time\n" in out) == (columns > 50)


def test_progress_goes_to_standard_error_and_the_taught_arm_goes_first(elsewhere):
    outcome = command("teach", RECIPE, *DEFAULT)
    lines = outcome.err.splitlines()
    assert lines[0] == f"{RECIPE}, 60 examples; arms full, taught, short; in runs/tiny-1"
    assert [line.partition(": accuracy ")[0] for line in lines[1:]] == [
        "seed 0, taught (1 of 3)", "seed 0, full (2 of 3)", "seed 0, short (3 of 3)",
    ]  # fmt: skip


def test_alone_it_is_compared_with_nothing(elsewhere):
    outcome = command("teach", RECIPE, "--against", "none")
    assert "Whether teaching beats training on all examples is not known" in outcome.out.replace("\n", " ")
    assert not (elsewhere / "runs/tiny-1/judge.svg").exists()


def test_seeds_are_paired_and_counted_up(elsewhere):
    command("teach", RECIPE, *DEFAULT, "--seeds", "2", "--seed", "7", "--run", "mine")
    assert result("mine")["seeds"] == [7, 8]
    for arm in ("taught", "full", "short"):
        assert trace("mine", arm, 8).header.plan["seed"] == 8


def test_a_recipe_may_suggest_how_many_seeds(elsewhere, monkeypatch):
    monkeypatch.setattr(tiny, "seeds", 2)
    command("teach", RECIPE, *DEFAULT, "--run", "mine")
    assert result("mine")["seeds"] == [0, 1]


def test_folders_are_numbered_and_never_reused(elsewhere):
    for number in (1, 2):
        assert f"Folder: runs/tiny-{number}\n" in command("teach", RECIPE, "--against", "none").out
    assert command("teach", RECIPE, "--run", "mine", "--against", "none").code == 0
    message = refused("teach", RECIPE, "--run", "mine")
    assert message == "mine holds a run already: add --resume to go on with it, or name another folder"


def test_a_run_of_another_making_is_left_alone(elsewhere):
    plan = Plan.default(epochs=6, batch_size=8)
    attent.teach(tiny(plan), plan, run="mine/taught")
    assert refused("teach", RECIPE, "--run", "mine") == (
        "mine holds a run that `attent teach` did not begin: name another folder"
    )
    assert refused("teach", RECIPE, "--run", "mine/taught", "--resume") == (
        "mine/taught holds a run that `attent teach` did not begin: name another folder"
    )


def test_everything_can_come_from_a_file(elsewhere):
    (elsewhere / "a.toml").write_text(
        f'[plan]\nepochs = 3\nseed = 4\n[recipe]\nwidth = 2\n[run]\nrecipe = "{RECIPE}"\nfolder = "out"\nagainst = []'
    )
    assert command("teach", "--config", "a.toml", "--seed", "5").code == 0
    header = trace("out", "taught", 5).header
    assert (header.plan["epochs"], header.plan["seed"], header.recipe) == (
        Plan.auto(epochs=3, batch_size=8).epochs,
        5,
        RECIPE,
    )
    assert result("out")["options"] == {"width": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which recipe? For example `attent teach known-digits`; `attent backends` lists others, and your own is package"),
        (("nope",), "no recipe 'nope'; recipes of numpy: byte-gpt, known-digits, vit-digits; your own as package.module:function"),
        (("vit-digits", "--backend", "abacus"), "no backend 'abacus'. Installed: "),
        ((RECIPE, "--epochs", "many"), "--epochs must be a whole number, got 'many'"),
        ((RECIPE, "--ratio", "1.4"), "--ratio must be in (0, 1], got 1.4"),
        ((RECIPE, "--set", "depth=3"), "--set depth: recipe 'attent.tests.cli_toy:tiny' has no option 'depth'; known:"),
        ((RECIPE, "--against", "long"), "--against must be one of full, short, shorts, random, balanced, tempered, new-only, replay, filter, got 'long'"),
        ((RECIPE, "--forward-share", "-1"), "--forward-share must be in [0, 1e+06], got -1.0"),
        ((RECIPE, "--forward-share", "inf"), "--forward-share must be in [0, 1e+06], got 'inf'"),
        ((RECIPE, "--segment-steps", "0"), "--segment-steps must be a whole number of at least 1, got 0"),
        ((RECIPE.replace("tiny", "no_learner"),), "recipe 'attent.tests.cli_toy:no_learner' must return a learner"),
        (("--config", "a.toml"), "cannot read a.toml: No such file or directory"),
        (("--resume",), "--resume needs the folder: attent teach --resume FOLDER"),
        (("--resume", "nowhere"), "no run to go on with in nowhere: it has no settings.json"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing_behind(elsewhere, arguments, message):
    assert message in refused("teach", *arguments)
    assert list(elsewhere.iterdir()) == []


def test_debug_shows_the_traceback(elsewhere):
    with pytest.raises(attent.RecipeError, match="no recipe 'nope'"):
        command("teach", "nope", "--debug")


def test_arms_that_train_alike_are_run_once(elsewhere):
    outcome = command("teach", RECIPE, "--preset", "full", "--against", "full,short")
    rows = rows_of(outcome.out)
    assert list(rows) == ["full", "taught"]
    assert rows["full"]["accuracy"] == rows["taught"]["accuracy"]
    for name in ("short", "taught"):
        assert f"{name}: the same training as full, run once." in outcome.out
    assert [path.name for path in (elsewhere / "runs/tiny-1/seed-0").iterdir()] == ["full"]


def test_a_plan_that_costs_more_is_announced(elsewhere):
    outcome = command("teach", RECIPE, "--ratio", "0.9", "--source", "fresh", "--against", "none")
    assert "Note: this plan costs 6.93 epochs on all examples, 16 % more than the 6 it is to shorten." in outcome.err


def test_a_learner_that_does_not_judge_itself_still_gets_a_table(elsewhere):
    outcome = command("teach", RECIPE.replace("tiny", "silent"))
    assert outcome.code == 0
    rows = rows_of(outcome.out)
    assert "accuracy" not in rows["taught"]
    assert rows["taught"]["cost"] == "1.50"
    assert "whether teaching paid is not known" in outcome.out.replace("\n", " ")


def test_a_quality_that_cannot_be_told_is_refused_before_anything_is_taught(elsewhere, monkeypatch):
    monkeypatch.setattr(Judged, "evaluate", lambda self: {"accuracy": "high"})
    assert refused("teach", RECIPE) == (
        "learner.evaluate() must return numbers by metric name, got {'accuracy': 'high'}"
    )
    assert list(elsewhere.iterdir()) == []


def test_a_model_that_diverges_is_told_and_the_exit_code_is_1(elsewhere, monkeypatch):
    monkeypatch.setattr(Judged, "score", lambda self, ids: np.full(len(ids), np.nan))
    outcome = command("teach", RECIPE, *DEFAULT, "--source", "fresh")
    assert outcome.code == 1
    assert "taught (1 of 3): failed in epoch 0: " in outcome.err
    assert "Nothing can be concluded: the main metric, accuracy, is missing" in outcome.out


def test_an_unforeseen_error_says_where_the_run_is(elsewhere):
    with pytest.raises(ZeroDivisionError) as caught:
        command("teach", RECIPE.replace("tiny", "fails"))
    assert caught.value.__notes__ == [
        "What has finished is kept in runs/fails-1.",
        "The folder is runs/fails-1. Go on with: attent teach --resume runs/fails-1",
    ]


def test_attent_s_own_error_in_the_middle_says_how_to_go_on(elsewhere, monkeypatch):
    train = Judged.train
    monkeypatch.setattr(
        Judged, "train", lambda self, batches, weights=None: [1.0] if self.steps else train(self, batches)
    )
    outcome = command("teach", RECIPE, "--segment-steps", "1")
    assert outcome.code == 2
    assert outcome.err.splitlines()[1:] == [
        "attent: learner.train() must return a NumPy array, got builtins.list; convert it once per call, on the host (rule P2)",
        "The learner is a attent.tests.cli_toy.Judged.",
        "Epochs recorded in runs/tiny-1/seed-0/taught: 0.",
        "What has finished is kept in runs/tiny-1.",
        "The folder is runs/tiny-1. Go on with: attent teach --resume runs/tiny-1",
    ]
