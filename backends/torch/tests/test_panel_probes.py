"""The probes of the panel's masked autoencoder, on cases whose right values are known by hand."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

import attent


@pytest.fixture
def panel(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return lambda name: importlib.import_module(f"panel.{name}")


def column(*numbers):
    return torch.tensor(numbers)[:, None]


def test_ridge_finds_the_line_and_the_penalty_flattens_it(panel):
    ridge = panel("probes").Ridge
    exact = ridge(column(1.0, 3.0), column(10.0, 30.0), penalty=0.0)
    assert exact(column(1.0, 2.0, 5.0)).flatten().tolist() == [10.0, 20.0, 50.0]
    # Scaled, the features are -1 and 1 and the slope is 10: half of it remains where penalty and variance are alike.
    half = ridge(column(1.0, 3.0), column(10.0, 30.0), penalty=1.0)
    assert half(column(1.0, 2.0, 5.0)).flatten().tolist() == [15.0, 20.0, 35.0]


def test_ridge_leaves_out_a_feature_that_never_changes(panel):
    features = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    ridge = panel("probes").Ridge(features, column(10.0, 30.0), penalty=1.0)
    assert ridge(torch.tensor([[5.0, 7.0], [5.0, 8.0]])).flatten().tolist() == [35.0, 35.0]


def test_the_class_is_the_one_of_the_nearest_line(panel):
    features, classes = column(-2.0, -1.0, 1.0, 2.0), torch.tensor([0, 0, 1, 1])
    held_out = column(-3.0, -0.5, 0.5, 3.0)
    accuracy = panel("probes").class_accuracy
    assert accuracy(features, classes, held_out, torch.tensor([0, 0, 1, 1])) == 1.0
    assert accuracy(features, classes, held_out, torch.tensor([0, 1, 1, 2])) == 0.5  # a class that no probe has seen


def test_the_error_of_a_map_is_a_share_of_its_variance(panel):
    error = panel("probes").map_error
    told = torch.tensor([[[-1.0], [1.0]], [[1.0], [-1.0]]])  # two images of two patches
    penalty = panel("probes").PENALTY
    missed = (penalty / (1 + penalty)) ** 2
    assert error(told, 5.0 * told, told, 5.0 * told).item() == pytest.approx(missed)
    silent = torch.zeros(2, 2, 1)
    assert error(silent, told, silent, told).item() == 1.0
    assert error(told, silent + 3.0, told, silent + 3.0).item() == 0.0


def test_a_figure_is_what_differs_from_the_border(panel):
    pixels = torch.full((2, 3, 32, 32), 0.25)
    pixels[1, :2, 8:12, 20:24] += torch.tensor([0.3, 0.4])[:, None, None]  # cell 0, 1 of patch 1, 2
    found = panel("probes").figure(pixels)
    assert found.shape == (2, 16, 4)
    expected = torch.zeros(2, 16, 4)
    expected[1, 6, 1] = 0.5
    assert torch.allclose(found, expected, atol=1e-6)
    pixels[1, 0, 0] += 1.24  # 32 of the 124 pixels of the border: its mean red goes up by .32
    assert panel("probes").figure(pixels)[1, 15, 3].item() == pytest.approx(0.32)


def test_the_probes_read_colours_alone_and_change_nothing(panel):
    multimodal = panel("multimodal")
    options = {"examples": 32, "held_out": 20, "probed": 40, "depth": 1, "width": 16, "decoder_width": 16}
    learner = multimodal.masked_autoencoder(attent.Plan.full(epochs=1, batch_size=8), **options)
    before, found = learner.score(np.arange(32)), learner.evaluate()
    assert learner.score(np.arange(32)).tolist() == before.tolist()
    with torch.no_grad():
        for name in ("edges", "labels"):
            learner.model.read[name].weight.mul_(2.0)
    after = learner.evaluate()
    probes = ("probe_accuracy", "figure_error")
    assert [after[name] for name in probes] == [found[name] for name in probes]
    assert after["loss"] != found["loss"]


def test_as_many_images_are_taken_as_there_are(panel):
    build = panel("multimodal").masked_autoencoder
    few = {"depth": 1, "width": 16, "decoder_width": 16, "held_out": 20, "probed": 40}
    learner = build(attent.Plan.full(epochs=1, batch_size=8), examples=10**6, **few)
    assert len(learner) == 1437
