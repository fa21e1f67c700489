"""Two weighted tasks on PyTorch's reference learner, against NumPy's."""

import numpy as np
import pytest

from attent.reference import Architecture, NumpyLearner, initial_parameters
from attent_torch import reference_learner

A = Architecture("classify", length=5, outputs=4, patch=3, width=16, heads=2, hidden=24)


@pytest.mark.parametrize("padded", [False, True])
def test_scores_losses_and_quality_are_numpys(padded):
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(30, 5, 3)), random.integers(0, 4, (30, 2))
    lengths = random.integers(1, 6, 30) if padded else None
    held_out = (inputs[:9], targets[:9]) if lengths is None else (inputs[:9], targets[:9], lengths[:9])
    given = {"lengths": lengths, "task_weights": (1.0, 0.25), "held_out": held_out}
    ours, theirs = (
        make(A, initial_parameters(A, 1), inputs, targets, **given) for make in (NumpyLearner, reference_learner)
    )
    batches = [np.arange(8), np.arange(8, 20), np.arange(30)]
    weights = [random.uniform(size=len(ids)) for ids in batches]
    np.testing.assert_allclose(theirs.train(batches, weights), ours.train(batches, weights), rtol=1e-10)
    np.testing.assert_allclose(theirs.score(np.arange(30)), ours.score(np.arange(30)), rtol=1e-10)
    assert theirs.evaluate() == pytest.approx(ours.evaluate(), rel=1e-10)
    assert list(theirs.evaluate()) == list(ours.evaluate())
