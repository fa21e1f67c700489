"""The curve of full training and what is read off it, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attent.judging.curve import best_so_far, cost_to_reach, increasing, quality_at, saving

COSTS = np.array([1.0, 2.0, 8.0])
CURVE = np.array([0.5, 0.6, 0.9])


@pytest.mark.parametrize(
    ("values", "fitted"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([3, 2, 1], [2, 2, 2]),
        ([1, 4, 2, 5], [1, 3, 3, 5]),
        ([5, 1, 3, 9, 7], [3, 3, 3, 8, 8]),
        ([2, 2], [2, 2]),
    ],
)
def test_the_closest_values_that_never_fall(values, fitted):
    assert increasing(np.array(values, np.float64)).tolist() == fitted


def pooled(values):
    """Pool adjacent violators, as textbooks have it."""
    blocks = []
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (b, m), (a, n) = blocks.pop(), blocks.pop()
            blocks.append([(a * n + b * m) / (n + m), n + m])
    return [value for value, count in blocks for _ in range(count)]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=7))
def test_increasing_is_the_pooling_of_adjacent_violators(values):
    np.testing.assert_allclose(increasing(np.array(values)), pooled(values), rtol=1e-12, atol=1e-9)


def test_rows_are_fitted_on_their_own():
    assert increasing(np.array([[1.0, 2.0], [4.0, 2.0]])).tolist() == [[1, 2], [3, 3]]


def test_the_best_so_far_is_of_each_row_on_its_own():
    values = np.array([[1.0, 3.0, 2.0, 4.0], [5.0, 1.0, 1.0, 6.0]])
    assert best_so_far(values).tolist() == [[1, 3, 3, 4], [5, 5, 5, 6]]


@pytest.mark.parametrize(
    ("quality", "cost", "bound"),
    [
        (0.55, np.sqrt(2), 0),  # half way in the logarithm of cost
        (0.7, 2 * 4 ** (1 / 3), 0),
        (0.5, 1.0, 0),
        (0.6, 2.0, 0),
        (0.9, 8.0, 0),
        (0.49, 1.0, -1),
        (0.91, 8.0, 1),
    ],
)
def test_the_cost_of_a_quality(quality, cost, bound):
    found = cost_to_reach(COSTS, CURVE, np.array(quality))
    assert found.value == pytest.approx(cost, rel=1e-12)
    assert found.bound == bound


def test_a_level_stretch_costs_as_much_as_its_beginning():
    found = cost_to_reach(COSTS, np.array([0.5, 0.7, 0.7]), np.array(0.7))
    assert (found.value, found.bound) == (2.0, 0)
    found = cost_to_reach(COSTS, np.array([0.5, 0.5, 0.7]), np.array(0.5))
    assert (found.value, found.bound) == (1.0, 0)


@pytest.mark.parametrize(
    ("cost", "quality", "bound"),
    [(2.0, 0.6, 0), (4.0, 0.75, 0), (1.0, 0.5, 0), (8.0, 0.9, 0), (0.5, 0.5, -1), (9.0, 0.9, 1)],
)
def test_the_quality_of_a_cost(cost, quality, bound):
    found = quality_at(COSTS, CURVE, np.array(cost))
    assert found.value == pytest.approx(quality, rel=1e-12)
    assert found.bound == bound


def test_at_a_point_of_the_curve_its_quality_is_exact():
    # .03 + (.01 - .03) is not .01 in floating point: an arm that is the point must not lie off it.
    curve = np.array([0.5, 0.03, 0.01])
    for cost, quality in zip(COSTS, curve, strict=True):
        assert quality_at(COSTS, curve, np.array(cost)).value == quality


@pytest.mark.parametrize(
    ("cost", "quality", "saved", "bound"),
    [
        (1.5, 0.6, 0.25, 0),
        (2.0, 0.6, 0.0, 0),
        (3.0, 0.6, -0.5, 0),
        (6.0, 0.95, 0.25, 1),  # never reached: at least
        (1.5, 0.4, -0.5, -1),  # reached before the first point: at most
    ],
)
def test_savings(cost, quality, saved, bound):
    found = saving(COSTS, CURVE, np.array(cost), np.array(quality))
    assert found.value == pytest.approx(saved, abs=1e-12)
    assert found.bound == bound
