"""The static filter: what is nearest to a target is kept, once, and is all that is ever taught."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import attent
from attent.cli.report_command import arms_in
from attent.judging.arms import Question, plans_of, read_policies
from attent.judging.controls import Known, relevance_of
from attent.tests import judging_toy as toy

ASKED = {"arms": ["hard:default,select=hard"], "lengths": [1 / 3, 0.5, 1], "tuned": True, "forward_share": 0.25}
ODD = list(range(1, 50, 2))


def made(policies, *, relevant=True, n=100):
    question = Question("mine", read_policies(policies), 6, 10, [0.4, 1], ("filter",))
    return plans_of(question, n=n, batch_size=10, seed=3, known=Known(relevant=relevant))


def test_a_filter_is_an_ordinary_plan_that_costs_what_the_last_policy_does():
    found = made(["default", "auto"])
    assert list(found) == ["default", "auto", "filter-0.25", "filter-0.5"]
    assert found["auto"][0].cost(100).examples_trained == 400
    shape = {"batch_size": 10, "seed": 3, "select": attent.Hard(), "source": attent.Replay()}
    assert found["filter-0.25"][0] == attent.Plan(epochs=16, interval=16, ratio=0.25, **shape)
    plan, arm = found["filter-0.5"]
    assert plan == attent.Plan(epochs=8, interval=8, ratio=0.5, **shape)
    assert (plan.cost(100).examples_trained, plan.cost(100).examples_scored) == (400, 0)
    assert (arm.kind, arm.of, arm.folder) == ("control", "auto", "filter-0.5-auto")
    assert arm.note == "at the cost of auto, its examples drawn from the 50 % nearest to the target"


def test_there_is_no_filter_where_no_target_is_known_or_nothing_is_chosen():
    assert list(made(["default"], relevant=False)) == ["default"]
    assert list(made(["mine:full"])) == ["mine"]


def test_epochs_on_what_is_kept_are_rounded_and_at_least_one():
    costs = [(plan.epochs, plan.cost(7).examples_trained) for plan, _ in made(["mine:default,epochs=1"], n=7).values()]
    assert costs == [(1, 7)]  # of one epoch on all, which chooses nothing
    plans = made(["mine:default,epochs=2,warm_up=0,ratio=0.2"], n=7)
    assert [(plan.epochs, plan.timeline(7)[0].k) for plan, _ in plans.values()] == [(2, 1), (1, 2), (1, 4)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    return attent.judge(toy.targeted, run=folder, seeds=5, **ASKED), folder


def test_the_nearest_are_taught_in_every_epoch_and_nothing_is_scored(judged):
    found, folder = judged
    names = [arm.name for arm in found.arms]
    assert names == ["full", "hard", "short", "filter-0.25", "filter-0.5", "full-0.5", "full-0.333"]
    # The policy trains 180: 14 epochs on 13 are nearest to that, and 7 on 25.
    for name, kept, epochs in (("filter-0.25", ODD[:13], 14), ("filter-0.5", ODD, 7)):  # ties go to the lower id
        trace = attent.Trace.read(folder / "seed-0" / f"{name}-hard")
        assert [trace.ids(epoch).tolist() for epoch in range(epochs)] == [kept] * epochs
        assert (len(trace.records), sum(one.examples_scored for one in trace.records)) == (epochs, 0)
        assert found.row(name).costs["full_epochs"] == pytest.approx(epochs * len(kept) / 50)


def test_a_report_shows_policies_before_filters(judged):
    assert list(arms_in(judged[1])) == [
        "hard",
        "filter-0.25-hard",
        "filter-0.5-hard",
        "full",
        "full-0.333",
        "full-0.5",
        "short-hard",
    ]


def test_the_verdict_says_what_a_filter_is(judged):
    assert "hard also beats filter-0.5, which keeps what is nearest to a target: skill " in judged[0].verdict
    assert "looks at no score" not in judged[0].verdict


def test_a_judgement_with_a_filter_goes_on_as_if_it_had_not_been_stopped(judged, tmp_path):
    asked = {**ASKED, "seeds": 5, "run": tmp_path, "segment_steps": 1}
    with toy.stopping_after(190) as stop:
        stopped = attent.judge(toy.targeted, stop=stop, **asked)
    assert stopped.jobs[-1].arm == "short"  # the first filter is under way
    assert (tmp_path / "seed-0" / "filter-0.25-hard" / "run.json").exists()
    found = attent.judge(toy.targeted, **asked)
    assert [row.quality for row in found.rows] == [row.quality for row in judged[0].rows]


def test_each_seed_has_a_relevance_of_its_own(tmp_path):
    asked = {**ASKED, "seeds": 2, "against": ["full", "filter"], "run": tmp_path, "options": {"shift": 1}}
    attent.judge(toy.targeted, **asked)
    taught = [attent.Trace.read(tmp_path / f"seed-{seed}" / "filter-0.25-hard").ids(0).tolist() for seed in (0, 1)]
    assert taught == [ODD[:13], list(range(0, 26, 2))]


def test_a_filter_runs_beside_what_goes_by_the_new_groups_of_each_seed():
    def recipe(plan):
        learner = toy.drawn_groups(plan)
        learner.relevance = np.arange(50)
        return learner

    asked = {**ASKED, "seeds": 2, "against": ["full", "replay", "filter"]}
    found = attent.judge(attent.recipe(epochs=6, batch_size=10)(recipe), **asked)
    assert {job.arm for job in found.jobs if job.seed == 1} >= {"replay", "filter-0.25", "filter-0.5"}


def test_a_plan_of_ones_own_may_go_by_relevance_too(tmp_path):
    mine = attent.Plan(epochs=4, batch_size=10, ratio=0.1, select=attent.Soft(scaling="none"), source=attent.Replay())
    asked = {**ASKED, "arms": {"mine": mine}, "against": ["full"], "seeds": 1, "run": tmp_path}
    attent.judge(toy.targeted, **asked)
    trace = attent.Trace.read(tmp_path / "seed-0" / "mine")
    taught = [trace.ids(epoch).tolist() for epoch in range(4)]
    drawn = [
        attent.soft(np.where(np.arange(50) % 2, 3.0, -1.0), 5, attent.Noise(0, draw), scaling="none")
        for draw in range(4)
    ]
    assert taught == [ids.tolist() for ids in drawn]
    with pytest.raises(attent.LearnerError, match="arm 'mine' goes by scores known beforehand, and there are none"):
        attent.judge(toy.steady, **{**asked, "run": None})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(49), "must be one number for each of the 50 examples, shape (50,), got float64 of shape (49,)"),
        (np.zeros((50, 1)), "got float64 of shape (50, 1)"),
        (["near"] * 50, "got <U4 of shape (50,)"),
        (lambda: np.zeros(50), "must be one number for each of the 50 examples, shape (50,), got "),
        (0.5, "got 0.5"),
        ([0.0] * 7 + [float("nan")] * 43, "must be finite, got nan for example 7: give what is not to be kept the lowest"),
        ([-np.inf] + [0.0] * 49, "must be finite, got -inf for example 0"),
        ([[0.0], [0.0, 0.0]] * 25, "must be one number for each of the 50 examples: setting an array element with a seq"),
    ],
)  # fmt: skip
def test_what_is_no_relevance_is_refused_before_anything_is_taught(given, message):
    built = []

    def recipe(plan):
        built.append(toy.Steady(plan))
        built[-1].relevance = given
        return built[-1]

    with pytest.raises(attent.LearnerError) as caught:
        attent.judge(attent.recipe(epochs=6, batch_size=10)(recipe), **ASKED)
    assert str(caught.value).startswith("relevance must be ")
    assert message in str(caught.value)
    assert built[-1].batches == []


def test_a_seed_without_a_relevance_is_told_by_its_number():
    def recipe(plan):
        learner = toy.Steady(plan)
        if plan.seed == 0:
            learner.relevance = np.arange(50)
        return learner

    with pytest.raises(attent.LearnerError) as caught:
        attent.judge(attent.recipe(epochs=6, batch_size=10)(recipe), **ASKED, seeds=2)
    assert str(caught.value) == (
        "the learner of seed 1 has no relevance, and its plan goes by it: set it for every seed"
    )


def test_whole_numbers_and_lists_are_taken_as_float64():
    learner = toy.Steady(attent.Plan.full(epochs=1, batch_size=10))
    assert relevance_of(learner, 50) is None
    learner.relevance = list(range(50))
    found = relevance_of(learner, 50)
    assert (found.dtype, found.tolist()) == (np.float64, list(map(float, range(50))))


def test_a_filter_that_is_asked_for_needs_a_relevance():
    with pytest.raises(attent.LearnerError) as caught:
        attent.judge(toy.steady, **{**ASKED, "against": ["full", "filter"]})
    assert str(caught.value) == (
        "filter keeps what is nearest to a target, and recipe 'steady' does not say what is: set the learner's "
        "relevance, one number per example, higher is nearer, or leave it out of against"
    )


@pytest.mark.parametrize("name", ["filter", "filter-0.1"])
def test_a_policy_must_not_be_named_like_a_filter(name):
    with pytest.raises(attent.PlanError, match="an arm's name must be"):
        read_policies([f"{name}:default"])


def test_a_trace_of_scores_is_replayed_as_a_static_filter():
    plan = attent.Plan(epochs=3, batch_size=10, ratio=0.1, interval=3, source=attent.Replay())
    learner = toy.Steady(plan)
    trace = attent.teach(learner, plan, replay=attent.Trace.of_scores(np.arange(50) * 7 % 50))
    assert trace.ids(0).tolist() == trace.ids(2).tolist() == [7, 14, 21, 28, 35]
    assert repr(attent.Trace.of_scores(np.zeros(3))) == "<Trace: 0 of 1 epochs, 3 examples, 1 selections>"
    twice = attent.Plan(epochs=2, batch_size=10, ratio=0.1, source=attent.Replay())
    with pytest.raises(attent.TraceError, match="replay made 1 selections, the plan makes 2"):
        attent.teach(toy.Steady(twice), twice, replay=attent.Trace.of_scores(np.zeros(50)))
    assert attent.teach(toy.Steady(twice), twice, replay=attent.Trace.of_scores(np.arange(50), draws=2)).finished


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 2)), ", got float64 of shape (2, 2)"),
        ([], ", got float64 of shape (0,)"),
        (3.0, ", got float64 of shape ()"),
        (["1"], ", got <U1 of shape (1,)"),
        ([1j], ", got complex128 of shape (1,)"),
        ([None], ", got object of shape (1,)"),
        ([[1], [1, 2]], ": setting an array element with a sequence"),
    ],
)
def test_a_trace_of_scores_needs_one_per_example(scores, message):
    with pytest.raises(attent.TraceError, match=re.escape("one number per example, shape (n,)" + message)):
        attent.Trace.of_scores(scores)


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, "2"])
def test_a_trace_of_scores_is_of_one_selection_or_more(draws):
    with pytest.raises(attent.TraceError, match=r"^draws must be a whole number of at least 1, got "):
        attent.Trace.of_scores(np.zeros(3), draws)


def test_the_scores_of_a_trace_do_not_change():
    scores = np.arange(3.0)
    held = attent.Trace.of_scores(scores, 2).selections
    scores[:] = 9.0
    assert [held[draw].scores.tolist() for draw in held] == [[0.0, 1.0, 2.0]] * 2
    with pytest.raises(ValueError, match="read-only"):
        held[0].scores[0] = 9.0


# A relevance that changes


def relevant(values):
    """Return a recipe whose learner's relevance is these values for the seed asked for, by seed."""

    def changing(plan):
        learner = toy.Steady(plan)
        learner.relevance = values[plan.seed]
        return learner

    return attent.recipe(epochs=6, batch_size=10)(changing)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_relevance_that_changed_between_two_calls_is_refused(seed, tmp_path):
    asked = {**ASKED, "against": ["full", "filter"], "seeds": 2, "run": tmp_path}
    values = {0: np.arange(50.0), 1: np.arange(50.0)}
    first = attent.judge(relevant(values), **asked)
    shutil.rmtree(tmp_path / f"seed-{seed}" / "filter-0.5-hard")  # as where it was not yet run
    with pytest.raises(attent.LearnerError) as caught:
        attent.judge(relevant({**values, seed: -np.arange(50.0)}), **asked)
    assert str(caught.value) == (
        f"the learner's relevance changed between two arms of seed {seed}, which cannot be compared then: let it follow "
        "from plan.seed alone; if you changed the recipe, judge in another folder"
    )
    assert not (tmp_path / f"seed-{seed}" / "filter-0.5-hard").exists()
    again = attent.judge(relevant(values), **asked)
    assert [row.quality for row in again.rows] == [row.quality for row in first.rows]


def test_the_first_seed_is_held_against_what_is_kept_even_where_all_its_arms_have_finished(tmp_path):
    asked = {**ASKED, "against": ["full", "filter"], "run": tmp_path}
    attent.judge(relevant({0: np.arange(50.0)}), seeds=1, **asked)
    with pytest.raises(attent.LearnerError, match="the learner's relevance changed between two arms of seed 0"):
        attent.judge(relevant({0: -np.arange(50.0), 1: -np.arange(50.0)}), seeds=2, **asked)
    assert not (tmp_path / "seed-1").exists()
    # Where no arm goes by it, nobody minds.
    assert attent.judge(relevant({0: -np.arange(50.0)}), seeds=1, **{**asked, "against": ["full"]}).finished


def test_a_relevance_drawn_by_nothing_that_a_seed_fixes_is_refused_before_a_filter_trains():
    draw = np.random.default_rng(0)

    def drawn(plan):
        learner = toy.Steady(plan)
        learner.relevance = draw.normal(size=50)
        return learner

    told = []
    with pytest.raises(attent.LearnerError, match="the learner's relevance changed between two arms of seed 0"):
        attent.judge(attent.recipe(epochs=6, batch_size=10)(drawn), tell=told.append, seeds=1, **ASKED)
    assert not [line for line in told if "filter" in line]


def test_groups_that_changed_between_two_calls_are_refused(tmp_path):
    def grouped(new):
        def changing(plan):
            learner = toy.Steady(plan)
            learner.groups = lambda: (np.arange(50) >= new).astype(np.int64)
            return learner

        return attent.recipe(epochs=6, batch_size=10)(changing)

    asked = {**ASKED, "seeds": 1, "run": tmp_path}
    attent.judge(grouped(30), **{**asked, "against": ["full"]})
    with pytest.raises(attent.LearnerError, match="the learner's groups changed between two arms of seed 0"):
        attent.judge(grouped(20), **{**asked, "against": ["full", "balanced"]})
    assert attent.judge(grouped(30), **{**asked, "against": ["full", "balanced"]}).finished
