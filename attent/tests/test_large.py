"""Large arrays: orders in parts, sorted words and noise of single ids, against what sorting whole gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attent.choose.noise import Noise, raw, raw_at
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
