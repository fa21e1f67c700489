"""The reference optimisers against values worked out by hand, and the learning-rate schedule."""

import math

import numpy as np
import pytest

from attent.errors import LearnerError
from attent.reference import SGD, AdamW, initial_moments, warm_up_cosine


def run(optimiser, start, gradient_list, learning_rate):
    """Return the parameter after each step."""
    p = {"w": np.array([start])}
    moments = initial_moments(optimiser, p)
    seen = []
    for count, gradient in enumerate(gradient_list, 1):
        p, moments = optimiser.step(p, {"w": np.array([gradient])}, moments, count=count, learning_rate=learning_rate)
        seen.append(p["w"].item())
    return seen


def test_adamw_takes_the_steps_worked_out_by_hand():
    # Step 1: m = 0.2, v = 0.04, m̂ = 2, v̂ = 4: p = 1 * (1 - 0.1 * 0.5) - 0.1 * 2 / 2 = 0.85.
    # Step 2: m = 0.9 * 0.2 + 0.1 * -1 = 0.08, v = 0.99 * 0.04 + 0.01 * 1 = 0.0496;
    # m̂ = 0.08 / 0.19, v̂ = 0.0496 / 0.0199: p = 0.85 * 0.95 - 0.1 * m̂ / sqrt(v̂).
    second = 0.85 * 0.95 - 0.1 * (0.08 / 0.19) / math.sqrt(0.0496 / 0.0199)
    optimiser = AdamW(beta1=0.9, beta2=0.99, epsilon=1e-300, weight_decay=0.5)
    assert run(optimiser, 1.0, [2.0, -1.0], 0.1) == pytest.approx([0.85, second], rel=1e-14)


def test_adamw_adds_epsilon_to_the_corrected_root():
    # m̂ = 3, sqrt(v̂) = 3, epsilon = 1: p = 1 - 0.1 * 3 / 4.
    assert run(AdamW(epsilon=1.0, weight_decay=0.0), 1.0, [3.0], 0.1) == pytest.approx([0.925], rel=1e-14)


def test_sgd_takes_the_steps_worked_out_by_hand():
    # u = 2 + 0.5 * 1 = 2.5, p = 1 - 0.1 * 2.5 = 0.75; u = 0.9 * 2.5 + (-1 + 0.5 * 0.75) = 1.625, p = 0.5875.
    seen = run(SGD(momentum=0.9, weight_decay=0.5), 1.0, [2.0, -1.0], 0.1)
    assert seen == pytest.approx([0.75, 0.5875], rel=1e-14)


@pytest.mark.parametrize("optimiser", [AdamW(), SGD()], ids=["AdamW", "SGD"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_step_changes_no_argument_and_keeps_the_dtype(optimiser, dtype):
    p, g = {"w": np.ones(3, dtype)}, {"w": np.full(3, 2, dtype)}
    moments = initial_moments(optimiser, p)
    result, after = optimiser.step(p, g, moments, count=1, learning_rate=0.1)
    assert p["w"].tolist() == [1, 1, 1]
    assert g["w"].tolist() == [2, 2, 2]
    assert all(not moments[name]["w"].any() for name in optimiser.moment_names)
    assert result["w"].dtype == dtype
    assert {after[name]["w"].dtype.name for name in after} == {dtype}
    assert tuple(after) == optimiser.moment_names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamW(beta1=1.0), r"beta1 must be in \[0, 1\), got 1.0"),
        (lambda: AdamW(beta2=-0.1), r"beta2 must be in \[0, 1\), got -0.1"),
        (lambda: AdamW(epsilon=0.0), "epsilon must be a finite number above 0, got 0.0"),
        (lambda: AdamW(weight_decay=math.nan), "weight_decay must be finite and at least 0, got nan"),
        (lambda: SGD(momentum=1.5), r"momentum must be in \[0, 1\), got 1.5"),
        (lambda: SGD(weight_decay=-1), "weight_decay must be finite and at least 0, got -1"),
        (lambda: warm_up_cosine(0.0, 10), "peak must be a finite number above 0, got 0.0"),
        (
            lambda: warm_up_cosine(0.1, 10, 10),
            r"warm_up_steps must be in \[0, total_steps\), where total_steps=10",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(LearnerError, match=message):
        make()


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rate = warm_up_cosine(0.8, total_steps=8, warm_up_steps=4)
    expected = [
        0.2,
        0.4,
        0.6,
        0.8,
        0.8,
        0.4 * (1 + math.sqrt(0.5)),
        0.4,
        0.4 * (1 - math.sqrt(0.5)),
        0.0,
        0.0,
    ]
    assert [rate(step) for step in range(10)] == pytest.approx(expected, abs=1e-15)


def test_without_warm_up_the_first_rate_is_the_peak():
    assert warm_up_cosine(0.8, total_steps=8)(0) == 0.8
