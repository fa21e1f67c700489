"""The reference network on JAX against the one in NumPy, in float64: scores, gradients, steps, taught runs (A, L)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attent
from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.errors import LearnerError, RecipeError
from attent.reference import SGD, AdamW, Architecture, NumpyLearner, initial_parameters, warm_up_cosine
from attent.reference import recipes as numpy_recipes
from attent_jax import recipes, reference_learner
from attent_jax.reference_training import reference_optimizer

N = 24
ARCHITECTURES = {
    "classify-patches": Architecture("classify", length=9, outputs=5, patch=3, width=16, heads=4, depth=1),
    "classify-tokens": Architecture("classify", length=9, outputs=5, vocabulary=11, width=16, heads=2, depth=2),
    "next-token": Architecture("next-token", length=9, outputs=11, vocabulary=11, width=16, heads=4, depth=1),
}
CASES = pytest.mark.parametrize("case", ARCHITECTURES)
PADDED = pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])


def numbers(draw, *shape):
    """Return fixed numbers in [0, 1)."""
    return uniform(raw(Noise(11, LEARNER + draw), 0, int(np.prod(shape)))).reshape(shape)


def data(a, padded):
    """Return inputs, targets and, if padded, lengths."""
    inputs = numbers(1, N, a.length, a.patch) if a.patch else (numbers(1, N, a.length) * a.vocabulary).astype(np.int64)
    shape = (N, a.length) if a.kind == "next-token" else (N,)
    targets = (numbers(2, *shape) * a.outputs).astype(np.int64)
    return (inputs, targets, 1 + (numbers(3, N) * a.length).astype(np.int64)) if padded else (inputs, targets)


OPTIMISERS = {
    "AdamW": AdamW(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1),
    "SGD": SGD(momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("settings", OPTIMISERS.values(), ids=OPTIMISERS)
def test_the_optimisers_are_equal(settings):
    rate = warm_up_cosine(0.01, total_steps=30, warm_up_steps=5)
    ours, theirs = {"w": numbers(5, 40)}, {"w": jnp.asarray(numbers(5, 40))}
    moments = {moment: {"w": np.zeros(40)} for moment in settings.moment_names}
    optimizer = reference_optimizer(settings, rate, schedule_steps=31)
    state = optimizer.init(theirs)
    update = jax.jit(optimizer.update)
    for step in range(40):  # ten of them after the schedule's end
        gradient = {"w": (numbers(60 + step, 40) - 0.5) * 10.0 ** (step % 5 - 4)}
        ours, moments = settings.step(ours, gradient, moments, count=step + 1, learning_rate=rate(step))
        updates, state = update(gradient, state, theirs)
        theirs = jax.tree.map(jnp.add, theirs, updates)
    np.testing.assert_allclose(theirs["w"], ours["w"], rtol=1e-12)


@CASES
@PADDED
def test_twenty_steps(case, padded):
    a = ARCHITECTURES[case]
    p = {
        name: array + 0.2 * (numbers(10 + i, *array.shape) - 0.5)  # biases and shifts are not 0 then
        for i, (name, array) in enumerate(initial_parameters(a, 2).items())
    }
    inputs, targets, *lengths = data(a, padded)
    settings = {
        "lengths": lengths[0] if padded else None,
        "held_out": (inputs[:7], targets[:7], *(part[:7] for part in lengths)),
        "optimiser": OPTIMISERS["AdamW"],
        "learning_rate": warm_up_cosine(0.01, total_steps=20, warm_up_steps=5),
    }
    batches = [np.flatnonzero(numbers(20 + step, N) < 0.4) for step in range(20)]
    weights = [2.0 * numbers(50 + step, len(batch)) for step, batch in enumerate(batches)]
    ours = reference_learner(a, p, inputs, targets, schedule_steps=20, scoring_batch=5, **settings)
    theirs = NumpyLearner(a, p, inputs, targets, **settings)
    np.testing.assert_allclose(ours.train(batches, weights), theirs.train(batches, weights), rtol=1e-10)
    for name, array in ours.params.items():
        np.testing.assert_allclose(array, theirs.state()[f"parameters.{name}"], rtol=0, atol=1e-10, err_msg=name)
    if padded:  # scoring and judging run the same forward pass, and cost a compilation each
        np.testing.assert_allclose(ours.score(np.arange(N)), theirs.score(np.arange(N)), rtol=1e-10)
        assert ours.evaluate() == pytest.approx(theirs.evaluate(), rel=1e-10)
        assert list(ours.evaluate()) == list(theirs.evaluate())


def test_two_weighted_tasks():
    a = ARCHITECTURES["classify-tokens"]
    inputs, _ = data(a, padded=False)
    targets = (numbers(6, N, 2) * a.outputs).astype(np.int64)
    settings = {"task_weights": (0.25, 2.0), "held_out": (inputs[:7], targets[:7]), "optimiser": OPTIMISERS["SGD"]}
    learners = [
        make(a, initial_parameters(a, 2), inputs, targets, **settings) for make in (reference_learner, NumpyLearner)
    ]
    ours, theirs = (learner.train([np.arange(5), np.arange(N)]) for learner in learners)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert learners[0].evaluate() == pytest.approx(learners[1].evaluate(), rel=1e-10)


def gaps(trace):
    """Return, for each selection of k by score alone, the gap at the cut."""
    for record in trace.records:
        scores = np.sort(trace.selections[record.draw].scores)[::-1]
        k = len(trace.selections[record.draw].ids)
        yield scores[k - 1] - scores[k]


RUNS = {"vit_digits": {"depth": 1}, "byte_gpt": {"windows": 96, "depth": 1}}


POLICIES = {"hard": attent.Hard(), "soft": attent.Soft(temperature=0.5)}


def run_plan(name):
    return attent.Plan(epochs=8, batch_size=32, ratio=0.4, source="fresh", select=POLICIES[name], seed=3)


@pytest.fixture(scope="module", params=RUNS)
def fresh(request):
    """Return a function that gives a recipe's learners on JAX and in NumPy, untrained; JAX's is compiled once."""
    name, options = request.param, RUNS[request.param]
    ours = getattr(recipes, name)(run_plan("hard"), precision="float64", **options)
    start = ours.state()

    def again(plan):
        ours.load_state(start)
        return ours, getattr(numpy_recipes, name)(plan, **options)

    return again


@pytest.mark.parametrize("policy", POLICIES)
def test_whole_runs_teach_the_same_examples(fresh, policy):
    plan = run_plan(policy)
    ours, theirs = fresh(plan)
    ids = np.arange(len(ours))
    np.testing.assert_allclose(ours.score(ids), theirs.score(ids), rtol=1e-10)
    one, two = attent.teach(ours, plan), attent.teach(theirs, plan)
    assert attent.first_difference(one, two) is None
    assert len(one.selections) == 8
    error = np.abs(ours.score(ids) - theirs.score(ids)).max()
    if policy == "hard":
        assert error < min(gaps(one)) / 10  # else equal ids were luck
    assert ours.compilations == {"score": 1, "train": 1}


def test_float32_scores_are_close_to_the_reference():
    plan = attent.Plan(epochs=1, batch_size=32)
    ours, theirs = recipes.vit_digits(plan, depth=1), numpy_recipes.vit_digits(plan, depth=1)
    ids = np.arange(100)
    assert ours.params["head.weight"].dtype == np.float32
    np.testing.assert_allclose(ours.score(ids), theirs.score(ids), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"windows": 0}, "windows and window_bytes must be at least 1, got 0 and 64"),
        ({"windows": 10**9}, "windows must be at most .* which is all the text there is"),
    ],
)
def test_recipes_refuse_impossible_options(options, message):
    with pytest.raises(RecipeError, match=message):
        recipes.byte_gpt(attent.Plan(epochs=1, batch_size=32), **options)


def test_an_optimiser_of_ones_own():
    with pytest.raises(LearnerError, match="optimiser must be AdamW or SGD of attent.reference, got 'adam'"):
        reference_optimizer("adam", 0.1)


def test_the_reference_learner_goes_where_it_is_told():
    a = ARCHITECTURES["classify-patches"]
    learner = reference_learner(a, initial_parameters(a, seed=0), *data(a, False), device="cpu")
    own = [leaf.devices() for leaf in jax.tree.leaves(learner.params)]
    assert own == [{jax.devices("cpu")[0]}] * len(own)
    elsewhere = reference_learner(a, initial_parameters(a, seed=0), *data(a, False))
    assert learner.score(np.arange(N)).tolist() == elsewhere.score(np.arange(N)).tolist()


def test_a_platform_that_is_not_there_is_refused_with_those_that_are():
    a = ARCHITECTURES["classify-patches"]
    with pytest.raises(LearnerError, match=r"device must name a platform that this JAX has, got 'abacus'.*CpuDevice"):
        reference_learner(a, initial_parameters(a, seed=0), *data(a, False), device="abacus")
