"""The panel's recipes, tiny: each builds, starts alike for a seed, learns, and judges itself with finite numbers."""

import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import attent
from attent.errors import RecipeError

TEXT = {"examples": 32, "held_out": 20, "window_bytes": 16, "depth": 1, "width": 16}
PRETRAINED = {"pretraining_windows": 64, "pretraining_epochs": 1}
DIALOGUES = {"examples": 32, "held_out": 20, "question_bytes": 8, "answer_bytes": 16, "depth": 1, "width": 16}
IMAGES = {"examples": 32, "held_out": 20, "probed": 40, "depth": 1, "width": 16, "decoder_width": 16}
RECIPES = {
    "text:byte_gpt": (TEXT, ["loss"]),
    "text:continued_gpt": (TEXT | PRETRAINED, ["loss", "known_loss", "new_loss"]),
    "lora:lora_llama": (DIALOGUES | PRETRAINED, ["loss", "byte_accuracy"]),
    "multimodal:masked_autoencoder": (
        IMAGES,
        ["loss", "probe_accuracy", "figure_error", "rgb_loss", "edges_loss", "labels_loss"],
    ),
}
every_recipe = pytest.mark.parametrize("name", RECIPES)
with_pretraining = pytest.mark.parametrize("name", ["text:continued_gpt", "lora:lora_llama"])
ALL = np.arange(32)


def plan(seed=0):
    return attent.Plan.full(epochs=1, batch_size=8, seed=seed)


@pytest.fixture
def panel(monkeypatch, tmp_path):
    """A module of the panel by name; pre-trained models are kept in this test's own folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("ATTENT_PANEL_CACHE", str(tmp_path))
    return lambda name: importlib.import_module(f"panel.{name}")


@pytest.fixture
def build(panel):
    def build(name, seed=0, **options):
        module, recipe = name.split(":")
        return getattr(panel(module), recipe)(plan(seed), **{**RECIPES[name][0], **options})

    return build


@every_recipe
def test_judges_itself_with_finite_numbers_the_loss_first(build, name):
    found = build(name).evaluate()
    assert list(found) == RECIPES[name][1]
    assert all(map(math.isfinite, found.values()))


@every_recipe
def test_a_seed_decides_everything_and_the_global_generator_nothing(build, name):
    torch.manual_seed(3)
    first, before = build(name), torch.random.get_rng_state()
    torch.manual_seed(4)
    second, third = build(name), build(name, seed=1)
    torch.manual_seed(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.score(ALL).tolist() == second.score(ALL).tolist()
    assert first.score(ALL).tolist() != third.score(ALL).tolist()
    traces = [attent.teach(learner, plan()) for learner in (first, second)]
    assert attent.first_difference(*traces) is None
    assert first.evaluate() == second.evaluate()


@every_recipe
def test_trains(build, name):
    learner = build(name, learning_rate=0.01)
    before = learner.evaluate()["loss"]
    attent.teach(learner, plan())
    assert learner.steps == 4
    assert learner.evaluate()["loss"] < before


@every_recipe
def test_suggests_a_plan(panel, name):
    module, recipe = name.split(":")
    suggested = getattr(panel(module), recipe).plan_defaults
    assert set(suggested) == {"epochs", "batch_size"}
    assert attent.Plan.default(**suggested).epochs >= 6


@with_pretraining
def test_pre_training_is_paid_once_for_a_seed_and_gives_the_same_weights(build, name, tmp_path):
    first = build(name)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    second = build(name, learning_rate=0.5)
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert kept.stat().st_mtime_ns == written
    assert first.score(ALL).tolist() == second.score(ALL).tolist()
    build(name, seed=1)
    build(name, pretraining_epochs=2)
    assert len(list(tmp_path.iterdir())) == 3


@with_pretraining
def test_pre_training_without_a_folder_named_goes_to_the_temporary_one(build, name, tmp_path, monkeypatch):
    monkeypatch.delenv("ATTENT_PANEL_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    build(name)
    assert [path.name for path in tmp_path.iterdir()] == ["attent-panel"]


def test_what_is_new_comes_last_and_what_is_known_was_pre_trained_on(build):
    learner = build("text:continued_gpt", examples=40, pretraining_windows=200, pretraining_epochs=20)
    scores = learner.score(np.arange(40))
    assert scores[:28].mean() < scores[28:].mean()


def test_adapters_alone_are_trained_and_change_nothing_at_first(panel, build):
    learner = build("lora:lora_llama")
    frozen = {name: value.clone() for name, value in learner.model.named_parameters() if not value.requires_grad}
    trained = {name for name, value in learner.model.named_parameters() if value.requires_grad}
    assert {name.rpartition(".")[2] for name in trained} == {"down", "up"}
    assert len(trained) == 2 * 8  # seven linear layers in the block, and the head
    assert all(not value.any() for name, value in learner.model.named_parameters() if name.endswith(".up"))
    attent.teach(learner, plan())
    after = dict(learner.model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    assert any(after[name].any() for name in trained if name.endswith(".up"))


def test_only_the_answer_counts(panel):
    answers = panel("answers")
    pairs = [(b"How many?", b"12"), (b"And?", b"a longer answer")]
    text, answered = answers.dialogues(pairs, 6, 8, 2, None)
    assert bytes(text[0].tolist()) == b" many?\n12\n\0\0\0\0\0"
    assert bytes(text[1].tolist()) == b"\0\0And?\na longer"
    assert [bytes(row[-8:][mask].tolist()) for row, mask in zip(text, answered, strict=True)] == [b"12\n", b"a longer"]


def test_the_decoder_sees_no_later_byte(panel):
    model = panel("llama").ByteLlama(12, depth=1, width=16, heads=1)
    text = torch.arange(12)[None]
    changed = text.clone()
    changed[0, 7:] = 99
    same = (model(text) == model(changed)).all(-1)[0]
    assert same.tolist() == [True] * 7 + [False] * 5


def test_masks_are_one_for_scoring_and_new_at_every_visit_for_training(build):
    learner = build("multimodal:masked_autoencoder")
    assert learner.score(ALL).tolist() == learner.score(ALL[::-1])[::-1].tolist()
    for group in learner.optimizer.param_groups:
        group.update(lr=0.0, weight_decay=0.0)
    first, second = learner.train([ALL]), learner.train([ALL])
    assert (first != second).all()


def test_hidden_patches_count_and_seen_ones_do_not(panel):
    multimodal, pixels = panel("multimodal"), torch.rand(2, 3, 32, 32)
    patches = multimodal.modalities(pixels)
    assert {name: tuple(part.shape) for name, part in patches.items()} == {
        "rgb": (2, 16, 192),
        "edges": (2, 16, 64),
        "labels": (2, 16, 256),
    }
    assert patches["labels"].view(2, 16, 4, 64).sum((1, 3)).tolist() == [[256.0] * 4] * 2
    seen = torch.tensor([[0, 17, 40], [3, 4, 5]])

    def losses(change):
        wrong = {name: part.clone() for name, part in patches.items()}
        for example, token, amount in change:
            name = ("rgb", "edges", "labels")[token // 16]
            wrong[name][example, token % 16] += amount
        return multimodal.task_losses(lambda *_: wrong, (patches, seen))

    assert losses([(0, 0, 5.0), (0, 17, 5.0)])["rgb"].tolist() == [0.0, 0.0]
    assert losses([(0, 0, 5.0), (0, 17, 5.0)])["edges"].tolist() == [0.0, 0.0]
    assert losses([(1, 0, 1.0)])["rgb"].tolist() == pytest.approx([0.0, 1 / 13])
    assert losses([(0, 16, 1.0)])["edges"].tolist() == pytest.approx([1 / 15, 0.0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("text:byte_gpt", {"examples": 10**9}, "take fewer or shorter"),
        ("text:byte_gpt", {"data": "no/such/folder"}, "there is no folder 'no/such/folder'"),
        ("text:byte_gpt", {"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ("lora:lora_llama", {"examples": 10**9}, "got a wish for 1000000000"),
        ("multimodal:masked_autoencoder", {"seen": 16}, "seen must be in [1, 16)"),
        (
            "multimodal:masked_autoencoder",
            {"examples": 0},
            "examples, the most images to take, must be at least 1, got 0",
        ),
        ("multimodal:masked_autoencoder", {"probed": 0}, "probed, the most images to take, must be at least 1, got 0"),
    ],
)
def test_impossible_options_are_named(build, name, options, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        build(name, **options)
