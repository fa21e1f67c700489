"""The data that ships with attent, and the recipes built on it."""

import hashlib
import inspect

import numpy as np
import pytest

from attent import data
from attent.choose.noise import LEARNER, ORDER, Noise, raw
from attent.errors import LearnerError, RecipeError
from attent.plan.plan import Plan
from attent.reference.recipes import byte_gpt, vit_digits


def full_plan(**changes):
    return Plan(**{"epochs": 3, "batch_size": 32, "ratio": 1.0, **changes})


def train(learner, plan):
    """Train on everything for the plan's epochs; return the mean loss of each."""
    n, size = len(learner), plan.batch_size
    means = []
    for epoch in range(plan.epochs):
        order = np.argsort(raw(Noise(plan.seed, ORDER + epoch), 0, n), kind="stable").astype(np.int64)
        means.append(learner.train([order[i : i + size] for i in range(0, n, size)]).mean())
    return means


def test_digits_hold_what_they_say():
    x_train, y_train, x_test, y_test = data.digits()
    assert (x_train.shape, y_train.shape) == ((1437, 8, 8), (1437,))
    assert (x_test.shape, y_test.shape) == ((360, 8, 8), (360,))
    assert {array.dtype.name for array in data.digits()} == {"uint8"}
    assert x_train.max() == x_test.max() == 16
    assert np.bincount(y_train).tolist() == [143, 153, 145, 149, 136, 142, 155, 143, 128, 143]
    assert np.bincount(y_test).tolist() == [35, 29, 32, 34, 45, 40, 26, 36, 46, 37]


def test_the_split_of_the_digits_never_changes():
    digest = hashlib.sha256(b"".join(array.tobytes() for array in data.digits()))
    assert digest.hexdigest()[:16] == "e8e21b94c0fbfb1e"


def test_the_digits_are_those_of_scikit_learn_in_the_documented_order():
    source = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.argsort(raw(Noise(0, LEARNER + 1), 0, 1797), kind="stable")
    x_train, y_train, x_test, y_test = data.digits()
    assert (np.concatenate([x_train, x_test]) == source.images[order]).all()
    assert (np.concatenate([y_train, y_test]) == source.target[order]).all()


def test_library_text_is_text_of_the_size_asked_for():
    text = data.library_text(40_001)
    assert (len(text.train), len(text.held_out)) == (40_001, 5_000)
    assert text.train.dtype == text.held_out.dtype == np.uint8
    argparse = inspect.getsource(__import__("argparse")).encode()
    assert text.train[:2500].tobytes() == argparse[:2500]
    assert b"\r" not in text.train.tobytes()
    assert (data.library_text(40_001).train == text.train).all()


def test_library_text_never_gives_more_than_there_is():
    text = data.library_text(100_000_000)
    assert 500_000 < len(text.train) < 10_000_000


def test_a_python_without_its_sources_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(data.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(RecipeError, match=r"no readable source for its module 'argparse'"):
        data.library_text(4096)


def test_too_little_text_is_refused():
    with pytest.raises(RecipeError, match="limit_bytes must be at least 1024, got 10"):
        data.library_text(10)


def test_vit_digits_learns():
    plan = full_plan()
    learner = vit_digits(plan)
    assert len(learner) == 1437
    means = train(learner, plan)
    assert means[0] > 2 * means[-1]
    result = learner.evaluate()
    assert list(result) == ["accuracy", "loss"]
    assert result["accuracy"] > 0.8
    assert learner.steps == plan.total_steps(1437) == 135


def test_vit_digits_splits_images_into_patches_row_by_row():
    image = data.digits().x_train[:1]
    expected = image[0, 2:4, 4:6].ravel() / 16  # second row of patches, third column
    from attent.reference.recipe_tasks import _patches

    assert _patches(image)[0, 4 + 2].tolist() == expected.tolist()


def test_byte_gpt_learns():
    plan = full_plan(batch_size=8)
    learner = byte_gpt(plan, windows=96, window_bytes=32, width=16, depth=1)
    assert len(learner) == 96
    means = train(learner, plan)
    assert means[-1] < means[0] - 0.5
    assert list(learner.evaluate()) == ["loss", "accuracy"]
    assert learner.evaluate()["loss"] < 4.2  # ln 256 = 5.5


def test_byte_gpt_predicts_the_following_byte():
    from attent.reference.recipe_tasks import _windows

    inputs, targets = _windows(np.arange(10, dtype=np.uint8), 3, 5)
    assert inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert targets.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("make", [vit_digits, byte_gpt])
def test_the_seed_of_the_plan_decides_the_first_parameters(make):
    first, second, other = (make(full_plan(seed=seed)).state()["parameters.position"] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).all()


def test_the_learning_rate_falls_to_zero_at_the_end_of_the_plan():
    plan = full_plan(epochs=10, ratio=0.4, cool_down=2)
    rate = vit_digits(plan, learning_rate=0.5).learning_rate
    last = plan.total_steps(1437)
    assert rate(last) == 0.0
    assert 0 < rate(last - 1) < 1e-4
    assert max(rate(step) for step in range(last)) == 0.5


def test_precision_reaches_the_learner():
    assert vit_digits(full_plan(), precision="float32").state()["parameters.position"].dtype == np.float32


@pytest.mark.parametrize("make", [vit_digits, byte_gpt])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"learning_rate": 0.0}, RecipeError, "learning_rate must be a finite number above 0, got 0.0"),
        ({"depth": 0}, LearnerError, "depth must be a whole number of at least 1, got 0"),
        ({"width": 30}, LearnerError, "width must be a multiple of heads, got width=30, heads=4"),
        ({"precision": "half"}, LearnerError, "dtype must be 'float64' or 'float32', got 'half'"),
    ],
)
def test_impossible_options_are_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        make(full_plan(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 0}, "windows and window_bytes must be at least 1, got 0 and 64"),
        ({"windows": 10_000_000}, "windows must be at most .* of 64 bytes, which is all the text there is"),
    ],
)
def test_impossible_windows_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        byte_gpt(full_plan(), **options)


def test_recipes_state_what_suits_them():
    assert vit_digits.plan_defaults == {"epochs": 12, "batch_size": 32}
    assert byte_gpt.plan_defaults == {"epochs": 10, "batch_size": 16}
