"""The reference learner against the Learner contract: purity, pre-update losses, state, weights, errors."""

import numpy as np
import pytest

from attent.choose.noise import LEARNER, Noise, raw
from attent.errors import LearnerError
from attent.learner import Evaluates, Learner
from attent.reference import (
    SGD,
    AdamW,
    Architecture,
    NumpyLearner,
    forward,
    gradients,
    initial_moments,
    initial_parameters,
    losses,
)

N = 10
CLASSIFY = Architecture("classify", length=4, outputs=3, patch=2, width=8, hidden=12, depth=1)
NEXT_TOKEN = Architecture("next-token", length=4, outputs=6, vocabulary=6, width=8, hidden=12, depth=1)
KINDS = pytest.mark.parametrize("kind", ["classify", "next-token"])


def whole(draw, top, *shape):
    """Return fixed whole numbers in [0, top)."""
    return (raw(Noise(5, LEARNER + draw), 0, int(np.prod(shape))) % np.uint64(top)).astype(np.int64).reshape(shape)


LENGTHS = 1 + whole(3, 4, N)


def data(kind):
    if kind == "classify":
        return whole(1, 100, N, 4, 2) / 100, whole(2, 3, N)
    return whole(1, 6, N, 4), whole(2, 6, N, 4)


def learner(kind="classify", **settings):
    a = CLASSIFY if kind == "classify" else NEXT_TOKEN
    inputs, targets = data(kind)
    given = {"lengths": LENGTHS, "learning_rate": 0.01, "held_out": (inputs[:4], targets[:4]), **settings}
    return NumpyLearner(a, initial_parameters(a, 0), inputs, targets, **given)


def ids(*values):
    return np.array(values, np.int64)


def same(one, two):
    return list(one) == list(two) and all(
        one[name].dtype == two[name].dtype and one[name].tobytes() == two[name].tobytes() for name in one
    )


BATCHES = [ids(1, 7, 3), ids(0, 9), ids(4, 4, 2, 8)]
WEIGHTS = [np.array([0.5, 2.0, 1.0]), np.array([0.0, 3.0]), np.array([1.0, 1.0, 0.25, 4.0])]


@KINDS
def test_it_is_a_learner_that_evaluates(kind):
    assert isinstance(learner(kind), Learner)
    assert isinstance(learner(kind), Evaluates)
    assert len(learner(kind)) == N


@KINDS
def test_scores_are_the_losses_of_the_examples_asked_for(kind):
    it = learner(kind)
    inputs, targets = data(kind)
    own = ids(6, 2, 2, 9)
    expected = losses(it.architecture, initial_parameters(it.architecture, 0), inputs[own], targets[own], LENGTHS[own])
    assert it.score(own).tolist() == expected.tolist()
    assert it.score(own).dtype == np.float64
    assert it.score(ids()).shape == (0,)


@KINDS
@pytest.mark.parametrize("scoring_batch", [1, 3, 100])
def test_the_split_of_a_scoring_pass_does_not_matter(kind, scoring_batch):
    order = ids(3, 1, 4, 0, 9, 2, 6, 5, 8, 7)
    np.testing.assert_allclose(
        learner(kind, scoring_batch=scoring_batch).score(order),
        learner(kind).score(np.arange(N))[order],
        rtol=1e-12,
    )


@KINDS
def test_scoring_and_evaluating_change_nothing(kind):
    it, other = learner(kind), learner(kind)
    it.train(BATCHES)
    other.train(BATCHES)
    before = it.state()
    first, judged = it.score(np.arange(N)), it.evaluate()
    assert it.score(np.arange(N)).tolist() == first.tolist()
    assert it.evaluate() == judged
    assert same(it.state(), before)
    assert it.train(BATCHES).tolist() == other.train(BATCHES).tolist()


@KINDS
def test_training_returns_the_unweighted_losses_from_before_each_step(kind):
    it, other = learner(kind), learner(kind)
    seen = it.train(BATCHES, WEIGHTS)
    assert seen.shape == (9,)
    assert seen.dtype == np.float64
    expected = []
    for batch, weights in zip(BATCHES, WEIGHTS, strict=True):
        expected.append(other.score(batch))
        other.train([batch], [weights])
    np.testing.assert_allclose(seen, np.concatenate(expected), rtol=1e-12)


@KINDS
def test_a_step_follows_the_gradient_of_the_weighted_mean(kind):
    it = learner(kind, optimiser=SGD(momentum=0.0), learning_rate=0.5)
    p = initial_parameters(it.architecture, 0)
    inputs, targets = data(kind)
    batch, weights = BATCHES[0], WEIGHTS[0]
    _, by = gradients(it.architecture, p, inputs[batch], targets[batch], LENGTHS[batch], weights)
    it.train([batch], [weights])
    for name in p:
        np.testing.assert_array_equal(it.state()[f"parameters.{name}"], p[name] - 0.5 * by[name], err_msg=name)


@pytest.mark.parametrize("optimiser", [AdamW(), SGD()], ids=["AdamW", "SGD"])
def test_the_optimiser_is_told_the_step_and_its_learning_rate(optimiser):
    rates = [0.01, 0.02, 0.03]
    it = learner(optimiser=optimiser, learning_rate=lambda step: rates[step])
    p, moments = initial_parameters(CLASSIFY, 0), initial_moments(optimiser, initial_parameters(CLASSIFY, 0))
    inputs, targets = data("classify")
    for count, batch in enumerate(BATCHES, 1):
        _, by = gradients(CLASSIFY, p, inputs[batch], targets[batch], LENGTHS[batch])
        p, moments = optimiser.step(p, by, moments, count=count, learning_rate=rates[count - 1])
    it.train(BATCHES)
    expected = {f"parameters.{name}": array for name, array in p.items()}
    for moment, arrays in moments.items():
        expected.update({f"{moment}.{name}": array for name, array in arrays.items()})
    assert same(it.state(), {**expected, "steps": np.array(3)})


def test_weights_of_one_are_no_weights():
    one, two = learner(), learner()
    one.train(BATCHES)
    two.train(BATCHES, [np.ones(len(batch)) for batch in BATCHES])
    assert same(one.state(), two.state())


def test_an_example_of_weight_zero_does_not_move_the_parameters():
    one, two = learner(), learner()
    one.train([ids(1, 5)], [np.array([1.0, 0.0])])
    two.train([ids(1, 6)], [np.array([1.0, 0.0])])
    for name, array in one.state().items():
        np.testing.assert_allclose(array, two.state()[name], rtol=0, atol=1e-12, err_msg=name)


@KINDS
@pytest.mark.parametrize("optimiser", [AdamW(), SGD()], ids=["AdamW", "SGD"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_state_taken_up_elsewhere_goes_on_bit_for_bit(kind, optimiser, dtype):
    def rate(step):
        return 0.01 / (1 + step)

    one = learner(kind, optimiser=optimiser, dtype=dtype, learning_rate=rate)
    one.train(BATCHES)
    state = one.state()
    two = learner(kind, optimiser=optimiser, dtype=dtype, learning_rate=rate)
    two.load_state(state)
    assert same(two.state(), state)
    assert two.steps == 3
    assert one.train(BATCHES, WEIGHTS).tolist() == two.train(BATCHES, WEIGHTS).tolist()
    assert same(one.state(), two.state())


def test_the_arrays_of_a_state_are_copies():
    it = learner()
    state = it.state()
    kept = {name: array.copy() for name, array in state.items()}
    it.train(BATCHES)
    assert same(state, kept)
    it.load_state(state)
    for array in state.values():
        array[...] = 7
    assert same(it.state(), kept)
    it.state()["parameters.position"][...] = 7
    assert same(it.state(), kept)


def test_the_parameters_given_are_copied():
    p = initial_parameters(CLASSIFY, 0)
    it = NumpyLearner(CLASSIFY, p, *data("classify"))
    before = it.state()
    for array in p.values():
        array[...] = 7
    assert same(it.state(), before)


def test_a_state_names_parameters_moments_and_steps():
    it = learner()
    it.train(BATCHES)
    state = it.state()
    names = list(initial_parameters(CLASSIFY, 0))
    expected = [f"{part}.{name}" for part in ("parameters", "mean", "square") for name in names]
    assert list(state) == [*expected, "steps"]
    assert state["steps"].dtype == np.int64
    assert state["steps"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mean.head.bias"), "state: 'mean.head.bias' is missing"),
        (lambda s: s.update(extra=np.zeros(2)), "state: 'extra' is unknown here"),
        (lambda s: s.update({"steps": np.int64(-1)}), "state: 'steps' must be at least 0, got -1"),
        (
            lambda s: s.update({"parameters.head.bias": np.zeros(4)}),
            r"state: 'parameters.head.bias' must have shape \(3,\), got \(4,\)",
        ),
        (
            lambda s: s.update({"square.position": s["square.position"].astype(np.float32)}),
            "state: 'square.position' must be float64, got float32",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(change, message):
    it = learner()
    it.train(BATCHES)
    before, state = it.state(), learner().state()
    change(state)
    with pytest.raises(LearnerError, match=message):
        it.load_state(state)
    assert same(it.state(), before)


BAD_IDS = [
    (ids(2, 10), r"ids must be in \[0, 10\), got 10"),
    (ids(-1, 3), r"ids must be in \[0, 10\), got -1"),
    (np.array([1, 2], np.int32), "must be a one-dimensional int64 array of example ids, got int32"),
    (np.array([1.0]), "must be a one-dimensional int64 array of example ids, got float64"),
    (np.array([[1]], np.int64), r"int64 of shape \(1, 1\)"),
    ([1, 2], "got list"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_IDS)
def test_bad_ids_are_refused_when_scoring(bad, message):
    with pytest.raises(LearnerError, match=f"ids.*{message}"):
        learner().score(bad)


@pytest.mark.parametrize(("bad", "message"), [*BAD_IDS, (ids(), r"batches\[1\] is empty")])
def test_bad_batches_are_refused_before_any_step(bad, message):
    it = learner()
    before = it.state()
    with pytest.raises(LearnerError, match=message) as error:
        it.train([ids(0, 1), bad])
    assert "batches[1]" in str(error.value)
    assert same(it.state(), before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([np.ones(3), np.ones(2)], "weights must hold one array per batch, 3, got 2"),
        (
            [np.ones(3), np.ones(3), np.ones(4)],
            r"weights\[1\] must be float64 of its batch's shape \(2,\), got float64 of shape \(3,\)",
        ),
        (
            [np.ones(3), np.ones(2, np.float32), np.ones(4)],
            r"weights\[1\] must be float64 of its batch's shape \(2,\), got float32",
        ),
        ([np.ones(3), [1.0, 1.0], np.ones(4)], "got list"),
        (
            [np.ones(3), np.array([1, np.nan]), np.ones(4)],
            r"weights\[1\] must be finite, got nan for example 9",
        ),
    ],
)
def test_bad_weights_are_refused_before_any_step(bad, message):
    it = learner()
    before = it.state()
    with pytest.raises(LearnerError, match=message):
        it.train(BATCHES, bad)
    assert same(it.state(), before)


def test_no_batches_no_losses():
    it = learner()
    assert it.train([]).shape == (0,)
    assert it.steps == 0


def test_the_learning_rate_is_asked_with_the_steps_already_taken():
    asked = []
    it = learner(learning_rate=lambda step: asked.append(step) or 0.0, optimiser=SGD())
    it.train(BATCHES)
    it.train(BATCHES[:1])
    assert asked == [0, 1, 2, 3]


def test_float32_learns_in_float32_and_answers_in_float64():
    it, exact = learner(dtype="float32"), learner()
    assert it.score(np.arange(N)).dtype == it.train(BATCHES).dtype == np.float64
    exact.train(BATCHES)
    assert {array.dtype.name for name, array in it.state().items() if name != "steps"} == {"float32"}
    np.testing.assert_allclose(it.score(np.arange(N)), exact.score(np.arange(N)), rtol=1e-4)


def test_padding_may_hold_anything():
    padding = np.arange(4) >= LENGTHS[:, None]
    inputs, targets = data("classify")
    inputs[padding] = np.nan
    one = NumpyLearner(CLASSIFY, initial_parameters(CLASSIFY, 0), inputs, targets, lengths=LENGTHS)
    assert one.score(np.arange(N)).tolist() == learner("classify").score(np.arange(N)).tolist()
    inputs, targets = data("next-token")
    inputs[padding], targets[padding] = -1, -100
    two = NumpyLearner(NEXT_TOKEN, initial_parameters(NEXT_TOKEN, 0), inputs, targets, lengths=LENGTHS)
    assert two.score(np.arange(N)).tolist() == learner("next-token").score(np.arange(N)).tolist()


def test_evaluate_means_over_examples_when_classifying():
    it = learner()
    inputs, targets = data("classify")
    p = initial_parameters(CLASSIFY, 0)
    result = it.evaluate()
    assert list(result) == ["accuracy", "loss"]
    assert result["accuracy"] == (forward(CLASSIFY, p, inputs[:4]).argmax(1) == targets[:4]).mean()
    assert result["loss"] == pytest.approx(losses(CLASSIFY, p, inputs[:4], targets[:4]).mean(), rel=1e-14)


def test_evaluate_means_over_tokens_when_predicting_the_next():
    inputs, targets = data("next-token")
    it = learner("next-token", held_out=(inputs, targets, LENGTHS), scoring_batch=3)
    p = initial_parameters(NEXT_TOKEN, 0)
    values = losses(NEXT_TOKEN, p, inputs, targets, LENGTHS)
    hits = forward(NEXT_TOKEN, p, inputs, LENGTHS).argmax(-1) == targets
    own = np.arange(4) < LENGTHS[:, None]
    result = it.evaluate()
    assert list(result) == ["loss", "accuracy"]
    assert result["loss"] == pytest.approx((values * LENGTHS).sum() / LENGTHS.sum(), rel=1e-14)
    assert result["accuracy"] == pytest.approx(hits[own].mean(), rel=1e-14)


def test_evaluate_without_held_out_data_says_what_to_give():
    with pytest.raises(LearnerError, match="evaluate.* needs held-out data"):
        learner(held_out=None).evaluate()


def test_training_does_not_touch_global_random_state():
    before = np.random.get_state()[1].tolist()
    learner().train(BATCHES)
    assert np.random.get_state()[1].tolist() == before


def build(**change):
    inputs, targets = data(change.pop("kind", "classify"))
    a = change.pop("architecture", CLASSIFY)
    given = {"parameters": initial_parameters(a, 0), "inputs": inputs, "targets": targets, **change}
    return NumpyLearner(a, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.zeros((0, 4, 2))}, "training must hold at least one example"),
        ({"inputs": np.zeros((10, 3, 2))}, r"training inputs must have shape \(10, 4, 2\), got \(10, 3, 2\)"),
        ({"inputs": np.full((10, 4, 2), np.inf)}, "training inputs must be finite, but example 0 is not"),
        ({"inputs": np.full((10, 4, 2), "a")}, "training inputs must be real numbers"),
        ({"targets": np.zeros((10, 1), int)}, r"training targets must have shape \(10,\), got \(10, 1\)"),
        ({"targets": np.arange(10)}, r"training targets must be in \[0, 3\), but example 3 has 3"),
        (
            {"targets": np.zeros(10)},
            "training targets must be whole numbers of an integer dtype, got float64",
        ),
        ({"lengths": np.zeros(10, int)}, r"training lengths must be in \[1, 5\), but example 0 has 0"),
        ({"lengths": np.ones(9, int)}, r"training lengths must have shape \(10,\), got \(9,\)"),
        ({"held_out": (np.zeros((2, 4, 2)), np.array([0, 5]))}, r"held-out targets .* example 1 has 5"),
        ({"parameters": initial_parameters(NEXT_TOKEN, 0)}, "parameters: 'embed.bias' is missing"),
        ({"dtype": "float16"}, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"scoring_batch": 0}, "scoring_batch must be a whole number of at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and at least 0, got -1.0"),
        (
            {"architecture": NEXT_TOKEN, "kind": "next-token", "inputs": np.full((10, 4), 6)},
            r"training inputs must be in \[0, 6\), but example 0 has 6",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_once(change, message):
    with pytest.raises(LearnerError, match=message):
        build(**change)
