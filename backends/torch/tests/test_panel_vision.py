"""The panel's image classifiers on packaged data: which examples each regime teaches, and that a seed decides all."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import attent
from attent.errors import RecipeError

ACCURACY = ["accuracy", "loss"]
METRICS = {
    "mnist": ACCURACY,
    "cifar": ACCURACY,
    "known_digits": ACCURACY,
    "long_tail": ["balanced_accuracy", "accuracy"],
    "redundant": ACCURACY,
    "wrong_labels": ACCURACY,
}


@pytest.fixture
def vision(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("ATTENT_PANEL_CACHE", str(tmp_path))
    return importlib.import_module("panel.vision")


def build(vision, name, seed=0, examples=300):
    return getattr(vision, name)(attent.Plan.full(epochs=1, batch_size=32, seed=seed), examples=examples)


@pytest.mark.parametrize("name", METRICS)
def test_a_seed_decides_everything_and_training_helps(vision, name):
    one, two, other = build(vision, name), build(vision, name), build(vision, name, seed=1)
    assert list(one.evaluate()) == METRICS[name]
    ids = np.arange(len(one))
    before = one.score(ids)
    assert (before == two.score(ids)).all()
    assert len(other) != len(one) or not (before == other.score(np.arange(len(other)))).all()
    for _ in range(4):
        one.train(np.array_split(ids, 8))
    assert one.score(ids).mean() < before.mean()


def test_the_tail_is_rare(vision):
    whole, tail = build(vision, "mnist", examples=1000), build(vision, "long_tail", examples=1000)
    assert (len(whole), len(tail)) == (1000, 273)


def test_most_of_the_redundant_data_are_duplicates(vision):
    learner = build(vision, "redundant", examples=1000)
    different = len(np.unique(learner.score(np.arange(1000))))
    assert 250 < different < 450


def test_a_tenth_of_the_labels_is_wrong(vision):
    ids = np.arange(1000)
    right, wrong = (build(vision, name, examples=1000).score(ids) for name in ("mnist", "wrong_labels"))
    assert (right != wrong).sum() == 100


def test_the_known_digits_are_known(vision):
    learner, fresh = build(vision, "known_digits", examples=1000), build(vision, "mnist", examples=1000)
    easy = (learner.score(np.arange(1000)) < 0.5).mean()
    assert 0.6 < easy < 0.75  # seven of ten
    assert (fresh.score(np.arange(1000)) < 0.5).mean() == 0


def test_too_few_examples(vision):
    with pytest.raises(RecipeError, match="at least 10, got 3"):
        build(vision, "mnist", examples=3)
