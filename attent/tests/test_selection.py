"""Rules S1 to S6: which ids are chosen, against a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attent
from attent.choose import chunks as chunks_of
from attent.choose.noise import Noise, raw
from attent.choose.order import find_cut, top
from attent.choose.rules import count, finite_ids
from attent.tests import oracle

TIES = [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1e-310, 1e300, -1e300, 1.7e308, -1.7e308, 2.0]
numbers = st.one_of(st.sampled_from(TIES), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 3, width=16))
score_lists = st.lists(numbers, min_size=1, max_size=40)


@st.composite
def problems(draw):
    scores = draw(score_lists)
    return np.array(scores, np.float64), draw(st.integers(1, len(scores)))


@given(problems())
@example((np.array([3.0]), 1))
@example((np.array([0.0, -0.0, 0.0]), 2))
@settings(max_examples=400, deadline=None)
def test_hard_is_the_total_order(problem):
    scores, k = problem
    assert attent.hard(scores, k).tolist() == oracle.hard(scores, k)


@given(problems(), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_hard_names_the_ids_it_is_given(problem, gap):
    scores, k = problem
    ids = np.arange(len(scores)) * (gap + 1) + 7
    assert attent.hard(scores, k, ids=ids).tolist() == oracle.hard(scores, k, ids.tolist())


@given(problems(), st.integers(1, 100))
@settings(max_examples=300, deadline=None)
def test_band_passes_over_the_highest(problem, percent):
    scores, k = problem
    n = len(scores)
    # n - round_half_up(cap * n), in whole numbers
    passed = min(n - max(1, (2 * percent * n + 100) // 200), n - k)
    assert attent.band(scores, k, cap=percent / 100).tolist() == oracle.band(scores, k, passed)


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=25),
    st.data(),
    st.sampled_from([0.05, 0.5, 1.0, 2.0, 40.0]),
    st.integers(0, 50),
)
@settings(max_examples=200, deadline=None)
def test_soft_is_gumbel_top_k_in_fifty_digits(scores, data, temperature, draw):
    k = data.draw(st.integers(1, len(scores)))
    scores = np.array(scores)
    noise = Noise(11, draw)
    expected = oracle.soft(scores, k, raw(noise, 0, len(scores)), temperature)
    assert attent.soft(scores, k, noise, temperature=temperature).tolist() == expected


@given(problems(), st.integers(0, 20), st.sampled_from(["none", "std", "rank"]))
@settings(max_examples=300, deadline=None)
def test_temperature_zero_is_hard_and_infinity_forgets_the_scores(problem, draw, scaling):
    scores, k = problem
    noise = Noise(3, draw)
    blind = attent.soft(np.zeros(len(scores)), k, noise).tolist()
    assert attent.soft(scores, k, noise, temperature=np.inf, scaling=scaling).tolist() == blind
    cold = attent.soft(scores, k, noise, temperature=0.0, scaling=scaling)
    assert cold.tolist() == oracle.hard(scores, k)


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-6])
def test_soft_goes_to_hard_as_the_temperature_falls(temperature):
    scores = np.random.default_rng(0).normal(size=500)
    chosen = attent.soft(scores, 100, Noise(0, 0), temperature=temperature)
    assert chosen.tolist() == oracle.hard(scores, 100)


def test_soft_goes_to_random_as_the_temperature_rises():
    scores = np.random.default_rng(0).normal(size=500)
    hot = attent.soft(scores, 100, Noise(0, 0), temperature=1e9)
    assert hot.tolist() == attent.random(scores, 100, Noise(0, 0)).tolist()


@given(problems(), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_random_takes_the_highest_noise(problem, draw):
    scores, k = problem
    bits = (raw(Noise(5, draw), 0, len(scores)) >> np.uint64(11)).tolist()
    assert attent.random(scores, k, Noise(5, draw)).tolist() == sorted(oracle.ranked(bits, range(len(scores)))[:k])


@pytest.mark.parametrize("name", ["hard", "soft", "random", "band"])
def test_noise_and_ties_follow_the_id_when_only_some_are_scored(name):
    rng = np.random.default_rng(1)
    every = np.round(rng.normal(size=3000), 1)
    some = np.flatnonzero(rng.random(3000) < 0.3)
    noise = Noise(9, 4)
    select = {
        "hard": lambda scores, k, ids: attent.hard(scores, k, ids=ids),
        "band": lambda scores, k, ids: attent.band(scores, k, ids=ids, cap=1.0),
        "soft": lambda scores, k, ids: attent.soft(scores, k, noise, ids=ids),
        "random": lambda scores, k, ids: attent.random(scores, k, noise, ids=ids),
    }[name]
    # All others scored far below: only random could still choose them.
    buried = np.full(3000, -1e6)
    buried[some] = every[some]
    if name == "random":
        bits = raw(noise, 0, 3000)[some] >> np.uint64(11)
        expected = sorted(oracle.ranked(bits.tolist(), some.tolist())[:50])
    else:
        expected = select(buried, 50, None).tolist()
    assert select(every[some], 50, some).tolist() == expected


@pytest.mark.parametrize("kind", ["spread", "ties", "sorted", "reversed", "one value", "clustered"])
@pytest.mark.parametrize("share", [1e-6, 0.001, 0.2, 0.5, 0.999])
def test_large_arrays_choose_as_sorting_does(kind, share):
    n = 300_001
    rng = np.random.default_rng(2)
    scores = {
        "spread": lambda: rng.exponential(size=n),
        "ties": lambda: np.round(rng.exponential(size=n), 1),
        "sorted": lambda: np.sort(rng.normal(size=n)),
        "reversed": lambda: -np.sort(rng.normal(size=n)),
        "one value": lambda: np.full(n, 0.25),
        "clustered": lambda: np.repeat(rng.normal(size=n // 1000 + 1), 1000)[:n] + rng.normal(size=n) * 1e-9,
    }[kind]()
    k = max(1, round(share * n))
    expected = np.sort(np.lexsort((np.arange(n), -scores))[:k])
    assert np.array_equal(attent.hard(scores, k), expected)


def test_a_misleading_sample_costs_time_but_no_id():
    n = 1 << 19
    scores = np.zeros(n)
    starts = np.linspace(0, (n - 1024) // 4, 64).astype(np.int64) * 4  # the very blocks that are sampled
    for start in starts:
        scores[start : start + 1024] = 1.0
    scores[~(scores > 0)] = np.arange((scores == 0).sum()) * 1e-9
    expected = np.sort(np.lexsort((np.arange(n), -scores))[:100_000])
    assert np.array_equal(top(scores, 100_000), expected)


def test_threads_choose_what_one_thread_does(monkeypatch):
    n = (1 << 20) + 3
    values = np.random.default_rng(3).normal(size=n)
    chunks = []

    def chunk(start, stop):
        chunks.append(start)
        return values[start:stop]

    many = find_cut(chunk, n, 1000, lambda value: 0.0)
    monkeypatch.setattr(chunks_of, "_PARALLEL", n + 1)
    one = find_cut(chunk, n, 1000, lambda value: 0.0)
    assert many.value == one.value == np.sort(values)[-1000]
    assert np.array_equal(many.positions, one.positions)


def test_soft_at_large_n_equals_the_exact_keys():
    from attent.choose.gumbel import Keys

    n = 400_000
    scores = np.round(np.random.default_rng(4).exponential(size=n), 2)
    for temperature in (0.3, 1.0, 7.0):
        keys = Keys(scores, Noise(6, 1), temperature)
        exact = keys.exact(np.arange(n))
        expected = np.sort(np.lexsort((np.arange(n), -exact))[:80_000])
        assert np.array_equal(attent.soft(scores, 80_000, Noise(6, 1), temperature=temperature), expected)
        assert keys.threshold(80_000) == np.sort(exact)[-80_001]
        assert np.abs(keys.fast(0, n) - exact).max() * 2 <= keys.slack(float(exact.min()))


@pytest.mark.parametrize("far", [1e20, 1e300, 1.7e308])
def test_equal_huge_scores_are_still_drawn_by_chance(far):
    scores = np.r_[np.full(50, far), np.full(50, -far)]
    chosen = attent.soft(scores, 10, Noise(0, 0))
    assert chosen.tolist() == attent.soft(np.zeros(50), 10, Noise(0, 0)).tolist()
    assert chosen.tolist() != list(range(10))


@pytest.mark.parametrize(
    ("ratio", "n", "k"),
    [(0.29, 100, 29), (0.285, 100, 29), (0.57, 100, 57), (0.5, 3, 2), (0.5, 1, 1), (1e-9, 10, 1), (1, 7, 7)],
)
def test_count_rounds_half_up_as_written(ratio, n, k):
    assert count(ratio, n) == k


@given(st.integers(1, 10**7), st.data())
def test_selecting_again_at_k_over_n_keeps_k(n, data):
    k = data.draw(st.integers(1, n))
    assert count(k / n, n) == k


@pytest.mark.parametrize("k", [0, -1, 6])
@pytest.mark.parametrize(
    "select",
    [
        attent.hard,
        attent.band,
        lambda s, k: attent.soft(s, k, Noise(0, 0)),
        lambda s, k: attent.random(s, k, Noise(0, 0)),
    ],
)
def test_k_outside_the_scores_is_refused(select, k):
    with pytest.raises(attent.PlanError, match=rf"k must be in \[1, 5\], the number of scores, got {k}"):
        select(np.zeros(5), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("select", [attent.hard, attent.band, lambda s, k: attent.soft(s, k, Noise(0, 0))])
def test_scores_that_are_not_finite_are_named(select, bad):
    scores = np.array([1.0, bad, 2.0, bad])
    with pytest.raises(attent.ScoreError, match=r"got 2 of 4 that are not: id 1 \(.*\), 3"):
        select(scores, 2)


@pytest.mark.parametrize(
    "scores", [[1.0, 2.0], np.zeros((2, 1)), np.zeros(2, np.float32), np.zeros(2, np.int64)], ids=str
)
def test_scores_of_another_type_are_refused(scores):
    with pytest.raises(attent.ScoreError, match="scores must be a float64 array"):
        attent.hard(scores, 1)


def test_empty_scores_bad_ids_and_bad_parameters_are_refused():
    with pytest.raises(attent.PlanError, match="no scores to select from"):
        attent.hard(np.zeros(0), 1)
    with pytest.raises(attent.PlanError, match="2 distinct ids in ascending order"):
        attent.hard(np.zeros(2), 1, ids=np.array([3, 3]))
    with pytest.raises(attent.PlanError, match="temperature must be at least 0, got nan"):
        attent.soft(np.zeros(2), 1, Noise(0, 0), temperature=np.nan)
    with pytest.raises(attent.PlanError, match=r"cap must be in \(0, 1\], got 0"):
        attent.band(np.zeros(2), 1, cap=0)
    with pytest.raises(attent.PlanError, match=r"seed must be in \[0, 2\*\*64\), got -1"):
        attent.random(np.zeros(2), 1, Noise(-1, 0))
    with pytest.raises(attent.PlanError, match=r"ratio must be in \(0, 1\], got 0"):
        count(0, 5)


def test_nothing_finite_is_an_error_under_every_policy():
    for policy in ("error", "drop", "last"):
        with pytest.raises(attent.ScoreError, match="got 2 of 2"):
            finite_ids(np.array([np.nan, np.inf]), policy)


def test_scores_are_left_as_they_were():
    scores = np.array([3.0, -0.0, 1.0])
    scores.flags.writeable = False
    for scaling in ("none", "std", "rank"):
        attent.soft(scores, 1, Noise(0, 0), scaling=scaling)
    attent.hard(scores, 1)
    attent.band(scores, 1)
    assert np.signbit(scores[1])
