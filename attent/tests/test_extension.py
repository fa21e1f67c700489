"""A finished run goes on by a longer plan, where its epochs so far are the same (rule R4)."""

import dataclasses

import numpy as np
import pytest

import attent
from attent import CourseError, Plan, Trace, TraceError, teach
from attent.plan.schedules import linear
from attent.run.folder import RunFolder, header_of
from attent.tests.test_balanced import Grouped
from attent.tests.toy import Toy

SHORT = Plan(epochs=4, batch_size=4, ratio=0.5, warm_up=1)


def longer(plan, epochs, **changes):
    return dataclasses.replace(plan, epochs=epochs, **changes)


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (SHORT, {}),
        (SHORT, {"cool_down": 1}),
        (dataclasses.replace(SHORT, interval=3), {}),
        (dataclasses.replace(SHORT, source="fresh", select="soft"), {}),
        (dataclasses.replace(SHORT, select="in_turn"), {}),
        (Plan.full(epochs=2, batch_size=4), {"warm_up": 7}),
    ],
)
def test_a_finished_run_goes_on_as_the_longer_plan_would_have(tmp_path, plan, changes):
    long = longer(plan, 7, **changes)
    whole_learner, first, second = Toy(), Toy(), Toy()
    whole = teach(whole_learner, long)
    assert teach(first, plan, run=tmp_path).finished
    trace = teach(second, long, run=tmp_path, resume=True)
    assert trace.finished
    assert len(trace.records) == 7
    assert attent.first_difference(trace, whole) is None
    assert np.array_equal(second.guess, whole_learner.guess)
    assert Trace.read(tmp_path).header.plan["epochs"] == 7
    with pytest.raises(TraceError, match=r"is of another plan: epochs was 7, is \d"):
        teach(Toy(), plan, run=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("plan", "changes", "message"),
    [
        (dataclasses.replace(SHORT, cool_down=1), {}, r"epoch 3 was cool-down on 20 examples, and .* is taught on 10"),
        (dataclasses.replace(SHORT, ratio=linear(0.2, 0.8)), {}, r"epoch 2 was taught on 10 examples, and .* on 5"),
        (dataclasses.replace(SHORT, ratio=0.4, select="tempered(1, 0)"), {}, r"how much of the shorter run lay behind"),
        (Plan.auto(epochs=3, batch_size=4), {}, r"Auto\(bonus=0.2\) chose its last epoch as the last one"),
    ],
)
def test_where_the_longer_plan_has_other_epochs_so_far_it_is_refused(tmp_path, plan, changes, message):
    teach(Grouped(20), plan, run=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(CourseError, match=rf"the state is of another plan: epochs was \d, is 14.*{message}"):
        teach(Grouped(20), longer(plan, 14, **changes), run=tmp_path, resume=True)
    assert before == {path: path.read_bytes() for path in before}


def test_a_run_under_way_is_made_longer_before_its_cool_down(tmp_path):
    plan, asked = dataclasses.replace(SHORT, cool_down=1), []
    teach(Toy(), plan, run=tmp_path, segment_steps=1, stop=lambda: asked.append(0) or len(asked) == 8)
    learner, whole = Toy(), Toy()
    trace = teach(learner, longer(plan, 6), run=tmp_path, resume=True)
    assert attent.first_difference(trace, teach(whole, longer(plan, 6))) is None
    assert np.array_equal(learner.guess, whole.guess)


@pytest.mark.parametrize("changes", [{}, {"ratio": 0.3}])
def test_a_run_killed_before_its_first_checkpoint_is_begun_by_the_longer_plan(tmp_path, changes):
    long = longer(SHORT, 6, **changes)
    RunFolder.create(tmp_path, header_of(SHORT, 20))
    assert teach(Toy(), long, run=tmp_path, resume=True).finished
    found = Trace.read(tmp_path)
    assert (found.header.plan, found.finished) == (long.to_dict(), True)
    assert found.header.rounds == [list(row) for row in long.rounds()]


def test_a_feed_killed_in_its_first_pass_is_begun_by_the_longer_plan(tmp_path):
    attent.Feed(SHORT, 20, run=tmp_path).batches()
    long = longer(SHORT, 6)
    feed = attent.Feed(long, 20, run=tmp_path, resume=True)
    assert Trace.read(tmp_path).header.plan["epochs"] == 4  # nothing is taught yet
    while not feed.finished:
        for ids in feed.batches():
            feed.record(1.0 / (1 + ids), ids)
    assert (Trace.read(tmp_path).header.plan, Trace.read(tmp_path).finished) == (long.to_dict(), True)


def test_a_feed_is_made_longer(tmp_path):
    def drive(feed):
        while not feed.finished:
            for ids in feed.batches():
                feed.record(1.0 / (1 + ids), ids)
        return feed

    short = drive(attent.Feed(SHORT, 20, run=tmp_path))
    feed = attent.Feed(longer(SHORT, 6), 20, run=tmp_path, resume=True)
    feed.load_state(short.state())
    assert attent.first_difference(drive(feed).trace(), drive(attent.Feed(longer(SHORT, 6), 20)).trace()) is None
    assert len(Trace.read(tmp_path).records) == 6
