"""The NumPy reference network and its optimisers against PyTorch's autograd and optimisers, in float64."""

import functools

import numpy as np
import pytest
import torch

from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.reference import (
    SGD,
    AdamW,
    Architecture,
    NumpyLearner,
    gradients,
    initial_parameters,
    warm_up_cosine,
)
from attent_torch.reference import ReferenceNetwork, reference_loss

N = 24
ARCHITECTURES = {
    "classify-patches": Architecture("classify", length=9, outputs=5, patch=3, width=16, heads=4, hidden=24),
    "classify-tokens": Architecture("classify", length=9, outputs=5, vocabulary=11, width=16, heads=2, depth=3),
    "next-token": Architecture("next-token", length=9, outputs=11, vocabulary=11, width=16, heads=4, hidden=24),
}
CASES = pytest.mark.parametrize("case", ARCHITECTURES)
PADDED = pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads gain nothing on networks this small, and wait for each other on busy processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbers(draw, *shape):
    """Return fixed numbers in [0, 1)."""
    return uniform(raw(Noise(11, LEARNER + draw), 0, int(np.prod(shape)))).reshape(shape)


def data(a, padded):
    """Return inputs, targets and, if padded, lengths."""
    inputs = numbers(1, N, a.length, a.patch) if a.patch else (numbers(1, N, a.length) * a.vocabulary).astype(np.int64)
    shape = (N, a.length) if a.kind == "next-token" else (N,)
    targets = (numbers(2, *shape) * a.outputs).astype(np.int64)
    return (inputs, targets, 1 + (numbers(3, N) * a.length).astype(np.int64)) if padded else (inputs, targets)


def network(a, parameters):
    return ReferenceNetwork(a, parameters, torch.float64)


@CASES
@PADDED
def test_losses_and_gradients_equal_autograd(case, padded):
    a = ARCHITECTURES[case]
    p = {
        name: array + 0.2 * (numbers(10 + i, *array.shape) - 0.5)  # biases and shifts are not 0 then
        for i, (name, array) in enumerate(initial_parameters(a, 1).items())
    }
    examples, weights = data(a, padded), 2.0 * numbers(4, N)
    values, by = gradients(a, p, *examples, weights=weights)
    model = network(a, p)
    losses = reference_loss(model, tuple(torch.from_numpy(part) for part in examples))
    (torch.from_numpy(weights) * losses).mean().backward()
    np.testing.assert_allclose(values, losses.detach().numpy(), rtol=1e-12)
    theirs = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert set(theirs) == set(by)
    for name, array in by.items():
        largest = max(np.abs(theirs[name]).max(), 1e-3)
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-12 * largest, err_msg=name)


OPTIMISERS = {
    "AdamW": (
        AdamW(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1),
        functools.partial(torch.optim.AdamW, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    ),
    "SGD": (
        SGD(momentum=0.9, weight_decay=0.1),
        functools.partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@CASES
@PADDED
def test_thirty_steps_equal_pytorch(case, padded, optimiser):
    a = ARCHITECTURES[case]
    ours, make = OPTIMISERS[optimiser]
    rate = warm_up_cosine(0.01, total_steps=30, warm_up_steps=5)
    p, examples = initial_parameters(a, 2), data(a, padded)
    lengths = examples[2] if padded else None
    learner = NumpyLearner(a, p, *examples[:2], lengths=lengths, optimiser=ours, learning_rate=rate)
    model = network(a, p)
    theirs = make(model.parameters(), lr=1.0)
    batches = [np.flatnonzero(numbers(20 + step, N) < 0.4) for step in range(30)]
    weights = [2.0 * numbers(50 + step, len(batch)) for step, batch in enumerate(batches)]
    expected = []
    for step, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
        theirs.param_groups[0]["lr"] = rate(step)
        losses = reference_loss(model, tuple(torch.from_numpy(part[batch]) for part in examples))
        theirs.zero_grad()
        (torch.from_numpy(weight) * losses).mean().backward()
        theirs.step()
        expected.append(losses.detach().numpy())
    np.testing.assert_allclose(learner.train(batches, weights), np.concatenate(expected), rtol=1e-10)
    for name, array in model.parameters_as_arrays().items():
        np.testing.assert_allclose(learner.state()[f"parameters.{name}"], array, rtol=0, atol=1e-10, err_msg=name)
