"""The reference network: against a slow network written out in loops, and against finite differences."""

import hashlib
import math
from functools import cache

import numpy as np
import pytest

from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.errors import LearnerError
from attent.reference import (
    Architecture,
    forward,
    gradients,
    initial_parameters,
    losses,
    outcomes,
    parameter_shapes,
)

SMALL = {"length": 4, "width": 4, "heads": 2, "hidden": 5}
ARCHITECTURES = {
    "classify-patches": Architecture("classify", outputs=3, patch=2, depth=2, **SMALL),
    "classify-tokens": Architecture("classify", outputs=3, vocabulary=5, depth=1, **SMALL),
    "next-token": Architecture("next-token", outputs=5, vocabulary=5, depth=2, **SMALL),
    "next-token-patches": Architecture("next-token", outputs=3, patch=2, depth=1, **SMALL),
}
NAMES = [(case, name) for case, a in ARCHITECTURES.items() for name in parameter_shapes(a)]


def numbers(draw, *shape):
    """Return fixed numbers in [-1, 1)."""
    return 2.0 * uniform(raw(Noise(0, LEARNER + draw), 0, math.prod(shape))).reshape(shape) - 1.0


def task(case, padded, count=3):
    """Return architecture, parameters with no zeros in them, inputs, targets, lengths and weights."""
    a = ARCHITECTURES[case]
    p = {
        name: array + 0.3 * numbers(10 + i, *array.shape)
        for i, (name, array) in enumerate(initial_parameters(a, 3).items())
    }
    if a.patch is None:
        inputs = (numbers(1, count, a.length) * 1000).astype(np.int64) % a.vocabulary
    else:
        inputs = numbers(1, count, a.length, a.patch)
    shape = (count, a.length) if a.kind == "next-token" else (count,)
    targets = (numbers(2, *shape) * 1000).astype(np.int64) % a.outputs
    return (
        a,
        p,
        inputs,
        targets,
        np.array([2, 4, 1])[:count] if padded else None,
        np.array([0.5, 2.0, 1.25])[:count],
    )


def slow_losses(a, p, inputs, targets, lengths):
    """Return the losses from the definition, one example, one token and one head at a time."""

    def affine(name, x):
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def norm(name, x):
        return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * p[f"{name}.scale"] + p[f"{name}.shift"]

    def gelu(x):
        return np.array([v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x])

    def cross_entropy(logits, target):
        return math.log(sum(math.exp(v) for v in logits)) - logits[target]

    result, size = [], a.width // a.heads
    for e in range(len(inputs)):
        own = a.length if lengths is None else lengths[e]  # padding is left out altogether
        if a.patch is None:
            x = [p["embed.weight"][inputs[e, t]] + p["position"][t] for t in range(own)]
        else:
            x = [affine("embed", inputs[e, t]) + p["position"][t] for t in range(own)]
        for i in range(a.depth):
            b = f"blocks.{i}"
            n = [norm(f"{b}.norm1", v) for v in x]
            q, k, v = ([affine(f"{b}.{part}", u) for u in n] for part in ("query", "key", "value"))
            for t in range(own):
                mixed = np.zeros(a.width)
                for h in range(a.heads):
                    head = slice(h * size, (h + 1) * size)
                    seen = range(t + 1) if a.kind == "next-token" else range(own)
                    shares = np.array([math.exp(q[t][head] @ k[s][head] / math.sqrt(size)) for s in seen])
                    shares /= shares.sum()
                    mixed[head] = sum(share * v[s][head] for share, s in zip(shares, seen, strict=True))
                x[t] = x[t] + affine(f"{b}.out", mixed)
            x = [u + affine(f"{b}.down", gelu(affine(f"{b}.up", norm(f"{b}.norm2", u)))) for u in x]
        x = [norm("norm", u) for u in x]
        if a.kind == "classify":
            result.append(cross_entropy(affine("head", sum(x) / own), targets[e]))
        else:
            result.append(sum(cross_entropy(affine("head", x[t]), targets[e, t]) for t in range(own)) / own)
    return np.array(result)


@cache
def gradient_pair(case, padded):
    """Return the gradients in closed form and by central differences of order 4, by parameter name."""
    a, p, inputs, targets, lengths, weights = task(case, padded)

    def objective():
        return (weights * losses(a, p, inputs, targets, lengths)).mean()

    exact = gradients(a, p, inputs, targets, lengths, weights)[1]
    step = 2e-4
    measured = {}
    for name, array in p.items():
        measured[name] = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            value = array[index]
            at = {}
            for k in (-2, -1, 1, 2):
                array[index] = value + k * step
                at[k] = objective()
            array[index] = value
            measured[name][index] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    return exact, measured


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("case", ARCHITECTURES)
def test_losses_equal_the_network_written_out_in_loops(case, padded):
    a, p, inputs, targets, lengths, _ = task(case, padded)
    np.testing.assert_allclose(
        losses(a, p, inputs, targets, lengths), slow_losses(a, p, inputs, targets, lengths), rtol=1e-12
    )


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("case", "name"), NAMES)
def test_gradients_equal_finite_differences(case, name, padded):
    exact, measured = gradient_pair(case, padded)
    largest = max(np.abs(array).max() for array in exact.values())
    # Relative to the parameter's largest gradient; that of key.bias is 0, as a softmax ignores a common term.
    scale = max(np.abs(exact[name]).max(), 1e-3 * largest)
    assert np.abs(exact[name] - measured[name]).max() < 1e-7 * scale


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_the_gradient_of_key_bias_is_zero(case):
    exact, _ = gradient_pair(case, True)
    assert np.abs(exact["blocks.0.key.bias"]).max() < 1e-15


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("case", ARCHITECTURES)
def test_a_batch_gradient_is_the_weighted_sum_over_single_examples_by_the_batch_size(case, padded):
    a, p, inputs, targets, lengths, weights = task(case, padded)
    values, whole = gradients(a, p, inputs, targets, lengths, weights)
    parts = [
        gradients(a, p, inputs[i : i + 1], targets[i : i + 1], None if lengths is None else lengths[i : i + 1])
        for i in range(3)
    ]
    np.testing.assert_allclose(values, np.concatenate([part[0] for part in parts]), rtol=1e-12)
    for name in p:
        expected = sum(w * part[1][name] for w, part in zip(weights, parts, strict=True)) / 3
        np.testing.assert_allclose(whole[name], expected, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_padding_changes_neither_losses_nor_gradients(case):
    a, p, inputs, targets, lengths, weights = task(case, padded=True)
    padding = np.arange(a.length) >= lengths[:, None]
    other = inputs.copy()
    other[padding] = 1e3 if a.patch else (inputs[padding] + 1) % a.vocabulary
    other_targets = np.where(padding, (targets + 1) % a.outputs, targets) if targets.ndim == 2 else targets
    one = gradients(a, p, inputs, targets, lengths, weights)
    two = gradients(a, p, other, other_targets, lengths, weights)
    assert one[0].tolist() == two[0].tolist()
    for name in p:
        # Not bit for bit: a padding row times 0 adds a 0, which may have another sign.
        np.testing.assert_array_equal(one[1][name], two[1][name], err_msg=name)


def test_no_position_sees_a_later_one():
    a, p, inputs, *_ = task("next-token", padded=False)
    before = forward(a, p, inputs)
    inputs[:, 2] = (inputs[:, 2] + 1) % a.vocabulary
    after = forward(a, p, inputs)
    assert (before[:, :2] == after[:, :2]).all()
    assert (before[:, 2:] != after[:, 2:]).all()


def test_every_position_sees_every_other_when_classifying():
    a, p, inputs, _targets, *_ = task("classify-tokens", padded=False)
    inputs[:, 0] = (inputs[:, 0] + 1) % a.vocabulary
    _, p2, other, *_ = task("classify-tokens", padded=False)
    assert (forward(a, p, inputs) != forward(a, p2, other)).all()


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_float32_stays_float32_and_agrees(case):
    a, p, inputs, targets, lengths, weights = task(case, padded=True)
    p32 = {name: array.astype(np.float32) for name, array in p.items()}
    inputs32 = inputs.astype(np.float32) if a.patch else inputs
    values, by = gradients(a, p32, inputs32, targets, lengths, weights)
    expected, exact = gradients(a, p, inputs, targets, lengths, weights)
    assert values.dtype == np.float32
    assert {array.dtype for array in by.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    for name in p:
        np.testing.assert_allclose(by[name], exact[name], atol=2e-6, err_msg=name)


def test_large_logits_do_not_overflow():
    a, p, inputs, targets, *_ = task("classify-patches", padded=False)
    p["head.weight"] *= 1e6
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(losses(a, p, inputs, targets)).all()


def test_arguments_are_not_changed():
    a, p, inputs, targets, lengths, weights = task("next-token", padded=True)
    copies = {name: array.copy() for name, array in p.items()}, inputs.copy(), targets.copy(), weights.copy()
    gradients(a, p, inputs, targets, lengths, weights)
    assert all((p[name] == copies[0][name]).all() for name in p)
    assert (inputs == copies[1]).all()
    assert (targets == copies[2]).all()
    assert (weights == copies[3]).all()


def test_outcomes_count_the_targets_with_the_highest_logit():
    a, p, inputs, targets, lengths, _ = task("next-token", padded=True)
    hits = forward(a, p, inputs, lengths).argmax(-1) == targets
    expected = [hits[i, : lengths[i]].mean() for i in range(3)]
    values, share = outcomes(a, p, inputs, targets, lengths)
    np.testing.assert_allclose(share, expected)
    assert values.tolist() == losses(a, p, inputs, targets, lengths).tolist()


def test_initial_parameters_are_the_same_on_every_machine():
    digest = hashlib.sha256()
    for array in initial_parameters(ARCHITECTURES["next-token"], seed=7).values():
        digest.update(array.astype("<f8").tobytes())
    assert digest.hexdigest()[:16] == "ccdfc91462d83cfa"


def test_initial_parameters_have_the_stated_variances():
    a = Architecture("classify", length=64, outputs=64, patch=64, width=64, hidden=128, depth=2)
    p = initial_parameters(a, seed=1)
    assert list(p) == list(parameter_shapes(a))
    assert {name: array.shape for name, array in p.items()} == parameter_shapes(a)
    for name, variance in {
        "embed.weight": 1 / 64,
        "position": 1.0,
        "blocks.1.query.weight": 1 / 64,
        "blocks.1.out.weight": 1 / 256,
        "blocks.0.down.weight": 1 / 512,
        "head.weight": 1 / 64,
    }.items():
        assert p[name].var() == pytest.approx(variance, rel=0.06), name
        assert np.abs(p[name]).max() <= math.sqrt(3 * variance)
    assert (p["norm.scale"] == 1).all()
    assert (p["norm.shift"] == 0).all()
    assert (p["blocks.0.up.bias"] == 0).all()
    assert initial_parameters(a, seed=2)["position"][0, 0] != p["position"][0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "regress"}, "kind must be 'classify' or 'next-token', got 'regress'"),
        ({"vocabulary": 5}, "exactly one of vocabulary"),
        ({"patch": None}, "exactly one of vocabulary"),
        ({"heads": 3}, "width must be a multiple of heads, got width=4, heads=3"),
        ({"depth": 0}, "depth must be a whole number of at least 1, got 0"),
        ({"length": 2.0}, "length must be a whole number of at least 1, got 2.0"),
        ({"hidden": True}, "hidden must be a whole number of at least 1, got True"),
    ],
)
def test_an_impossible_architecture_is_refused(change, message):
    with pytest.raises(LearnerError, match=message):
        Architecture(**{"kind": "classify", "outputs": 3, "patch": 2, **SMALL, **change})
