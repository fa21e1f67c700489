"""Damaged files of a run folder are named, and whoever refuses them has cut nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attent
from attent import Trace, first_difference, teach
from attent.run.files import read_arrays, write_arrays
from attent.tests.test_run import PLAN
from attent.tests.toy import Toy


def stopped_run(folder):
    """Leave a run that was stopped after four of its six epochs; return its files."""
    stops = iter([False] * 3 + [True] * 9)
    teach(Toy(), PLAN, run=folder, stop=lambda: next(stops), checkpoint_seconds=1e9)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


TOLD = {"epochs": 4, "seconds": {"scoring": 0.0, "selecting": 0.0, "training": 0.0}}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "is not a checkpoint: its metadata has no entry 'attent'"),
        ({"attent": "{"}, "is damaged: its metadata cannot be read: "),
        ({"attent": "[4]"}, "its metadata cannot be read: Expected `object`, got `array`"),
        ({"attent": json.dumps({"epochs": 4})}, "its metadata cannot be read: Object missing required field `seconds`"),
        ({"attent": json.dumps({**TOLD, "epochs": "4"})}, "Expected `int`, got `str` - at `$.epochs`"),
        ({"attent": json.dumps({**TOLD, "epochs": -1})}, "Expected `int` >= 0 - at `$.epochs`"),
        ({"attent": json.dumps({**TOLD, "seconds": None})}, "Expected `object`, got `null` - at `$.seconds`"),
        ({"attent": json.dumps({**TOLD, "epochs": 0})}, "tells of 0 epochs recorded, but its course stands in epoch 4"),
        ({"attent": json.dumps({**TOLD, "epochs": 5})}, "tells of 5 epochs recorded, but its course stands in epoch 4"),
    ],
    ids=["gone", "no JSON", "a list", "no seconds", "a text", "below zero", "null seconds", "too few", "too many"],
)
def test_a_damaged_checkpoint_is_named_and_costs_nothing_recorded(tmp_path, metadata, words):
    before = stopped_run(tmp_path)
    arrays, told = read_arrays(tmp_path / "checkpoint.safetensors")
    assert json.loads(told["attent"])["epochs"] == 4
    write_arrays(tmp_path / "checkpoint.safetensors", arrays, metadata)
    learner = Toy()
    with pytest.raises(attent.TraceError) as error:
        teach(learner, PLAN, run=tmp_path, resume=True)
    assert words in str(error.value)
    assert str(tmp_path / "checkpoint.safetensors") in str(error.value)
    assert (tmp_path / "trace.jsonl").read_bytes() == before["trace.jsonl"]
    assert learner.guess.tolist() == [0.0] * 20
    write_arrays(tmp_path / "checkpoint.safetensors", arrays, told)
    assert teach(Toy(), PLAN, run=tmp_path, resume=True).finished


def test_an_array_of_nobody_in_a_checkpoint_is_named(tmp_path):
    stopped_run(tmp_path)
    arrays, told = read_arrays(tmp_path / "checkpoint.safetensors")
    write_arrays(tmp_path / "checkpoint.safetensors", {**arrays, "other/w": np.zeros(1)}, told)
    with pytest.raises(attent.TraceError, match="its array 'other/w' is neither the course's nor the learner's"):
        teach(Toy(), PLAN, run=tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["removed", "damaged"])
def test_lines_lost_before_the_checkpoint_are_told_before_any_is_cut(tmp_path, damage):
    lines = stopped_run(tmp_path)["trace.jsonl"].split(b"\n")
    assert len(lines) == 5
    kept = [lines[0], b"{}", *lines[2:]] if damage == "damaged" else [*lines[:2], b'{"epoch']
    (tmp_path / "trace.jsonl").write_bytes(b"\n".join(kept))
    words = "line 2 is damaged" if damage == "damaged" else "has 2 epochs, the checkpoint has 4: lines were removed"
    learner = Toy()
    with pytest.raises(attent.TraceError, match=words):
        teach(learner, PLAN, run=tmp_path, resume=True)
    assert learner.guess.tolist() == [0.0] * 20
    assert (tmp_path / "trace.jsonl").read_bytes() == b"\n".join(kept)


def test_damage_behind_the_checkpoint_is_cut_and_taught_again(tmp_path):
    before = stopped_run(tmp_path)["trace.jsonl"]
    (tmp_path / "trace.jsonl").write_bytes(before + b"rubbish\n")
    assert first_difference(teach(Toy(), PLAN, run=tmp_path, resume=True), teach(Toy(), PLAN)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan": {}}, "its plan cannot be read: Object missing required field `epochs`"),
        ({"plan": {**PLAN.to_dict(), "epochs": "six"}}, "Expected `int`, got `str` - at `$.epochs`"),
        ({"plan": {**PLAN.to_dict(), "batch_size": 0}}, "Expected `int` >= 1 - at `$.batch_size`"),
        ({"n": 0}, "Expected `int` >= 1 - at `$.n`"),
    ],
    ids=["no fields", "epochs in words", "no batch", "no examples"],
)
def test_a_damaged_header_is_named(tmp_path, changes, words):
    teach(Toy(), PLAN, run=tmp_path)
    header = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**header, **changes}))
    for read in (lambda: Trace.read(tmp_path), lambda: teach(Toy(), PLAN, run=tmp_path, resume=True)):
        with pytest.raises(attent.TraceError) as error:
            read()
        assert str(error.value).startswith(f"{tmp_path / 'run.json'} is not a run's header: ")
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"scores": np.zeros(20)}, r"its ids must be uint8 of shape \(3,\), got none"),
        ({"ids": np.zeros(2, np.uint8)}, r"its ids must be uint8 of shape \(3,\), got uint8 \(2,\)"),
        ({"ids": np.zeros(3)}, r"its ids must be uint8 of shape \(3,\), got float64 \(3,\)"),
        ({"ids": np.zeros(3, np.uint8), "scores": np.zeros(9)}, r"float64 of shape \(20,\), got float64 \(9,\)"),
    ],
    ids=["no ids", "too few", "floats", "short scores"],
)
def test_a_damaged_selection_is_named(tmp_path, arrays, words):
    trace = teach(Toy(), PLAN, run=tmp_path)
    write_arrays(tmp_path / "selections" / "000001.safetensors", arrays, {})
    with pytest.raises(attent.TraceError, match=words):
        trace.ids(2)
