"""The recipe that goes on from a model that knows seven of ten digits."""

import inspect

import numpy as np
import pytest

import attent
from attent.data import digits
from attent.errors import LearnerError, RecipeError
from attent.reference import Architecture, NumpyLearner, initial_parameters
from attent.reference import known_digits as module
from attent.reference.recipes import byte_gpt, known_digits

SMALL = {"known_epochs": 1, "depth": 1, "width": 16, "heads": 2}
METRICS = [
    "accuracy", "even_accuracy", "known_accuracy", "new_accuracy", "loss", *(f"accuracy:{digit}" for digit in range(10))
]  # fmt: skip
BY_CLASS = [143, 153, 145, 149, 136, 142, 155, 143, 128, 143]  # of the packaged training images


def full_plan(seed=0, epochs=1):
    return attent.Plan.full(epochs=epochs, batch_size=16, seed=seed)


def task(seed=0, **changes):
    options = {"known_examples": 700, "known_share": 0.9, "learning_rate": 4e-3, **SMALL, **changes}
    return module.known_digits_task(full_plan(seed), **options)


@pytest.mark.parametrize(
    ("known", "share", "new"),
    [(700, 0.95, 37), (700, 0.9, 78), (700, 0.85, 124), (90, 0.9, 10), (1023, 0.9, 114), (7, 0.99, 1)],
)
def test_so_many_are_known_and_so_many_are_new(known, share, new):
    groups = known_digits(full_plan(), known_examples=known, known_share=share, **SMALL).groups()
    assert ((groups < 7).sum(), (groups >= 7).sum()) == (known, new)


def test_which_are_drawn_depends_on_nothing_but_the_seed():
    counts = np.bincount(known_digits(full_plan(), **SMALL).groups(), minlength=10)
    assert counts.tolist() == [106, 101, 107, 93, 93, 95, 105, 25, 22, 31]


def test_all_can_be_taught():
    groups = known_digits(full_plan(), known_examples=1023, known_share=1023 / 1437, **SMALL).groups()
    assert np.bincount(groups).tolist() == BY_CLASS


def test_what_is_not_taught_is_held_out():
    made = task()
    assert (len(made["inputs"]), len(made["held_out"][0])) == (778, 1797 - 778)
    images = np.concatenate([made["inputs"], made["held_out"][0]])
    packaged = np.concatenate([digits().x_train, digits().x_test])
    assert {image.tobytes() for image in images} == {image.tobytes() for image in patches_of(packaged)}


def test_inputs_keep_their_labels():
    made, data = task(), digits()
    label = {image.tobytes(): digit for image, digit in zip(patches_of(data.x_train), data.y_train, strict=True)}
    assert [label[image.tobytes()] for image in made["inputs"]] == made["targets"].tolist()
    held_inputs, held_targets = made["held_out"]
    assert held_targets[:360].tolist() == data.y_test.tolist()
    assert [label[image.tobytes()] for image in held_inputs[360:]] == held_targets[360:].tolist()


def test_the_model_is_pre_trained_on_the_known_that_go_on(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "teach", lambda learner, plan: seen.append((learner._train, plan)))
    module._pre_trained.cache_clear()
    made = task(seed=6, known_epochs=2)
    module._pre_trained.cache_clear()
    [(examples, plan)] = seen
    known = made["targets"] < 7
    assert (examples.targets == made["targets"][known]).all()
    assert (examples.inputs == made["inputs"][known]).all()
    assert (plan.epochs, plan.ratio, plan.warm_up) == (2, 0.4, 2)
    assert plan.seed != 6


def patches_of(images):
    return images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4) / 16


def test_the_seed_decides_which_are_new():
    first, second, other = (task(seed)["inputs"] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first[:100] != other[:100]).any()


def test_the_pre_trained_model_knows_the_known_and_nothing_new():
    quality = known_digits(full_plan(), known_epochs=3, depth=1).evaluate()
    assert quality["known_accuracy"] > 0.8
    assert quality["new_accuracy"] < 0.05


def test_going_on_teaches_the_new():
    plan = full_plan(epochs=2)
    learner = known_digits(plan, known_epochs=3, depth=1, learning_rate=8e-3)
    before = learner.evaluate()
    attent.teach(learner, plan)
    after = learner.evaluate()
    assert after["new_accuracy"] > before["new_accuracy"] + 0.2
    assert after["loss"] < before["loss"] / 2
    assert learner.steps == plan.total_steps(778) == 98


def test_the_same_seed_makes_the_same_learner_bit_for_bit():
    first = known_digits(full_plan(3), **SMALL)
    module._pre_trained.cache_clear()
    again, other = (known_digits(full_plan(seed), **SMALL) for seed in (3, 4))
    for name, array in first.state().items():
        assert array.tobytes() == again.state()[name].tobytes(), name
    every = np.arange(len(first))
    assert (first.score(every) == again.score(every)).all()
    assert first.evaluate() == again.evaluate()
    assert (first.state()["parameters.head.weight"] != other.state()["parameters.head.weight"]).any()


def test_pre_training_is_done_once_and_no_learner_changes_it():
    module._pre_trained.cache_clear()
    first = known_digits(full_plan(5), **SMALL)
    before = first.state()
    first.train([np.arange(16)])
    again = known_digits(full_plan(5, epochs=2), learning_rate=1e-3, known_share=0.8, precision="float32", **SMALL)
    assert (module._pre_trained.cache_info().misses, module._pre_trained.cache_info().hits) == (1, 1)
    for name, array in again.state().items():
        assert (array == before[name].astype(array.dtype)).all(), name
    known_digits(full_plan(5), **SMALL | {"known_epochs": 2})
    assert module._pre_trained.cache_info().misses == 2


def test_metrics_are_means_of_the_classes_weighed_as_they_are_taught():
    learner, made = known_digits(full_plan(), **SMALL), task()
    quality = learner.evaluate()
    assert list(quality) == METRICS
    inputs, targets = made["held_out"]
    plain = NumpyLearner(made["architecture"], made["parameters"], inputs, targets, held_out=(inputs, targets))
    losses = plain.score(np.arange(len(inputs)))
    by_class = [losses[targets == digit].mean() for digit in range(10)]
    assert quality["loss"] == pytest.approx(np.average(by_class, weights=np.bincount(made["targets"])), rel=1e-12)
    even = 0.7 * quality["known_accuracy"] + 0.3 * quality["new_accuracy"]
    assert quality["even_accuracy"] == pytest.approx(even, rel=1e-12)


def test_each_metric_weighs_its_classes():
    taught, held = np.array([10] * 7 + [10, 20, 0]), np.repeat(np.arange(10), 2)
    hits = np.where(np.arange(20) % 2 == 0, 1.0, held < 8)  # half of the digits 8 and 9 are right, all others
    quality = module._quality(taught, held)(held.astype(float), hits)
    assert list(quality) == METRICS
    loss = (10 * sum(range(8)) + 20 * 8) / 100
    assert list(quality.values()) == pytest.approx([0.9, 0.9, 1.0, 2 / 3, loss, *[1.0] * 8, 0.5, 0.5])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"known_examples": 0}, RecipeError, r"known_examples must be in \[1, 1023\], got 0"),
        ({"known_examples": 1024}, RecipeError, r"known_examples must be in \[1, 1023\], got 1024"),
        (
            {"known_share": 1.0},
            RecipeError,
            r"known_share must be in \[0.628, 1\), since there are 414 new images, got 1.0",
        ),
        ({"known_share": 0.6}, RecipeError, r"known_share must be in \[0.628, 1\), .* got 0.6"),
        ({"known_share": np.nan}, RecipeError, r"known_share must be in \[0.628, 1\), .* got nan"),
        ({"known_epochs": 0}, RecipeError, "known_epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, RecipeError, "learning_rate must be a finite number above 0, got 0.0"),
        ({"width": 30, "heads": 4}, LearnerError, "width must be a multiple of heads, got width=30, heads=4"),
        ({"precision": "half"}, LearnerError, "dtype must be 'float64' or 'float32', got 'half'"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        known_digits(full_plan(), **SMALL | options)


def test_the_recipe_states_what_suits_it_and_its_options():
    assert known_digits.plan_defaults == {"epochs": 3, "batch_size": 16}
    options = inspect.signature(known_digits).parameters
    assert [*options] == [
        "plan", "known_examples", "known_share", "known_epochs", "learning_rate", "depth", "width", "heads", "precision",
    ]  # fmt: skip


def test_groups_are_the_classes_and_a_copy():
    a = Architecture("classify", length=2, outputs=3, patch=1, width=8, heads=2)
    learner = NumpyLearner(a, initial_parameters(a, 0), np.zeros((4, 2, 1)), np.array([2, 0, 1, 1], np.uint8))
    groups = learner.groups()
    assert (groups.dtype, groups.tolist()) == (np.int64, [2, 0, 1, 1])
    groups[:] = 0
    assert learner.groups().tolist() == [2, 0, 1, 1]


def test_examples_without_a_class_of_their_own_have_no_groups():
    a = Architecture("classify", length=2, outputs=3, patch=1, width=8, heads=2)
    two_tasks = NumpyLearner(
        a, initial_parameters(a, 0), np.zeros((4, 2, 1)), np.zeros((4, 2), int), task_weights=(1.0, 1.0)
    )
    text = byte_gpt(full_plan(), windows=4, window_bytes=8, depth=1, width=8, heads=2)
    for learner in (two_tasks, text):
        with pytest.raises(LearnerError, match=r"groups\(\) needs an architecture of kind 'classify' and one target"):
            learner.groups()


def test_a_judgement_knows_what_is_new():
    assert known_digits(full_plan(), **SMALL).new_groups == (7, 8, 9)
