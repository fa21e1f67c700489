"""What earlier versions of attent wrote: format 2 is read and gone on with, format 1 refused in one clear sentence.

The fixtures were written by those versions and are never written again. A later format gets a folder of its own here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import attent
from attent import Trace, teach
from attent.judging.jobs import goes_on_from
from attent.run.files import FORMAT
from attent.tests.cli_toy import command
from attent.tests.test_run import PLAN
from attent.tests.test_run_damage import files_of, taught
from attent.tests.toy import Toy

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def old(tmp_path):
    """Copies of what is kept, by format."""

    def copy(format, name="."):
        return Path(shutil.copytree(FIXTURES / f"format-{format}" / name, tmp_path / "old"))

    return copy


def test_this_format_has_a_fixture():
    assert (FIXTURES / f"format-{FORMAT}").is_dir()


def test_a_run_of_format_2_is_read(old):
    run = old(2, "run")
    trace, whole = Trace.read(run), teach(Toy(), PLAN, segment_steps=2)
    assert (trace.header.format, trace.header.n, len(trace.records), trace.finished) == (2, 20, 3, False)
    assert trace.header.plan == PLAN.to_dict()
    assert [trace.ids(epoch).tolist() for epoch in range(3)] == [whole.ids(epoch).tolist() for epoch in range(3)]
    assert np.array_equal(trace.selections[1].scores, whole.selections[1].scores)
    assert "taught" in command("report", run).out


def test_a_run_of_format_2_goes_on_to_the_bit(old):
    run = old(2, "run")
    assert goes_on_from(run, PLAN, 20) == "goes on from its last checkpoint: epoch 4 of 6, step 2 of 4"
    learner, alone = Toy(), Toy()
    trace = teach(learner, PLAN, run=run, resume=True, segment_steps=2)
    assert taught(trace)[2:] == taught(teach(alone, PLAN, segment_steps=2))[2:]
    assert learner.guess.tobytes() == alone.guess.tobytes()


def test_a_judgement_of_format_2_is_read_and_gone_on_with(old):
    judged = old(2, "judged")
    kept = {path: data for path, data in files_of(judged).items() if path.name == "job.json"}
    said = command("report", judged)
    assert said.code == 0
    assert "Means of 2 paired seeds, batch size 8." in said.out
    again = command("judge", "--resume", judged)  # nothing is left to do
    assert (again.code, again.err.count("\n")) == (0, 1)
    assert said.out[said.out.index("arm  ") :].strip() in again.out
    assert {path: (judged / path).read_bytes() for path in kept} == kept


def test_a_feed_goes_on_from_a_state_of_format_2():
    state = json.loads((FIXTURES / "format-2/feed-state.json").read_text())
    feed, alone = attent.Feed(PLAN, 20), attent.Feed(PLAN, 20)
    feed.load_state(state)
    assert (feed.epoch, feed.done) == (2, 1)
    for _ in range(2):
        for ids in alone.batches():
            alone.record(1.0 + ids, ids)
    first, *rest = alone.batches()
    alone.record(1.0 + first, first)
    assert feed.state() == alone.state()  # what is in it has grown since
    for one in (feed, alone):
        for ids in rest:
            one.record(1.0 + ids, ids)
    assert feed.state() == alone.state()


def test_format_1_is_refused_whole(old):
    """It has no checksums: whoever read it would read it unverified."""
    run = old(1)
    before = files_of(run)
    words = "run.json has format 1, this attent reads format 2: go on with the attent that wrote it, or begin anew in"
    for call in (lambda: Trace.read(run), lambda: teach(Toy(), PLAN, run=run, resume=True)):
        with pytest.raises(attent.TraceError) as error:
            call()
        assert words in str(error.value)
    assert {path: data for path, data in files_of(run).items() if path.name != "lock"} == before
    outcome = command("report", run)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
