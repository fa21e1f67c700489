"""Soft chooses as often as it should: inclusion frequencies and correction weights."""

from __future__ import annotations

import numpy as np
import pytest

import attent
from attent.choose.noise import Noise, gumbel, log, raw, raw_at, uniform
from attent.choose.scaling import average_ranks, scale, tree_sum
from attent.tests import oracle

DRAWS = 5_000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_inclusion_frequencies_follow_exact_probabilities(temperature, k):
    scores = np.array([0.0, 0.5, 1.0, 1.5, 2.5, -1.0])
    exact = oracle.inclusion_by_enumeration(np.exp(scores / temperature), k)
    counts = np.zeros(6)
    for draw in range(DRAWS):
        counts[attent.soft(scores, k, Noise(1, draw), temperature=temperature)] += 1
    # Chi-square of Bernoulli counts; dependence between items only lowers it. 5 sigma of chi-square(6) is 33.
    chi_square = ((counts - DRAWS * exact) ** 2 / (DRAWS * exact * (1 - exact))).sum()
    assert chi_square < 33
    wrong = oracle.inclusion_by_enumeration(np.exp(scores / (temperature * 1.5)), k)
    assert ((counts - DRAWS * wrong) ** 2 / (DRAWS * wrong * (1 - wrong))).sum() > 33  # it would be seen


def test_random_includes_all_alike():
    counts = np.zeros(10)
    for draw in range(DRAWS):
        counts[attent.random(np.zeros(10), 3, Noise(2, draw))] += 1
    assert ((counts - DRAWS * 0.3) ** 2 / (DRAWS * 0.3 * 0.7)).sum() < 45


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_inverse_probabilities_make_sums_unbiased(temperature):
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=12), rng.normal(size=12)
    estimates = []
    for draw in range(DRAWS):
        noise = Noise(3, draw)
        ids = attent.soft(scores, 5, noise, temperature=temperature)
        p = attent.inclusion_probabilities(scores, 5, noise, temperature=temperature)
        estimates.append((values[ids] / p[ids]).sum())
    error = np.std(estimates) / np.sqrt(DRAWS)
    assert abs(np.mean(estimates) - values.sum()) < 5 * error


def test_probabilities_are_those_of_the_formula():
    scores, noise = np.array([0.2, 1.0, -0.5, 0.9]), Noise(5, 0)
    keys = scores - 1.0 + gumbel(raw(noise, 0, 4))
    threshold = np.sort(keys)[-3]  # k = 2
    expected = 1 - np.exp(-np.exp(scores - 1.0 - threshold))
    assert attent.inclusion_probabilities(scores, 2, noise) == pytest.approx(expected, rel=1e-12)
    weights = attent.correction_weights(np.array([1.0, 0.25]), 1, largest=1.5)
    assert weights.tolist() == [0.5, 1.5]


def test_temperature_zero_has_no_probabilities():
    with pytest.raises(attent.PlanError, match="temperature above 0, got 0"):
        attent.inclusion_probabilities(np.zeros(3), 1, Noise(0, 0), temperature=0.0)


def test_noise_is_the_philox_of_numpy_and_positional():
    noise = Noise(2**64 - 1, 2**40)
    whole = np.random.Philox(key=np.array(noise, np.uint64)).random_raw(1000)
    assert np.array_equal(raw(noise, 0, 1000), whole)
    for start, stop in [(0, 1), (1, 2), (3, 9), (4, 4), (997, 1000)]:
        assert np.array_equal(raw(noise, start, stop), whole[start:stop])
    assert np.array_equal(raw_at(noise, np.array([700, 3, 3])), whole[[700, 3, 3]])
    assert np.array_equal(uniform(whole), (whole >> np.uint64(11)) / 2**53)


def test_log_is_close_and_exact_at_powers_of_two():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random(20_000), 2.0 ** rng.uniform(-60, 60, 20_000), 1 + rng.normal(size=1000) * 1e-9])
    x = x[x > 0]
    error = np.abs(log(x) - np.log(x))
    assert (error <= 3 * np.spacing(np.abs(np.log(x)))).all()
    assert log(np.array([1.0, 2.0, 0.25])).tolist() == [0.0, np.log(2.0), np.log(0.25)]
    worst = gumbel(np.array([0, 1 << 11, 2**64 - 1], np.uint64))
    assert worst[0] == -np.inf
    assert worst[1:] == pytest.approx([-np.log(53 * np.log(2)), 53 * np.log(2)], rel=1e-12)


def test_scalings():
    scores = np.array([4.0, 1.0, 1.0, 10.0])
    assert average_ranks(scores).tolist() == [3.0, 1.5, 1.5, 4.0]
    for scaling, base in (("std", scores), ("rank", average_ranks(scores))):
        assert scale(scores, scaling) == pytest.approx((base - base.mean()) / base.std(), rel=1e-14)
    assert scale(scores, "none") is scores
    huge = scale(np.array([1e308, -1e308, 0.0]), "std")
    assert huge == pytest.approx([1.5**0.5, -(1.5**0.5), 0.0])
    assert scale(scores * 2.0**-900, "std").tolist() == scale(scores, "std").tolist()
    assert tree_sum(np.arange(100_001.0)) == 100_000 * 100_001 / 2
    with pytest.raises(attent.PlanError, match="scaling must be one of none, std, rank, got 'max'"):
        scale(scores, "max")


def test_the_generator_is_that_of_the_paper():
    # Known answer of philox4x64-10 for counter 0 and key 0, published with Random123.
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert np.random.Philox(counter=2**256 - 1, key=0).random_raw(4).tolist() == known
    # NumPy steps the counter before each block, so example 0's number is in the block of counter 1.
    assert raw(Noise(0, 0), 0, 4).tolist() == np.random.Philox(counter=0, key=0).random_raw(4).tolist()
