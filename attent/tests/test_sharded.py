"""Rule S11: workers that each hold a part choose, together, what one does that holds all."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attent
from attent.choose import order, sharded
from attent.choose.noise import Noise
from attent.choose.shard import Shard
from attent.tests.test_selection import numbers

NOISE = Noise(7, 3)


class Workers:
    """Threads that sum up arrays, as processes do, and count the bytes that one of them gives."""

    def __init__(self, world):
        self.world, self.bytes, self.calls = world, 0, 0
        self.given = [None] * world
        self.barrier = threading.Barrier(world)

    def allreduce(self, rank):
        def summed(array):
            assert array.dtype == np.int64
            self.given[rank] = array
            if self.barrier.wait() == 0:
                assert len({each.shape for each in self.given}) == 1
                self.sum = np.sum(self.given, axis=0)
            self.barrier.wait()
            if rank == 0:
                self.bytes, self.calls = self.bytes + array.nbytes, self.calls + 1
            return self.sum.copy()

        return summed

    def run(self, select, parts):
        """Return what each worker chooses of its part, or the error it raises."""
        found = [None] * self.world

        def work(rank):
            try:
                found[rank] = select(parts[rank], Shard(rank, self.world, self.allreduce(rank)))
            except attent.AttentError as error:
                found[rank] = error

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


def parted(scores, cuts):
    return np.split(scores, sorted(cuts))


SELECTIONS = {
    "hard": (lambda s, k, h: sharded.hard(s, k, h), lambda s, k: attent.hard(s, k)),
    "band": (lambda s, k, h: sharded.band(s, k, h, cap=0.7), lambda s, k: attent.band(s, k, cap=0.7)),
    "random": (lambda s, k, h: sharded.random(s, k, NOISE, h), lambda s, k: attent.random(s, k, NOISE)),
    "cold": (
        lambda s, k, h: sharded.soft(s, k, NOISE, h, temperature=0.0),
        lambda s, k: attent.soft(s, k, NOISE, temperature=0.0),
    ),
    **{
        f"soft {temperature}": (
            lambda s, k, h, t=temperature: sharded.soft(s, k, NOISE, h, temperature=t),
            lambda s, k, t=temperature: attent.soft(s, k, NOISE, temperature=t),
        )
        for temperature in (1e-300, 0.3, 1.0, 40.0, np.inf)
    },
}


@pytest.mark.parametrize("name", SELECTIONS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_workers_choose_what_one_does(name, data):
    scores = np.array(data.draw(st.lists(numbers, min_size=1, max_size=60)))
    cuts = data.draw(st.lists(st.integers(0, len(scores)), max_size=4))
    k = data.draw(st.integers(1, len(scores)))
    large, block = data.draw(st.sampled_from([(1 << 18, 1024), (1, 4), (1, 1)]))
    together, alone = SELECTIONS[name]
    expected = alone(scores, k).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_LARGE", large)
        patch.setattr(order, "_BLOCK", block)
        found = Workers(len(cuts) + 1).run(lambda part, shard: together(part, k, shard), parted(scores, cuts))
        assert np.concatenate(found).tolist() == expected
        assert alone(scores, k).tolist() == expected


@pytest.mark.parametrize("kind", ["spread", "ties", "one value", "sorted"])
@pytest.mark.parametrize("name", ["hard", "band", "random", "soft 0.3", "soft 1.0"])
def test_many_scores_of_three_workers(kind, name):
    n = 300_001
    rng = np.random.default_rng(5)
    scores = {
        "spread": lambda: rng.normal(size=n),
        "ties": lambda: np.round(rng.exponential(size=n), 1),
        "one value": lambda: np.full(n, 0.25),
        "sorted": lambda: np.sort(rng.normal(size=n)),
    }[kind]()
    together, alone = SELECTIONS[name]
    parts = parted(scores, [100_003, 100_003 + 1_700])
    found = Workers(3).run(lambda part, shard: together(part, 60_000, shard), parts)
    assert np.array_equal(np.concatenate(found), alone(scores, 60_000))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("cuts", [[65536], [131072, 131072, 262144], [0, 196608]])
def test_standard_scaling_sums_the_blocks_of_all_workers(temperature, cuts):
    scores = np.random.default_rng(6).exponential(size=270_000) * 1e-3
    parts = parted(scores, cuts)
    found = Workers(len(parts)).run(
        lambda part, shard: sharded.soft(part, 50_000, NOISE, shard, temperature=temperature, scaling="std"), parts
    )
    assert np.array_equal(
        np.concatenate(found), attent.soft(scores, 50_000, NOISE, temperature=temperature, scaling="std")
    )


def test_a_thousand_workers_send_as_much_for_few_examples_as_for_many():
    """What travels between 1,000 workers does not depend on n, and each gives less than a megabyte."""

    def sent(n):
        scores = np.random.default_rng(n).exponential(size=n)
        workers = Workers(1000)
        found = workers.run(lambda part, shard: sharded.soft(part, n // 5, NOISE, shard), np.array_split(scores, 1000))
        assert np.array_equal(np.concatenate(found), attent.soft(scores, n // 5, NOISE))
        return workers.bytes, workers.calls

    few, many = sent(300_000), sent(1_000_000)
    assert few == many
    assert many[0] < 500_000
    assert many[1] < 40


BAD = np.array([1.0, 2.0, np.nan, 3.0])


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ([np.zeros(3), BAD], attent.ScoreError, "scores must be finite, got one of rank 1 that is not: id 5; look"),
        ([np.zeros(3), np.zeros(3, np.float32)], attent.ScoreError, "on every worker, and on rank 1 are not"),
        ([[0.0], np.zeros(3)], attent.ScoreError, "on every worker, and on rank 0 are not"),
        (
            [np.zeros(1), np.zeros(0)],
            attent.PlanError,
            r"k must be in \[1, 1\], the number of scores of all workers, got 2",
        ),
    ],
    ids=["nan", "float32", "list", "k"],
)
@pytest.mark.parametrize("name", ["hard", "soft 1.0", "random", "band"])
def test_what_is_wrong_with_one_is_raised_on_all(parts, error, words, name):
    found = Workers(2).run(lambda part, shard: SELECTIONS[name][0](part, 2, shard), parts)
    for each in found:
        with pytest.raises(error, match=words):
            raise each


@pytest.mark.parametrize("other", [(3, NOISE, 1.0), (2, Noise(7, 4), 1.0), (2, NOISE, 0.5)])
def test_workers_that_ask_for_different_things_are_told(other):
    asked = [(2, NOISE, 1.0), (2, NOISE, 1.0), other]

    def select(part, shard):
        k, noise, temperature = asked[shard.rank]
        return sharded.soft(part, k, noise, shard, temperature=temperature)

    for error in Workers(3).run(select, [np.zeros(4)] * 3):
        with pytest.raises(attent.PlanError, match="all workers must ask for the same, and rank 2 asks for other than"):
            raise error


def test_parts_that_cut_a_block_and_ranks_are_refused():
    def select(scaling):
        return lambda part, shard: sharded.soft(part, 2, NOISE, shard, scaling=scaling)

    scores = np.arange(70_000.0)
    for error in Workers(2).run(select("std"), parted(scores, [50_000])):
        with pytest.raises(attent.PlanError, match=r"the part of rank 0 ends at example 50000: give each a multiple"):
            raise error
    for error in Workers(2).run(select("rank"), parted(scores, [65_536])):
        with pytest.raises(attent.PlanError, match="scaling='rank' needs each score's rank"):
            raise error


@pytest.mark.parametrize(("rank", "world"), [(1, 1), (-1, 2), (0, 0), (0.5, 2)])
def test_a_place_that_is_none_is_refused(rank, world):
    with pytest.raises(attent.PlanError):
        Shard(rank, world)
