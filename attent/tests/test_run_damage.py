"""One flipped bit in a file of a run folder is told of with the file's name; whoever refuses it has cost nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

import attent
from attent import Trace, teach
from attent.run.files import read_arrays, read_json, sealed, write_arrays, write_json
from attent.run.folder import CHECKPOINT, EARLIER
from attent.tests.test_run import PLAN
from attent.tests.toy import Toy


def stop_after(folder, lessons, **settings):
    """Leave a run that was stopped after so many of its lessons, with one checkpoint, or as the settings say."""
    asked = []
    teach(
        Toy(),
        PLAN,
        run=folder,
        stop=lambda: asked.append(0) or len(asked) == lessons,
        segment_steps=2,
        **{"checkpoint_seconds": 1e9, **settings},
    )


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run stopped in the middle of its fourth epoch, which teaches the third of four selections."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_after(folder, 9)
    assert len(Trace.read(folder).records) == 3
    return folder


WHOLE = teach(Toy(), PLAN)


def taught(trace):
    """All that a trace says, of the selections every id and score."""
    selections = [(one.ids.tolist(), one.scores.tolist()) for one in map(trace.selections.get, trace.selections)]
    return trace.header, trace.records, [trace.ids(record.epoch).tolist() for record in trace.records], selections


def flip(path, name):
    """Flip one bit of a file, drawn by a name."""
    data = bytearray(path.read_bytes())
    place = random.Random(name).randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def refused(path, run, call):
    """A call raises an error of attent that names this file, and writes nothing into the run's folder."""
    before = files_of(run)
    with pytest.raises(attent.TraceError) as error:
        call()
    assert str(error.value).startswith((f"{path} ", f"cannot read {path}: "))
    assert files_of(run) == before
    return str(error.value)


def refused_resume(path, run):
    learner = Toy()
    words = refused(path, run, lambda: teach(learner, PLAN, run=run, resume=True))
    assert (learner.trained, learner.guess.tolist()) == ([], [0.0] * 20)
    return words


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of the stopped run, to be damaged."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture
def alone(run):
    """The same with its last checkpoint only."""
    (run / EARLIER).unlink()
    return run


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_of_a_header_is_told_of(run, seed):
    flip(run / "run.json", seed)
    refused(run / "run.json", run, lambda: Trace.read(run))
    refused_resume(run / "run.json", run)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_of_a_trace_is_told_of_or_changes_no_number(stopped, run, seed):
    """The last of 17 digits may be another one of the same number; seconds have as many."""
    flip(run / "trace.jsonl", seed)
    try:
        assert taught(Trace.read(run)) == taught(Trace.read(stopped))
    except attent.TraceError:
        refused(run / "trace.jsonl", run, lambda: Trace.read(run))
        refused_resume(run / "trace.jsonl", run)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_of_a_checkpoint_is_told_of(alone, seed):
    flip(alone / CHECKPOINT, seed)
    refused_resume(alone / CHECKPOINT, alone)
    assert len(taught(Trace.read(alone))[2]) == 3


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("draw", [0, 1])
def test_a_flipped_bit_of_a_selection_is_told_of(run, draw, seed):
    path = run / "selections" / f"00000{draw}.safetensors"
    flip(path, f"{draw} {seed}")
    trace = Trace.read(run)
    refused(path, run, lambda: trace.ids(draw + 1))
    refused(path, run, lambda: trace.selections[draw].scores)
    assert trace.ids(2 - draw).tolist() == WHOLE.ids(2 - draw).tolist()  # the other one


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_whose_end_was_damaged_is_told_of(run, number):
    """The last line too: one that lost its end by a sudden stop is passed over, but this one did not."""
    lines = (run / "trace.jsonl").read_bytes().split(b"\n")
    (run / "trace.jsonl").write_bytes(b"\n".join(lines[:number]) + b"\x0b" + b"\n".join(lines[number:]))
    words = refused(run / "trace.jsonl", run, lambda: Trace.read(run))
    assert f"trace.jsonl line {number} is damaged: " in words
    refused_resume(run / "trace.jsonl", run)


class Told(msgspec.Struct):
    """As settings, reports and judgements are kept."""

    format: int
    quality: dict[str, float | None]
    rows: list[list[float]]
    why: str


TOLD = Told(2, {"accuracy": 0.9637, "loss": None}, [[0.1, 1e-300], [5e17, -0.0]], "Größe \u2212 \n")


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_of_any_json_is_told_of(tmp_path, seed):
    path = tmp_path / "judge.json"
    write_json(path, TOLD)
    assert read_json(path, Told) == TOLD
    flip(path, seed)
    refused(path, tmp_path, lambda: read_json(path, Told))


@pytest.mark.parametrize(("was", "now"), [("0.9637", "0.9837"), ('"loss"', '"lost"'), ("2,", '2, "n": 3,')])
def test_what_was_edited_by_hand_is_told_of(tmp_path, was, now):
    path = tmp_path / "judge.json"
    write_json(path, TOLD)
    path.write_text(path.read_text().replace(was, now, 1))
    words = refused(path, tmp_path, lambda: read_json(path, Told))
    assert "its checksum does not match its content, which has changed since attent wrote it" in words


def test_the_same_content_spelt_otherwise_is_the_same(tmp_path):
    path = tmp_path / "judge.json"
    write_json(path, TOLD)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7, sort_keys=True).replace("0.9637", "9.6370e-1"))
    assert read_json(path, Told) == TOLD


NESTED = b"[" * 100_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is damaged: Input data was truncated"),
        (b"{}", "has no checksum ('sha256')"),
        (b"[]", "is damaged: it must be a JSON object, got list"),
        (b'{"n": "\xff"}', "is damaged: 'utf-8' codec can't decode byte 0xff"),
        (b"\0" * 40, "is damaged: JSON is malformed: invalid character"),
        (NESTED, "is damaged: maximum recursion depth exceeded"),
        (b'{"sha256": ' + NESTED, "is damaged: maximum recursion depth exceeded"),
        (b'{"sha256": 3}', "is damaged: its checksum does not match its content"),
    ],
    ids=["empty", "no checksum", "a list", "not UTF-8", "NUL", "nested", "nested checksum", "a number as checksum"],
)
@pytest.mark.parametrize("name", ["run.json", "trace.jsonl"])
def test_what_is_no_json_of_attent_is_told_of(run, name, data, words):
    (run / name).write_bytes(data + b"\n")
    assert words in refused(run / name, run, lambda: Trace.read(run))
    assert words in refused_resume(run / name, run)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot read {}: "),
        (b"\0" * 99, "cannot read {}: "),
        (b"\x02" + b"\0" * 7 + b"{}", "{} has no checksum ('sha256')"),
        (b"\x04" + b"\0" * 7 + b"\xff" * 4, "cannot read {}: "),
        (b"\xff" * 99, "cannot read {}: "),
    ],
    ids=["empty", "NUL", "no arrays", "not UTF-8", "a header longer than all memory"],
)
def test_what_is_no_safetensors_file_of_attent_is_told_of(alone, data, words):
    path, selection = alone / CHECKPOINT, alone / "selections/000000.safetensors"
    path.write_bytes(data)
    assert refused_resume(path, alone).startswith(words.format(path))
    selection.write_bytes(data)
    assert refused(selection, alone, lambda: Trace.read(alone).ids(1)).startswith(words.format(selection))


@pytest.mark.parametrize(
    ("dtype", "shape", "count"),
    [("BF16", [3], 6), ("F8_E4M3", [3], 3), ("F8_E5M2", [3], 3), ("F8_E8M0", [3], 3), ("F4", [4], 2), ("C64", [1], 8)]
    + [("I64", [0, 2**62], 0), ("I64", [2**63, 0], 0), ("U8", [2**33], 0)],
)
def test_arrays_that_numpy_cannot_hold_are_told_of(alone, dtype, shape, count):
    header = json.dumps({"ids": {"dtype": dtype, "shape": shape, "data_offsets": [0, count]}}).encode()
    data = len(header).to_bytes(8, "little") + header + b"\0" * count
    for path in (alone / CHECKPOINT, alone / "selections/000000.safetensors"):
        path.write_bytes(data)
    refused_resume(alone / CHECKPOINT, alone)
    refused(path, alone, lambda: Trace.read(alone).ids(1))


NAMES = ["run.json", "trace.jsonl", CHECKPOINT, "selections/000000.safetensors"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_a_files_place_is_told_of(alone, name):
    (alone / name).unlink()
    (alone / name).mkdir()
    if name.startswith("selections"):
        assert "is a folder, not a file" in refused(alone / name, alone, lambda: Trace.read(alone).ids(1))
    assert "is a folder, not a file" in refused_resume(alone / name, alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_in_a_files_place_is_told_of_and_not_waited_for(alone, name):
    (alone / name).unlink()
    os.mkfifo(alone / name)
    with pytest.raises(attent.TraceError, match=f"cannot read .*{name}: is no regular file"):
        teach(Toy(), PLAN, run=alone, resume=True)


@pytest.mark.parametrize("name", ["run.json", "trace.jsonl"])
def test_a_file_that_cannot_be_read_is_told_of(run, name):
    (run / name).unlink()
    (run / name).symlink_to(name)  # to itself
    words = refused(run / name, run, lambda: Trace.read(run))
    assert "Too many levels of symbolic links" in words


def test_a_name_with_a_nul_is_told_of(tmp_path):
    with pytest.raises(attent.TraceError, match="cannot read .*embedded null byte"):
        Trace.read(tmp_path / "a\0b")
    with pytest.raises(attent.TraceError, match="cannot write .*embedded null byte"):
        teach(Toy(), PLAN, run=tmp_path / "a\0b")


@pytest.mark.parametrize("epochs", [0, 2, 4, -1])
def test_a_checkpoint_that_tells_of_other_epochs_than_its_course_is_refused(run, epochs):
    path = run / CHECKPOINT
    arrays, told = read_arrays(path)
    fields = json.loads(told["attent"])
    assert fields["epochs"] == 3
    write_arrays(path, arrays, {"attent": json.dumps({**fields, "epochs": epochs})})
    assert f"tells of {epochs} epochs recorded, but its course stands in epoch 3" in refused_resume(path, run)
    write_arrays(path, arrays, told)
    assert taught(teach(Toy(), PLAN, run=run, resume=True))[2:] == taught(WHOLE)[2:]


def test_another_file_in_a_checkpoints_place_is_refused(alone):
    run, path = alone, alone / CHECKPOINT
    shutil.copy(run / "selections/000000.safetensors", path)
    assert "is not a checkpoint: its metadata has no entry 'attent'" in refused_resume(path, run)
    shutil.copy(run / "run.json", path)
    refused_resume(path, run)
    arrays, _ = read_arrays(run / "selections/000000.safetensors")
    for words in ("{", "[]", '{"epochs": 3}', '{"epochs": "3", "seconds": {}}', "[" * 2000):
        write_arrays(path, arrays, {"attent": words})
        assert "is not a checkpoint: its entry 'attent' cannot be read" in refused_resume(path, run)


def test_a_checkpoint_in_a_selections_place_is_refused(run):
    path = run / "selections/000000.safetensors"
    shutil.copy(run / CHECKPOINT, path)
    words = refused(path, run, lambda: Trace.read(run).ids(1))
    assert "holds no selection, expected draw 0 of 20 examples" in words


@pytest.mark.parametrize("damage", ["removed", "damaged"])
def test_lines_lost_before_the_checkpoint_are_told_before_any_is_cut(run, damage):
    lines = (run / "trace.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 4
    kept = [lines[0], sealed({}), *lines[2:]] if damage == "damaged" else [*lines[:2], b'{"epoch']
    (run / "trace.jsonl").write_bytes(b"\n".join(kept))
    words = refused_resume(run / "trace.jsonl", run)
    told = [
        "line 2 cannot be read: Object missing required field `epoch`",
        "has 2 epochs, the checkpoint has 3: lines were removed",
    ]
    assert told[damage == "removed"] in words


def test_damage_behind_the_checkpoint_is_cut_and_taught_again(run):
    with (run / "trace.jsonl").open("ab") as file:
        file.write(b"rubbish\n")
    assert taught(teach(Toy(), PLAN, run=run, resume=True))[2:] == taught(WHOLE)[2:]


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_a_selection_that_is_gone_is_told_of_before_the_run_goes_on(run, draw):
    """Draw 2 is of the epoch under way: its file is not written again, and without it the trace would have a hole."""
    path = run / "selections" / f"00000{draw}.safetensors"
    path.unlink()
    assert f"is gone: without it nothing tells what draw {draw} taught" in refused_resume(path, run)


@pytest.mark.parametrize("draw", [0, 1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_a_selection_that_is_damaged_is_told_of_before_the_run_goes_on(run, draw, seed):
    path = run / "selections" / f"00000{draw}.safetensors"
    flip(path, f"{draw} {seed}")
    refused_resume(path, run)


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_a_selection_of_other_ids_is_told_of_before_the_run_goes_on(run, draw):
    path = run / "selections" / f"00000{draw}.safetensors"
    arrays, told = read_arrays(path)
    write_arrays(path, {**arrays, "ids": np.roll(arrays["ids"], 1)}, told)
    assert f"holds other ids than draw {draw} of this run taught" in refused_resume(path, run)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"scores": np.zeros(20)},
        {"ids": np.zeros(2, np.uint8)},
        {"ids": np.zeros(3)},
        {"ids": np.zeros((1, 3), np.uint8)},
        {"ids": np.zeros(3, np.uint8), "scores": np.zeros(19)},
        {"ids": np.zeros(3, np.uint8), "scores": np.zeros(20, np.float32)},
        {"ids": np.zeros(3, np.uint8), "more": np.zeros(20)},
    ],
)
def test_a_selection_of_another_form_is_told_of(run, arrays):
    path = run / "selections/000000.safetensors"
    write_arrays(path, arrays, {"n": "20", "draw": "0"})
    assert "expected {'ids': ('uint8', (3,))} and at most" in refused(path, run, lambda: Trace.read(run).ids(1))
    refused_resume(path, run)


@pytest.mark.parametrize(
    ("number", "fields", "words"),
    [
        (2, {"draw": 99}, "line 2 taught draw 99; draws made until then: 1"),
        (2, {"draw": -1}, "line 2 taught draw -1; draws made until then: 1"),
        (1, {"draw": 0}, "line 1 taught draw 0; draws made until then: 0"),
        (2, {"selection": 5}, "line 2 made draw 5, expected 0: draws count from 0"),
        (3, {"selection": 0}, "line 3 made draw 0, expected 1: draws count from 0"),
        (3, {"epoch": 7}, "line 3 is epoch 7, expected 2"),
    ],
)
def test_edited_draws_are_told_of(run, number, fields, words):
    """Also where whoever edited them made the checksum anew."""
    lines = (run / "trace.jsonl").read_bytes().splitlines()
    record = json.loads(lines[number - 1])
    if "selection" in fields:
        fields = {"selection": {**record["selection"], "draw": fields["selection"]}}
    lines[number - 1] = sealed({**record, **fields})
    (run / "trace.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert words in refused(run / "trace.jsonl", run, lambda: Trace.read(run))
    assert words in refused_resume(run / "trace.jsonl", run)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n", 0, "Expected `int` >= 1 - at `$.n`"),
        ("plan", {}, "in its plan: Object missing required field `epochs`"),
        ("plan", {**PLAN.to_dict(), "epochs": 0}, "in its plan: Expected `int` >= 1 - at `$.epochs`"),
        ("plan", {**PLAN.to_dict(), "source": None}, "in its plan: Expected `str`, got `null` - at `$.source`"),
    ],
)
def test_a_header_without_what_every_run_has_is_told_of(run, name, value, words):
    write_json(run / "run.json", {**json.loads((run / "run.json").read_bytes()), name: value})
    assert words in refused(run / "run.json", run, lambda: Trace.read(run))
    refused_resume(run / "run.json", run)
