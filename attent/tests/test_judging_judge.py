"""The whole referee on recipes whose savings are known exactly, and on recipes that go wrong."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import attent
from attent.judging.report import told
from attent.tests import judging_toy as toy
from attent.tests.judging_toy import SAVED, SEED_SECONDS, judged, timed


def test_the_saving_is_the_one_worked_out_by_hand():
    found = judged(seeds=5)
    saved = found.saving("hard")
    for value in (saved.value, saved.low, saved.high):
        assert value == pytest.approx(SAVED, rel=1e-12)
    assert pytest.approx(0.16) == SAVED
    assert found.row("hard").costs["full_epochs"] == 3.6
    assert found.curves["skill"].costs == [2.0, 3.0, 6.0]
    assert found.curves["skill"].measured == pytest.approx((20 + np.log2([2.8, 4.2, 8.4])).tolist())
    assert found.row("hard").ahead["breadth_loss"].value == pytest.approx(np.log2(1.2 / 2.16))
    assert found.row("hard").worse == ["breadth_loss"]
    assert found.verdict == (
        "On steady, hard reaches in 3.60 full epochs the skill of 4.29: it saves 16 % (95 %: 16 to 16, 5 seeds). "
        "But at that cost full training is better by breadth_loss: no clear win."
    )
    assert found.finished
    assert found.seeds == [0, 1, 2, 3, 4]


def test_a_scoring_pass_counts_its_share():
    found = judged(arms=["fresh:default,select=hard,source=fresh"])
    assert found.row("fresh").costs["full_epochs"] == pytest.approx(3.6 + 4 * 0.25)
    assert found.saving("fresh").value == pytest.approx(1 - 4.6 / (6 / 1.4))


def test_evenly_by_class_is_an_arm_where_classes_are_known():
    found = judged(toy.grouped, arms=["auto:auto,epochs=4"], against=["full", "balanced"], seeds=5)
    assert [arm.name for arm in found.arms] == ["full", "auto", "balanced", "full-0.5", "full-0.333"]
    balanced = next(job for job in found.jobs if job.arm == "balanced")
    assert balanced.plan == attent.Plan.balanced(epochs=4, batch_size=10).to_dict()
    # A full epoch of worth 1.4, and 3 epochs' cost in passes with half of the examples worth 2.
    worth = 2 ** (balanced.quality["skill"])
    assert worth == pytest.approx(1.4 + 3 * 1.5, rel=0.01)
    ahead = found.row("auto").ahead_of["balanced"]["skill"]
    assert ahead.value == pytest.approx(found.row("auto").quality["skill"] - found.row("balanced").quality["skill"])
    assert "balanced, which looks at no score" in found.verdict
    again = judged(toy.steady, arms=["auto:auto,epochs=4"], against=["full", "balanced"])
    assert [arm.name for arm in again.arms] == ["full", "auto", "full-0.5", "full-0.333"]


def test_what_is_taught_for_its_own_sake_needs_neither_quality_nor_a_curve(tmp_path):
    plan = attent.Plan.default(epochs=4, batch_size=10)
    asked = {"arms": {"taught": plan}, "epochs": 4, "lengths": [1], "teach": True, "seeds": None}
    lines = []
    found = judged(toy.silent, **asked, run=tmp_path, tell=lines.append)
    assert [line.partition(" (")[0] for line in lines] == ["seed 0, taught", "seed 0, full"]
    assert found.verdict.startswith("The learner does not judge itself")
    assert (tmp_path / "seed-0" / "taught" / "checkpoint.safetensors").exists()
    alone = judged(toy.steady, **{**asked, "against": []})
    assert alone.verdict.startswith("Whether teaching beats training on all examples is not known")
    assert [job.plan for job in alone.jobs] == [plan.to_dict()]


def test_a_watch_is_told_of_every_job_and_of_the_work_after_it():
    works, progress = [], []

    def watch(work):
        works.append(work)
        return progress.append

    judged(seeds=2, lengths=[0.5, 1], watch=watch)
    assert [(work.arm, work.plan.seed, work.seeds) for work in works[:4]] == [
        ("full", 0, 2), ("hard", 0, 2), ("full-0.5", 0, 2), ("hard", 1, 2),
    ]  # fmt: skip
    assert [work.amount for work in works[:3]] == [6.0, 3.6, 3.0]
    assert [work.rest for work in works] == pytest.approx([19.2, 15.6, 12.6, 9.0, 6.0, 0.0])
    assert progress[-1].done == 1.0


def test_arms_are_paired(monkeypatch):
    learners = []
    init = toy.Steady.__init__

    def noted(self, plan, *rest):
        init(self, plan, *rest)
        learners.append((plan, self))

    monkeypatch.setattr(toy.Steady, "__init__", noted)
    judged(seeds=2, lengths=[0.5, 1], arms=["a:default", "b:default,ratio=0.6"], options={"rate": 0.5})
    learners = learners[2:]  # the two of the check
    assert [plan.seed for plan, _ in learners] == [0] * 4 + [1] * 4
    assert {learner.rate for _, learner in learners} == {0.5}
    for seed in (0, 1):
        firsts = {str(learner.batches[:5]) for plan, learner in learners if plan.seed == seed}
        assert len(firsts) == 1  # the first epoch on all examples, in the same order in every arm
        full = next(
            learner for plan, learner in learners if plan == attent.Plan.full(epochs=6, batch_size=10, seed=seed)
        )
        alone = toy.Steady(full)
        attent.teach(alone, attent.Plan.full(epochs=6, batch_size=10, seed=seed))
        assert alone.batches == full.batches


def test_arms_take_turns_in_going_first():
    told_lines = []
    found = judged(seeds=3, lengths=[0.5, 1], tell=told_lines.append)
    order = [line.partition(" (")[0] for line in told_lines]
    assert [line.partition("(")[2].partition(")")[0] for line in told_lines] == [f"{i} of 9" for i in range(1, 10)]
    assert order == [
        "seed 0, full", "seed 0, hard", "seed 0, full-0.5",
        "seed 1, hard", "seed 1, full-0.5", "seed 1, full",
        "seed 2, full-0.5", "seed 2, full", "seed 2, hard",
    ]  # fmt: skip
    assert [(job.seed, job.arm) for job in found.jobs[:3]] == [(0, "full"), (0, "hard"), (0, "full-0.5")]


def test_seeds_count_up_from_the_first():
    assert judged(first_seed=7).seeds == [7, 8]


def test_tuning_finds_what_all_arms_share():
    found = judged(tuned=False, tune={"rate": [0.5, 1.0, 2.0]}, batch_sizes=[5, 10])
    tuning = found.tuning
    assert [job.seed for job in tuning.jobs] == [1_000_000] * 6
    assert tuning.points[0] == {"rate": 0.5, "batch_size": 5}
    assert tuning.chosen == {"rate": 1.0, "batch_size": 5}  # of equals the first
    assert tuning.edges == ["batch_size 5 is the smallest tried"]
    assert (found.batch_size, found.options) == (5, {"rate": 1.0})
    assert {job.plan["batch_size"] for job in found.jobs} == {5}
    assert {job.options["rate"] for job in found.jobs} == {1.0}
    assert "grid's edge: batch_size 5" in found.notes[0]
    assert "for 36 full epochs" in " ".join(told(found).split())


def test_the_default_grid_is_around_the_learning_rate():
    @attent.recipe(epochs=6, batch_size=10)
    def recipe(plan, *, learning_rate: float = 0.1):
        return toy.Steady(plan, learning_rate)

    found = judged(recipe, tuned=False)
    # The best lies at 1: what is one step beyond the best so far is tried, three times.
    assert found.tuning.grid == {"learning_rate": [0.05, 0.1, 0.2, 0.4, 0.8, 1.6], "batch_size": [2, 5, 10]}
    assert found.tuning.points[6:] == [
        {"learning_rate": 0.4, "batch_size": 5},
        {"learning_rate": 0.2, "batch_size": 2},
        {"learning_rate": 0.8, "batch_size": 5},
        {"learning_rate": 1.6, "batch_size": 5},
    ]
    assert found.tuning.chosen == {"learning_rate": 0.8, "batch_size": 5}
    assert found.tuning.edges == []
    again = judged(recipe, tuned=False, options={"learning_rate": 1.0}).tuning
    assert again.grid["learning_rate"] == [0.5, 1.0, 2.0]
    assert again.chosen == {"learning_rate": 1.0, "batch_size": 5}


def test_an_arm_that_diverges_is_told_and_the_rest_goes_on():
    found = judged(toy.diverging, seeds=3)
    job = next(job for job in found.jobs if job.failure)
    assert (job.arm, job.seed, job.failed_epoch) == ("full", 1, 2)
    assert "not finite" in job.failure
    assert job.examples_trained == 300  # what it would have cost
    assert len(found.jobs) == 12
    assert found.finished
    worst = min(one.quality["skill"] for one in found.jobs if not one.failure)
    rest = [one.quality["skill"] for one in found.jobs if one.arm == "full" and not one.failure]
    assert found.row("full").quality["skill"] == pytest.approx((worst + sum(rest)) / 3)
    assert found.notes == [
        f"full failed with seed 1 (epoch 2) and counts there with the worst quality of all: {job.failure}"
    ]
    assert "!" in told(found)


def test_a_failure_is_kept_in_a_folder(tmp_path):
    found = judged(toy.diverging, run=tmp_path)
    again = judged(toy.diverging, run=tmp_path)
    assert [job.failed_epoch for job in again.jobs if job.failure] == [2]
    assert again.rows == found.rows


def test_no_held_out_data_is_an_error_before_anything_is_spent():
    with pytest.raises(attent.LearnerError) as error:
        judged(toy.silent)
    assert str(error.value) == (
        "recipe 'silent' has no held-out data: its learner needs evaluate() returning quality by metric name, "
        "the main one first (attent.Evaluates); without it nothing can be judged"
    )


def test_one_class_concludes_nothing():
    found = judged(toy.one_class, seeds=5)
    assert found.verdict == (
        "Nothing can be concluded: full training does not get better between 2.00 and 6.00 epochs (accuracy 1 at once), so "
        "no saving can be read off. Try shorter lengths, or fewer epochs. "
        "At equal cost hard and full training have the same accuracy."
    )
    assert found.pays is None


def test_training_that_overfits_is_beaten_by_shorter_training():
    found = judged(toy.overfitting, arms=["again:full,epochs=4"], seeds=5)
    assert found.curves["skill"].best == pytest.approx([1 + np.log2(2.8 / 4.2), 1, 1])
    assert found.curves["skill"].measured[2] == pytest.approx(0)
    saved = found.saving("again")
    assert saved.value == pytest.approx(1 - 4 / 2.25)  # 3/4 of 3 epochs are as far from the best as 4/3 of them
    assert saved.bound == 0
    assert found.row("again").ahead["skill"].value == pytest.approx(0, abs=1e-9)  # it is full training at that cost
    assert found.pays is None
    assert "no policy saves with certainty" in found.verdict


def test_where_less_training_is_best_nothing_is_read_off():
    found = judged(toy.overfitting, arms=["again:full,epochs=4"], lengths=[0.5, 1], seeds=5)
    saved = found.saving("again")
    assert (saved.value, saved.bound) == (pytest.approx(1 - 4 / 3), -1)  # the first point is better: at most
    assert found.verdict == (
        "Nothing can be concluded: full training does not get better between 3.00 and 6.00 epochs (skill 1 at once), "
        "so no saving can be read off. Try shorter lengths, or fewer epochs. "
        "At equal cost again and full training have the same skill."
    )


def test_a_curve_that_a_failure_made_flat_says_so():
    found = judged(toy.diverging, seeds=1, first_seed=1, lengths=[0.5, 1])
    assert found.verdict == "Nothing can be concluded: runs of full failed, which the curve needs."


def test_the_verdict_says_that_tuning_ended_on_an_edge():
    found = judged(tuned=False, tune={"rate": [0.5, 1.0]}, seeds=5)
    assert found.verdict.endswith(
        " Full training may be better than it was tuned to be: rate 1.0 is the largest tried."
    )


def test_a_main_metric_that_is_no_number_concludes_nothing():
    found = judged(toy.not_a_number)
    assert found.verdict == (
        "Nothing can be concluded: the main metric, auc, is missing or not finite in every run. "
        "Has the held-out data more than one class?"
    )
    assert found.notes[0] == (
        "full failed with seed 0 (epoch 5), 1 (epoch 5) and counts there with the worst quality of all: "
        "the held-out quality is not finite"
    )
    assert "auc" in told(found)


def test_equal_scores_are_told():
    found = judged(toy.level)
    assert found.notes == ["hard: all scores were equal in 8 of 8 selections: nothing to choose by."]


def test_a_recipe_that_is_not_deterministic_is_told():
    found = judged(toy.careless)
    assert re.fullmatch(
        r"recipe 'careless' is not deterministic: built twice for one plan and seed, the scores of the first examples "
        r"differ by up to 0.01. Arms do not start alike, so differences between them are partly chance; draw every "
        r"random number from plan.seed",
        found.notes[0],
    )
    assert found.verdict.endswith(" The recipe is not deterministic: arms did not start alike.")
    assert found.finished


@pytest.mark.parametrize(
    ("asked", "error", "complaint"),
    [
        ({"arms": ["nothing"]}, attent.PlanError, "arm 'nothing': preset must be one of default, auto, "),
        ({"arms": ["default", "official"], "epochs": 1}, attent.PlanError, "arm 'official': epochs must be at least"),
        ({"arms": ["auto:auto,keep=0.1"]}, attent.PlanError, "keep=0.1) watches what must not be forgotten"),
        (
            {"arms": ["auto:auto,per_cost=true"]},
            attent.PlanError,
            "PerCost(inner=Auto(bonus=0.2)) goes by costs, and none are known",
        ),
        (
            {"arms": {"auto": attent.Plan.auto(epochs=3, batch_size=8, bucket=2)}},
            attent.PlanError,
            "bucket=2 goes by costs",
        ),
        ({"lengths": [1]}, attent.PlanError, "lengths must be at least 2"),
        ({"lengths": [0.999, 1]}, attent.PlanError, "lengths 0.999, 1 of 6 epochs are all the same training"),
        ({"seeds": 0}, attent.PlanError, "seeds must be a whole number in [1, 1000], got 0"),
        ({"seeds": 2**40}, attent.PlanError, "seeds must be a whole number in [1, 1000], got 1099511627776"),
        ({"epochs": 2.5}, attent.PlanError, "epochs must be a whole number of at least 1, got 2.5"),
        ({"budget_seconds": 0}, attent.PlanError, "budget_seconds must be above 0 and finite, got 0"),
        ({"options": {"wide": 1}}, attent.RecipeError, "recipe 'steady' has no option 'wide'; known: rate, shift"),
        ({"tuned": False, "tune": {"lr": [1]}}, attent.RecipeError, "recipe 'steady' has no option 'lr'"),
        ({"tuned": False, "tune": {"rate": []}}, attent.PlanError, "the grid of rate must have at least one value"),
        ({"arms": "default"}, attent.PlanError, "arms must be a list such as ['default', 'auto'], got 'default'"),
        ({"arms": 5}, attent.PlanError, "arms must be a list such as ['default', 'auto'], got 5"),
        ({"arms": [5]}, attent.PlanError, "an arm must be a preset's name or NAME:preset,field=value,..., got 5"),
        ({"recipe": "vit-digits"}, attent.RecipeError, "recipe must be a function from a plan to a learner, got 'vit-"),
        ({"lengths": "0.5,1"}, attent.PlanError, "lengths must be a list such as [0.5, 1], got '0.5,1'"),
        ({"lengths": ["0.5", 1]}, attent.PlanError, "a length must be a share of the epochs in (0, 10], got '0.5'"),
        ({"budget_seconds": "10m"}, attent.PlanError, "budget_seconds must be above 0 and finite, got '10m'"),
        ({"forward_share": "x"}, attent.PlanError, "forward_share must be in [0, 1e+06], got 'x'"),
        ({"forward_share": -1.0}, attent.PlanError, "forward_share must be in [0, 1e+06], got -1.0"),
        ({"checkpoint_seconds": -1}, attent.PlanError, "checkpoint_seconds must be at least 0 and finite, got -1"),
        ({"segment_steps": 1.5}, attent.PlanError, "segment_steps must be a whole number of at least 1, got 1.5"),
        ({"run": 5}, attent.PlanError, "run must be a folder's name, got 5"),
        (
            {"against": ["shrt"]},
            attent.PlanError,
            "against must be one of full, short, shorts, random, balanced, tempered, new-only, replay, filter, got 'shrt'",
        ),
        ({"tuned": "no"}, attent.PlanError, "tuned must be true or false, got 'no'"),
        ({"tune": {"rate": [1]}}, attent.PlanError, "tuned says that no grid is run, and tune or batch_sizes names"),
        ({"batch_sizes": [5]}, attent.PlanError, "tuned says that no grid is run, and tune or batch_sizes names one"),
        ({"tuned": False, "tune": {"rate": 0.5}}, attent.PlanError, "tune['rate'] must be a list such as [1e-3, 2e-3]"),
        ({"tuned": False, "tune": {"rate": "0.5,1"}}, attent.PlanError, "tune['rate'] must be a list such as"),
        ({"tuned": False, "tune": "rate"}, attent.PlanError, "tune must be a table such as"),
        ({"tuned": False, "batch_sizes": 8}, attent.PlanError, "batch_sizes must be a list such as [8, 16], got 8"),
        ({"tuned": False, "batch_sizes": [0]}, attent.PlanError, "batch_sizes must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_asked(asked, error, complaint):
    with pytest.raises(error) as raised:
        judged(**asked)
    assert complaint in str(raised.value)


@pytest.mark.parametrize("kept", [True, False])
def test_controls_for_what_is_new_go_by_the_groups_of_each_seed(tmp_path, kept):
    asked = {"seeds": 3, "against": ["full", "new-only", "replay"], "run": tmp_path / "mine" if kept else None}
    found = judged(toy.drawn_groups, **asked)
    assert found.finished
    assert [found.row(name).costs["full_epochs"] for name in ("new-only", "replay")] == [
        pytest.approx(3.6, abs=0.2)
    ] * 2
    if not kept:
        return
    ratios = []
    for seed in range(3):
        header = json.loads((tmp_path / "mine" / f"seed-{seed}" / "new-only-hard" / "run.json").read_text())
        ratios.append(header["plan"]["ratio"])
    assert ratios == [20 / 50, 18 / 50, 16 / 50]
    built = []

    @attent.recipe(epochs=6, batch_size=10)
    def drawn_groups(plan):
        built.append(plan.seed)
        return toy.drawn_groups(plan)

    assert judged(drawn_groups, **asked).row("new-only") == found.row("new-only")
    assert built == [0]  # what is kept needs no learner to be looked at


def test_a_recipe_that_suggests_nothing_needs_numbers():
    with pytest.raises(
        attent.PlanError, match=r"epochs \(--epochs\) is needed, as recipe 'bare-one' suggests no value: give"
    ):
        attent.judge(lambda plan: None, name="bare-one")


def test_a_budget_decides_how_many_seeds(monkeypatch):
    found, spent = timed(monkeypatch, budget_seconds=3 * SEED_SECONDS + 100, seeds=None)
    assert found.seeds == [0, 1, 2]
    assert spent < 3 * SEED_SECONDS + 100
    assert not found.finished
    assert found.notes == ["The budget was enough for 3 of up to 20 seeds."]
    assert found.saving("hard").value == pytest.approx(SAVED)
