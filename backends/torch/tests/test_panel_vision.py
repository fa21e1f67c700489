"""The panel's image classifiers on packaged data: which examples each regime teaches, and that a seed decides all."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import attent
from attent.errors import RecipeError

EACH = [f"accuracy:{digit}" for digit in range(10)]
NAMES = ("mnist", "cifar", "known_digits", "long_tail", "redundant", "wrong_labels")
METRICS = {name: ["accuracy", *([] if name == "long_tail" else ["loss"]), *EACH] for name in NAMES}


@pytest.fixture
def vision(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("ATTENT_PANEL_CACHE", str(tmp_path))
    return importlib.import_module("panel.vision")


def build(vision, name, seed=0, examples=300, epochs=1):
    return getattr(vision, name)(attent.Plan.full(epochs=epochs, batch_size=32, seed=seed), examples=examples)


@pytest.mark.parametrize("name", METRICS)
def test_a_seed_decides_everything_and_training_helps(vision, name):
    one, two, other = (build(vision, name, seed=seed, epochs=16) for seed in (0, 0, 1))
    assert list(one.evaluate()) == METRICS[name]
    assert one.new_groups == ((7, 8, 9) if name == "known_digits" else ())
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


def test_labels_of_known_digits_are_made_wrong_after_they_are_known(vision):
    plan = attent.Plan.full(epochs=1, batch_size=32)
    right, wrong = (vision.known_digits(plan, examples=1000, wrong_share=share) for share in (0.0, 0.1))
    ids = np.arange(len(right))
    before, after = right.score(ids), wrong.score(ids)
    assert (before != after).sum() == len(ids) // 10
    assert after[before != after].mean() > 10 * np.median(before)
    with pytest.raises(RecipeError, match=r"wrong_share must be in \[0, 1\), got 1"):
        vision.known_digits(plan, examples=1000, wrong_share=1)


@pytest.mark.parametrize("share", [0.7, 0.95])
def test_the_known_digits_are_known(vision, share):
    plan = attent.Plan.full(epochs=1, batch_size=32)
    learner = vision.known_digits(plan, examples=1000, known_share=share)
    fresh = build(vision, "mnist", examples=1000)
    easy = (learner.score(np.arange(len(learner))) < 0.5).mean()
    assert share - 0.1 < easy < share + 0.02
    assert (fresh.score(np.arange(1000)) < 0.5).mean() == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_known_or_nothing_new(vision, share):
    with pytest.raises(RecipeError, match=r"known_share must be in \(0, 1\)"):
        vision.known_digits(attent.Plan.full(epochs=1, batch_size=32), examples=1000, known_share=share)


def test_what_is_not_taught_is_held_out(vision, tmp_path):
    digits = np.random.default_rng(0).integers(0, 255, (60, 28, 28), np.uint8)
    labels = np.arange(60) % 10
    path = tmp_path / "mnist_10k.npz"
    np.savez(path, x_train=digits[:50], y_train=labels[:50], x_test=digits[50:], y_test=labels[50:])
    seen = []
    learner = vision.mnist(attent.Plan.full(epochs=1, batch_size=32), examples=30, data=str(tmp_path))
    learner.model.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    learner.evaluate()
    ink = vision.patches(np.concatenate([digits[50:], digits[30:50]]), 7)
    assert (np.concatenate([part.numpy() for part in seen]) == ink.numpy()).all()


def test_too_few_examples(vision):
    with pytest.raises(RecipeError, match="at least 10, got 3"):
        build(vision, "mnist", examples=3)
