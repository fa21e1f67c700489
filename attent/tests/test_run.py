"""Run folders and traces: whole at every moment, resumable, comparable, and clear about what is wrong."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import attent
from attent import Plan, Trace, first_difference, teach
from attent.run.files import keep_lines, read_arrays, sealed, write_arrays, write_json
from attent.tests import killing
from attent.tests.toy import Toy

PLAN = Plan(epochs=6, batch_size=3, ratio=0.5, select="soft", warm_up=1, cool_down=1)


def test_a_folder_reads_back_as_the_trace_in_memory(tmp_path):
    kept, read = teach(Toy(), PLAN), teach(Toy(), PLAN, run=tmp_path / "run")
    assert first_difference(kept, read) is None
    for epoch in range(6):
        assert read.ids(epoch).tolist() == kept.ids(epoch).tolist()
        assert read.records[epoch].selection == kept.records[epoch].selection
    for draw in kept.selections:
        assert np.array_equal(kept.selections[draw].scores, read.selections[draw].scores)
    assert len(read.selections) == 4
    assert read.header.plan == PLAN.to_dict()
    assert read.finished
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [
        "checkpoint.earlier.safetensors",
        "checkpoint.safetensors",
        "lock",
        "run.json",
        "selections",
        "trace.jsonl",
    ]


def test_scores_are_kept_only_if_asked(tmp_path):
    trace = teach(Toy(), PLAN, run=tmp_path / "run", keep_scores=False)
    assert [trace.selections[draw].scores for draw in trace.selections] == [None] * 4


@pytest.mark.parametrize("stop_after", range(9))
def test_stopped_and_resumed_it_is_the_same_run(tmp_path, stop_after):
    whole = Toy()
    expected = teach(whole, PLAN, segment_steps=3)
    asked = []
    first = Toy()
    partial = teach(
        first, PLAN, run=tmp_path / "run", segment_steps=3, stop=lambda: asked.append(0) or len(asked) > stop_after
    )
    assert not partial.finished
    second = Toy()
    trace = teach(second, PLAN, run=tmp_path / "run", resume=True, segment_steps=3)
    assert first_difference(expected, trace) is None
    assert [r.loss for r in trace.records] == [r.loss for r in expected.records]
    assert first.trained + second.trained == whole.trained
    assert np.array_equal(second.guess, whole.guess)
    again = Toy()
    assert teach(again, PLAN, run=tmp_path / "run", resume=True).finished
    assert (again.trained, again.guess.tolist()) == ([], whole.guess.tolist())


KILLED = """
import sys, time
from attent import teach
from attent.tests.test_run import PLAN
from attent.tests.toy import Toy

class Slow(Toy):
    def train(self, batches, weights=None):
        time.sleep(0.004)
        return super().train(batches, weights)

teach(Slow(), PLAN, run=sys.argv[1], resume=True, segment_steps=1, checkpoint_seconds=float(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment_and_resumed_it_is_the_same_run(tmp_path, moment):
    rng = np.random.default_rng(moment)
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(run), "0" if moment % 2 else "0.05"]
    process = subprocess.Popen(command)
    while not (run / "trace.jsonl").exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    reading = Trace.read(run)  # readable as it was left
    assert len(reading.records) <= 6
    learner, whole = Toy(), Toy()
    trace = teach(learner, PLAN, run=run, resume=True)
    expected = teach(whole, PLAN, segment_steps=1)
    assert first_difference(expected, trace) is None
    assert [trace.ids(e).tolist() for e in range(6)] == [expected.ids(e).tolist() for e in range(6)]
    assert np.array_equal(learner.guess, whole.guess)


def test_a_torn_last_line_is_passed_over(tmp_path):
    teach(Toy(), PLAN, run=tmp_path)
    path = tmp_path / "trace.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(Trace.read(tmp_path).records) == 5
    data = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([data[0], b"{}", *data[2:]]))
    with pytest.raises(attent.TraceError, match=r"trace.jsonl line 2 has no checksum"):
        Trace.read(tmp_path)
    path.write_bytes(b"\n".join([data[0], sealed({"epoch": 1}), *data[2:]]))
    with pytest.raises(attent.TraceError, match=r"trace.jsonl line 2 cannot be read: .*missing required field `phase`"):
        Trace.read(tmp_path)
    path.write_bytes(b"\n".join([data[1], *data[2:]]))
    with pytest.raises(attent.TraceError, match="line 1 is epoch 1, expected 0"):
        Trace.read(tmp_path)


def test_the_trace_can_be_read_while_the_run_goes_on(tmp_path):
    seen = []
    watched = [lambda p: seen.append(len(Trace.read(tmp_path).records))]
    teach(Toy(), PLAN, run=tmp_path, listeners=watched, segment_steps=64)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_other_runs_are_not_continued(tmp_path):
    teach(Toy(), PLAN, run=tmp_path, recipe="toy")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}

    def refused(words, learner=None, plan=PLAN, recipe="toy", resume=True):
        with pytest.raises(attent.TraceError, match=words):
            teach(learner or Toy(), plan, run=tmp_path, resume=resume, recipe=recipe)
        assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before

    refused("holds a run already: go on with it by resume=True, or name another folder", resume=False)
    other = Plan(epochs=6, batch_size=3, ratio=0.6, select="hard", warm_up=1, cool_down=1)
    refused(r"is of another plan: select was 'soft\(\)', is 'hard\(\)'; the ratios", plan=other)
    refused("over 20 examples, this one has 19", learner=Toy(19))
    refused("of recipe 'toy', not 'other'", recipe="other")
    header = json.loads(before["run.json"])
    write_json(tmp_path / "run.json", {**header, "attent": "9.9"})
    before["run.json"] = (tmp_path / "run.json").read_bytes()
    refused("was written by attent 9.9")
    old = {name: value for name, value in header.items() if name != "sha256"}  # as format 1 was
    (tmp_path / "run.json").write_text(json.dumps({**old, "format": 1}))
    before["run.json"] = (tmp_path / "run.json").read_bytes()
    refused("run.json has format 1, this attent reads format 2: go on with the attent that wrote it, or begin anew in")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(attent.TraceError, match="no run in .*: it has no run.json"):
        Trace.read(tmp_path)
    trace = teach(Toy(), PLAN, run=tmp_path / "run")
    (tmp_path / "run" / "selections" / "000001.safetensors").write_bytes(b"rubbish")
    with pytest.raises(attent.TraceError, match=r"cannot read .*000001.safetensors"):
        trace.ids(2)
    (tmp_path / "run" / "checkpoint.earlier.safetensors").unlink()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(attent.TraceError, match=r"cannot read .*checkpoint.safetensors"):
        teach(Toy(), PLAN, run=tmp_path / "run", resume=True)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(attent.TraceError, match=r"run.json is damaged: Input data was truncated"):
        Trace.read(tmp_path / "run")
    with pytest.raises(attent.TraceError, match="lines were removed"):
        keep_lines(tmp_path / "nothing.jsonl", 2)


FULL = """
import resource, signal, sys
from attent import TraceError, teach
from attent.tests.test_run import PLAN
from attent.tests.toy import Toy

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(progress):
    if progress.epoch == 2 and progress.record:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    teach(Toy(), PLAN, run=sys.argv[1], listeners=[limit], checkpoint_seconds=0)
except TraceError as error:
    print(error, *error.__notes__)
"""


@pytest.mark.parametrize("room", [0, 100, 700, 1500, 1800])
def test_a_full_disk_is_named_and_loses_nothing(tmp_path, room):
    assert resource.RLIMIT_FSIZE is not None
    run = tmp_path / "run"
    result = subprocess.run([sys.executable, "-c", FULL, str(run), str(room)], capture_output=True, text=True)
    assert "cannot write" in result.stdout, result.stderr
    assert "What was written before is kept" in result.stdout
    assert str(run) in result.stdout
    trace = Trace.read(run)
    assert len(trace.records) >= 2
    expected = teach(Toy(), PLAN)
    for record in trace.records:
        assert trace.ids(record.epoch).tolist() == expected.ids(record.epoch).tolist()
    assert not list(run.rglob("*.partial"))
    learner = Toy()
    assert first_difference(teach(learner, PLAN, run=run, resume=True), expected) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(attent.TraceError, match="cannot write .*lock"):
        teach(Toy(), PLAN, run=tmp_path / "file" / "run")


def test_arrays_of_every_kind_survive(tmp_path):
    arrays = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10)[::3],
        "zero-d": np.array(3.5),
        "empty": np.zeros((0, 2), np.float32),
        "flag": np.array([True, False]),
        "half": np.array([1.5], np.float16),
    }
    write_arrays(tmp_path / "a.safetensors", arrays, {"k": "v"})
    back, metadata = read_arrays(tmp_path / "a.safetensors")
    assert metadata == {"k": "v"}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)


def test_the_first_difference_names_epoch_and_ids():
    class Other(Toy):
        def train(self, batches, weights=None):
            losses = super().train(batches, weights)
            if len(self.trained) > 9:  # from the second taught epoch on
                losses = losses + 5.0 * (np.concatenate(batches) == 7)
            return losses

    plan = Plan(epochs=6, batch_size=3, ratio=0.3, select="hard", warm_up=1)
    one, two = teach(Toy(), plan), teach(Other(), plan)
    found = first_difference(one, two)
    assert first_difference(one, one) is None
    first = next(e for e in range(6) if one.ids(e).tolist() != two.ids(e).tolist())
    assert found.epoch == first
    assert found.only_first.tolist() == sorted(set(one.ids(first).tolist()) - set(two.ids(first).tolist()))
    assert found.only_second.tolist() == sorted(set(two.ids(first).tolist()) - set(one.ids(first).tolist()))
    draw = one.records[first].draw
    assert found.first_scores[0] == one.selections[draw].scores[found.only_first[0]]
    assert f"epoch {first}:" in str(found)
    scores = [float(trace.selections[draw].scores[found.only_first[0]]) for trace in (one, two)]
    told = f"id {found.only_first[0]}; score {scores[0]!r} in the first, {scores[1]!r} in the second"
    assert f"\n  only in the first: {told}\n" in str(found)
    shorter = teach(Toy(), Plan(epochs=5, batch_size=3, ratio=0.3, select="hard", warm_up=1))
    assert first_difference(one, shorter).what == "the first has 6 epochs, the second 5"
    reseeded = teach(Toy(), Plan(epochs=6, batch_size=3, ratio=0.3, select="hard", warm_up=1, seed=2))
    assert first_difference(one, reseeded).what == "seed is 0 in the first and 2 in the second"


class Shrinking(Toy):
    def __len__(self):
        return 20 - (len(self.trained) > 0)


class Empty(Toy):
    def __len__(self):
        return 0


def test_learners_that_break_the_contract_are_named(tmp_path):
    with pytest.raises(attent.LearnerError, match="changed its length from 20 to 19 during the run"):
        teach(Shrinking(), PLAN, run=tmp_path / "run", segment_steps=2)
    with pytest.raises(attent.LearnerError, match="the learner has no examples"):
        teach(Empty(), PLAN, run=tmp_path / "none")
    assert not (tmp_path / "none").exists()

    class Diverging(Toy):
        def train(self, batches, weights=None):
            losses = super().train(batches, weights)
            return losses * (np.nan if len(self.trained) > 11 else 1.0)

    with pytest.raises(attent.ScoreError, match="train.. returned 10 of 10 numbers that are not finite") as error:
        teach(Diverging(), PLAN, run=tmp_path / "nan")
    assert error.value.__notes__ == [
        f"The learner is a {__name__}.test_learners_that_break_the_contract_are_named.<locals>.Diverging.",
        f"Epochs recorded in {tmp_path / 'nan'}: 2.",
    ]
    assert len(Trace.read(tmp_path / "nan").records) == 2


def test_progress_tells_where_the_run_stands():
    seen = []
    teach(Toy(), PLAN, listeners=[seen.append], segment_steps=2)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].epoch, seen[-1].epochs) == (1.0, 5, 6)
    ended = [p.record for p in seen if p.record is not None]
    assert [r.epoch for r in ended] == [0, 1, 2, 3, 4, 5]
    assert ended == teach(Toy(), PLAN, segment_steps=2).records or ended[0].seconds.training > 0


def test_a_network_killed_ten_times_ends_bit_for_bit_as_if_it_had_not_been(tmp_path):
    assert killing.check("attent.reference.recipes:vit_digits", tmp_path, 0, {}) == []


def test_two_processes_do_not_teach_in_one_folder(tmp_path):
    def intrude(progress):
        with pytest.raises(attent.TraceError, match="another process is teaching in"):
            teach(Toy(), PLAN, run=tmp_path, resume=True)

    trace = teach(Toy(), PLAN, run=tmp_path, listeners=[intrude])
    assert first_difference(trace, teach(Toy(), PLAN)) is None
    assert teach(Toy(), PLAN, run=tmp_path, resume=True).finished  # free again


@pytest.mark.parametrize("lessons", [0, 1, 5])
def test_a_learner_that_was_interrupted_goes_on_from_the_checkpoint(tmp_path, lessons):
    seen = []

    def interrupt(progress):
        seen.append(progress)
        if len(seen) > lessons:
            raise KeyboardInterrupt

    learner = Toy()
    with pytest.raises(KeyboardInterrupt):
        teach(learner, PLAN, run=tmp_path, listeners=[interrupt], segment_steps=2)
    trace = teach(learner, PLAN, run=tmp_path, resume=True, segment_steps=2)
    whole = Toy()
    assert first_difference(trace, teach(whole, PLAN)) is None
    assert np.array_equal(learner.guess, whole.guess)


def test_what_is_left_of_a_run_is_never_written_over(tmp_path):
    teach(Toy(), PLAN, run=tmp_path / "a")
    for name in ("checkpoint.safetensors", "checkpoint.earlier.safetensors"):
        (tmp_path / "a" / name).unlink()
    with pytest.raises(attent.TraceError, match="its checkpoint.safetensors is gone. Its trace can still be read"):
        teach(Toy(), PLAN, run=tmp_path / "a", resume=True)
    assert len(Trace.read(tmp_path / "a").records) == 6
    (tmp_path / "a" / "run.json").unlink()
    for resume in (False, True):
        with pytest.raises(attent.TraceError, match="holds trace.jsonl of a run whose run.json is gone"):
            teach(Toy(), PLAN, run=tmp_path / "a", resume=resume)


class Foreign(Toy):
    def load_state(self, state):
        raise attent.LearnerError("another model")


def test_a_refused_resume_changes_nothing(tmp_path):
    stops = iter([False] * 3 + [True] * 9)
    teach(Toy(), PLAN, run=tmp_path, stop=lambda: next(stops), checkpoint_seconds=1e9)
    before = (tmp_path / "trace.jsonl").read_bytes() + b'{"epoch": 99'
    (tmp_path / "trace.jsonl").write_bytes(before)
    with pytest.raises(attent.LearnerError, match="another model"):
        teach(Foreign(), PLAN, run=tmp_path, resume=True)
    assert (tmp_path / "trace.jsonl").read_bytes() == before
    assert teach(Toy(), PLAN, run=tmp_path, resume=True).finished


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"w": np.zeros(2, complex)}, r"state\(\)\['w'\] has dtype complex128, which cannot be kept"),
        ({"w": np.array([None])}, "has dtype object"),
        ({"w": [1.0]}, "must be a NumPy array, got list"),
        ({0: np.zeros(1)}, "must have text as names, got 0"),
        (None, "must return a dict of NumPy arrays, got NoneType"),
    ],
    ids=["complex", "object", "list", "number", "none"],
)
def test_a_state_that_cannot_be_kept_is_named_before_anything_is_taught(tmp_path, state, words):
    class Odd(Toy):
        def state(self):
            return state

    learner = Odd()
    with pytest.raises(attent.LearnerError, match=words):
        teach(learner, PLAN, run=tmp_path)
    assert learner.trained == []


def test_ids_that_are_not_those_recorded_are_refused(tmp_path):
    trace = teach(Toy(), PLAN, run=tmp_path)
    first, second = (tmp_path / "selections" / f"00000{draw}.safetensors" for draw in (0, 1))
    first.write_bytes(second.read_bytes())
    with pytest.raises(
        attent.TraceError, match=r"000000.safetensors holds draw 1 of 20 examples, expected draw 0 of 20"
    ):
        trace.ids(1)
    teach(Toy(), dataclasses.replace(PLAN, seed=1), run=tmp_path / "other")
    first.write_bytes((tmp_path / "other/selections/000000.safetensors").read_bytes())
    with pytest.raises(attent.TraceError, match="the ids kept for draw 0 are not those recorded in epoch 1"):
        trace.ids(1)


def test_weights_make_a_difference():
    plain = Plan(epochs=3, batch_size=4, warm_up=1, select="soft(scaling='none')")
    weighted = Plan(epochs=3, batch_size=4, warm_up=1, select="soft(scaling='none', correction=5.0)")
    found = first_difference(teach(Toy(), plain), teach(Toy(), weighted))
    assert (found.epoch, found.only_first.tolist(), found.only_second.tolist()) == (1, [], [])
    assert found.what == "the largest weight is None in the first and 1.294876264495575 in the second"
