"""What the command line reads of files, flags and folders, at its worst: one message, exit code 2, never a traceback."""

from __future__ import annotations

import json

import pytest

from attent.judging.arms import read_policies
from attent.run.files import write_json
from attent.tests.cli_toy import RECIPE, command, refused

DIGITS = "9" * 5000
DEEP = "[" * 2000 + "]" * 2000


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        f"[plan]\nepochs = {DEEP}\n".encode(),
        f"[recipe]\nwidth = {'{a = ' * 2000}1{'}' * 2000}\n".encode(),
        f"[plan]\nepochs = {DIGITS}\n".encode(),
        b'[plan]\nselect = "\xff"\n',
        b"[plan]\nselect = \0\n",
        b"[plan\n",
        b"a." * 100_000 + b"a = 1\n",
        b'"=".' + b"a." * 100_000 + b"a = 1\n",
        b"[" + b"a." * 100_000 + b"a]\n",
        b"#" * 2_000_000,
    ],
    ids=["deep lists", "deep tables", "digits", "not UTF-8", "NUL", "cut", "parts", "quoted parts", "tables", "large"],
)
@pytest.mark.parametrize("name", ["teach", "judge", "plan"])
def test_toml_that_cannot_be_read_is_told_of(here, name, text):
    (here / "my.toml").write_bytes(text)
    assert refused(name, RECIPE, "--config", "my.toml").startswith("--config: my.toml is not TOML: ")


def test_numbers_in_a_row_are_no_parts_of_a_key(here):
    (here / "my.toml").write_text(f"[recipe]\ntags = [{', '.join(['0.5'] * 500)}]\n")
    assert refused("teach", RECIPE, "--config", "my.toml").startswith("recipe.tags in my.toml must be ")


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 2500])
def test_a_file_that_has_no_such_name_is_told_of(here, name):
    assert refused("teach", RECIPE, "--config", name).startswith("--config: ")
    for given in (
        ("report", name),
        ("diff", name, name),
        ("judge", "--resume", name),
        ("teach", RECIPE, "--run", name),
    ):
        assert refused(*given).startswith(("cannot read ", "cannot write "))


@pytest.mark.parametrize("flag", ["--epochs", "--seed", "--batch-size", "--ratio", "--forward-share", "--interval"])
def test_numbers_of_5000_digits_are_told_of_in_a_line(here, flag):
    words = refused("plan", RECIPE, flag, DIGITS)
    assert words.startswith(f"{flag} ")
    assert len(words) < 400


@pytest.mark.parametrize("text", [f"mine:default,ratio={DEEP}", f"mine:default,ratio={DIGITS}", "mine:default,seed=\0"])
def test_arms_that_cannot_be_read_are_told_of(here, text):
    assert refused("judge", RECIPE, "--arm", text).startswith("arm 'mine': ")


@pytest.mark.parametrize("text", [DEEP, DIGITS, "{a=" * 2000])
def test_options_that_cannot_be_read_are_told_of(here, text):
    assert refused("teach", RECIPE, "--set", f"width={text}").startswith("--set width must be int, got ")


@pytest.mark.parametrize("share", ["1e308", "1000001", "-1e308"])
@pytest.mark.parametrize("name", ["teach", "judge", "plan"])
def test_a_forward_share_that_makes_costs_infinite_is_told_of(here, name, share):
    assert refused(name, RECIPE, "--forward-share", share).startswith("--forward-share must be in [0, 1e+06], got ")


def test_a_table_of_arms_with_numbers_of_5000_digits_is_told_of():
    with pytest.raises(Exception, match="arm 'a': preset must be one of .*, got 'a number of") as error:
        read_policies({"a": {"preset": f"a number of {DIGITS}"}})
    assert len(str(error.value)) < 600


SETTINGS = {"format": 2, "attent": "0.1.0", "command": "teach", "run": {"recipe": RECIPE}, "plan": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": {}}, "mine/settings.json names no recipe. Restore it from a copy"),
        ({"run": {"recipe": 3}}, "run.recipe in mine/settings.json must be a word, got 3"),
        ({"run": {"recipe": RECIPE, "backend": []}}, "run.backend in mine/settings.json must be a word, got []"),
        (
            {"run": {"recipe": RECIPE, "arms": 0.5}},
            "run.arms in mine/settings.json must be names separated by commas, got",
        ),
        ({"run": {"recipe": RECIPE, "x": 1}}, "mine/settings.json: run.x is not known; known: recipe, "),
        ({"plan": {"epochs": "3"}}, "plan.epochs in mine/settings.json must be a whole number, got '3'"),
        ({"tune": {"rate": 3}}, "mine/settings.json cannot be read: Expected `array`, got `int`"),
        ({"command": "rm"}, "mine/settings.json cannot be read: Invalid enum value 'rm'"),
        ({"plan": {"select": "os:system('touch there')"}}, "select of default"),
    ],
)
def test_settings_that_nobody_gave_are_told_of(here, change, words):
    """Also where whoever edited them made the checksum anew; and none makes Python's own library act."""
    (here / "mine").mkdir()
    write_json(here / "mine/settings.json", {**SETTINGS, **change})
    told = refused("teach", "--resume", "mine")
    if "select" in change.get("plan", {}):
        assert "is of Python's own library: name a class of your own" in told
    else:
        assert told.startswith(words)
    assert [path.name for path in here.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told.update(metrics=["speed", *told["metrics"]], rows=[{**told["rows"][0], "costs": {}}]),
        lambda told: told["rows"][0]["costs"].pop("full_epochs"),
        lambda told: told.update(
            tuning={"grid": {}, "metric": "", "points": [{}], "jobs": [], "chosen": {}, "edges": []}
        ),
    ],
)
def test_a_judgement_whose_parts_do_not_fit_together_is_told_of(here, edit):
    assert command("teach", RECIPE, "--epochs", "3", "--run", "mine").code == 0
    told = json.loads((here / "mine/judge.json").read_text())
    edit(told)
    write_json(here / "mine/judge.json", told)
    outcome = command("report", "mine")
    assert outcome.code == 2
    assert outcome.err.startswith("attent: mine/judge.json cannot be shown, its parts do not fit together (")
    assert outcome.err.count("\n") == 1


def test_settings_may_have_lists_as_a_file_may(here):
    """Names separated by commas are kept as a text; a list says the same."""
    assert (
        command("judge", RECIPE, "--epochs", "3", "--seeds", "1", "--tuned", "--arms", "default", "--run", "mine").code
        == 0
    )
    told = json.loads((here / "mine/settings.json").read_text())
    told["run"]["arms"] = ["default"]
    write_json(here / "mine/settings.json", told)
    assert command("judge", "--resume", "mine").code == 0
    told["run"]["arms"] = [["default"]]
    write_json(here / "mine/settings.json", told)
    assert refused("judge", "--resume", "mine").startswith("run.arms in mine/settings.json must be names separated by")


def test_reading_a_folder_imports_nothing_that_it_names(here):
    """Reports, traces and resumed runs go by texts; only ``--resume`` makes what it named when the run began."""
    (here / "bomb.py").write_text("open('went_off', 'w')\n")
    assert command("teach", RECIPE, "--epochs", "3", "--run", "mine").code == 0
    for path in sorted(here.glob("mine/**/run.json")):
        header = json.loads(path.read_text())
        header["recipe"] = "bomb:recipe"
        header["plan"]["select"] = "bomb:Policy()"
        write_json(path, header)
    assert command("report", "mine").code == 0
    assert command("diff", "mine/seed-0/taught", "mine/seed-0/full").code in (0, 1)
    assert command("report", "mine/seed-0/full").code == 0
    assert not (here / "went_off").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"examples_trained": 0},
        {"examples_trained": -5},
        {"examples_scored": -1},
        {"cost_trained": 0.0},
        {"wall_seconds": -1.0},
    ],
)
def test_a_job_that_cost_what_no_job_costs_is_told_of(here, change):
    given = ("judge", RECIPE, "--epochs", "3", "--seeds", "1", "--tuned", "--arms", "default", "--run", "mine")
    assert command(*given).code == 0
    path = here / "mine/seed-0/default/job.json"
    write_json(path, {**json.loads(path.read_text()), **change})
    outcome = command("judge", "--resume", "mine")
    assert outcome.code == 2
    assert "\nattent: mine/seed-0/default/job.json cannot be read: Expected " in outcome.err
