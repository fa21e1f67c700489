"""Two checkpoints: where the last is damaged, a run goes on from the one before it, and ends as if nothing had been."""

from __future__ import annotations

import functools
import itertools
import os
import re
from pathlib import Path

import numpy as np
import pytest

import attent
from attent import Trace, teach
from attent.run import files
from attent.run.files import read_arrays, write_arrays
from attent.run.folder import CHECKPOINT, DAMAGED, EARLIER, position_in
from attent.tests import test_run_damage as damage
from attent.tests.test_run import PLAN
from attent.tests.test_run_damage import files_of, flip, taught
from attent.tests.toy import Toy

LEARNER = Toy()
WHOLE = teach(LEARNER, PLAN, segment_steps=2)
stop_after = functools.partial(damage.stop_after, checkpoint_seconds=0)  # a checkpoint after each lesson


def goes_on_as_ever(folder):
    """A run goes on to its end and has taught what the one left alone taught, to the bit."""
    learner = Toy()
    trace = teach(learner, PLAN, run=folder, resume=True, segment_steps=2)
    assert taught(trace)[2:] == taught(WHOLE)[2:]
    assert [record.loss for record in trace.records] == [record.loss for record in WHOLE.records]
    assert learner.guess.tobytes() == LEARNER.guess.tobytes()


DAMAGE = {
    "a flipped bit": lambda path: flip(path, "0"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "another file": lambda path: write_arrays(path, {"a": np.zeros(3)}, {}),
}
TOLD = {
    "gone": "checkpoint.safetensors is gone. The run goes on",
    "another file": "checkpoint.safetensors is not a checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("lessons", [2, 5, 6, 7, 9, 10, 11])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, lessons, damage):
    run = tmp_path / "run"
    stop_after(run, lessons)
    earlier = read_arrays(run / EARLIER)
    DAMAGE[damage](run / CHECKPOINT)
    data = None if damage == "gone" else (run / CHECKPOINT).read_bytes()
    with pytest.warns(attent.TraceWarning) as warned:
        goes_on_as_ever(run)
    (words,) = [str(one.message) for one in warned]
    assert words.startswith((f"{run / CHECKPOINT} ", f"cannot read {run / CHECKPOINT}: "))
    assert TOLD.get(damage, "") in words
    epoch = earlier[1]["attent"].partition(":")[2].partition(",")[0].strip()
    told = f"The run goes on from the checkpoint before it, checkpoint.earlier.safetensors, of epoch {epoch}: "
    assert told in words
    assert "Restore it from a copy" not in words
    kept = "" if data is None else ". The other is kept as checkpoint.damaged.safetensors"
    assert words.endswith(f"what came after it is taught again{kept}")
    assert ((run / DAMAGED).read_bytes() if (run / DAMAGED).exists() else None) == data


def test_the_damaged_one_is_not_kept_in_place_of_the_one_before_it(tmp_path):
    stop_after(tmp_path / "run", 7)
    before = (tmp_path / "run" / EARLIER).read_bytes()
    flip(tmp_path / "run" / CHECKPOINT, "0")
    with pytest.warns(attent.TraceWarning):
        teach(Toy(), PLAN, run=tmp_path / "run", resume=True, stop=lambda: True, segment_steps=1)
    assert (tmp_path / "run" / EARLIER).read_bytes() == before
    goes_on_as_ever(tmp_path / "run")  # without a warning


def test_where_both_are_damaged_both_are_named_and_nothing_is_lost(tmp_path):
    run = tmp_path / "run"
    stop_after(run, 7)
    flip(run / CHECKPOINT, "0")
    (run / EARLIER).write_bytes(b"")
    before = files_of(run)
    with pytest.raises(attent.TraceError) as error:
        teach(Toy(), PLAN, run=run, resume=True)
    assert str(run / CHECKPOINT) in str(error.value)
    assert f"nor can the one before it be taken: cannot read {run / EARLIER}: " in str(error.value)
    assert files_of(run) == before
    assert len(Trace.read(run).records) == 2


def test_a_damaged_one_before_the_last_is_not_looked_at(tmp_path):
    stop_after(tmp_path / "run", 7)
    (tmp_path / "run" / EARLIER).write_bytes(b"")
    goes_on_as_ever(tmp_path / "run")


@pytest.mark.parametrize("links", [True, False])
def test_the_last_two_are_kept(tmp_path, monkeypatch, links):
    if not links:  # as on FAT

        def refuse(*names):
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    kept = []

    def look(progress):
        if (tmp_path / CHECKPOINT).exists():
            kept.append(
                [(tmp_path / name).read_bytes() for name in (CHECKPOINT, EARLIER) if (tmp_path / name).exists()]
            )

    teach(Toy(), PLAN, run=tmp_path, listeners=[look], checkpoint_seconds=0, segment_steps=2)
    assert len(kept[0]) == 1  # the learner as it came
    assert all(later[1] == sooner[0] for sooner, later in itertools.pairwise(kept))
    assert len({each[0] for each in kept}) == len(kept) > 9
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("at", ["link", "replace", "second replace"])
def test_a_process_that_dies_between_two_checkpoints_leaves_one_to_go_on_from(tmp_path, monkeypatch, at):
    """Whatever was done of keeping two, the next process goes on, and what is half written is gone."""
    stop_after(tmp_path / "run", 4)

    class Died(BaseException):
        pass

    wanted = r"checkpoint\..+\.partial" if at == "link" else r"checkpoint\..*safetensors"
    left = {"link": 0, "replace": 0, "second replace": 1}[at]

    def die(call):
        def called(*arguments):
            nonlocal left
            if re.fullmatch(wanted, Path(arguments[-1]).name):
                left -= 1
                if left < 0:
                    raise Died
            return call(*arguments)

        return called

    name = "link" if at == "link" else "replace"
    monkeypatch.setattr(files.os, name, die(getattr(os, name)))
    monkeypatch.setattr(files.Path, "unlink", lambda self, missing_ok=False: None)  # nobody tidies up after a kill
    with pytest.raises(Died):
        teach(Toy(), PLAN, run=tmp_path / "run", resume=True, checkpoint_seconds=0, segment_steps=2)
    monkeypatch.undo()
    assert list((tmp_path / "run").glob("*.partial"))
    goes_on_as_ever(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_what_killed_processes_were_writing_is_removed_and_nothing_else(tmp_path):
    stop_after(tmp_path, 4)
    (tmp_path / "selections").mkdir(exist_ok=True)
    left = ["checkpoint.safetensors.123.partial", "run.json.7.partial", "selections/000000.safetensors.99.partial"]
    kept = ["mine.partial", "notes.12.partial.txt", ".5.partial"]
    for name in left + kept:
        (tmp_path / name).write_bytes(b"half")
    Trace.read(tmp_path)
    assert all((tmp_path / name).exists() for name in left + kept)  # who only reads removes nothing
    teach(Toy(), PLAN, run=tmp_path, resume=True)
    assert [name for name in left + kept if (tmp_path / name).exists()] == kept


def test_where_a_run_stands_is_read_without_the_learner(tmp_path, monkeypatch):
    stop_after(tmp_path, 7)
    here = position_in(tmp_path)
    assert (here.epoch, here.step, here.draw) == (2, 2, 2)
    arrays, _ = read_arrays(tmp_path / CHECKPOINT)
    place = (tmp_path / CHECKPOINT).read_bytes().rindex(arrays["learner/guess"].tobytes())
    data = bytearray((tmp_path / CHECKPOINT).read_bytes())
    data[place] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(data)
    assert position_in(tmp_path) == here  # the learner's part alone is damaged
    (tmp_path / CHECKPOINT).write_bytes(b"")
    before = position_in(tmp_path)
    assert (before.epoch, before.step) < (here.epoch, here.step)
    (tmp_path / EARLIER).unlink()
    with pytest.raises(attent.TraceError):
        position_in(tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    assert position_in(tmp_path) is None


def test_resuming_reads_the_checkpoint_once(tmp_path, monkeypatch):
    stop_after(tmp_path, 7)
    read = []
    opened = files.safetensors.safe_open
    monkeypatch.setattr(files.safetensors, "safe_open", lambda path, kind: read.append(path) or opened(path, kind))
    teach(Toy(), PLAN, run=tmp_path, resume=True)
    assert read.count(str(tmp_path / CHECKPOINT)) == 1
    assert str(tmp_path / EARLIER) not in read
    assert np.array_equal(Trace.read(tmp_path).ids(5), WHOLE.ids(5))
