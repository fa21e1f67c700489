"""A feed: the batches of ``teach`` for any order of recording, exact states, and refusals that keep nothing."""

import json

import numpy as np
import pytest

import attent
from attent.errors import CourseError, PlanError, ScoreError, TraceError
from attent.run.trace import read_records
from attent.tests.toy import Toy

N = 37
PLANS = {
    "full": attent.Plan.full(epochs=3, batch_size=5),
    "default": attent.Plan.default(epochs=5, batch_size=5),
    "auto": attent.Plan.auto(epochs=5, batch_size=4),
    "paper": attent.Plan.paper(epochs=5, batch_size=6),
    "infobatch": attent.Plan.infobatch(epochs=5, batch_size=5),
    "rs2": attent.Plan.rs2(epochs=5, batch_size=40),
}
EVERY = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def trained(feed, learner, order=None, until=None):
    """Take a feed on to its end, or so many steps; ``order`` shuffles the parts in which a pass is recorded."""
    steps = 0
    while not feed.finished:
        ids = feed.to_score()
        if ids is not None:
            feed.record(learner.score(ids), ids)
            continue
        weights, parts = feed.weights(), []
        for place, batch in list(enumerate(feed.batches()))[feed.done :]:
            losses = learner.train([batch], None if weights is None else [weights[place]])
            if order is None:
                feed.record(losses, batch)
            else:
                cut = len(batch) // 2 or 1
                parts += [(losses[:cut], batch[:cut]), (losses[cut:], batch[cut:])]
            steps += 1
            if steps == until:
                return feed
        if order is not None:
            for place in order.permutation([at for at, (losses, _) in enumerate(parts) if len(losses)]):
                feed.record(*parts[place])
    return feed


@EVERY
@pytest.mark.parametrize("order", [None, np.random.default_rng(1)], ids=["in order", "any order"])
def test_a_feed_teaches_what_teach_teaches(plan, order):
    ours, theirs = Toy(N), Toy(N)
    trace = attent.teach(theirs, plan)
    feed = trained(attent.Feed(plan, N), ours, order)
    assert ours.trained == theirs.trained
    assert ours.weights == theirs.weights
    assert attent.first_difference(feed.trace(), trace) is None
    assert feed.total_steps == len(ours.trained) == plan.total_steps(N)


def test_the_batches_of_a_pass_are_known_when_it_begins_and_stay():
    feed = attent.Feed(PLANS["auto"], N)
    first = feed.batches()
    feed.record(np.ones(4), first[7])
    again = feed.batches()
    assert [ids.tolist() for ids in again] == [ids.tolist() for ids in first]
    again[0][:] = 0  # the caller's
    assert [ids.tolist() for ids in feed.batches()] == [ids.tolist() for ids in first]


def test_done_counts_batches_without_a_gap():
    feed = attent.Feed(PLANS["full"], N)
    batches = feed.batches()
    counts = []
    for place in (1, 2, 0, 4):
        feed.record(np.ones(5), batches[place])
        counts.append(feed.done)
    feed.record(np.ones(3), batches[3][:3])
    assert [*counts, feed.done] == [0, 0, 3, 3, 3]
    feed.record(np.ones(2), batches[3][3:])
    assert feed.done == 5


def test_a_pass_ends_with_its_last_loss_and_not_before():
    feed = attent.Feed(PLANS["full"], N)
    ids = np.concatenate(feed.batches())
    assert feed.record(np.arange(36.0), ids[:-1]) is None
    assert (feed.epoch, feed.row.epoch) == (0, 0)
    record = feed.record(np.float64([9.0]), ids[-1:])
    assert (record.epoch, record.steps, record.loss) == (0, 8, (35 * 18 + 9) / 37)
    assert (feed.epoch, feed.row.epoch, feed.done) == (1, 1, 0)


def test_losses_are_credited_to_their_ids():
    plan = attent.Plan(epochs=2, batch_size=7, warm_up=1, ratio=0.1, select=attent.Hard())
    feed = attent.Feed(plan, N)
    for batch in reversed(feed.batches()):
        shuffled = np.random.default_rng(0).permutation(batch)
        feed.record(np.isin(shuffled, [3, 14, 15, 9]) + shuffled / 100, shuffled)
    assert sorted(np.concatenate(feed.batches()).tolist()) == [3, 9, 14, 15]


@EVERY
@pytest.mark.parametrize("until", [1, 9, 14])
@pytest.mark.parametrize("order", [None, np.random.default_rng(2)], ids=["in order", "in parts"])
def test_a_state_goes_on_exactly(plan, until, order):
    whole = Toy(N)
    attent.teach(whole, plan)
    learner = Toy(N)
    feed = trained(attent.Feed(plan, N), learner, until=until)
    state = json.loads(json.dumps(feed.state()))
    again = attent.Feed(plan, N)
    again.load_state(state)
    assert (again.epoch, again.done) == (feed.epoch, feed.done)
    trained(again, learner, order)
    assert learner.trained == whole.trained


def test_a_state_is_plain_texts():
    feed = trained(attent.Feed(PLANS["default"], N), Toy(N), until=10)
    assert {name: type(value) for name, value in feed.state().items()} == {"feed": str, "digest": str}


def test_a_state_in_mid_pass_keeps_losses_recorded_out_of_order():
    plan = attent.Plan(epochs=2, batch_size=10, warm_up=1, ratio=0.1, select=attent.Hard())
    feed = attent.Feed(plan, N)
    batches = feed.batches()
    feed.record(np.where(batches[2] == batches[2][4], 5.0, 1.0), batches[2])
    again = attent.Feed(plan, N)
    again.load_state(feed.state())
    assert again.done == 0
    with pytest.raises(CourseError, match=f"the loss of example {batches[2][0]} is recorded already in pass 0"):
        again.record(np.ones(10), batches[2])
    for place in (3, 0, 1):
        again.record(np.zeros(len(batches[place])), batches[place])
    assert np.concatenate(again.batches()).tolist().count(batches[2][4]) == 1


def test_scores_asked_for_may_come_in_parts():
    plan = attent.Plan(epochs=1, batch_size=2, ratio=0.1, select=attent.Hard(), source=attent.Fresh())
    feed = attent.Feed(plan, N)
    ids = feed.to_score()
    assert ids.tolist() == list(range(N))
    with pytest.raises(CourseError, match="37 examples must be scored before pass 0 begins"):
        feed.batches()
    feed.record(1.0 * ids[20:], ids[20:])
    again = attent.Feed(plan, N)
    again.load_state(feed.state())
    for one in (feed, again):
        assert one.record(np.zeros(20), ids[:20]) is None
        assert one.to_score() is None
        assert sorted(np.concatenate(one.batches()).tolist()) == [33, 34, 35, 36]


def test_a_finished_feed_has_nothing_to_give_and_takes_nothing():
    feed = trained(attent.Feed(PLANS["full"], N), Toy(N))
    assert (feed.epoch, feed.finished, feed.batches(), feed.weights(), feed.to_score()) == (3, True, [], None, None)
    with pytest.raises(CourseError, match="after the plan's last pass"):
        feed.record([1.0], [0])


class Device:
    """What NumPy can read only by its protocol, as tensors are."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class Attached:
    """A tensor that NumPy cannot read."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the tensor requires grad")


@pytest.mark.parametrize(
    "losses",
    [
        np.float16([0.5, 1.5, 2]),
        np.float32([0.5, 1.5, 2]),
        [0.5, 1.5, 2.0],
        (0.5, np.float32(1.5), 2.0),
        Device(np.float32([0.5, 1.5, 2])),
        np.float64([0, 0.5, 0, 1.5, 0, 2])[1::2],
        np.array([0.5, 1.5, 2], ">f8"),
    ],
    ids=["float16", "float32", "list", "tuple", "device", "strided", "big-endian"],
)
def test_any_floats_that_numpy_reads_are_taken(losses):
    plan = attent.Plan.full(epochs=2, batch_size=3)
    feed = attent.Feed(plan, 3)
    record = feed.record(losses, Device(np.int32([2, 0, 1])))
    assert record.loss == 4 / 3
    other = attent.Feed(plan, 3)
    other.record(np.array([1.5, 2, 0.5]), [0, 1, 2])
    assert other.state()["digest"] == feed.state()["digest"]


REFUSED = {
    "another example": ([1.0], [37], CourseError, "there is no example 37: ids must be 0 <= id < 37"),
    "a negative id": ([1.0], [-1], CourseError, "there is no example -1"),
    "ids that are floats": ([1.0], [1.0], CourseError, "ids must be one-dimensional whole numbers, got float64"),
    "ids that are flags": ([1.0], [True], CourseError, "ids must be one-dimensional whole numbers, got bool"),
    "ids in two dimensions": ([1.0], [[1]], CourseError, r"got int64 of shape \(1, 1\)"),
    "an id twice": ([1.0, 2.0], [1, 1], CourseError, "id 1 is there 2 times in one call"),
    "a mean": (1.0, [1, 2], ScoreError, r"shape \(2,\), got shape \(\): a mean says nothing about an example"),
    "a column": ([[1.0], [2.0]], [1, 2], ScoreError, r"got shape \(2, 1\)"),
    "one too many": ([1.0, 2.0], [1], ScoreError, r"one loss per id must be recorded, shape \(1,\), got shape \(2,\)"),
    "whole numbers": ([1, 2], [1, 2], ScoreError, "losses must be real floating-point numbers, got int64"),
    "flags": ([True], [1], ScoreError, "got bool"),
    "complex numbers": ([1j], [1], ScoreError, "got complex128"),
    "words": (["a"], [1], ScoreError, "got <U1"),
    "a tensor with a gradient": (
        Attached(),
        [1],
        ScoreError,
        "cannot be read by NumPy: the tensor requires grad. Hand",
    ),
    "no number": ([np.nan], [1], ScoreError, r"not finite in epoch 0: id 1 \(nan\)"),
}


@pytest.mark.parametrize(("losses", "ids", "error", "told"), REFUSED.values(), ids=REFUSED)
def test_what_was_not_asked_for_is_refused_and_nothing_is_kept(losses, ids, error, told):
    feed = attent.Feed(PLANS["full"], N)
    feed.batches()
    before = feed.state()
    with pytest.raises(error, match=told):
        feed.record(losses, ids)
    assert feed.state() == before


def test_examples_that_are_not_taught_in_this_pass_are_refused():
    feed = attent.Feed(attent.Plan(epochs=2, batch_size=40, warm_up=1, ratio=0.1, select=attent.Hard()), N)
    feed.record(np.arange(37.0), range(37))
    with pytest.raises(CourseError, match="example 3 is not in pass 1: record what feed.batches"):
        feed.record([1.0, 1.0], [36, 3])
    assert feed.done == 0
    assert feed.record([1.0] * 4, [36, 35, 34, 33]) is not None


def test_the_plan_may_say_what_not_finite_means():
    plan = attent.Plan(epochs=2, batch_size=40, warm_up=1, ratio=0.1, select=attent.Hard(), non_finite="drop")
    feed = attent.Feed(plan, N)
    feed.record([*np.arange(36.0), np.nan], range(37))
    assert sorted(np.concatenate(feed.batches()).tolist()) == [32, 33, 34, 35]


DAMAGE = {
    "another text": (lambda s: {**s, "feed": s["feed"].replace("A", "B", 1)}, "is damaged: its digest"),
    "another digest": (lambda s: {**s, "digest": "0" * 64}, "is damaged: its digest"),
    "no digest": (lambda s: {"feed": s["feed"]}, r"must have the texts 'feed' and 'digest', got \['feed'\]"),
    "a course's state": (lambda s: attent.Course(PLANS["full"], N).state(), "not a feed's state"),
    "nothing": (lambda s: None, "not a feed's state: .* got NoneType"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_state_is_refused(damage, told):
    state = trained(attent.Feed(PLANS["full"], N), Toy(N), until=10).state()
    feed = attent.Feed(PLANS["full"], N)
    before = feed.state()
    with pytest.raises(CourseError, match=told):
        feed.load_state(damage(state))
    assert feed.state() == before


@pytest.mark.parametrize("place", range(0, 2000, 97))
def test_a_flipped_bit_is_noticed(place):
    state = trained(attent.Feed(PLANS["full"], N), Toy(N), until=10).state()
    text = bytearray(state["feed"].encode())
    text[place % len(text)] ^= 1
    with pytest.raises(CourseError, match="is damaged"):
        attent.Feed(PLANS["full"], N).load_state({**state, "feed": text.decode()})


OTHERS = {
    "another n": (PLANS["full"], 36, None, "a course over 37 examples, this one has 36"),
    "another plan": (attent.Plan.full(epochs=3, batch_size=6), N, None, "batch_size was 5, is 6"),
    "other data": (PLANS["full"], N, "b", "is of data with fingerprint None, these have 'b'"),
}


@pytest.mark.parametrize(("plan", "n", "fingerprint", "told"), OTHERS.values(), ids=OTHERS)
def test_a_state_of_another_feed_is_refused(plan, n, fingerprint, told):
    state = trained(attent.Feed(PLANS["full"], N), Toy(N), until=10).state()
    with pytest.raises(CourseError, match=told):
        attent.Feed(plan, n, fingerprint=fingerprint).load_state(state)


def lines(folder):
    """A trace as it is on disk, but for the seconds and the checksums over them."""
    told = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    return [{name: one for name, one in line.items() if name not in ("seconds", "sha256")} for line in told]


@EVERY
def test_the_run_folder_is_the_one_that_teach_writes(plan, tmp_path):
    attent.teach(Toy(N), plan, run=tmp_path / "teach")
    trained(attent.Feed(plan, N, run=tmp_path / "feed"), Toy(N))
    assert lines(tmp_path / "feed") == lines(tmp_path / "teach")
    assert (tmp_path / "feed/run.json").read_bytes() == (tmp_path / "teach/run.json").read_bytes()
    ours, theirs = (attent.Trace.read(tmp_path / name) for name in ("feed", "teach"))
    assert list(ours.selections) == list(theirs.selections)
    for draw, (ids, scores) in theirs.selections.items():
        assert ours.selections[draw].ids.tolist() == ids.tolist()
        assert np.array_equal(ours.selections[draw].scores, scores)
    assert ours.finished


@pytest.mark.parametrize("until", [1, 11, 20])
def test_a_run_folder_is_gone_on_with(tmp_path, until):
    plan = PLANS["auto"]
    attent.teach(Toy(N), plan, run=tmp_path / "whole")
    learner = Toy(N)
    feed = trained(attent.Feed(plan, N, run=tmp_path / "run"), learner, until=until)
    state, guess = feed.state(), learner.state()
    trained(feed, learner, until=13)  # what a run that was killed had recorded since
    again = attent.Feed(plan, N, run=tmp_path / "run", resume=True)
    again.load_state(state)
    learner.load_state(guess)
    trained(again, learner)
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    assert again.trace().finished
    with pytest.raises(TraceError, match="was taken by a later feed of this process"):
        trained(feed, Toy(N))


def test_a_recorded_run_is_not_begun_again_without_a_state(tmp_path):
    trained(attent.Feed(PLANS["auto"], N, run=tmp_path), Toy(N), until=25)
    before = (tmp_path / "trace.jsonl").read_bytes()
    feed = attent.Feed(PLANS["auto"], N, run=tmp_path, resume=True)
    with pytest.raises(CourseError, match="holds 6 passes and no state was given to go on from: call feed.load_state"):
        feed.batches()
    with pytest.raises(TraceError, match="holds a run already: go on with it by resume=True"):
        attent.Feed(PLANS["auto"], N, run=tmp_path)
    assert (tmp_path / "trace.jsonl").read_bytes() == before


def test_a_state_of_more_passes_than_the_folder_holds_is_refused(tmp_path):
    state = trained(attent.Feed(PLANS["full"], N), Toy(N), until=10).state()
    feed = attent.Feed(PLANS["full"], N, run=tmp_path)
    with pytest.raises(TraceError, match="has 0 epochs, the checkpoint has 1"):
        feed.load_state(state)
    assert feed.epoch == 0
    trained(feed, Toy(N))
    assert len(read_records(tmp_path / "trace.jsonl")) == 3


def test_a_run_that_teach_wrote_is_left_to_teach(tmp_path):
    attent.teach(Toy(N), PLANS["full"], run=tmp_path)
    with pytest.raises(TraceError, match=r"is a run of attent\.teach, which goes on with it"):
        attent.Feed(PLANS["full"], N, run=tmp_path, resume=True)


def test_other_data_in_a_run_folder_are_refused(tmp_path):
    attent.Feed(PLANS["full"], N, run=tmp_path, fingerprint="a")
    with pytest.raises(TraceError, match="is of data with fingerprint 'a', not 'b'"):
        attent.Feed(PLANS["full"], N, run=tmp_path, fingerprint="b", resume=True)


def test_a_process_that_does_not_write_leaves_no_file(tmp_path):
    ours, theirs = Toy(N), Toy(N)
    trained(attent.Feed(PLANS["auto"], N, run=tmp_path / "run"), ours)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    trained(attent.Feed(PLANS["auto"], N, run=tmp_path / "run", write=False), theirs)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert ours.trained == theirs.trained


def test_a_trace_that_is_only_half_in_memory_is_not_told():
    feed = trained(attent.Feed(PLANS["full"], N), Toy(N), until=10)
    again = attent.Feed(PLANS["full"], N)
    again.load_state(feed.state())
    with pytest.raises(TraceError, match="the first 1 epochs are not in this process' memory"):
        again.trace()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"plan": 3}, PlanError, "takes first the plan"),
        ({"n": 0}, PlanError, "n must be"),
        ({"run": 3}, PlanError, "run must be"),
        ({"resume": True}, TraceError, "resume needs the run to go on with"),
        ({"fingerprint": 3}, PlanError, "fingerprint must be a text"),
        ({"reference": np.ones(3)}, ScoreError, "reference"),
    ],
)
def test_what_cannot_be_is_refused_when_the_feed_is_made(given, error, told):
    with pytest.raises(error, match=told):
        attent.Feed(**{"plan": PLANS["full"], "n": N, **given})


def test_a_pass_that_could_not_be_written_down_has_not_ended(tmp_path, monkeypatch):
    feed = attent.Feed(attent.Plan(epochs=3, batch_size=4, warm_up=1), 8, run=tmp_path / "run")
    while not feed.finished:
        epoch, batches = feed.epoch, feed.batches()
        *most, last = batches
        for ids in most:
            feed.record(1.0 + ids, ids)
        before = feed.state()
        with monkeypatch.context() as full:
            full.setattr("attent.run.folder.append_line", lambda path, line: raise_error(TraceError("no space")))
            with pytest.raises(TraceError, match="no space"):
                feed.record(1.0 + last, last)
        assert feed.epoch == epoch
        assert feed.state() == before
        assert [ids.tolist() for ids in feed.batches()] == [ids.tolist() for ids in batches]
        assert feed.record(1.0 + last, last).epoch == epoch
    assert [record.epoch for record in attent.Trace.read(tmp_path / "run").records] == [0, 1, 2]


def raise_error(error):
    raise error
