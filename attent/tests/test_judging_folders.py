"""A judgement's folder: it holds all, goes on where it was stopped, and refuses what is not its own."""

from __future__ import annotations

import importlib.metadata
import json

import msgspec
import pytest

import attent
from attent.judging.picture import picture
from attent.judging.report import report_text
from attent.tests import judging_toy as toy
from attent.tests.judging_toy import HARD, SAVED, judged, timed
from attent.tests.toy import edit


def judged_in(folder, **asked):
    found = judged(run=folder, seeds=3, tuned=False, tune={"rate": [0.5, 1.0]}, segment_steps=1, **asked)
    return found, toy.without_seconds(json.loads((folder / "judge.json").read_text()))


def test_a_folder_holds_all_and_changes_nothing(tmp_path):
    found, kept = judged_in(tmp_path)
    assert toy.without_seconds(json.loads(msgspec.json.encode(found))) == kept
    alone = judged(seeds=3, tuned=False, tune={"rate": [0.5, 1.0]}, segment_steps=1)
    assert toy.without_seconds(json.loads(msgspec.json.encode(alone))) == kept
    assert (tmp_path / "report.md").read_text() == report_text(found) + "\n![quality by cost](judge.svg)\n"
    assert (tmp_path / "judge.svg").read_text() == picture(found)
    assert (tmp_path / "seed-2" / "hard" / "job.json").exists()
    assert not list(tmp_path.glob("**/checkpoint.safetensors"))


@pytest.mark.parametrize("lessons", [1, 5, 40, 75, 100, 200])
def test_a_stopped_judgement_goes_on_as_if_it_had_not_been(tmp_path, lessons):
    _, whole = judged_in(tmp_path / "whole")
    with toy.stopping_after(lessons) as stop:
        partial, kept = judged_in(tmp_path / "stopped", stop=stop)
    assert not partial.finished
    assert kept["verdict"] == partial.verdict
    found, resumed = judged_in(tmp_path / "stopped")
    assert resumed == whole
    assert all(job.process_seconds is not None for job in found.jobs)


def test_more_seeds_and_arms_add_to_what_there_is(tmp_path):
    judged(run=tmp_path, seeds=1)
    lines = []
    found = judged(run=tmp_path, seeds=2, arms=[*HARD, "default"], tell=lines.append)
    assert [line.partition(":")[0] for line in lines if line.startswith("seed 0")] == ["seed 0, default (5 of 10)"]
    assert found.finished


def test_arms_come_and_go_and_the_control_with_them(tmp_path):
    asked = {"run": tmp_path, "against": ["full", "short"], "seeds": 1}
    assert judged(arms=["default"], **asked).row("short").costs["full_epochs"] == 3.6
    for arms, short in ((["default", "wide:default,ratio=0.6"], 4.4), (["default"], 3.6)):
        found = judged(arms=arms, **asked)
        assert found.row("short").costs["full_epochs"] == pytest.approx(short)
        assert {job.arm for job in found.jobs} >= {"full", "default", "short"}
    lines = []
    judged(arms=["default", "wide:default,ratio=0.6"], tell=lines.append, **asked)
    assert lines == []  # all of it is kept


def test_a_smaller_budget_loses_nothing_that_has_finished(tmp_path, monkeypatch):
    timed(monkeypatch, run=tmp_path)
    found, spent = timed(monkeypatch, run=tmp_path, budget_seconds=1e-9, seeds=4)
    assert (found.seeds, found.left_out) == ([0, 1], [])
    assert spent == 0  # whether two builds are equal was seen the first time
    assert found.saving("hard").value == pytest.approx(SAVED)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"recipe": toy.level}, "was judged with recipe 'steady', now it is 'level'"),
        ({"n": 40}, "was judged with n 50, now it is 40"),
    ],
)
def test_a_folder_of_another_recipe_or_other_data_is_refused(tmp_path, monkeypatch, changed, complaint):
    judged(run=tmp_path)
    if "n" in changed:
        monkeypatch.setattr(toy, "N", changed.pop("n"))
    with pytest.raises(attent.TraceError) as error:
        judged(run=tmp_path, **changed)
    assert complaint in str(error.value)


def test_a_folder_of_another_attent_is_refused(tmp_path):
    judged(run=tmp_path)
    header = tmp_path / "seed-0" / "full" / "run.json"
    edit(header, f'"attent": "{importlib.metadata.version("attent")}"', '"attent": "0.0.1"')
    with pytest.raises(attent.TraceError, match=r"was judged with attent '0\.0\.1', now it is '"):
        judged(run=tmp_path)


def test_a_killed_job_has_no_seconds(tmp_path):
    with toy.stopping_after(100) as stop:
        judged_in(tmp_path, stop=stop)
    (spent,) = tmp_path.glob("**/spent.json")
    spent.unlink()  # as if the process had been killed
    found, _ = judged_in(tmp_path)
    assert [job.process_seconds is None for job in found.jobs].count(True) == 1
    assert (
        found.row("hard").costs["process_seconds"] is None
        or "process_seconds" not in found.row("hard").savings["skill"]
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"arms": ["hard:default,select=hard,ratio=0.5"]}, "seed-0/hard was judged with ratio 0.4, now it is 0.5"),
        ({"options": {"rate": 0.5}}, "seed-0/full was judged with option rate None, now it is 0.5"),
        ({"batch_size": 5}, "seed-0/full was judged with batch_size 10, now it is 5"),
    ],
)
def test_a_folder_of_another_judgement_is_refused(tmp_path, changes, complaint):
    judged(run=tmp_path)
    before = (tmp_path / "judge.json").read_bytes()
    with pytest.raises(attent.TraceError) as error:
        judged(run=tmp_path, **changes)
    assert complaint in str(error.value).replace("\\", "/")
    assert (tmp_path / "judge.json").read_bytes() == before
