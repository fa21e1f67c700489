"""Quality by group in a judgement: what is derived, what is told, and which controls run."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import attent
from attent.judging.by_group import (
    by_name,
    group_metrics,
    group_quality,
    new_groups,
    of_one_group,
    other_distribution,
)
from attent.judging.report import report_text, told
from attent.tests import judging_toy as toy


def test_the_distribution_that_is_trained_the_worst_and_each():
    quality = {"hits": 0.6, "loss": 1.5, "hits:0": 0.9, "hits:5": 0.5, "loss:0": 1.0, "loss:5": 2.0}
    found = group_quality(quality, {0: 6, 5: 2}, [])
    assert found == pytest.approx({"hits:training": 0.8, "hits:worst": 0.5})  # of the first metric that is given so
    del quality["hits:0"], quality["hits:5"]
    assert group_quality(quality, {0: 6, 5: 2}, []) == {"loss:training": 1.25, "loss:worst": 2.0}
    assert group_quality({"hits": 0.6}, {0: 6, 5: 2}, []) == {}
    assert group_quality(quality, {}, []) == {}  # no groups are known


def test_what_is_known_and_what_is_new_by_their_shares():
    found = group_quality({"hits:0": 0.8, "hits:1": 0.4, "hits:2": 0.5}, {0: 3, 1: 1, 2: 4}, [2])
    assert (found["hits:known"], found["hits:new"]) == (pytest.approx(0.7), 0.5)


def test_a_group_without_held_out_examples_leaves_the_training_mean_out():
    assert group_quality({"hits:0": 0.8, "hits:7": 0.1}, {0: 3, 1: 1}, []) == {"hits:worst": 0.8}  # 7 is not trained


def test_many_groups_are_not_shown_one_by_one():
    for many, shown in ((12, 12), (13, 0)):
        quality = {"hits": 0.5, **{f"hits:{group}": 0.5 for group in range(many)}}
        derived = group_quality(quality, dict.fromkeys(range(many), 2), [])
        assert group_metrics(quality, derived)[:2] == ["hits:training", "hits:worst"]
        assert len(group_metrics(quality, derived)) == 2 + shown


def test_what_is_not_finite_is_none():
    found = group_quality({"hits:0": 0.8, "hits:1": None}, {0: 3, 1: 1}, [1])
    assert found == {"hits:training": None, "hits:worst": None, "hits:known": pytest.approx(0.8), "hits:new": None}


def test_single_groups_go_by_their_names_or_by_their_numbers():
    names = ["src0", "src1"]
    for quality in ({"hits": 0.6, "hits:src0": 0.9, "hits:src1": 0.5}, {"hits": 0.6, "hits:0": 0.9, "hits:1": 0.5}):
        found = by_name(quality, names)
        assert found == {"hits": 0.6, "hits:src0": 0.9, "hits:src1": 0.5}
        derived = group_quality(found, {0: 6, 1: 2}, [1], names)
        assert derived == pytest.approx({"hits:training": 0.8, "hits:worst": 0.5, "hits:known": 0.9, "hits:new": 0.5})
        assert group_metrics(found, derived)[4:] == ["hits:src0", "hits:src1"]


def test_a_group_that_is_called_as_a_summary_is_told_from_it():
    found = by_name({"hits": 0.6, "hits:new": 0.5, "hits:old": 0.9}, ["new", "old"])
    assert found == {"hits": 0.6, "hits:group new": 0.5, "hits:old": 0.9}
    derived = group_quality(found, {0: 2, 1: 6}, [], ["new", "old"])
    assert derived == pytest.approx({"hits:training": 0.8, "hits:worst": 0.5})
    assert of_one_group("hits:group new")


def test_new_groups_may_be_named():
    learner = toy.uneven(attent.Plan.full(epochs=1, batch_size=1))
    learner.group_names, learner.new_groups = ["plain", "worth"], ("worth",)
    assert new_groups(learner, {0: 30, 1: 20}) == [1]
    learner.new_groups = ("wort",)
    with pytest.raises(attent.LearnerError, match="new_groups must name groups that have examples, got 'wort'"):
        new_groups(learner, {0: 30, 1: 20})


@pytest.mark.parametrize("by", ["names", "numbers"])
def test_a_table_by_group_shows_names(by):
    def named(plan):
        learner = toy.uneven(plan)
        evaluate, learner.group_names = learner.evaluate, ["plain", "worth"]
        if by == "names":
            of = {"skill": "skill", "skill:0": "skill:plain", "skill:1": "skill:worth"}
            learner.evaluate = lambda: {of[name]: value for name, value in evaluate().items()}
        return learner

    asked = {"arms": ["default"], "lengths": [0.5, 1], "tuned": True, "seeds": 1, "against": ["full", "new-only"]}
    found = attent.judge(attent.recipe(epochs=6, batch_size=10)(named), **asked)
    assert "| arm | training | worst | known | new | plain | worth |" in report_text(found)
    plain = attent.judge(toy.uneven, **asked)
    assert found.row("new-only").quality["skill:plain"] == plain.row("new-only").quality["skill:0"]
    assert found.row("default").quality["skill:training"] == plain.row("default").quality["skill:training"]


def test_metrics_that_name_no_group_are_noted():
    def named(plan):
        learner = toy.uneven(plan)
        learner.evaluate = lambda: {"skill": 0.5, **{f"skill:src{group}": 0.5 for group in range(4)}}
        return learner

    asked = {"arms": ["default"], "lengths": [0.5, 1], "tuned": True, "seeds": 1, "against": ["full"]}
    found = attent.judge(attent.recipe(epochs=6, batch_size=10)(named), **asked)
    assert (
        "Metrics by group name no group that has examples: skill:src0, skill:src1, skill:src2, .... Name groups as "
        "groups() numbers them, or give the learner group_names, a list of texts."
    ) in found.notes
    assert not [note for note in attent.judge(toy.uneven, **asked).notes if "Metrics by group" in note]


def test_groups_that_are_texts_are_refused_before_any_training():
    trained = []

    @attent.recipe(epochs=2, batch_size=10)
    def named(plan):
        learner = toy.uneven(plan)
        learner.groups = lambda: np.array(["plain", "worth"])[np.arange(50) * 2 // 50]
        learner.train = lambda *given: trained.append(given)
        return learner

    with pytest.raises(attent.LearnerError, match=r"must give whole numbers, got the text 'plain': number the groups"):
        attent.judge(named, arms=["default"], seeds=2)
    assert trained == []


@pytest.mark.parametrize("given", ["worth", 1, None])
def test_new_groups_are_a_list(given):
    learner = toy.uneven(attent.Plan.full(epochs=1, batch_size=10))
    learner.new_groups = given
    with pytest.raises(attent.LearnerError, match=f"new_groups must be a list of groups, got {given!r}"):
        new_groups(learner, {0: 30, 1: 20})


def test_new_groups_must_be_some():
    learner = toy.uneven(attent.Plan.full(epochs=1, batch_size=1))
    learner.new_groups = (4,)
    with pytest.raises(attent.LearnerError, match="new_groups must name groups that have examples, got 4"):
        new_groups(learner, {0: 30, 1: 20})


@pytest.mark.parametrize(
    ("metric_of", "there", "words"),
    [
        (None, 0.905, None),
        (None, 0.8, "hits is not of the distribution that is trained: of full training it is 0.9, and hits:training 0.8."),
        ("even", 0.905, "hits is of the distribution 'even', not of the one that is trained: of full training it is 0.9, "
                        "and hits:training 0.905."),
        ("training", 0.8, None),
    ],
)  # fmt: skip
def test_a_metric_of_another_distribution_is_named(metric_of, there, words):
    quality = {"hits": 0.9, "hits:training": there}
    assert other_distribution("hits", metric_of, quality, ["hits:training"]) == words
    declared = "hits is of the distribution 'even', not of the one that is trained."
    assert other_distribution("hits", metric_of, {"hits": 0.9}, []) == (declared if metric_of == "even" else None)


@pytest.fixture(scope="module")
def found():
    return attent.judge(
        toy.uneven, arms=["hard:default,select=hard"], lengths=[1 / 3, 0.5, 1], tuned=True, seeds=5, forward_share=0.25
    )


def test_a_judgement_runs_the_controls_by_group_and_tells_of_each_group(found):
    names = [arm.name for arm in found.arms]
    assert names == [
        "full",
        "hard",
        "short",
        "balanced",
        "tempered",
        "new-only",
        "replay",
        "full-0.5",
        "full-0.333",
    ]
    assert found.group_metrics == [f"skill:{name}" for name in ("training", "worst", "known", "new", "0", "1")]
    taught = found.row("hard")
    # Two epochs on all, then four on the 20 of group 1 alone.
    assert taught.quality["skill:0"] == pytest.approx(np.log2(1 + 2 * 0.6))
    assert taught.quality["skill:1"] == pytest.approx(np.log2(1 + 2 * 0.4 + 4 * 0.4))
    assert taught.quality["skill:training"] == pytest.approx(
        0.6 * taught.quality["skill:0"] + 0.4 * taught.quality["skill:1"]
    )
    assert taught.quality["skill:worst"] == taught.quality["skill:known"] == taught.quality["skill:0"]
    assert taught.quality["skill:new"] == taught.quality["skill:1"]
    assert found.row("new-only").quality["skill:0"] == 0
    assert found.row("balanced").ahead["skill:training"].value != found.row("tempered").ahead["skill:training"].value


def test_what_single_groups_lose_is_marked_but_only_summaries_count_as_worse(found):
    row = found.row("hard")
    assert row.ahead["skill:0"].surely_below
    assert "skill:0" not in row.worse
    assert {"skill:worst", "skill:known"} <= set(row.worse)
    assert "better by skill" in found.verdict or "no policy saves" in found.verdict


def test_the_report_has_a_table_by_group(found):
    for text in (told(found), report_text(found)):
        assert (
            "Held-out skill by group. Training: groups weighed as in training; worst: of the group that is"
            in " ".join(text.split())
        )
    line = next(line for line in report_text(found).splitlines() if line.startswith("| hard | 1.") and "*" in line)
    assert line.count("|") == 8
    assert "| arm | training | worst | known | new | 0 | 1 |" in report_text(found)


@pytest.mark.parametrize(
    ("columns", "there", "gone"),
    [
        (200, ("seconds: of process time", "by time: of process time"), ()),
        (60, ("Saved: of the cost", "seconds: of process time"), ("by time:",)),
        (40, ("Saved: of the cost",), ("by time:", "seconds: of process time")),
    ],
)
def test_legends_explain_the_columns_that_are_shown(found, columns, there, gone, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = " ".join(told(found).split())
    assert [words for words in there if words not in text] == []
    assert [words for words in gone if words in text] == []


def test_a_table_by_group_explains_what_it_has(found):
    def text(names):
        rows = [msgspec.structs.replace(row, ahead={}) for row in found.rows]
        told = report_text(msgspec.structs.replace(found, group_metrics=names, rows=rows))
        return next(line for line in told.splitlines() if line.startswith("Held-out skill by group."))

    assert text(["skill:worst", "skill:0", "skill:1"]) == "Held-out skill by group. Worst: of the group that is."
    assert text(["skill:0", "skill:1"]) == "Held-out skill by group."
    whole = next(line for line in report_text(found).splitlines() if line.startswith("Held-out skill"))
    assert whole == (
        "Held-out skill by group. Training: groups weighed as in training; worst: of the group that is; known and new: "
        "by their shares. *: full training is surely better at that cost."
    )


def test_without_groups_there_is_no_such_table():
    plain = attent.judge(toy.steady, arms=["default"], lengths=[0.5, 1], tuned=True, seeds=1)
    assert plain.group_metrics == []
    assert "by group" not in told(plain)


def test_a_recipe_says_of_what_its_metric_is():
    @attent.recipe(epochs=6, batch_size=10, metric_of="even")
    def declared(plan):
        return toy.uneven(plan)

    asked = {"arms": ["hard:default,select=hard"], "lengths": [1 / 3, 0.5, 1], "tuned": True, "seeds": 5}
    said = attent.judge(declared, against=["full"], **asked).verdict
    assert "skill is of the distribution 'even', not of the one that is trained: of full training it is" in said
    assert "By skill:training hard saves " in said


def test_too_many_groups_for_a_pass_are_told():
    def lines(plan):
        learner = toy.Steady(plan)
        learner.groups = lambda: np.arange(toy.N)
        return learner

    found = attent.judge(attent.recipe(epochs=6, batch_size=10)(lines), arms=["default"], lengths=[0.5, 1],
                         tuned=True, seeds=1)  # fmt: skip
    assert "balanced and tempered left out: there are 50 groups, more than a pass has examples." in found.notes


def test_a_judgement_with_groups_is_kept_and_read_again(tmp_path):
    asked = {"arms": ["default"], "lengths": [0.5, 1], "tuned": True, "seeds": 1, "against": ["full", "balanced"]}
    first = attent.judge(toy.uneven, run=tmp_path, **asked)
    again = attent.judge(toy.uneven, run=tmp_path, **asked)
    assert msgspec.to_builtins(first) == msgspec.to_builtins(again)
    assert (tmp_path / "seed-0" / "balanced-default" / "job.json").exists()


def test_where_costs_are_known_they_are_what_is_counted(tmp_path):
    asked = {"arms": ["hard:default,select=hard"], "lengths": [1 / 3, 0.5, 1], "tuned": True, "seeds": 2}
    found = attent.judge(toy.dear, against=["full"], run=tmp_path, **asked)
    # All 50 cost 90; two epochs on them, then four on the 20 that cost 3 each.
    assert found.row("hard").costs["full_epochs"] == pytest.approx((2 * 90 + 4 * 60) / 90)
    assert found.row("full").costs["full_epochs"] == 6
    assert attent.judge(toy.steady, against=["full"], **asked).row("hard").costs["full_epochs"] == pytest.approx(3.6)
    job = next(job for job in found.jobs if job.arm == "hard")
    assert (job.cost_trained, job.cost_scored, job.cost_of_all) == (420, 0, 90)
    assert "on all 50 examples, counted by what each costs as the learner says" in " ".join(told(found).split())
    assert "cost: epochs on all 50 examples, by their costs, logarithmic" in (tmp_path / "judge.svg").read_text()
