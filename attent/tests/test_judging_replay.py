"""The control that replays: which share of what is new is chosen, on which seed, and that it stays when resumed."""

import json

import numpy as np
import pytest

import attent
from attent.judging.arms import DEFAULT_AGAINST
from attent.judging.controls import Known, controls_of
from attent.judging.report import report_text, told
from attent.tests import judging_toy as toy
from attent.tests.cli_toy import command

ASKED = {
    "arms": ["hard:default,select=hard"],
    "against": ["full", "short", "replay"],
    "lengths": [0.5, 1],
    "tuned": True,
}


def judged(recipe=toy.refreshed, **asked):
    return attent.judge(recipe, **{**ASKED, "seeds": 1, **asked})


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("weight", "share", "ratio", "epochs", "edges"),
    [
        (0.5, 0.5, 20 / 50, 9, []),
        (0.9, 0.75, 13 / 50, 14, ["share 0.75 is the largest tried"]),
    ],
)
def test_the_share_is_the_one_that_does_best_on_a_seed_that_is_not_judged(weight, share, ratio, epochs, edges):
    found = judged(options={"weight": weight}, seeds=2)
    replayed = found.replayed
    assert (replayed.grid, replayed.metric) == ({"share": [0.2, 0.25, 0.5, 0.75]}, "skill")
    assert (replayed.chosen, replayed.edges) == ({"share": share}, edges)
    assert [(job.arm, job.seed) for job in replayed.jobs] == [("replay", 1_000_000)] * 4
    assert [job.plan["ratio"] for job in replayed.jobs] == [30 / 50, 40 / 50, 20 / 50, 13 / 50]
    assert replayed.jobs[0].plan["warm_up"] == 3  # all examples three times, and 30 of 50 at the end
    skills = [job.quality["skill"] for job in replayed.jobs]
    assert skills.index(max(skills)) == replayed.points.index({"share": share})
    arm = next(arm for arm in found.arms if arm.name == "replay")
    assert (arm.plan["ratio"], arm.plan["epochs"], arm.of) == (ratio, epochs, "hard")
    assert arm.note == f"at the cost of hard, its examples drawn {100 * share:g} % from what is new"
    assert sorted(job.seed for job in found.jobs if job.arm == "replay") == [0, 1]
    doubt = "replay may be better than it was tuned to be: share 0.75 is the largest tried."
    assert (doubt in found.verdict, len(found.notes)) == (bool(edges), len(edges))


def test_where_the_new_are_best_as_they_are_it_is_training_on_all_examples():
    found = judged(options={"weight": 0.2})
    assert (found.replayed.chosen, found.replayed.edges, found.notes) == ({"share": 0.2}, [], [])
    assert found.alike == {"replay": "short"}
    assert found.row("replay").quality == found.row("short").quality
    assert "replay: the same training as short, run once." in one_line(told(found))


def test_the_tables_tell_share_grid_seed_and_cost():
    found = judged()
    for text in (told(found), report_text(found)):
        line = one_line(text)
        assert "The share of what is new in a pass of replay was chosen on seed 1000000, which is not judged" in line
        assert "for 14 full epochs" in line  # 3.6, 3.2, 3.6 and 3.64
        assert "0.2 is the share that it has anyhow: all examples." in line
    row = next(line for line in report_text(found).splitlines() if line.startswith("| 0.5 "))
    assert (row.split("|")[3].strip(), row.split("|")[5].strip()) == ("3.6", "chosen")


def test_of_equals_the_lowest_share_is_chosen_and_a_metric_may_be_better_when_lower():
    @attent.recipe(epochs=6, batch_size=10)
    def level(plan):
        learner = toy.refreshed(plan)
        learner.evaluate = lambda: {"loss": 1.0}
        return learner

    assert judged(level).replayed.chosen == {"share": 0.2}

    @attent.recipe(epochs=6, batch_size=10)
    def losses(plan):
        learner = toy.refreshed(plan)
        evaluate = learner.evaluate
        learner.evaluate = lambda: {"loss": -evaluate()["skill"]}
        return learner

    assert judged(losses).replayed.chosen == {"share": 0.5}


@pytest.mark.parametrize("lessons", [3, 17, 40, 70, 100])
def test_stopped_anywhere_and_resumed_it_takes_the_same_share(tmp_path, lessons):
    whole = json.loads((judge_in(tmp_path / "whole") / "judge.json").read_text())
    with toy.stopping_after(lessons) as stop:
        judge_in(tmp_path / "parts", stop=stop)
    stopped = json.loads((tmp_path / "parts" / "judge.json").read_text())
    assert stopped["finished"] is False
    parts = json.loads((judge_in(tmp_path / "parts") / "judge.json").read_text())
    assert toy.without_seconds(parts) == toy.without_seconds(whole)
    assert parts["replayed"]["chosen"] == {"share": 0.5}


def judge_in(folder, **asked):
    judged(run=folder, seeds=2, segment_steps=1, **asked)
    return folder


def test_more_seeds_choose_no_share_anew(tmp_path):
    first, told_lines = judged(run=tmp_path / "one"), []
    again = judged(run=tmp_path / "one", seeds=2, tell=told_lines.append)
    assert again.replayed == first.replayed
    assert [line for line in told_lines if "tuning" in line] == []
    assert again.seeds == [0, 1]


def test_it_uses_the_rate_that_full_training_was_tuned_to():
    @attent.recipe(epochs=6, batch_size=10)
    def rated(plan, *, rate: float = 1.0):
        learner = toy.refreshed(plan)
        evaluate = learner.evaluate
        learner.evaluate = lambda: {"skill": evaluate()["skill"] - abs(rate - 2)}
        return learner

    found = judged(rated, tuned=False, tune={"rate": [1.0, 2.0, 4.0]})
    assert (found.tuning.chosen, found.replayed.chosen) == ({"rate": 2.0}, {"share": 0.5})
    assert [job.options for job in found.replayed.jobs] == [{"rate": 2.0}] * 4


def test_shares_that_are_named_are_arms_beside_it():
    found = judged(against=["full", "replay-.75", "replay", "replay-0.25"])
    assert [arm.name for arm in found.arms if arm.kind == "control"] == ["replay-0.75", "replay", "replay-0.25"]
    assert [found.row(name).costs["full_epochs"] for name in ("replay-0.75", "replay-0.25")] == [3.64, 3.2]
    assert found.replayed.chosen == {"share": 0.5}  # though until then it is the one of .75
    found = judged(against=["full", "replay-0.5", "replay"])
    assert (found.replayed.chosen, found.alike) == ({"share": 0.5}, {"replay": "replay-0.5"})
    assert judged(against=["full", "replay-0.5"]).replayed is None  # nothing is left to choose


def test_each_seed_goes_by_its_own_groups():
    found = judged(toy.drawn_groups, seeds=3)
    assert found.finished
    assert found.replayed.grid == {"share": [0.4, 0.5, 0.75]}  # of the seed tuned on, as of the first: 20 of 50
    plan = attent.Plan.default(epochs=6, batch_size=10)
    for new in (20, 18, 16):
        made = controls_of("replay", plan, 50, Known({0: 50 - new, 1: new}, [1], replayed=0.5))[0].plan
        assert made.ratio == 2 * new / 50
    more = Known({0: 20, 1: 30}, [1], replayed=0.5)  # a seed that has more than the share anyhow
    assert controls_of("replay", plan, 50, more)[0].plan.timeline(50)[0].k == 50


def test_a_seed_that_has_nothing_new_to_choose_by_leaves_it_out():
    @attent.recipe(epochs=6, batch_size=10)
    def once(plan):
        learner = toy.refreshed(plan)
        if plan.seed:
            learner.new_groups = ()
        return learner

    found = judged(once)
    assert found.notes == ["replay left out, as its share cannot be chosen: with seed 1000000 none can be tried."]
    assert (found.replayed, [arm.name for arm in found.arms if arm.kind == "control"]) == (None, [])


def test_without_a_metric_there_is_nothing_to_choose_by():
    @attent.recipe(epochs=6, batch_size=10)
    def unjudged(plan):
        learner = toy.refreshed(plan)
        learner.evaluate = dict
        return learner

    found = judged(unjudged, teach=True)
    assert "replay left out, as its share cannot be chosen: there is no metric to go by." in found.notes


@pytest.mark.parametrize("name", ["replay", "replay-0.5", "new-only"])
def test_who_asks_for_it_must_say_what_is_new(name):
    with pytest.raises(attent.LearnerError) as error:
        judged(toy.grouped, against=["full", name])
    assert str(error.value) == (
        f"{name} goes by what is new, and recipe 'grouped' does not say what is: give its learner groups() and "
        f"new_groups, which of them the model does not know, or leave {name} out of against"
    )
    assert "replay" not in [arm.name for arm in judged(toy.grouped, against=DEFAULT_AGAINST).arms]


@pytest.mark.parametrize("name", ["replay-1.5", "replay-0", "replay-half", "replay-nan", "replay-"])
def test_a_share_that_is_none_is_told(name):
    with pytest.raises(attent.PlanError) as error:
        judged(against=["full", name])
    if name == "replay-":
        assert "against must be one of full, short" in str(error.value)
    else:
        assert str(error.value) == (
            f"against must name a share of what is new in (0, 1), as replay-0.25 does, got '{name}'"
        )


def test_a_share_below_the_one_that_the_new_have_is_left_out_and_told():
    found = judged(against=["full", "replay-0.1", "replay"])
    assert [arm.name for arm in found.arms if arm.kind == "control"] == ["replay"]
    assert found.notes == [
        "replay-0.1 left out: of 50 examples 10 are new, of 2 groups in all, so no shorter pass has such a share."
    ]


def test_a_share_with_which_training_diverges_is_not_chosen():
    @attent.recipe(epochs=6, batch_size=10)
    def fragile(plan):
        learner = toy.refreshed(plan)
        train = learner.train
        learner.train = lambda batches, weights=None: (
            train(batches, weights) * (float("nan") if plan.ratio == 0.4 else 1)
        )
        return learner

    found = judged(fragile)
    assert found.replayed.chosen != {"share": 0.5}
    assert "diverged" in told(found)


def test_a_budget_that_ends_before_a_share_is_chosen_concludes_nothing(monkeypatch):
    clock = toy.Clock()
    monkeypatch.setattr("attent.judging.budget.monotonic", clock)

    @attent.recipe(epochs=6, batch_size=10)
    def slow(plan):
        learner = toy.refreshed(plan)
        train = learner.train

        def timed(batches, weights=None):
            clock.now += sum(map(len, batches))
            return train(batches, weights)

        learner.train = timed
        return learner

    found = judged(slow, budget_seconds=300.0, seeds=None)
    assert found.verdict.startswith("Nothing can be concluded: the tuning has not finished.")
    assert (found.replayed, found.jobs) == (None, [])


def test_the_command_line_asks_for_it_and_shows_it_again(tmp_path):
    flags = ("--against", "full,replay,replay-0.25", "--lengths", "0.5,1", "--seeds", 1, "--tuned")
    arm = ("--arm", "hard:default,select=hard", "--arms", "hard")
    ran = command("judge", "attent.tests.judging_toy:refreshed", *flags, *arm, "--run", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "tuning replay 3 of 4, share 0.5: skill" in ran.err
    for out in (ran.out, command("report", tmp_path / "run").out):
        assert "The share of what is new in a pass of replay was chosen on seed 1000000" in one_line(out)
    assert (tmp_path / "run" / "tuning" / "replay-hard-2" / "job.json").exists()


@attent.recipe(epochs=6, batch_size=10)
def mostly_new(plan):
    """As ``refreshed``, but of seed 1 45 of 50 examples are new, and of seed 2 none are."""
    learner = toy.refreshed(plan)
    new = {1: 45, 2: 0}.get(plan.seed, 10)
    learner.groups = lambda: (np.arange(50) >= 50 - new).astype(np.int64)
    return learner


def test_a_seed_of_more_new_ones_than_the_share_takes_all_as_they_are_when_resumed_too(tmp_path):
    asked = {"recipe": mostly_new, "seeds": 2, "run": tmp_path / "judged"}
    first, resumed = judged(**asked), judged(**asked)
    assert first.replayed.chosen == {"share": 0.5}
    plans = {job.seed: job.plan for job in first.jobs if job.arm == "replay"}
    assert plans[0]["ratio"] == 20 / 50
    assert (plans[1]["warm_up"], plans[1]["ratio"]) == (3, 30 / 50)  # all examples, at the cost of hard
    assert resumed.jobs == first.jobs


def test_a_seed_of_which_nothing_is_new_is_told_when_resumed_too(tmp_path):
    for _ in range(2):
        with pytest.raises(attent.LearnerError, match="groups must be two or more, got one"):
            judged(mostly_new, seeds=3, run=tmp_path / "judged")
