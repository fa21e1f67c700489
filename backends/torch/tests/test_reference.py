"""The reference network and learner on PyTorch against NumPy's (rules A and L), and the recipes."""

import inspect

import numpy as np
import pytest
import torch

import attent
from attent.errors import LearnerError, RecipeError
from attent.reference import SGD, AdamW, Architecture, NumpyLearner, forward, gradients, initial_parameters
from attent.reference import recipes as numpy_recipes
from attent_conformance.runs import gap, keys
from attent_torch import ReferenceNetwork, recipes, reference_learner, reference_loss

PATCHES = Architecture("classify", length=5, outputs=4, patch=3, width=16, heads=4, hidden=24)
WORDS = Architecture("classify", length=6, outputs=3, vocabulary=11, width=12, heads=2, depth=1, hidden=20)
TEXT = Architecture("next-token", length=7, outputs=13, vocabulary=13, width=16, heads=2, hidden=32)


def problem(architecture, padded, n=20):
    random = np.random.default_rng(1)
    length = architecture.length
    if architecture.patch is None:
        inputs = random.integers(0, architecture.vocabulary, (n, length))
    else:
        inputs = random.normal(size=(n, length, architecture.patch))
    shape = (n,) if architecture.kind == "classify" else (n, length)
    targets = random.integers(0, architecture.outputs, shape)
    return inputs, targets, random.integers(1, length + 1, n) if padded else None


TASKS = pytest.mark.parametrize("padded", [False, True])
ARCHITECTURES = pytest.mark.parametrize("architecture", [PATCHES, WORDS, TEXT], ids=["patches", "words", "text"])


def tensors(*arrays):
    return tuple(torch.from_numpy(array) for array in arrays if array is not None)


@TASKS
@ARCHITECTURES
def test_logits_losses_and_gradients_agree(architecture, padded):
    inputs, targets, lengths = problem(architecture, padded)
    parameters = initial_parameters(architecture, seed=2)
    network = ReferenceNetwork(architecture, parameters, torch.float64)
    logits = network(*tensors(inputs, lengths)).detach().numpy()
    expected = forward(architecture, parameters, inputs, lengths)
    if padded and architecture.kind == "next-token":
        valid = np.arange(architecture.length) < lengths[:, None]
        logits, expected = logits[valid], expected[valid]
    assert np.allclose(logits, expected, rtol=1e-10, atol=1e-12)
    weights = np.random.default_rng(3).uniform(size=20)
    losses, by_hand = gradients(architecture, parameters, inputs, targets, lengths, weights)
    ours = reference_loss(network, tensors(inputs, targets, lengths))
    assert np.allclose(ours.detach().numpy(), losses, rtol=1e-10, atol=0)
    (ours * torch.from_numpy(weights)).mean().backward()
    for name, parameter in network.named_parameters():
        assert np.allclose(parameter.grad.numpy(), by_hand[name], rtol=1e-9, atol=1e-13), name


@ARCHITECTURES
def test_parameters_go_in_and_out_unchanged(architecture):
    parameters = initial_parameters(architecture, seed=4)
    back = ReferenceNetwork(architecture, parameters, torch.float64).parameters_as_arrays()
    assert list(back) == list(parameters)
    assert all(np.array_equal(back[name], parameters[name]) for name in parameters)


def test_parameters_as_arrays_are_copies():
    network = ReferenceNetwork(WORDS, initial_parameters(WORDS, seed=4), torch.float64)
    kept = network.parameters_as_arrays()["head.bias"]
    torch.nn.init.ones_(network.head.bias)
    assert kept.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("head.bias"), "head.bias missing or too many"),
        (lambda p: p.update(extra=np.zeros(1)), "extra missing or too many"),
        (lambda p: p.update({"head.bias": np.zeros(9)}), r"'head.bias' must have shape \(3,\), got \(9,\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    parameters = initial_parameters(WORDS, seed=0)
    change(parameters)
    with pytest.raises(LearnerError, match=message):
        ReferenceNetwork(WORDS, parameters)


@TASKS
@ARCHITECTURES
@pytest.mark.parametrize("optimiser", [AdamW(weight_decay=0.1), SGD(weight_decay=0.01)], ids=["AdamW", "SGD"])
def test_whole_runs_agree_with_numpy(architecture, padded, optimiser):
    inputs, targets, lengths = problem(architecture, padded)
    held_out = tuple(
        part for part in (inputs[:7], targets[:7], None if lengths is None else lengths[:7]) if part is not None
    )
    learners = [
        make(
            architecture,
            initial_parameters(architecture, seed=2),
            inputs,
            targets,
            lengths=lengths,
            held_out=held_out,
            optimiser=optimiser,
            learning_rate=lambda step: 0.02 / (1 + step),
        )
        for make in (NumpyLearner, reference_learner)
    ]
    random = np.random.default_rng(5)
    batches = [random.permutation(20)[:6] for _ in range(12)]
    weights = [random.uniform(0.5, 2.0, 6) for _ in batches]
    (a, scores), (b, ours) = ((learner.train(batches, weights), learner.score(np.arange(20))) for learner in learners)
    assert np.allclose(b, a, rtol=1e-10, atol=0)
    assert np.allclose(ours, scores, rtol=1e-10, atol=0)
    here, there = (learner.evaluate() for learner in learners)
    assert list(here) == list(there)
    assert np.allclose(list(here.values()), list(there.values()), rtol=1e-10)


def test_tasks_agree_with_numpy():
    inputs, _, lengths = problem(PATCHES, padded=True)
    random = np.random.default_rng(7)
    targets = random.integers(0, 4, (20, 3))
    numpy_learner, ours = (
        make(
            PATCHES,
            initial_parameters(PATCHES, seed=2),
            inputs,
            targets,
            lengths=lengths,
            held_out=(inputs[:7], targets[:7], lengths[:7]),
            task_weights=(1.0, 0.25, 3.0),
        )
        for make in (NumpyLearner, reference_learner)
    )
    batches = [random.permutation(20)[:6] for _ in range(8)]
    weights = [random.uniform(0.5, 2.0, 6) for _ in batches]
    assert np.allclose(ours.train(batches, weights), numpy_learner.train(batches, weights), rtol=1e-10, atol=0)
    assert np.allclose(ours.score(np.arange(20)), numpy_learner.score(np.arange(20)), rtol=1e-10, atol=0)
    assert ours.evaluate() == pytest.approx(numpy_learner.evaluate(), rel=1e-10)


def test_float32_scores_are_close():
    inputs, targets, _ = problem(PATCHES, padded=False)
    parameters = initial_parameters(PATCHES, seed=0)
    ids = np.arange(20)
    exact = NumpyLearner(PATCHES, parameters, inputs, targets).score(ids)
    scores = reference_learner(PATCHES, parameters, inputs, targets, dtype="float32").score(ids)
    assert np.allclose(scores, exact, rtol=1e-5, atol=0)
    assert not np.array_equal(scores, exact)


def test_padding_may_hold_anything():
    inputs, targets, lengths = problem(PATCHES, padded=True)
    parameters, ids = initial_parameters(PATCHES, seed=0), np.arange(20)
    clean = reference_learner(PATCHES, parameters, inputs, targets, lengths=lengths).score(ids)
    dirty = np.where((np.arange(5) >= lengths[:, None])[..., None], np.nan, inputs)
    assert reference_learner(PATCHES, parameters, dirty, targets, lengths=lengths).score(ids).tolist() == clean.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "adam"}, "optimiser must be AdamW or SGD of attent.reference, got 'adam'"),
        ({"dtype": "float16"}, "dtype must be 'float64' or 'float32', got 'float16'"),
    ],
)
def test_settings_of_the_reference_learner(settings, message):
    inputs, targets, _ = problem(PATCHES, padded=False)
    with pytest.raises(LearnerError, match=message):
        reference_learner(PATCHES, initial_parameters(PATCHES, seed=0), inputs, targets, **settings)


RECIPES = pytest.mark.parametrize("name", ["vit_digits", "byte_gpt"])


@RECIPES
def test_recipes_do_what_the_numpy_ones_do(name):
    ours, theirs = getattr(recipes, name), getattr(numpy_recipes, name)
    plan = attent.Plan(epochs=1, batch_size=16, seed=3)
    learners = [theirs(plan), ours(plan, precision="float64", device="cpu")]
    assert len(learners[0]) == len(learners[1])
    assert np.allclose(list(learners[1].evaluate().values()), list(learners[0].evaluate().values()), rtol=1e-10)
    random = np.random.default_rng(0)
    batches = [random.permutation(len(learners[0]))[:16] for _ in range(5)]
    (a, scores), (b, ours) = ((learner.train(batches), learner.score(np.arange(40))) for learner in learners)
    assert np.allclose(b, a, rtol=1e-9, atol=0)
    assert np.allclose(ours, scores, rtol=1e-9, atol=0)


@RECIPES
@pytest.mark.parametrize("selection", ["hard", "soft"])
def test_whole_runs_teach_what_numpy_teaches(name, selection):
    plan = attent.Plan(epochs=10, batch_size=32, warm_up=1, ratio=0.3, select=selection, seed=5)
    options = {"depth": 1, "width": 16} | ({"windows": 96} if name == "byte_gpt" else {})
    theirs = attent.teach(getattr(numpy_recipes, name)(plan, **options), plan)
    ours = attent.teach(getattr(recipes, name)(plan, **options, precision="float64", device="cpu"), plan)
    assert attent.first_difference(theirs, ours) is None
    assert len(ours.selections) == 9
    for draw, (chosen, scores) in theirs.selections.items():
        ordering, other = keys(plan, scores, draw), keys(plan, ours.selections[draw].scores, draw)
        assert gap(plan, ordering, len(chosen)) > 10 * np.abs(other - ordering).max()  # else equal ids were luck


@RECIPES
def test_recipes_have_the_same_defaults(name):
    ours, theirs = getattr(recipes, name), getattr(numpy_recipes, name)
    assert ours.plan_defaults == theirs.plan_defaults
    options = {key: value.default for key, value in inspect.signature(ours).parameters.items()}
    assert options.pop("device") == "auto"
    expected = {key: value.default for key, value in inspect.signature(theirs).parameters.items()}
    assert options == expected | {"precision": "float32"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_digits", {"device": "tpu"}, "device must be 'cpu', 'cuda' or 'auto', got 'tpu'"),
        ("vit_digits", {"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ("byte_gpt", {"windows": 0}, "windows and window_bytes must be at least 1, got 0 and 64"),
        ("byte_gpt", {"windows": 10**7}, "windows must be at most"),
    ],
)
def test_options_of_recipes(name, options, message):
    with pytest.raises(RecipeError, match=message):
        getattr(recipes, name)(attent.Plan(epochs=1, batch_size=16), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none():
    with pytest.raises(RecipeError, match="this PyTorch finds no CUDA device"):
        recipes.vit_digits(attent.Plan(epochs=1, batch_size=16), device="cuda")
