"""The panel's workloads that others brought, tiny: what they teach, in which groups, how they measure and what they refuse."""

import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import attent
from attent.errors import RecipeError

ASKED = {"card_arrival": "Where is my card?", "change_pin": "How do I change my PIN?", "top_up": "My top-up failed."}
NAMES = {  # module, options, metrics
    "noisy_source": ("perceptrons", {"examples": 200}, ["accuracy", "loss", "accuracy:0", "accuracy:1"]),
    "hard_known": (
        "perceptrons",
        {"examples": 200},
        ["accuracy", "loss", *(f"accuracy:{group}" for group in range(3))],
    ),
    "turned": ("perceptrons", {"examples": 200}, ["accuracy", "loss", "accuracy:0", "accuracy:1"]),
    "chance_group": ("tables", {"examples": 200}, ["accuracy", "loss", "accuracy:0", "accuracy:1"]),
    "intents": (
        "readers",
        {"examples": 50},
        ["accuracy", "loss", "even", *(f"accuracy:{group}" for group in range(3))],
    ),
    "new_intents": (
        "readers",
        {"examples": 30, "new": 1, "new_share": 0.2},
        ["accuracy", "loss", "even", "accuracy:0", "accuracy:1"],
    ),
    "alike": ("alike", {"examples": 40, "held_out": 60}, ["loss", "correlation", "loss:0", "loss:1"]),
}
READERS = ("intents", "new_intents", "alike")
every_recipe = pytest.mark.parametrize("name", NAMES)


def plan(seed=0, epochs=4):
    return attent.Plan.full(epochs=epochs, batch_size=8, seed=seed)


@pytest.fixture
def panel(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("ATTENT_PANEL_CACHE", str(tmp_path / "kept"))
    return lambda name: importlib.import_module(f"panel.{name}")


@pytest.fixture
def questions(tmp_path):
    """A folder with three intents' questions, 20 of each to train on and 4 of each to test with."""
    for part, many in (("train", 20), ("test", 4)):
        rows = [f'"{text} {part} {number}",{intent}' for intent, text in ASKED.items() for number in range(many)]
        (tmp_path / f"banking77_{part}.csv").write_text("\n".join(["text,category", *rows]) + "\n", encoding="utf-8")
    return str(tmp_path)


@pytest.fixture
def build(panel, questions):
    def build(name, seed=0, **options):
        module, small, _ = NAMES[name]
        data = {"data": questions} if name in READERS else {}
        return getattr(panel(module), name)(plan(seed), **{**data, **small, **options})

    return build


@every_recipe
def test_a_seed_decides_everything_and_training_helps(build, name):
    one, two, other = (build(name, seed) for seed in (0, 0, 1))
    ids = np.arange(len(one))
    before = one.score(ids)
    assert before.tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    traces = [attent.teach(learner, plan()) for learner in (one, two)]
    assert attent.first_difference(*traces) is None
    assert one.score(ids).mean() < before.mean()
    found = one.evaluate()
    assert list(found) == NAMES[name][2]
    assert all(map(math.isfinite, found.values()))
    assert found == two.evaluate()


@pytest.mark.parametrize(
    ("name", "options", "sizes", "new"),
    [
        ("noisy_source", {}, [160, 40], ()),
        ("hard_known", {}, [140, 50, 10], (2,)),
        ("turned", {}, [170, 30], (1,)),
        ("intents", {"examples": 60}, [20, 20, 20], ()),
        ("new_intents", {}, [24, 6], (1,)),
    ],
)
def test_groups_have_their_shares(build, name, options, sizes, new):
    learner = build(name, **options)
    assert np.bincount(learner.groups()).tolist() == sizes
    assert learner.new_groups == new


@pytest.mark.parametrize("name", ["intents", "new_intents"])
def test_a_question_costs_its_parts_where_costs_are_asked_for(build, name):
    found = build(name, costs=True).costs()
    texts = [f"{text} train {number}" for text in ASKED.values() for number in range(20)]
    parts = [len(text.split()) + len(text) - 1 for text in texts]  # words, and runs of four letters with a space around
    assert set(found) <= set(parts)
    assert sorted(build("intents", examples=60, costs=True).costs()) == sorted(parts)
    assert not isinstance(build(name), attent.learner.Costs)


def test_each_stratum_counts_as_it_is_trained_however_many_are_held_out(panel):
    grouped = panel("grouped")
    strata = np.array([0, 0, 1, 2])
    weights = grouped.as_trained(strata, np.array([0, 1, 1, 1, 2, 2, 2, 2]))
    assert weights.tolist() == [1 / 16, 1 / 16, 3 / 8, 1 / 2]
    logits = torch.zeros(4, 2)
    logits[[0, 1, 2, 3], [1, 0, 1, 0]] = 50.0  # sure of each: right, wrong, right, wrong
    held_out = grouped.Part(torch.empty(4), torch.ones(4, dtype=torch.int64), np.array([0, 0, 0, 1]), strata)
    assert grouped.measured(logits, held_out, weights, even=True) == {
        "accuracy": 7 / 16,
        "loss": 50 * 9 / 16,
        "even": 0.5,  # of one half, 1 and 0
        "accuracy:0": 7 / 8,
        "accuracy:1": 0.0,
    }


def test_a_noisy_image_has_one_grey_square_and_stays_in_range(panel):
    noisy = panel("perceptrons").noisy
    images = torch.full((3, 784), 0.25)
    covered = noisy(images, np.random.default_rng(0), 0.0).view(3, 28, 28)
    for image in covered:
        rows, columns = torch.nonzero(image == 0.5, as_tuple=True)
        assert len(rows) == 14 * 14
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (13, 13)
        assert (image != 0.25).sum() == 14 * 14
    heavy = noisy(images, np.random.default_rng(0), 5.0)
    assert (heavy.min(), heavy.max()) == (0.0, 1.0)
    assert not torch.equal(heavy[0], heavy[1])


def test_what_is_turned_lies_on_its_left_side(panel):
    image = torch.zeros(28, 28)
    image[0, 27] = 1.0  # top right
    (turned,) = panel("perceptrons").turned_left(image.view(1, 784))
    assert torch.nonzero(turned.view(28, 28)).tolist() == [[0, 0]]


def test_noise_changes_its_group_alone_and_turned_images_are_the_ones_that_are_not_known(build):
    clean, group = build("turned"), build("turned").groups()
    scores = clean.score(np.arange(200))
    assert np.median(scores[group == 0]) < 0.1 * np.median(scores[group == 1])
    learner = build("hard_known", examples=900)
    scores, group = learner.score(np.arange(len(learner))), learner.groups()
    clean, hard, new = (np.median(scores[group == one]) for one in range(3))
    assert clean < hard < new


def test_who_answers_by_chance_is_told_by_the_first_column_and_seldom_guessed(panel):
    part = panel("tables")._customers(4000, 0.15, np.random.default_rng(0))
    assert part.x[:, 0].tolist() == part.groups.tolist()
    assert 500 < part.groups.sum() < 700
    rule = np.random.default_rng(7).normal(0, 1, (12, 4))
    columns = part.x.numpy()
    liked = (3 * (columns[:, 1:] @ rule[1:]) + 3 * np.sin(2 * columns[:, 1:5])).argmax(1)
    right = liked == part.y.numpy()
    assert right[part.groups == 0].mean() > 0.9
    assert right[part.groups == 1].mean() < 0.6


def test_parts_of_words_are_words_then_runs_of_four_letters(panel):
    bags = panel("bags").bags
    found = bags(["Ab cd", "ab", "cd", "  AB CD ", ""], 8)
    assert found.shape == (5, 8)
    # "ab", "cd", " ab ", "ab c", "b cd", " cd "
    assert (found > 0).sum(1).tolist() == [6, 2, 2, 6, 0]
    assert found[0].tolist() == found[3].tolist()
    assert found[0, [0, 1, 2, 5]].tolist() == [found[1, 0], found[2, 0], found[1, 1], found[2, 1]]
    assert bags(["Ab cd"], 3).tolist() == found[:1, :3].tolist()


def test_an_empty_bag_is_read_as_nothing_and_order_does_not_matter(panel):
    model = panel("bags").Bag(3)
    bag = panel("bags").bags(["one two", ""])
    assert torch.equal(model.parts(bag[1]), torch.zeros(96, 48))
    assert torch.allclose(model(bag), model(bag.flip(1)), atol=1e-6)


def test_the_tail_has_fewer_of_each_intent_by_its_rank(panel):
    intents = np.repeat([0, 1, 2], [200, 200, 5])
    rows = panel("readers")._tail(intents, np.array([0, 2, 1]), 25.0, np.random.default_rng(0))
    assert len(np.unique(rows)) == len(rows)
    assert np.bincount(intents[rows]).tolist() == [150, 6, 5]  # 150, 150 / 25, and all that there are of 30


def test_wrong_labels_are_taught_and_true_ones_measured(build):
    right, wrong = build("intents"), build("intents", wrong_share=0.2)
    ids = np.arange(50)
    assert (right.score(ids) != wrong.score(ids)).sum() == 10
    assert right.groups().tolist() == wrong.groups().tolist()
    assert right.evaluate() == wrong.evaluate()


def test_known_intents_are_known_and_new_ones_are_not(build):
    learner = build("new_intents", pretraining_epochs=20)
    scores, group = learner.score(np.arange(30)), learner.groups()
    assert scores[group == 0].max() < 0.1
    assert scores[group == 1].min() > 1.0


def test_questions_are_as_alike_as_their_words_and_their_intents(panel):
    given = panel("data").Questions(["My card", "my CARD", "my pin", "a b c"], np.array([0, 0, 0, 1]))
    both, scores, same = panel("alike")._pairs(given, np.arange(4), 60, np.random.default_rng(0))
    assert both.shape == (60, 2, 80)
    expected = {(True, 1.0): 5.0, (True, 1 / 3): 3 + 2 / 3, (False, 0.0): 0.0}
    assert {(one, round(score, 4)) for one, score in zip(same.tolist(), scores.tolist(), strict=True)} == {
        (int(one), round(score, 4)) for (one, _), score in expected.items()
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *((name, {"data": ""}, "a folder with banking77_train.csv and banking77_test.csv") for name in READERS),
        ("intents", {"examples": 61}, "examples must be in [1, 60], got 61"),
        ("intents", {"tail": 0.5}, "must be >= 1, got 0.5"),
        ("intents", {"wrong_share": 1.0}, "wrong_share must be in [0, 1), got 1.0"),
        ("new_intents", {"new": 3}, "new, how many intents are, must be in [1, 3), got 3"),
        ("new_intents", {"examples": 60}, "examples of known intents must be in [1, 40], got 48"),
        ("new_intents", {"new_share": 0.0}, "examples of new intents must be in [1, 20], got 0"),
        ("alike", {"examples": 0}, "must be at least 1, got 0 and 60"),
        ("chance_group", {"share": 1.0}, "share in (0, 1), got 200 and 1.0"),
        ("noisy_source", {"examples": 19}, "must be at least 20, got 19"),
        ("turned", {"data": "no/such/folder"}, "there is no folder 'no/such/folder'"),
    ],
)
def test_impossible_options_are_named(build, name, options, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        build(name, **options)
