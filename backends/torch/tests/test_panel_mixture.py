"""The panel's mixture of sources with a known target, tiny: what it teaches, measures, keeps apart and refuses."""

import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import attent
from attent.errors import RecipeError

SMALL = {"held_out": 20, "held_out_of_others": 10, "sample": 5, "window_bytes": 16, "depth": 1, "width": 16}


@pytest.fixture
def panel(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return lambda name: importlib.import_module(f"panel.{name}")


@pytest.fixture
def build(panel):
    def build(seed=0, epochs=1, **options):
        plan = attent.Plan.full(epochs=epochs, batch_size=8, seed=seed)
        return panel("mixture").mixture(plan, **{"examples": 45, **SMALL, **options})

    return build


@pytest.fixture
def folder(tmp_path):
    """Few texts of every source, in the forms of the real files; the questions are sorted by what they are about."""
    (tmp_path / "tinyshakespeare.txt").write_text("Before we proceed any further, hear me speak.\n" * 90)
    phrases = "".join(f"0\tit's \"charming {number} times\n" for number in range(200))
    (tmp_path / "sst2_train.tsv").write_text("label\tsentence\n" + phrases)
    questions = "".join(f'"Where is card {number}, please?",card\n' for number in range(200))
    (tmp_path / "banking77_train.csv").write_text("text,category\n" + questions)
    problems = [{"question": f"What is {number} + {number}?", "answer": f"{2 * number}"} for number in range(400)]
    (tmp_path / "gsm8k_train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    return str(tmp_path)


def test_packaged_sources_stand_in_and_the_last_is_the_target(build):
    learner = build()
    assert np.bincount(learner.groups()).tolist() == [30, 15]  # code, reference
    found = learner.evaluate()
    assert list(found) == ["loss", "loss:0", "loss:1"]
    assert found["loss"] == found["loss:1"] != found["loss:0"]
    other = build(target="code").evaluate()
    assert other["loss"] == other["loss:0"]


def test_all_sources_of_a_folder_are_mixed_by_their_weights(build, folder, panel):
    texts = panel("sources").sources(folder)
    assert list(texts) == ["code", "play", "reference", "phrases", "questions", "problems"]
    learner = build(data=folder, examples=101)
    assert np.bincount(learner.groups()).tolist() == [31, 25, 15, 12, 9, 9]
    assert list(learner.evaluate()) == ["loss", *(f"loss:{group}" for group in range(6))]
    starts = {name: bytes(both[0]) for name, both in texts.items()}
    assert re.match(rb'it\'s "charming \d+ times\nit\'s "charming', starts["phrases"])
    assert re.match(rb"Where is card \d+, please\?\nWhere is card", starts["questions"])
    assert starts["problems"].startswith(b"What is 0 + 0?\n0\n\nWhat is 1 + 1?\n2\n\n")
    numbers = re.findall(rb"card (\d+)", bytes(texts["questions"][1]))
    assert numbers != sorted(numbers, key=int)  # of a sorted file other ends would be held out


def test_what_is_nearest_to_the_target_is_most_of_it(build, folder):
    learner = build(data=folder, examples=100, sample=4)
    groups, best = learner.groups(), np.argsort(-learner.relevance, kind="stable")[:9]
    assert groups[best].tolist() == [5] * 9


def test_nearness_is_a_mean_of_logarithms_of_how_much_likelier_trigrams_are(panel):
    text = np.array([list(b"aaaa"), list(b"aaab"), list(b"zzzz")], np.int64)
    target = np.array([list(b"aaab")], np.int64)
    found = panel("mixture").nearness(text, target)
    # In the text aaa is half of all trigrams, aab a sixth, zzz a third; in the target the first two are half each.
    aaa, aab, zzz = math.log(1), math.log((1 + 3) / 2), math.log(1 / 2)
    assert found.tolist() == pytest.approx([aaa, (aaa + aab) / 2, zzz], abs=1e-15)


def test_a_seed_decides_everything_and_training_helps(build):
    one, two, other = (build(seed, epochs=4, learning_rate=0.01) for seed in (0, 0, 1))
    ids = np.arange(45)
    assert one.score(ids).tolist() == two.score(ids).tolist()
    assert one.score(ids).tolist() != other.score(ids).tolist()
    assert one.relevance.tolist() == two.relevance.tolist()
    assert one.relevance.tolist() != other.relevance.tolist()
    before = one.evaluate()["loss"]
    attent.teach(one, attent.Plan.full(epochs=4, batch_size=8))
    assert one.evaluate()["loss"] < before


def test_what_relevance_goes_by_is_neither_taught_nor_judged_by(panel, build, monkeypatch):
    mixture, made = panel("mixture"), []

    def kept(text, *rest):
        made.append((text, windows(text, *rest)))
        return made[-1][1]

    windows = mixture.windows
    monkeypatch.setattr(mixture, "windows", kept)
    build()
    (_, _), (taught, _), (_, _), (judged, _), (apart, sample) = made
    held_out = bytes(panel("sources").sources("")["reference"][1])
    assert bytes(judged) + bytes(apart) == held_out
    assert (len(apart), sample.shape) == (-(-len(held_out) // 5), (5, 17))
    assert len(taught) > len(held_out)


def test_a_judgement_filters_by_relevance_and_names_the_target(panel, tmp_path):
    asked = {"arms": ["default"], "epochs": 2, "batch_size": 8, "lengths": [0.5, 1], "tuned": True, "seeds": 1}
    options = {"examples": 45, **SMALL}
    found = attent.judge(panel("mixture").mixture, against=["full", "filter"], run=tmp_path, options=options, **asked)
    assert (
        "loss is of the distribution 'target', not of the one that is trained: of full training it is" in found.verdict
    )
    assert found.group_metrics == ["loss:training", "loss:worst", "loss:0", "loss:1"]
    learner = panel("mixture").mixture(attent.Plan.full(epochs=2, batch_size=8), **options)
    nearest = sorted(np.argsort(-learner.relevance, kind="stable")[:11].tolist())
    taught = attent.Trace.read(tmp_path / "seed-0" / "filter-0.25-default")
    assert taught.ids(0).tolist() == nearest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "plays"}, "target must be one of code, reference, got 'plays'"),
        ({"examples": 2}, "examples must be enough for 2 sources, got 2"),
        ({"sample": 10**6}, "got a wish for 1000000"),
        ({"data": "no/such/folder"}, "there is no folder 'no/such/folder'"),
    ],
)
def test_impossible_options_are_named(build, options, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        build(**options)
