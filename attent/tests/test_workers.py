"""Processes that train together, as threads over NumPy: shares, agreement, who writes, and going on with another number."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

import attent
from attent.errors import LearnerError, ScoreError, TraceError, WorkersError
from attent.run.folder import RunFolder
from attent.tests.threads import Apart, Room, learner, parameters, taught

PLAN = attent.Plan(epochs=5, batch_size=8, ratio=0.3, source="fresh", warm_up=1, seed=2)
PLANS = {
    "fresh": PLAN,
    "auto": attent.Plan.auto(epochs=4, batch_size=7),
    "weighted": attent.Plan(epochs=4, batch_size=3, ratio=0.4, select="soft(correction=10.0)"),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=10),
}


def assert_close(one, other):
    """Parameters differ by the order of sums at most: 1e-12 of the largest of them."""
    mine, theirs = (np.concatenate([array.ravel() for array in parameters(each)]) for each in (one, other))
    assert np.abs(mine - theirs).max() <= 1e-12 * np.abs(theirs).max()


@pytest.mark.parametrize("world", [1, 2, 4, 5])
@pytest.mark.parametrize("name", PLANS)
def test_any_number_of_workers_teaches_what_one_does(name, world):
    alone = learner()
    expected = attent.teach(alone, PLANS[name])
    found = taught(PLANS[name], world)
    for trace, one in found:
        assert attent.first_difference(expected, trace) is None
        assert_close(one, alone)


def test_each_trains_its_share_and_scores_are_computed_once():
    seen = taught(PLAN, 3, learner=lambda room, rank: Watched(room, rank))
    whole = Watched(Room(1), 0)
    attent.teach(attent.Workers(whole, 0, 1, lambda told: [told]), PLAN)
    learners = [one for _, one in seen]
    assert [len(one.trained) for one in learners] == [len(whole.trained)] * 3
    for expected, *shares in zip(whole.trained, *(one.trained for one in learners), strict=True):
        assert [i for share in shares for i in share] == expected
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    compared = set(np.linspace(0, 47, 16).astype(int).tolist())  # by all
    once = Counter(i for shard in whole.scored for i in shard if i not in compared)
    assert Counter(i for one in learners for shard in one.scored for i in shard if i not in compared) == once
    assert len(once) == 32


class Watched(Apart):
    """Writes down what it is asked for."""

    def __init__(self, room, rank):
        super().__init__(room, rank)
        self.scored, self.trained = [], []

    def score(self, ids):
        self.scored.append(ids.tolist())
        return super().score(ids)

    def train(self, batches, weights=None):
        counted = weights is None or [bool(w.any()) for w in weights]
        self.trained += [ids.tolist() if counts else [] for ids, counts in zip(batches, counted, strict=True)]
        return super().train(batches, weights)


def test_a_batch_of_fewer_examples_than_workers_is_a_step_for_all():
    plan = attent.Plan(epochs=2, batch_size=2, ratio=1.0)
    alone = learner()
    attent.teach(alone, plan)
    for _, one in taught(plan, 4):
        assert one.steps == alone.steps
        assert_close(one, alone)


# Disagreement


def errors(world, work, timeout=None):
    """Return what each rank raised."""
    return Room(world, timeout).run(work, raised=True)


def test_a_rank_of_another_plan_stops_all_before_a_step():
    learners = {}

    def work(room, rank):
        plan = attent.Plan(epochs=5, batch_size=8, ratio=0.3, seed=2 if rank != 1 else 3)
        learners[rank] = Apart(room, rank)
        attent.teach(attent.Workers(learners[rank], rank, 3, room.gather(rank)), plan)

    for error in errors(3, work):
        assert isinstance(error, WorkersError)
        assert str(error).startswith("rank 1 of 3 disagrees with the others on where the run stands")
    assert [one.steps for one in learners.values()] == [0, 0, 0]


@pytest.mark.parametrize("world", [2, 3])
def test_a_rank_of_other_data_or_parameters_stops_all(world):
    def work(room, rank):
        attent.teach(attent.Workers(Apart(room, rank, seed=rank == 1), rank, world, room.gather(rank)), PLAN)

    for error in errors(world, work):
        assert str(error).startswith(
            f"rank 1 of {world} has other data or parameters than the others: the loss of example"
        )


def test_a_rank_that_drifts_is_named_at_the_next_checkpoint():
    class Drifting(Apart):
        def train(self, batches, weights=None):
            losses = super().train(batches, weights)
            if self.rank == 2:
                self._parameters = {name: value * 1.1 for name, value in self._parameters.items()}
            return losses

    def work(room, rank):
        workers = attent.Workers(Drifting(room, rank), rank, 4, room.gather(rank))
        attent.teach(workers, PLAN, checkpoint_seconds=0)

    for error in errors(4, work):
        assert str(error).startswith("rank 2 of 4 has other data or parameters")


def test_a_rank_that_chooses_otherwise_is_named_before_it_trains(monkeypatch):
    def work(room, rank):
        workers = attent.Workers(Apart(room, rank), rank, 3, room.gather(rank))
        ids = np.arange(8) + (rank == 2)
        workers.train([ids])

    for error in errors(3, work):
        assert str(error).startswith("rank 2 of 3 disagrees with the others on the batches to train")


def test_learners_of_another_length_are_named():
    def work(room, rank):
        attent.Workers(Apart(room, rank, n=40 if rank else 48), rank, 2, room.gather(rank))

    for error in errors(2, work):
        assert str(error).startswith("rank 1 of 2 disagrees with the others on the number of examples")


# A rank that fails


class Failing(Apart):
    """Cannot score, on rank 1."""

    def score(self, ids):
        if self.rank == 1:
            raise OSError("the disk is gone")
        return super().score(ids)


def test_an_error_on_one_rank_is_told_on_all():
    def work(room, rank):
        attent.teach(attent.Workers(Failing(room, rank), rank, 3, room.gather(rank)), PLAN)

    found = errors(3, work)
    assert isinstance(found[1], OSError)
    for error in (found[0], found[2]):
        assert str(error) == "rank 1 of 3 has stopped, and so have all: OSError: the disk is gone"


def test_a_rank_that_leaves_stops_the_others_in_time():
    def work(room, rank):
        workers = attent.Workers(Apart(room, rank), rank, 3, room.gather(rank))

        def left(progress):
            if rank == 2 and progress.epoch == 2:
                raise SystemExit

        attent.teach(workers, PLAN, listeners=[left])

    found = errors(3, work, timeout=1)
    assert [type(error) for error in found] == [WorkersError, WorkersError, SystemExit]


def test_an_error_of_all_is_raised_by_all():
    class Nan(Apart):
        def score(self, ids):
            return np.where(ids == 5, np.nan, super().score(ids))

    def work(room, rank):
        attent.teach(attent.Workers(Nan(room, rank), rank, 2, room.gather(rank)), PLAN)

    assert [type(error) for error in errors(2, work)] == [ScoreError, ScoreError]


# Run folders


def test_rank_0_writes_and_a_run_goes_on_with_another_number(tmp_path):
    whole = tmp_path / "whole"
    alone = learner()
    expected = attent.teach(alone, PLAN, run=whole)
    run = tmp_path / "run"
    for world, end in ((2, 2), (1, 3), (4, None)):
        found = taught(PLAN, world, run=run, resume=True, end=end)
        assert len({trace.header.n for trace, _ in found}) == 1
        assert all(len(trace.records) == (5 if end is None else end) for trace, _ in found)
    for trace, one in found:
        assert trace.finished
        assert attent.first_difference(expected, trace) is None
        assert_close(one, alone)


def test_a_run_goes_on_in_the_very_processes_that_stopped_it(tmp_path, monkeypatch):
    save = RunFolder.save

    def slow(folder, checkpoint):
        time.sleep(0.2)  # the others must not read before rank 0 has written
        save(folder, checkpoint)

    monkeypatch.setattr(RunFolder, "save", slow)

    def work(room, rank):
        workers = attent.Workers(Apart(room, rank), rank, 2, room.gather(rank))
        for end in (2, 4):
            at = []
            trace = attent.teach(
                workers,
                PLAN,
                run=tmp_path / "run",
                resume=True,
                listeners=[at.append],
                stop=lambda at=at, end=end: at[-1].record is not None and at[-1].epoch + 1 == end,
            )
            assert len(trace.records) == end

    Room(2).run(work)


def test_a_checkpoint_is_that_of_one_process(tmp_path):
    taught(PLAN, 3, run=tmp_path / "three")
    attent.teach(learner(), PLAN, run=tmp_path / "one")
    sizes = [(tmp_path / name / "checkpoint.safetensors").stat().st_size for name in ("one", "three")]
    assert abs(sizes[0] - sizes[1]) < 100  # the seconds it took


def test_a_folder_that_holds_a_run_stops_all(tmp_path):
    attent.teach(learner(), PLAN, run=tmp_path / "run")

    def work(room, rank):
        attent.teach(attent.Workers(Apart(room, rank), rank, 2, room.gather(rank)), PLAN, run=tmp_path / "run")

    found = errors(2, work)
    assert isinstance(found[0], TraceError)
    assert "rank 0 of 2 has stopped, and so have all: TraceError:" in str(found[1])
    assert "holds a run already" in str(found[1])


def test_a_rank_that_does_not_see_the_folder_is_named(tmp_path):
    taught(PLAN, 1, run=tmp_path / "0", end=2)

    def work(room, rank):
        attent.teach(
            attent.Workers(Apart(room, rank), rank, 3, room.gather(rank)),
            PLAN,
            run=tmp_path / str(int(rank == 2)),
            resume=True,
        )

    for error in errors(3, work):
        assert str(error).startswith("rank 2 of 3 disagrees with the others on where the run stands")


def test_one_that_says_stop_stops_all(tmp_path):
    def work(room, rank):
        workers = attent.Workers(Apart(room, rank), rank, 3, room.gather(rank))
        return attent.teach(workers, PLAN, run=tmp_path / "run", stop=lambda: rank == 2, segment_steps=64)

    assert {len(trace.records) for trace in Room(3).run(work)} == {1}


# What is given


@pytest.mark.parametrize(
    ("rank", "world", "said"),
    [(2, 2, "rank must be"), (0, 0, "world must be"), (-1, 2, "rank must be"), (True, 2, "rank must be")],
)
def test_places_that_are_none_are_refused(rank, world, said):
    with pytest.raises(WorkersError, match=said):
        attent.Workers(learner(), rank, world, lambda told: [told] * 2)


def test_a_gather_that_does_not_gather_is_refused():
    with pytest.raises(WorkersError, match="gather must return the bytes of 2 processes"):
        attent.Workers(learner(), 0, 2, lambda told: [told])


def test_only_learners_are_taught_together():
    with pytest.raises(LearnerError, match=r"takes an attent\.Learner, got int"):
        attent.Workers(3, 0, 1, lambda told: [told])


def test_what_a_learner_offers_is_offered():
    workers = attent.Workers(learner(), 0, 1, lambda told: [told])
    assert isinstance(workers, attent.Groups)
    assert np.array_equal(workers.groups(), learner().groups())


# What one rank alone is given wrongly


def refuse(*arguments):
    raise OSError("the disk is gone")


GROUPS, WATCHED = np.arange(48) % 2, attent.Plan.auto(epochs=4, batch_size=8, keep=0.1)


@pytest.mark.parametrize(
    ("method", "given", "plan", "words"),
    [
        ("groups", lambda: GROUPS[1:], PLANS["auto"], "LearnerError: groups must be an int64 array of shape (48,), one"),
        ("groups", lambda: GROUPS - 1, PLANS["auto"], "LearnerError: groups must be at least 0, got -1 for example 0"),
        ("groups", refuse, PLANS["auto"], "OSError: the disk is gone"),
        ("costs", lambda: np.ones(47), PLANS["auto"], "LearnerError: costs must be a float64 array of shape (48,), one"),
        ("costs", lambda: GROUPS * 1.0, PLANS["auto"], "LearnerError: costs must be above 0 and finite, got 0.0 for exam"),
        ("costs", refuse, PLANS["fresh"], "OSError: the disk is gone"),
        ("watch", lambda: np.full(3, np.nan), WATCHED, "LearnerError: watch() must return finite numbers, got nan for w"),
        ("check_schedule", refuse, PLANS["fresh"], "OSError: the disk is gone"),
        ("check_batches", refuse, PLANS["fresh"], "OSError: the disk is gone"),
    ],
)  # fmt: skip
def test_what_one_rank_is_given_wrongly_stops_all_at_once(method, given, plan, words):
    def work(room, rank):
        one = Apart(room, rank)
        one.groups, one.costs, one.watch = (lambda: GROUPS), (lambda: np.ones(48)), (lambda: np.zeros(3))
        if rank == 1:
            setattr(one, method, given)
        attent.teach(attent.Workers(one, rank, 3, room.gather(rank)), plan)

    found = errors(3, work)
    for error in (found[0], found[2]):
        assert isinstance(error, WorkersError)
        assert str(error).startswith(f"rank 1 of 3 has stopped, and so have all: {words}")
    assert f"{type(found[1]).__name__}: {found[1]}".startswith(words)


def test_a_learner_without_examples_on_one_rank_stops_all_at_once():
    def work(room, rank):
        one = type("Empty", (Apart,), {"__len__": lambda one: 0}) if rank == 1 else Apart
        attent.Workers(one(room, rank), rank, 2, room.gather(rank))

    told = "the learner has no examples: len(learner) must be at least 1, got 0"
    assert list(map(str, errors(2, work))) == [f"rank 1 of 2 has stopped, and so have all: LearnerError: {told}", told]


def test_groups_that_are_sound_but_others_are_named_by_where_the_run_stands():
    def work(room, rank):
        one = Apart(room, rank)
        one.groups = lambda: GROUPS if rank != 1 else 1 - GROUPS
        attent.teach(attent.Workers(one, rank, 3, room.gather(rank)), PLANS["auto"])

    for error in errors(3, work):
        assert str(error).startswith("rank 1 of 3 disagrees with the others on where the run stands")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda one, rank: one.score(np.arange(8.0) if rank else np.arange(8)), "LearnerError: ids must be a one-dim"),
        (lambda one, rank: one.train([np.arange(8) + 45 * rank]), "LearnerError: batches[0]: ids must be in [0, 48), got 48"),
        (
            lambda one, rank: attent.teach(one, PLAN, listeners=[3] if rank else ()),
            "PlanError: listeners must be a list or tuple of functions, got ",
        ),
        (lambda one, rank: attent.teach(one, None if rank else PLAN), "PlanError: plan must be an attent.Plan, got None"),
    ],
)  # fmt: skip
def test_what_one_rank_asks_wrongly_stops_all_at_once(call, words):
    def work(room, rank):
        call(attent.Workers(Apart(room, rank), rank, 2, room.gather(rank)), rank)

    found = errors(2, work)
    assert f"{type(found[1]).__name__}: {found[1]}".startswith(words)
    assert str(found[0]).startswith(f"rank 1 of 2 has stopped, and so have all: {words}")
