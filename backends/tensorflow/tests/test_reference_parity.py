"""The reference network on TensorFlow against the NumPy reference, in float64 (rules A and L)."""

import numpy as np
import pytest

import attent
from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.reference import SGD, AdamW, Architecture, NumpyLearner, initial_parameters, recipes, warm_up_cosine
from attent_tensorflow import recipes as own_recipes
from attent_tensorflow import reference_learner

N = 24
ARCHITECTURES = {
    "classify-patches": Architecture("classify", length=9, outputs=5, patch=3, width=16, heads=4, hidden=24),
    "classify-tokens": Architecture("classify", length=9, outputs=5, vocabulary=11, width=16, heads=2, depth=3),
    "next-token": Architecture("next-token", length=9, outputs=11, vocabulary=11, width=16, heads=4, hidden=24),
}


def numbers(draw, *shape):
    """Return fixed numbers in [0, 1)."""
    return uniform(raw(Noise(11, LEARNER + draw), 0, int(np.prod(shape)))).reshape(shape)


def data(a, padded):
    """Return inputs, targets and, if padded, lengths."""
    inputs = numbers(1, N, a.length, a.patch) if a.patch else (numbers(1, N, a.length) * a.vocabulary).astype(np.int64)
    shape = (N, a.length) if a.kind == "next-token" else (N,)
    targets = (numbers(2, *shape) * a.outputs).astype(np.int64)
    return (inputs, targets, 1 + (numbers(3, N) * a.length).astype(np.int64)) if padded else (inputs, targets)


def both(case, padded, optimiser, rate, dtype="float64"):
    """Return the NumPy learner and this backend's, of equal arguments."""
    a = ARCHITECTURES[case]
    p = {
        name: array + 0.2 * (numbers(10 + i, *array.shape) - 0.5)  # biases and shifts are not 0 then
        for i, (name, array) in enumerate(initial_parameters(a, 1).items())
    }
    inputs, targets, *lengths = data(a, padded)
    settings = {"lengths": lengths[0] if lengths else None, "optimiser": optimiser, "learning_rate": rate}
    settings |= {"held_out": (inputs, targets, *lengths), "dtype": dtype}
    return NumpyLearner(a, p, inputs, targets, **settings), reference_learner(a, p, inputs, targets, **settings)


ADAMW = AdamW(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1)


@pytest.mark.parametrize(
    ("case", "padded", "optimiser"),
    [
        *((case, padded, ADAMW) for case in ARCHITECTURES for padded in (False, True)),
        ("next-token", True, SGD(momentum=0.9, weight_decay=0.1)),
    ],
)
def test_scores_and_thirty_weighted_steps_equal_the_reference(case, padded, optimiser):
    expected, learner = both(case, padded, optimiser, warm_up_cosine(0.01, total_steps=30, warm_up_steps=5))
    ids = np.arange(N)[::-1].copy()
    np.testing.assert_allclose(learner.score(ids), expected.score(ids), rtol=1e-13)
    batches = [np.flatnonzero(numbers(20 + step, N) < 0.4) for step in range(30)]
    weights = [2.0 * numbers(50 + step, len(batch)) for step, batch in enumerate(batches)]
    np.testing.assert_allclose(learner.train(batches, weights), expected.train(batches, weights), rtol=1e-11)
    ours, theirs = learner.model.parameters_as_arrays(), expected.state()
    for name, array in ours.items():
        # Attention does not depend on the keys' bias: its gradient is rounding alone, which AdamW divides by epsilon.
        atol = 1e-11 if name.endswith("key.bias") else 1e-12
        np.testing.assert_allclose(array, theirs[f"parameters.{name}"], rtol=0, atol=atol, err_msg=name)
    assert learner.evaluate() == pytest.approx(expected.evaluate(), rel=1e-11)
    assert list(learner.evaluate()) == list(expected.evaluate())
    assert learner.traces == {"score": 1, "train": 1}


@pytest.mark.parametrize("case", ["classify-patches", "next-token"])
def test_float32_agrees_within_1e5(case):
    expected, learner = both(case, False, AdamW(), 0.01, "float32")
    ids = np.arange(N)
    np.testing.assert_allclose(learner.score(ids), expected.score(ids), rtol=1e-5)
    np.testing.assert_allclose(learner.train([ids] * 5), expected.train([ids] * 5), rtol=1e-4)


@pytest.mark.parametrize("padded", [False, True])
def test_weighted_tasks_equal_the_reference(padded):
    a = ARCHITECTURES["classify-tokens"]
    inputs, _, *lengths = data(a, padded)
    targets = (numbers(5, N, 2) * a.outputs).astype(np.int64)
    settings = {"lengths": lengths[0] if lengths else None, "task_weights": (0.3, 1.7)}
    settings |= {"held_out": (inputs, targets, *lengths)}
    expected, learner = (
        f(a, initial_parameters(a, 1), inputs, targets, **settings) for f in (NumpyLearner, reference_learner)
    )
    ids = np.arange(N)
    np.testing.assert_allclose(learner.score(ids), expected.score(ids), rtol=1e-13)
    np.testing.assert_allclose(learner.train([ids] * 5), expected.train([ids] * 5), rtol=1e-11)
    assert learner.evaluate() == pytest.approx(expected.evaluate(), rel=1e-11)


@pytest.mark.parametrize("selection", ["soft", "hard"])
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [("vit_digits", 64, {"width": 16}), ("byte_gpt", 16, {"width": 16, "windows": 192, "window_bytes": 16})],
)
def test_whole_runs_choose_the_reference_ids(name, size, options, selection):
    plan = attent.Plan(epochs=10, batch_size=size, warm_up=1, ratio=0.3, select=selection, seed=5)
    expected = attent.teach(getattr(recipes, name)(plan, **options), plan)
    learner = getattr(own_recipes, name)(plan, **options, precision="float64")
    trace = attent.teach(learner, plan)
    assert attent.first_difference(expected, trace) is None
    rounds = [record.epoch for record in trace.records if trace.selection(record.epoch) is not None]
    assert len(rounds) >= 8
    for epoch in rounds:
        assert trace.ids(epoch).tolist() == expected.ids(epoch).tolist()
    losses = [[record.loss for record in run.records] for run in (trace, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-10)
    assert learner.traces["train"] == 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_run_repeats_bit_for_bit(precision, assert_same):
    plan = attent.Plan.default(epochs=3, batch_size=16)
    states = []
    for _ in range(2):
        learner = own_recipes.byte_gpt(plan, windows=128, window_bytes=32, depth=1, precision=precision)
        attent.teach(learner, plan)
        states.append(learner.state())
    assert_same(*states)
    assert {"model/parameters/embed.weight", "optimizer/square/blocks.0.up.bias", "optimizer/count"} < set(states[0])


def test_a_run_stopped_and_resumed_equals_one_that_was_not(tmp_path, assert_same):
    plan = attent.Plan(epochs=5, batch_size=32, ratio=0.4, warm_up=1)

    def make():
        return own_recipes.byte_gpt(plan, windows=256, window_bytes=16, width=16, depth=1, precision="float64")

    whole = make()
    expected = attent.teach(whole, plan, segment_steps=3)
    lessons = []

    def stop():
        return lessons.append(None) or len(lessons) == 6

    stopped = attent.teach(make(), plan, segment_steps=3, run=tmp_path / "run", stop=stop)
    assert not stopped.finished
    resumed = make()
    trace = attent.teach(resumed, plan, segment_steps=3, run=tmp_path / "run", resume=True)
    assert attent.first_difference(expected, trace) is None
    assert_same(resumed.state(), whole.state())


@pytest.mark.parametrize("name", ["vit_digits", "byte_gpt"])
def test_recipes_start_from_the_reference_weights_and_default_to_float32(name):
    plan = attent.Plan.default(epochs=3, batch_size=64, seed=7)
    learner, expected = getattr(own_recipes, name)(plan), getattr(recipes, name)(plan)
    for parameter, array in learner.model.parameters_as_arrays().items():
        assert array.dtype == np.float32
        assert (array == expected.state()[f"parameters.{parameter}"].astype(np.float32)).all()
    assert getattr(own_recipes, name).plan_defaults == getattr(recipes, name).plan_defaults
    assert len(learner) == len(expected)
