"""``attent teach --resume``: a run cut off anywhere goes on as if it had not been, and what is damaged is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from attent import first_difference
from attent.run.files import read_arrays, sealed, write_arrays
from attent.run.state import digest_of_state
from attent.tests.cli_toy import (
    ALL,
    DEFAULT,
    RECIPE,
    Judged,
    command,
    refused,
    result,
    rows_of,
    trace,
)
from attent.tests.judging_toy import without_seconds


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


class Interrupted(Exception):
    """What a power cut is to a test."""


@pytest.fixture
def cut(monkeypatch):
    """Return a function that makes training fail after so many steps in this process, or never again."""
    train = Judged.train

    def at(steps, checked=2):
        taken = -checked  # the first steps of two builds, to see whether they are equal

        def limited(self, batches, weights=None):
            nonlocal taken
            taken += len(batches)
            if steps is not None and taken > steps:
                raise Interrupted
            return train(self, batches, weights)

        monkeypatch.setattr(Judged, "train", limited)

    return at


@pytest.mark.parametrize("steps", [0, 3, 31, 80])
def test_a_run_cut_off_anywhere_goes_on_as_if_it_had_not_been(elsewhere, cut, steps):
    options = (
        RECIPE,
        *DEFAULT,
        *ALL,
        "--set",
        "width=3",
        "--seed",
        "3",
        "--checkpoint-seconds",
        "0",
        "--segment-steps",
        "3",
    )
    assert command("teach", *options, "--run", "whole").code == 0
    cut(steps)
    with pytest.raises(Interrupted):
        command("teach", *options, "--run", "cut")
    cut(None)
    outcome = command("teach", "--resume", "cut")
    assert outcome.code == 0
    arms = ("taught", "full", "short", "random")
    for arm in arms:
        assert first_difference(trace("whole", arm, 3), trace("cut", arm, 3)) is None
    assert without_seconds(result("cut")) == without_seconds(result("whole"))
    assert {job["arm"] for job in result("cut")["jobs"]} == set(arms)


@pytest.mark.parametrize(
    ("steps", "seconds", "told"),
    [
        (0, 0, "taught (1 of 3): no checkpoint yet: begins anew"),
        (19, 1000, "taught (1 of 3): no checkpoint yet: begins anew"),
        (5, 0, "taught (1 of 3): goes on from its last checkpoint: epoch 1 of 6, step 3 of 8"),
        (8, 0, "taught (1 of 3): goes on from its last checkpoint: epoch 2 of 6, its start"),
        (31, 0, "full (2 of 3): goes on from its last checkpoint: epoch 1 of 6, step 3 of 8"),  # 28 are of taught
    ],
)
def test_a_run_that_goes_on_says_where_from(elsewhere, cut, steps, seconds, told):
    cut(steps)
    options = ("--checkpoint-seconds", seconds, "--segment-steps", "3")
    with pytest.raises(Interrupted):
        command("teach", RECIPE, *DEFAULT, *options, "--run", "mine")
    cut(None)
    lines = command("teach", "--resume", "mine").err.splitlines()
    assert lines[1] == f"seed 0, {told}"
    assert not any("goes on" in line or "anew" in line for line in lines[2:])


def test_a_run_whose_checkpoint_is_gone_does_not_say_that_it_begins_anew(elsewhere, cut):
    cut(13)
    with pytest.raises(Interrupted):
        command("teach", RECIPE, "--segment-steps", "3", "--run", "mine")
    for name in ("checkpoint.safetensors", "checkpoint.earlier.safetensors"):
        (elsewhere / "mine/seed-0/taught" / name).unlink(missing_ok=True)
    assert (
        command("teach", "--resume", "mine")
        .err.splitlines()[1]
        .startswith("attent: mine/seed-0/taught cannot be continued: its checkpoint.safetensors is gone.")
    )


def test_what_was_recorded_after_the_last_checkpoint_is_told_of(elsewhere, cut):
    cut(13)
    with pytest.raises(Interrupted):
        command("teach", RECIPE, *DEFAULT, "--checkpoint-seconds", "0", "--segment-steps", "3", "--run", "mine")
    checkpoint = elsewhere / "mine/seed-0/taught/checkpoint.safetensors"
    kept = checkpoint.read_bytes()
    cut(7, checked=0)
    with pytest.raises(Interrupted):
        command("teach", "--resume", "mine")
    checkpoint.write_bytes(kept)  # as a kill before the next checkpoint would have left it
    cut(None)
    assert command("teach", "--resume", "mine").err.splitlines()[1] == (
        "seed 0, taught (1 of 3): goes on from its last checkpoint: epoch 3 of 6, its start; "
        "2 recorded since are taught again"
    )


@pytest.mark.filterwarnings("always")
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_taken(elsewhere, cut):
    options = ("--checkpoint-seconds", "0", "--segment-steps", "3")
    cut(13)
    with pytest.raises(Interrupted):
        command("teach", RECIPE, *DEFAULT, *options, "--run", "mine")
    (elsewhere / "mine/seed-0/taught/checkpoint.safetensors").write_bytes(b"")
    cut(None)
    lines = command("teach", "--resume", "mine").err.splitlines()
    assert lines[1] == (
        "seed 0, taught (1 of 3): goes on from its last checkpoint: epoch 2 of 6, its start; "
        "1 recorded since is taught again"
    )
    assert lines[2].startswith("Warning: cannot read mine/seed-0/taught/checkpoint.safetensors: ")
    assert lines[2].endswith(
        "The run goes on from the checkpoint before it, checkpoint.earlier.safetensors, of epoch 1: "
        "what came after it is taught again. The other is kept as checkpoint.damaged.safetensors"
    )
    assert command("teach", RECIPE, *DEFAULT, *options, "--run", "whole").code == 0
    assert command("diff", "mine", "whole").out == "the same 6 epochs\n"


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (b"{", "attent: not a course's state: its position cannot be read: Expecting property name"),
        (b"{}", "attent: not a course's state: its position cannot be read: Object missing required field `n`"),
    ],
)
def test_a_damaged_position_is_named(elsewhere, cut, position, message):
    cut(13)
    with pytest.raises(Interrupted):
        command("teach", RECIPE, "--checkpoint-seconds", "0", "--segment-steps", "3", "--run", "mine")
    checkpoint = elsewhere / "mine/seed-0/taught/checkpoint.safetensors"
    checkpoint.with_name("checkpoint.earlier.safetensors").unlink()
    arrays, metadata = read_arrays(checkpoint)
    arrays["course/position"] = np.frombuffer(position, np.uint8)
    course = {name.removeprefix("course/"): arrays[name] for name in arrays if name.startswith("course/")}
    write_arrays(checkpoint, {**arrays, "course/digest": digest_of_state(course)}, metadata)
    assert command("teach", "--resume", "mine").err.splitlines()[1].startswith(message)


def test_a_finished_arm_is_not_run_again(elsewhere, cut):
    command("teach", RECIPE, "--run", "mine")
    before = {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*.safetensors")}
    cut(0, checked=0)
    first, again = command("report", "mine").out, command("teach", "mine", "--resume")
    assert again.code == 0
    assert len(again.err.splitlines()) == 1
    assert first.endswith(again.out.removesuffix("Picture: mine/judge.svg\nFolder: mine\n"))
    assert before == {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*.safetensors")}


def test_resume_takes_any_form_and_begins_what_is_not_there(elsewhere, cut):
    options = (RECIPE, "--run", "mine", "--resume", "--epochs", "4", "--set", "width=3", "--set", "rate=0.25")
    cut(5)
    with pytest.raises(Interrupted):
        command("teach", *options)
    cut(None)
    assert command("teach", *options).code == 0
    assert command("teach", "--run", "mine", "--resume").code == 0
    assert command("teach", "--resume", "mine", "--epochs", "4", "--set", "pause=0").code == 0
    assert trace("mine", "full").header.plan["epochs"] == 4
    assert result("mine")["options"] == {"width": 3, "rate": 0.25}


def test_more_arms_can_be_asked_for_later(elsewhere):
    command("teach", RECIPE, *DEFAULT, "--run", "mine", "--against", "none")
    outcome = command("teach", "--resume", "mine", "--against", "random,short")
    assert "seed 0, short (2 of 3): accuracy" in outcome.err
    assert "taught (" not in outcome.err
    assert list(rows_of(outcome.out)) == ["short", "random", "taught"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "9"), "--epochs was 6 when this run began, now it is 9: "),
        (("--ratio", "0.5"), "--ratio was 0.3 when this run began, now it is 0.5: "),
        (("--set", "width=9"), "--set width was 3 when this run began, now it is 9: "),
        (("--set", "rate=0.125"), "--set rate was 0.5 when this run began, now it is 0.125: "),
        (("--forward-share", "0.4"), "--forward-share was not given when this run began, now it is 0.4: "),
        (
            ("--run", "mine", "vit-digits"),
            "--recipe was 'attent.tests.cli_toy:tiny' when this run began, now it is 'vit",
        ),
    ],
)
def test_a_run_does_not_go_on_as_another(elsewhere, arguments, message):
    command("teach", RECIPE, "--run", "mine", "--ratio", "0.3", "--set", "width=3", "--against", "none")
    kept = (elsewhere / "mine/settings.json").read_bytes()
    place = ("--resume",) if "--run" in arguments else ("--resume", "mine")
    assert message in refused("teach", *place, *arguments)
    assert (elsewhere / "mine/settings.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine/settings.json is damaged: "),
        (
            '{"format": 1, "command": "teach"}',
            "mine/settings.json has format 1, this attent reads format 2: go on with the",
        ),
        ('{"format": 2, "command": "teach"}', "mine/settings.json has no checksum ('sha256')"),
        (sealed({"format": 2}).decode(), "mine/settings.json cannot be read: Object missing required field `command`"),
    ],
)
def test_damaged_settings_are_named(elsewhere, text, message):
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine/settings.json").write_text(text)
    assert message in refused("teach", "--resume", "mine")


def test_a_folder_that_cannot_be_made_is_named(elsewhere):
    (elsewhere / "runs").write_text("a file")
    assert "cannot make runs: File exists; name another folder" in refused("teach", RECIPE).splitlines()[0]
    (elsewhere / "runs").unlink()
    (elsewhere / "runs").symlink_to("nowhere")
    assert "cannot make runs: File exists; name another folder" in refused("teach", RECIPE).splitlines()[0]
