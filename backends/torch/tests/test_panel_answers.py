"""The panel's skills and its long tail of locales, tiny: what they ask, hold out, measure and refuse."""

import importlib
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import attent
from attent.errors import RecipeError

TINY = {"depth": 1, "width": 16, "learning_rate": 0.01}
SKILLS = {**TINY, "examples": 100, "held_out": 4}
LOCALES = {**TINY, "most": 12, "tail": 12.0, "held_out": 2}
NAMES = {"skills": ("skills", SKILLS, 8), "locale_tail": ("locale_tail", LOCALES, 24)}
every_recipe = pytest.mark.parametrize("name", NAMES)


def plan(seed=0, epochs=4):
    return attent.Plan.full(epochs=epochs, batch_size=8, seed=seed)


@pytest.fixture
def panel(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return lambda name: importlib.import_module(f"panel.{name}")


@pytest.fixture
def build(panel):
    def build(name, seed=0, **options):
        module, small, _ = NAMES[name]
        if module == "locale_tail":
            pytest.importorskip("babel")
        return getattr(panel(module), name)(plan(seed), **{**small, **options})

    return build


def read(learner, ids):
    """The rows of bytes that a learner's model is given, as text without padding, in the order of the ids."""
    seen = []
    hook = learner.model.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    learner.score(ids)
    hook.remove()
    return [bytes(row[row > 0].tolist()).decode() for row in torch.cat(seen)]


@every_recipe
def test_a_seed_decides_everything_and_training_helps(build, name):
    one, two, other = (build(name, seed) for seed in (0, 0, 1))
    ids = np.arange(len(one))
    before = one.score(ids)
    assert before.tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    traces = [attent.teach(learner, plan()) for learner in (one, two)]
    assert attent.first_difference(*traces) is None
    assert one.score(ids).mean() < 0.9 * before.mean()
    found = one.evaluate()
    assert list(found) == ["accuracy", "loss", "even", *(f"accuracy:{group}" for group in range(NAMES[name][2]))]
    assert all(map(math.isfinite, found.values()))
    assert found == two.evaluate()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("skills", [20, 8, 15, 10, 5, 12, 10, 20]),
        ("locale_tail", [12, 11, 10, 9, 8, 7, 6, 6, 5, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1]),
    ],
)
def test_groups_have_their_shares(build, name, sizes):
    assert np.bincount(build(name).groups()).tolist() == sizes


def test_the_same_questions_are_never_taught_twice_nor_judged_by(build):
    learner = build("skills", examples=1000, held_out=20)
    taught = read(learner, np.arange(1000))
    seen = []
    learner.model.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    learner.evaluate()
    judged = [bytes(row[row > 0].tolist()).decode() for row in torch.cat(seen)]
    asked, held_out = ({text.partition("\n")[0] for text in part} for part in (taught, judged))
    assert (len(asked), len(held_out)) == (1000, 160)
    assert not asked & held_out
    assert {text[:4] for text in held_out} == {"copy", "caps", "back", "sort", "many", "next", "more", "plus"}


def test_each_skill_is_asked_and_answered(panel):
    skills, draw = panel("skills"), np.random.default_rng(0)
    answer = {
        "copy": lambda word: word,
        "caps": lambda word: word.upper(),
        "back": lambda word: "".join(reversed(word)),
        "sort": lambda word: "".join(letter * word.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"),
        "many": lambda word: str(Counter(word)["a"]),
        "next": lambda number: str(1 + int(number)),
        "more": lambda numbers: sorted(numbers.split())[-1],
        "plus": lambda numbers: str(int(numbers[:2]) + int(numbers[3:])),
    }
    form = {"more": r"\d\d \d\d", "plus": r"\d\d \d\d", "next": r"\d{3}", "many": r"[a-e]{4}"}
    assert list(answer) == list(skills.SKILLS)
    assert sum(share for share, _ in skills.SKILLS.values()) == 100
    for name, (_, skill) in skills.SKILLS.items():
        for _ in range(50):
            question, found = skill(draw)
            assert re.fullmatch(form.get(name, "[a-j]{4}"), question)
            assert found == answer[name](question)
            assert len(f"{name} {question}") <= skills._ROOM[0]
            assert len(found) < skills._ROOM[1]


def test_an_example_costs_its_bytes(build):
    learner = build("skills")
    first, last = texts = [text.strip() for text in read(learner, np.array([0, 99]))]
    assert re.fullmatch(r"copy ([a-j]{4})\n\1", first)
    assert re.fullmatch(r"plus \d\d \d\d\n\d{2,3}", last)
    assert learner.costs()[[0, 99]].tolist() == [len(text) + 1 for text in texts]  # and the answer's end


def test_groups_count_as_they_are_taught_and_evenly(build):
    learner = build("skills")
    found, sizes = learner.evaluate(), np.bincount(learner.groups())
    by_group = np.array([found[f"accuracy:{group}"] for group in range(8)])
    assert found["even"] == pytest.approx(by_group.mean(), abs=1e-12)
    assert found["accuracy"] == pytest.approx((by_group * sizes).sum() / 100, abs=1e-12)


def test_every_pair_of_every_locale_fits(panel):
    pytest.importorskip("babel")
    locale_tail, draw = panel("locale_tail"), np.random.default_rng(1)
    assert len(set(locale_tail.LOCALES)) == 24
    found = [panel("locales").pair(locale, draw) for locale in locale_tail.LOCALES for _ in range(150)]
    assert max(len(written) for written, _ in found) <= locale_tail._ROOM[0]
    assert max(len(meant) + 1 for _, meant in found) <= locale_tail._ROOM[1]


def test_locales_come_by_rank(build, panel):
    learner = build("locale_tail")
    taught = read(learner, np.arange(len(learner)))
    locales = panel("locale_tail").LOCALES
    assert [text.partition(":")[0] for text in taught] == [locales[group] for group in learner.groups()]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("skills", {"examples": 19}, "examples must be at least 20 and held_out at least 1, got 19 and 4"),
        ("skills", {"held_out": 0}, "got 100 and 0"),
        ("skills", {"examples": 13_000}, "group 4 must have 654 different questions, found 625: take fewer examples"),
        ("locale_tail", {"most": 0}, "most and held_out must be at least 1 and tail >= 1, got 0, 2 and 12.0"),
        ("locale_tail", {"tail": 0.5}, "got 12, 2 and 0.5"),
    ],
)
def test_impossible_options_are_named(build, name, options, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        build(name, **options)
