"""Large arrays: orders in parts, sorted words, noise of single ids, mapped files and memory.

What is found in parts is held against what sorting whole gives.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attent
from attent.choose import rules
from attent.choose.noise import Noise, raw, raw_at
from attent.choose.rules import first_in_turn
from attent.choose.scaling import average_ranks
from attent.choose.shard import image
from attent.choose.shuffle import Shuffle
from attent.choose.words import Words

seeds = st.integers(0, 2**64 - 1)


@given(seeds, seeds, st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_noise_of_ids_far_apart_is_that_of_the_stream(seed, draw, ids):
    noise = Noise(seed, draw)
    assert raw_at(noise, np.array(ids)).tolist() == [int(raw(noise, i, i + 1)[0]) for i in ids]


def test_noise_of_ids_dense_sparse_and_in_any_order():
    whole = raw(Noise(3, 4), 0, 400_000)
    rng = np.random.default_rng(0)
    for ids in (np.arange(399_990), np.arange(0, 400_000, 5), np.arange(0, 400_000, 90), rng.permutation(400_000)):
        assert np.array_equal(raw_at(Noise(3, 4), ids), whole[ids])


@given(st.integers(1, 300), st.integers(1, 60), seeds, st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_an_order_in_parts_is_that_of_sorting_whole(n, at_once, seed, some, data):
    noise = Noise(seed, 9)
    ids = np.flatnonzero(np.random.default_rng(n).random(n + 5) < 0.7) * 3 if some else None
    bits = raw(noise, 0, n) if ids is None else raw_at(noise, ids)
    order = np.argsort(bits, kind="stable")
    shuffle = Shuffle(noise, n, ids, at_once=at_once)
    assert len(shuffle) == len(order)
    for _ in range(3):
        start = data.draw(st.integers(0, len(order)))
        stop = data.draw(st.integers(start, len(order)))
        assert shuffle.positions(start, stop).tolist() == order[start:stop].tolist()
    assert shuffle.positions(0, n + 9).tolist() == order.tolist()


@pytest.mark.parametrize("at_once", [1 << 14, 1 << 25])
def test_a_large_order_in_parts(at_once):
    n = 200_001
    order = np.argsort(raw(Noise(1, 1), 0, n), kind="stable")
    shuffle = Shuffle(Noise(1, 1), n, at_once=at_once)
    assert np.array_equal(shuffle.positions(100_000, n), order[100_000:])
    assert np.array_equal(np.concatenate([shuffle.positions(at, at + 777) for at in range(0, n, 777)]), order)


def test_equal_noise_goes_by_id(monkeypatch):
    """Noise with few values, all of whose lower bits differ or none: what 64 bits of Philox hardly ever give."""
    from attent.choose import shuffle as module

    n = 5000
    rng = np.random.default_rng(2)
    for bits in (rng.integers(0, 7, n).astype(np.uint64) << np.uint64(61), rng.integers(0, 900, n).astype(np.uint64)):
        monkeypatch.setattr(module, "raw", lambda noise, start, stop, bits=bits: bits[start:stop])
        monkeypatch.setattr(module, "raw_at", lambda noise, ids, bits=bits: bits[ids])
        for at_once in (n, 600):
            found = Shuffle(Noise(0, 0), n, at_once=at_once).positions(0, n)
            assert np.array_equal(found, np.argsort(bits, kind="stable"))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5) | st.just(2**63), min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_words_sort_as_an_index_sort_does(keys):
    keys = np.array(keys, np.uint64)
    words = Words([(keys, np.arange(len(keys)))], len(keys), len(keys))
    equal = words.sort(lambda positions: keys[positions])
    order = words.positions(0, len(keys))
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert equal.tolist() == [False, *(keys[order][1:] == keys[order][:-1]).tolist()]


@given(st.lists(st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324]), min_size=2, max_size=30))
@settings(max_examples=300, deadline=None)
def test_images_are_in_the_order_of_numbers(values):
    numbers = np.array(values)
    images = image(numbers).tolist()
    for place in range(1, len(values)):
        (a, b), (x, y) = images[place - 1 : place + 1], values[place - 1 : place + 1]
        assert (a < b, a == b) == (x < y, x == y)


@pytest.fixture
def mapped(tmp_path):
    n = 300_001
    np.random.default_rng(8).exponential(size=n).tofile(tmp_path / "scores")
    return np.memmap(tmp_path / "scores", np.float64, "r")


@pytest.mark.parametrize(
    "select",
    [
        lambda scores: attent.hard(scores, 60_000),
        lambda scores: attent.band(scores, 60_000),
        lambda scores: attent.random(scores, 60_000, Noise(1, 2)),
        lambda scores: attent.soft(scores, 60_000, Noise(1, 2)),
        lambda scores: attent.soft(scores, 60_000, Noise(1, 2), temperature=0.5, scaling="std"),
        lambda scores: attent.soft(scores, 60_000, Noise(1, 2), temperature=0.5, scaling="rank"),
    ],
    ids=["hard", "band", "random", "soft", "std", "rank"],
)
def test_scores_in_a_file_are_chosen_from_as_those_in_memory(mapped, select):
    assert select(mapped).tolist() == select(np.array(mapped)).tolist()


def peak_of(call):
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("scaling", ["none", "std"])
def test_a_choice_holds_its_ids_and_a_bit_for_each_example(scaling):
    n = 10**6
    scores = np.random.default_rng(9).exponential(size=n)
    peak = peak_of(lambda: attent.soft(scores, n // 5, Noise(0, 0), scaling=scaling))
    assert peak < 8 * (n // 5) + n / 4 + 3e6  # and some chunks
    equal = np.zeros(n)
    assert peak_of(lambda: attent.hard(equal, n // 5)) < 50 * (n // 5) + n / 4 + 3e6


def test_an_adaptive_course_holds_fifty_bytes_an_example():
    n = 10**6
    losses = np.random.default_rng(10).exponential(size=n) ** 4
    ways = []

    def teach():
        course = attent.Course(attent.Plan.auto(epochs=3, batch_size=100), n)
        while not isinstance(lesson := course.next(), attent.Done):
            ids = np.concatenate(lesson.batches)
            record = course.record(losses[ids] * 0.75**course.epoch)
            if record is not None and record.selection is not None:
                ways.append(record.selection.how)

    assert peak_of(teach) < 50 * n  # in the rest of the first pass, from which what is taken is left out
    assert set(ways) == {"hardest", "in turn"}


@given(st.integers(1, 60), st.integers(0, 4), seeds, st.booleans(), st.data())
@settings(max_examples=200, deadline=None)
def test_the_first_in_turn_are_those_of_sorting_the_ones_that_tie(n, ages, seed, some, data):
    order = Noise(seed, 5)
    turns = np.array(data.draw(st.lists(st.integers(0, ages), min_size=n, max_size=n)), np.int32)
    ids = np.flatnonzero(np.random.default_rng(n).random(3 * n) < 0.9)[:n] if some else np.arange(n)
    turns = turns[: len(ids)]
    k = data.draw(st.integers(1, len(ids)))
    bits = raw_at(order, ids)
    expected = sorted(ids[np.lexsort((ids, bits, -turns))[:k]].tolist())
    assert first_in_turn(turns, k, order, ids=ids if some else None).tolist() == expected


def test_the_first_in_turn_go_by_all_bits_of_the_noise(monkeypatch):
    bits = np.random.default_rng(3).integers(0, 50, 3000).astype(np.uint64)  # no two differ in the upper 53
    monkeypatch.setattr(rules, "raw", lambda noise, start, stop: bits[start:stop])
    monkeypatch.setattr(rules, "raw_at", lambda noise, ids: bits[ids])
    expected = np.sort(np.argsort(bits, kind="stable")[:1000])
    assert np.array_equal(first_in_turn(np.zeros(3000, np.int32), 1000, Noise(0, 0)), expected)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, -3.0, 5e-324]) | st.floats(-1, 1), min_size=1, max_size=40)
)
@settings(max_examples=200, deadline=None)
def test_average_ranks_are_those_of_counting(values):
    scores = np.array(values)
    expected = [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]
    assert average_ranks(scores).tolist() == expected


@pytest.mark.parametrize("kind", ["spread", "float32", "near"])
def test_average_ranks_of_many(kind):
    """Near ones agree in all bits that fit into a word."""
    rng = np.random.default_rng(11)
    n = 200_000
    scores = {
        "spread": lambda: rng.normal(size=n),
        "float32": lambda: rng.exponential(size=n).astype(np.float32).astype(np.float64),
        "near": lambda: 1.0 + rng.integers(0, 1000, n) * 2.0**-52 + rng.integers(0, 50, n) * 0.25,
    }[kind]()
    ordered = np.sort(scores)
    low, high = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    assert np.array_equal(average_ranks(scores), (low + 1 + high) / 2)
