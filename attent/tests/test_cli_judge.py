"""``attent judge``: what can be asked, how it is read, and how a judgement goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attent.tests.cli_toy import command, refused
from attent.tests.judging_toy import without_seconds
from attent.tests.toy import edit

RECIPE = "attent.tests.judging_toy:steady"
PROGRAM = [sys.executable, "-c", "from attent.cli import main; main()"]
QUICK = ("--lengths", "0.5,1", "--tuned", "--against", "full", "--forward-share", "0.25")
HARD = ("--arms", "hard", "--arm", "hard:default,select=hard")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def result(folder):
    return json.loads(Path(folder, "judge.json").read_text())


def test_a_judgement_from_end_to_end():
    outcome = command("judge", RECIPE, *HARD, *QUICK, "--seeds", 5, "--run", "mine")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "Folder: mine"
    assert "it saves 16 % (95 %: 16 to 16, 5 seeds)" in " ".join(outcome.out.split())
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.out.splitlines()[-2] == "Picture: mine/judge.svg"
    lines = outcome.err.splitlines()
    assert lines[0] == f"{RECIPE}, 50 examples; arms full, hard, full-0.5; in mine"
    assert lines[1].startswith("seed 0, full (1 of 15): skill ")
    found = result("mine")
    assert found["recipe"] == RECIPE
    assert found["backend"] == "numpy"
    assert [arm["name"] for arm in found["arms"]] == ["full", "hard", "full-0.5"]
    assert found["rows"][1]["savings"]["skill"]["full_epochs"]["value"] == pytest.approx(0.16)
    report = command("report", "mine").out
    assert report.endswith(outcome.out.removesuffix("Picture: mine/judge.svg\nFolder: mine\n"))
    assert report.startswith("hard: attent.tests.judging_toy:steady, 50 examples, finished\n")


def test_an_arm_that_is_not_judged_is_told():
    outcome = command("judge", RECIPE, *HARD, *QUICK, "--arm", "x:default,ratio=0.3", "--seeds", 1, "--run", "mine")
    assert outcome.err.splitlines()[1] == "Note: x: defined, but not among --arms, so not judged."


def test_the_folder_is_made_where_none_is_named(tmp_path):
    command("judge", RECIPE, *HARD, *QUICK, "--seeds", 1)
    assert (tmp_path / "runs" / "judge-steady-1" / "judge.json").exists()


def test_the_grid_and_everything_else_by_flags():
    command(
        "judge", RECIPE, *HARD, "--tune", "rate=0.5,1", "--batch-sizes", "5,10", "--seeds", 1, "--seed", 4,
        "--epochs", 4, "--lengths", "0.5, 1", "--set", "shift=2", "--run", "mine",
    )  # fmt: skip
    found = result("mine")
    assert found["tuning"]["grid"] == {"rate": [0.5, 1.0], "batch_size": [5, 10]}
    assert found["tuning"]["jobs"][0]["seed"] == 1_000_004
    assert (found["epochs"], found["batch_size"], found["seeds"]) == (4, 5, [4])
    assert found["options"] == {"shift": 2.0, "rate": 1.0}


def test_everything_from_a_file(tmp_path):
    (tmp_path / "judge.toml").write_text(
        f"""
        [judge]
        recipe = "{RECIPE}"
        arms = ["hard", "default"]
        lengths = [0.5, 1]
        seeds = 3
        forward_share = 0.25

        [recipe]
        shift = 2

        [tune]
        rate = [0.5, 1.0]

        [arms.hard]
        preset = "default"
        select = "hard"
        ratio = "linear(0.6, 0.3)"
        """
    )
    command("judge", "--config", "judge.toml", "--seeds", 1, "--run", "mine")
    found = result("mine")
    assert found["seeds"] == [0]
    assert found["arms"][1]["plan"]["ratio"] == "linear(0.6, 0.3)"
    assert [arm["name"] for arm in found["arms"]] == ["full", "hard", "default", "short", "full-0.5"]
    assert found["tuning"]["chosen"] == {"rate": 1.0}
    assert found["options"] == {"shift": 2.0, "rate": 1.0}


def test_own_arms_join_those_by_default():
    command("judge", RECIPE, *HARD[2:], *QUICK, "--seeds", 1, "--run", "mine")
    names = [arm["name"] for arm in result("mine")["arms"]]
    assert names.index("default") < names.index("hard")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            (),
            "which recipe? For example `attent judge known-digits`; `attent backends` lists others, and your own is package",
        ),
        ((RECIPE, "--arms", "none-such"), "arm 'none-such': preset must be one of default, auto, balanced, "),
        ((RECIPE, "--arms", "default,rs2,default"), "--arms names default twice: name it once"),
        ((RECIPE, "--arms", "rs2", "--arm", "x:default,ratoi=1"), "arm 'x': ratoi is no field of a plan; known: "),
        (
            (RECIPE, "--tuned", "--batch-sizes", "0"),
            "tuned says that no grid is run, and tune or batch_sizes names one",
        ),
        ((RECIPE, "--arm", "mine"), "--arm must be NAME:preset,field=value,..., got 'mine'"),
        ((RECIPE, "--tune", "rate"), "--tune must be option=value,value,..., got 'rate'"),
        ((RECIPE, "--tune", "wide=1,2"), "--tune wide: recipe 'attent.tests.judging_toy:steady' has no option 'wide'"),
        ((RECIPE, "--tune", "rate=1,x"), "--tune rate must be float, got 'x'"),
        ((RECIPE, "--lengths", "half,1"), "--lengths must be numbers separated by commas, got 'half,1'"),
        ((RECIPE, "--batch-sizes", "8,1.5"), "--batch-sizes must be whole numbers separated by commas, got '8,1.5'"),
        ((RECIPE, "--lengths", "1", "--against", "full"), "lengths must be at least 2, got 1"),
        ((RECIPE, "--against", "random"), "against must have full, got random: a saving is read off the curve of"),
        ((RECIPE, "--budget", "soon"), "budget must be a time above 0 such as 90s, 10m or 1.5h, got 'soon'"),
        ((RECIPE, "--seeds", "many"), "--seeds must be a whole number, got 'many'"),
        ((RECIPE, "--forward-share", "-1"), "--forward-share must be in [0, 1e+06], got -1.0"),
        ((RECIPE, "--resume"), f"no run to go on with in {RECIPE}: it has no settings.json"),
        (("--resume",), "--resume needs the folder: attent judge --resume FOLDER"),
        (("attent.tests.judging_toy:silent",), "recipe 'attent.tests.judging_toy:silent' has no held-out data"),
    ],
)
def test_what_is_refused(tmp_path, arguments, complaint):
    if "--resume" in arguments and RECIPE in arguments:
        arguments = ("--resume", *arguments[:1])
    assert refused("judge", *arguments).startswith(complaint)
    assert not list(tmp_path.glob("**/*.json"))
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[plan]\nepochs = 3", "plan in judge.toml is not known; tables: [judge], [recipe], [tune], [arms.NAME]"),
        ("judge = 3", "judge in judge.toml is not a table; tables: [judge], [recipe], [tune], [arms.NAME]"),
        ("[judge]\nlength = 3", "judge.toml: judge.length is not known; known: recipe, "),
        ("[judge]\nseeds = 'x'", "judge.seeds in judge.toml must be a whole number, got 'x'"),
        ("[arms.mine]\npreset = 'rs9'", "arm 'mine': preset must be one of default, auto, "),
        ("[judge", "--config: judge.toml is not TOML"),
    ],
)
def test_what_is_refused_in_a_file(tmp_path, text, complaint):
    (tmp_path / "judge.toml").write_text(text)
    assert refused("judge", RECIPE, "--config", "judge.toml").startswith(complaint)


def test_a_folder_goes_on_only_when_asked_to():
    command("judge", RECIPE, *HARD, *QUICK, "--seeds", 1, "--run", "mine")
    assert refused("judge", RECIPE, *HARD, *QUICK, "--run", "mine") == (
        "mine holds a run already: add --resume to go on with it, or name another folder"
    )
    command("judge", "--resume", "mine", "--seeds", 2, "--arms", "hard,default")
    found = result("mine")
    assert found["seeds"] == [0, 1]
    assert [arm["name"] for arm in found["arms"]] == ["full", "hard", "default", "full-0.5"]
    command("judge", "--resume", "mine")
    assert without_seconds(result("mine")) == without_seconds(found)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--epochs", "4"), "--epochs was 6 when this run began, now it is 4"),
        (("--set", "shift=3"), "--set shift was 10.0 when this run began, now it is 3.0"),
        (
            ("--arm", "hard:default"),
            "arm hard was 'hard:default,select=hard' when this run began, now it is 'hard:default'",
        ),
        (("--no-tuned",), "--tuned was True when this run began, now it is False"),
    ],
)
def test_what_must_stay(arguments, complaint):
    command("judge", RECIPE, *HARD, *QUICK, "--seeds", 1, "--run", "mine")
    before = result("mine")
    assert complaint in refused("judge", "--resume", "mine", *arguments)
    assert result("mine") == before


@pytest.mark.parametrize(("begun", "on"), [("teach", "judge"), ("judge", "teach")])
def test_either_command_goes_on_with_what_the_other_began(begun, on):
    options = QUICK if begun == "judge" else ()
    command(begun, RECIPE, *options, "--seeds", 1, "--run", "mine")
    assert command(on, "--resume", "mine", "--seeds", 2).code == 0
    assert result("mine")["seeds"] == [0, 1]
    command(begun, RECIPE, *options, "--seeds", 2, "--run", "whole")
    assert without_seconds(result("mine")) == without_seconds(result("whole"))


def test_policies_can_join_a_plan_that_was_taught():
    command("teach", RECIPE, "--run", "mine", "--against", "full")
    assert command("judge", "--resume", "mine", "--arms", "rs2").code == 0
    assert [arm["name"] for arm in result("mine")["arms"]] == ["full-2", "rs2", "taught", "full-1.5", "full"]


def test_a_budget_that_ends_says_how_to_go_on():
    outcome = command("judge", RECIPE, *HARD, *QUICK, "--budget", "0.001s", "--run", "mine")
    assert outcome.code == 0
    assert "Nothing can be concluded" in outcome.out
    assert outcome.err.splitlines()[-1] == (
        "The budget ended. With more time: attent judge --resume mine --budget TIME"
    )
    assert command("judge", "--resume", "mine", "--budget", "1h", "--seeds", 2).code == 0
    assert result("mine")["seeds"] == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_judgement_goes_on_as_if_it_had_not_been(tmp_path, number):
    slow = ("attent.tests.cli_toy:tiny", "--arms", "default", *QUICK, "--seeds", "2", "--segment-steps", "1")
    process = subprocess.Popen(
        [*PROGRAM, "judge", *slow, "--set", "pause=0.02", "--run", "my run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    trace = tmp_path / "my run/seed-0/default/trace.jsonl"
    end = time.monotonic() + 60
    while not trace.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Nothing can be concluded: there is no seed of which every arm has finished." in " ".join(out.split())
    assert err.splitlines()[-1] == "Stopped. Go on with: attent judge --resume 'my run'"
    assert [job["arm"] for job in result("my run")["jobs"]] == ["full"]
    for path in (tmp_path / "my run").glob("**/*.json"):  # the rest need not take its time
        if '"pause": 0.02' in path.read_text():
            edit(path, '"pause": 0.02', '"pause": 0.0')
    assert command("judge", "--resume", "my run").code == 0
    assert command("judge", *slow, "--set", "pause=0.0", "--run", "whole").code == 0
    assert without_seconds(result("my run")) == without_seconds(result("whole"))


def test_another_policy_under_the_name_of_a_preset_is_refused_and_changes_nothing():
    command("judge", RECIPE, "--arms", "default", *QUICK, "--seeds", 1, "--run", "mine")
    before = Path("mine/settings.json").read_bytes()
    complaint = refused("judge", "--resume", "mine", "--arm", "default:auto")
    assert complaint.startswith("arm default was 'default' when this run began, now it is 'default:auto'")
    assert Path("mine/settings.json").read_bytes() == before
    assert command("judge", "--resume", "mine").code == 0


def test_a_judgement_that_python_began_is_not_begun_anew():
    command("judge", RECIPE, *HARD, *QUICK, "--seeds", 1, "--run", "mine")
    Path("mine/settings.json").unlink()
    complaint = refused("teach", RECIPE, "--run", "mine")
    assert complaint == "mine holds a run that `attent teach` did not begin: name another folder"
    assert not Path("mine/settings.json").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--select", "balanced"), "Balanced() goes by groups, and none are known: "),
        (("--source", "proxy"), "arm 'taught' needs another learner to score, which only attent.teach takes: scorer"),
    ],
)
def test_what_no_run_can_have_is_refused_before_anything_is_written(arguments, complaint):
    assert refused("teach", RECIPE, *arguments, "--run", "mine").startswith(complaint)
    assert not Path("mine").exists()
