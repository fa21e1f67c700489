"""What is ranked, coverage, pools, proxies and replays: which ids they teach."""

import dataclasses
import warnings

import msgspec
import numpy as np
import pytest

import attent
from attent import Auto, Course, Done, InTurn, Noise, Plan, Pool, Proxy, Replay, Reuse
from attent.choose.rules import in_turn, infobatch
from attent.choose.scores import deviations, stalest
from attent.cli.report_command import show_report
from attent.run.records import Seconds, forward_share
from attent.tests.driving import drive
from attent.tests.toy import Toy


def test_a_reference_loss_is_subtracted_before_ranking():
    losses = np.array([5.0, 4.0, 3.0, 2.0])
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5)
    plain, _ = drive(Course(plan, 4), lambda epoch: losses)
    reduced, _ = drive(Course(plan, 4, reference=np.array([4.9, 3.8, 1.0, 0.5])), lambda epoch: losses)
    assert (plain[1], reduced[1]) == ([0, 1], [2, 3])


def test_progress_ranks_the_decrease_since_the_first_loss():
    first, later = np.array([3.0, 3.0, 1.0, 1.0]), np.array([2.9, 1.0, 1.0, 0.2])
    plan = Plan(epochs=3, batch_size=4, warm_up=2, ratio=0.5, source="reuse(measure='progress')")
    taught, _ = drive(Course(plan, 4), lambda epoch: later if epoch else first)
    assert taught[2] == [1, 3]


def test_a_bonus_brings_back_what_was_skipped():
    losses = np.array([4.0, 3.0, 2.0, 1.0])
    greedy = Plan(epochs=4, batch_size=2, warm_up=1, ratio=0.5)
    assert drive(Course(greedy, 4), lambda epoch: losses)[0][1:] == [[0, 1]] * 3
    kind = dataclasses.replace(greedy, source="reuse(bonus=3.0)")
    assert drive(Course(kind, 4), lambda epoch: losses)[0][1:] == [[0, 1], [2, 3], [0, 1]]


def test_coverage_teaches_those_taught_longest_ago_first():
    losses = np.arange(10.0)
    plan = Plan(epochs=6, batch_size=4, warm_up=1, ratio=0.4, select="in_turn(ties=hard)")
    taught = drive(Course(plan, 10), lambda epoch: losses)[0][1:]
    # 9..6, 5..2, then the two left and the best of those taught longest ago, and so on
    assert taught == [[6, 7, 8, 9], [2, 3, 4, 5], [0, 1, 8, 9], [4, 5, 6, 7], [2, 3, 8, 9]]


def test_rs2_takes_every_example_once_in_a_cycle():
    plan = Plan.rs2(epochs=7, batch_size=5, ratio=0.2, seed=3)
    taught = drive(Course(plan, 20), lambda epoch: np.ones(20))[0][1:-1]
    assert sorted(np.concatenate(taught).tolist()) == list(range(20))
    assert taught[0] != [0, 1, 2, 3]


def test_refresh_scores_the_stalest_before_each_selection():
    losses = np.array([4.0, 3.0, 2.0, 1.0])
    plan = Plan(epochs=4, batch_size=2, warm_up=1, ratio=0.5, source="reuse(refresh=0.25)")
    _, scored = drive(Course(plan, 4), lambda epoch: losses)
    assert scored == [(1, [0]), (2, [2]), (3, [3])]
    assert [row.scored for row in plan.timeline(4)] == [0, 1, 1, 1]
    assert plan.cost(4).examples_scored == 3


def test_a_pool_is_scored_and_chosen_from():
    plan = Plan(epochs=3, batch_size=2, ratio=0.2, source="pool(share=0.5)")
    losses = np.arange(10.0)
    taught, scored = drive(Course(plan, 10), lambda epoch: losses)
    assert [len(ids) for _, ids in scored] == [5, 5, 5]
    assert scored[0][1] != scored[1][1]
    assert taught == [ids[-2:] for _, ids in scored]  # higher ids have higher losses


def test_random_needs_no_pool():
    plan = Plan(epochs=2, batch_size=5, ratio=0.2, select="random", source="pool")
    taught, scored = drive(Course(plan, 40), lambda epoch: np.ones(40))
    assert ([len(ids) for ids in taught], scored) == ([8, 8], [])


def test_a_random_plan_goes_on(tmp_path):
    plan = Plan(epochs=4, batch_size=8, warm_up=1, select="random")
    whole, calls = attent.teach(Toy(60, seed=1), plan), iter(range(100))
    attent.teach(Toy(60, seed=1), plan, run=tmp_path / "r", stop=lambda: next(calls) == 1)
    resumed = attent.teach(Toy(60, seed=1), plan, run=tmp_path / "r", resume=True)
    assert attent.first_difference(whole, resumed) is None


def test_infobatch_keeps_what_reaches_the_mean_and_lets_the_rest_stand_for_all():
    scores = np.array([0.1, 5.0, 0.2, 6.0, 0.3, 0.1])
    ids, weights = infobatch(scores, 4, Noise(0, 0))
    assert {1, 3} < set(ids.tolist())
    assert [w for i, w in zip(ids.tolist(), weights.tolist(), strict=True) if i in (1, 3)] == [1.0, 1.0]
    assert weights.sum() == len(scores)  # the expected gradient is that of all
    few, heavier = infobatch(scores, 1, Noise(0, 0))
    assert (set(few.tolist()) <= {1, 3}, heavier.tolist()) == (True, [2.0])


def test_infobatch_weights_reach_the_learner_in_the_batches_of_their_ids():
    course = Course(Plan.infobatch(epochs=4, batch_size=4, ratio=0.6), 10)
    losses = np.array([9.0] * 3 + [0.1] * 7)
    while not isinstance(lesson := course.next(), Done):
        if lesson.weights is not None:
            for ids, weights in zip(lesson.batches, lesson.weights, strict=True):
                assert weights.tolist() == [1.0 if i < 3 else 7 / 3 for i in ids.tolist()]
        course.record(losses[np.concatenate(lesson.batches)])


def test_a_replay_teaches_what_the_earlier_run_did_and_scores_nothing():
    plan = Plan(epochs=5, batch_size=8, source="fresh", ratio=0.3)
    earlier = attent.teach(Toy(30, seed=1), plan)
    again = dataclasses.replace(plan, source=Replay())
    trace = attent.teach(Toy(30, seed=1), again, replay=earlier)
    assert [trace.ids(e).tolist() for e in range(5)] == [earlier.ids(e).tolist() for e in range(5)]
    assert sum(record.examples_scored for record in trace.records) == 0
    with pytest.raises(attent.PlanError, match=r"got source=Replay\(\) without replay"):
        attent.teach(Toy(30, seed=1), again)
    with pytest.raises(attent.PlanError, match=r"got source=Fresh\(\) with replay"):
        attent.teach(Toy(30, seed=1), plan, replay=earlier)
    with pytest.raises(attent.TraceError, match="over 30 examples, this one has 31"):
        attent.teach(Toy(31, seed=1), again, replay=earlier)


def test_a_proxy_scores_and_the_learner_trains():
    plan = Plan(epochs=1, batch_size=4, source=Proxy(), ratio=0.2)
    learner, scorer = Toy(20, seed=1), Toy(20, seed=2)
    wanted = attent.hard(scorer.score(np.arange(20)), 4).tolist()
    assert wanted != attent.hard(learner.score(np.arange(20)), 4).tolist()
    learner.scored = scorer.scored = 0
    assert attent.teach(learner, plan, scorer=scorer).ids(0).tolist() == wanted
    assert (learner.scored, scorer.scored, scorer.trained) == (0, 20, [])
    assert sorted(sum(learner.trained, [])) == wanted


def test_a_proxy_of_a_share_scores_the_pool_that_is_drawn_for_each_selection():
    plan = Plan(epochs=3, batch_size=2, ratio=0.2, source=Proxy(share=0.5))
    losses = np.arange(10.0)
    taught, scored = drive(Course(plan, 10), lambda epoch: losses)
    pooled, drawn = drive(Course(dataclasses.replace(plan, source=Pool(share=0.5)), 10), lambda epoch: losses)
    assert (taught, scored) == (pooled, drawn)
    assert taught == [ids[-2:] for _, ids in scored]


@pytest.mark.parametrize(
    ("source", "scorer", "message"),
    [
        ("proxy", None, r"scorer is asked by a plan with source=Proxy\(\), and only by one; got .* without a scorer"),
        ("fresh", Toy(20), r"got source=Fresh\(\) with a scorer"),
        ("proxy", Toy(3), "^scorer must be a learner over the same 20 examples, got 3 examples$"),
        ("proxy", 5, "^scorer must be a learner over the same 20 examples, got int$"),
    ],
    ids=["none", "fresh", "other examples", "no learner"],
)
def test_a_scorer_belongs_to_a_proxy_over_the_same_examples(tmp_path, source, scorer, message):
    learner = Toy(20)
    with pytest.raises(attent.PlanError, match=message):
        attent.teach(learner, Plan(epochs=1, batch_size=4, source=source), scorer=scorer, run=tmp_path / "r")
    assert (learner.trained, list(tmp_path.glob("r/*.json*"))) == ([], [])


def test_a_replay_of_a_pool_is_refused_since_it_ranked_only_a_part():
    plan = Plan(epochs=2, batch_size=8, source="pool(share=0.5)", ratio=0.3)
    earlier = attent.teach(Toy(30, seed=1), plan)
    with pytest.raises(attent.TraceError, match=r"with source pool\(\), which ranked only a part"):
        attent.teach(Toy(30, seed=1), dataclasses.replace(plan, source="replay"), replay=earlier)


@pytest.mark.parametrize("source", ["reuse", "fresh"])
def test_a_replay_of_a_random_run_that_saw_no_scores_is_told_as_that(source):
    plan = Plan(epochs=3, batch_size=4, ratio=0.4, select="random", source=source)
    earlier = attent.teach(Toy(30, seed=1), plan)
    assert np.isnan(earlier.selections[0].scores).all()
    again = dataclasses.replace(plan, select="hard", source="replay")
    learner = Toy(30, seed=1)
    with pytest.raises(attent.TraceError, match="replay holds no scores of draw 0: its run had seen none, as one that"):
        attent.teach(learner, again, replay=earlier)
    assert learner.trained == []
    # Who chooses at random looks at no score, so it may replay that.
    same = attent.teach(learner, dataclasses.replace(plan, source="replay"), replay=earlier)
    assert [same.ids(epoch).tolist() for epoch in range(3)] == [earlier.ids(epoch).tolist() for epoch in range(3)]


def test_a_random_run_that_saw_losses_in_its_warm_up_can_be_replayed():
    plan = Plan(epochs=3, batch_size=4, ratio=0.4, select="random", warm_up=1)
    earlier = attent.teach(Toy(30, seed=1), plan)
    again = dataclasses.replace(plan, select="hard", source="replay")
    trace = attent.teach(Toy(30, seed=1), again, replay=earlier)
    assert trace.ids(1).tolist() == attent.hard(earlier.selections[0].scores, 12).tolist()


def test_a_run_goes_on_only_with_the_replay_it_began_with(tmp_path):
    plan = Plan(epochs=4, batch_size=8, source="fresh", ratio=0.3)
    one, other = (attent.teach(Toy(30, seed=seed), plan) for seed in (1, 2))
    again = dataclasses.replace(plan, source="replay")
    attent.teach(Toy(30, seed=1), again, replay=one, run=tmp_path / "r", stop=lambda: True)
    with pytest.raises(attent.CourseError, match="with other reference losses, replay, groups or costs"):
        attent.teach(Toy(30, seed=1), again, replay=other, run=tmp_path / "r", resume=True)
    resumed = attent.teach(Toy(30, seed=1), again, replay=one, run=tmp_path / "r", resume=True)
    assert [resumed.ids(e).tolist() for e in range(4)] == [one.ids(e).tolist() for e in range(4)]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "draw 0 is missing"),
        ({0: np.ones(3)}, r"replay\[0\] must return shape \(4,\)"),
        ({0: np.ones(4, np.float32)}, r"replay\[0\] must return float64"),
    ],
)
def test_a_replay_must_be_the_scores_of_every_draw(scores, message):
    plan = Plan(epochs=1, batch_size=2, source="replay", ratio=0.5)
    with pytest.raises(attent.AttentError, match=message):
        Course(plan, 4, replay=scores)


def test_scores_with_a_bonus_are_kept_alike_by_a_run_that_stopped_where_it_chose(tmp_path):
    plan = Plan(epochs=4, batch_size=8, warm_up=1, ratio=0.5, source="reuse(bonus=0.5)")
    whole = attent.teach(Toy(30, seed=1), plan)
    for stop in range(1, 6):
        run, calls = tmp_path / str(stop), iter(range(100))
        stopping = {"checkpoint_seconds": 0.0, "segment_steps": 1}
        attent.teach(Toy(30, seed=1), plan, run=run, stop=lambda: next(calls) == stop, **stopping)  # noqa: B023
        resumed = attent.teach(Toy(30, seed=1), plan, run=run, resume=True)
        for draw, taught in whole.selections.items():
            assert resumed.selections[draw].scores.tolist() == taught.scores.tolist()


def test_a_state_taken_between_choosing_and_training_ranks_alike():
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5, source="reuse(bonus=2.0)")
    course = Course(plan, 6)
    course.record(np.arange(6.0)[np.concatenate(course.next().batches)])
    taught = course.next()
    again = Course(plan, 6)
    again.load_state(course.state())
    assert again.next().batches[0].tolist() == taught.batches[0].tolist()
    assert again.ranked.tolist() == course.ranked.tolist() != course.scores.tolist()


@dataclasses.dataclass(frozen=True)
class First:
    """The first k, with a weight each if one is given."""

    weight: float | None = None

    def choose(self, scores, k, noise, ids):
        return attent.Choice(np.arange(k), None if self.weight is None else np.full(k, self.weight))


def test_a_difference_in_steps_or_weights_is_one():
    plan = Plan(epochs=2, batch_size=4, warm_up=1, ratio=1 / 3, select=First())
    one = attent.teach(Toy(30, seed=1), plan)
    longer = [one.records[0], msgspec.structs.replace(one.records[1], steps=10)]
    steps = attent.first_difference(one, attent.Trace(one.header, longer, one.selections))
    assert str(steps) == "epoch 1: the same examples in 3 steps in the first and 10 in the second"
    other = attent.teach(Toy(30, seed=1), dataclasses.replace(plan, select=First(weight=2.0)))
    weights = attent.first_difference(one, other)
    assert str(weights) == "epoch 1: the largest weight is None in the first and 2.0 in the second"


def test_a_plan_that_costs_more_than_it_saves_warns_before_it_starts():
    plan = Plan(epochs=3, batch_size=8, source="fresh", ratio=0.8)
    with pytest.warns(attent.CostWarning, match=r"costs 3\.40 epochs .* more than the 3 .* costs 0\.33 of"):
        attent.teach(Toy(30, seed=1), plan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attent.teach(Toy(30, seed=1), dataclasses.replace(plan, ratio=0.3))


def test_what_scoring_cost_is_measured_in_the_run_but_for_its_first_time(tmp_path):
    plan = Plan(epochs=4, batch_size=8, source="fresh", ratio=0.5)
    trace = attent.teach(Toy(30, seed=1), plan, run=tmp_path / "r")
    seconds = [(99.0, 0.1), (0.3, 0.5), (0.3, 0.5), (0.3, 0.5)]
    records = [
        msgspec.structs.replace(record, seconds=Seconds(scoring=scoring, training=training))
        for record, (scoring, training) in zip(trace.records, seconds, strict=True)
    ]
    assert forward_share(records) == pytest.approx(0.3 * 3 / 90 / (0.5 * 3 / 45))
    assert forward_share(records[:1]) is None
    told = []
    show_report(tmp_path / "r", tell=told.append)
    assert "scoring an example cost" in told[-2]


def test_a_state_of_another_reference_is_refused():
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5)
    state = Course(plan, 4, reference=np.ones(4)).state()
    with pytest.raises(
        attent.CourseError, match="with other reference losses, replay, groups or costs: give those it began with"
    ):
        Course(plan, 4).load_state(state)


def test_pieces():
    assert deviations(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert stalest(np.array([2, 0, 1, 0]), 2).tolist() == [1, 3]
    assert in_turn(np.array([5, 1, 1, 1]), 3, lambda ids, k: ids[-k:]).tolist() == [0, 2, 3]


TOLD = "InTurn() goes by what training has shown of each example (turns)"
TOLD_AUTO = "Auto() goes by what training has shown of each example (losses, before, turns)"
ONLY_REUSE = "must be Reuse() without refresh, got "


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"select": InTurn(), "source": "fresh"}, "source", f"{ONLY_REUSE}Fresh(): {TOLD}"),
        ({"select": InTurn(), "source": "replay"}, "source", f"{ONLY_REUSE}Replay(): {TOLD}"),
        ({"select": InTurn(), "source": Reuse(refresh=0.1)}, "source", f"{ONLY_REUSE}Reuse(refresh=0.1): {TOLD}"),
        ({"select": Auto(), "source": Reuse(refresh=0.1)}, "source", f"{ONLY_REUSE}Reuse(refresh=0.1): {TOLD_AUTO}"),
        ({"select": Auto(), "warm_up": 0}, "warm_up", f"must be at least 1, got 0: {TOLD_AUTO}"),
        (
            {"select": "in_turn(ties=hard)", "warm_up": 0},
            "warm_up",
            f"must be at least 1, got 0: {TOLD.replace('InTurn()', 'InTurn(ties=Hard())')}",
        ),
        ({"select": InTurn(), "non_finite": "drop"}, "non_finite", f"must be 'error', got 'drop': {TOLD}"),
        ({"select": Auto(), "non_finite": "last"}, "non_finite", f"must be 'error', got 'last': {TOLD_AUTO}"),
        (
            {"select": Auto(), "source": Reuse(measure="progress"), "warm_up": 2},
            "source",
            "must rank 'loss', got Reuse(measure='progress'): Auto() goes by losses itself",
        ),
        (
            {"source": Reuse(measure="progress")},
            "warm_up",
            "must be at least 2, got 1: progress is the decrease between two sights of an example in training",
        ),
        (
            {"source": Pool(share=0.3)},
            "source",
            "must have a share of at least the highest ratio (0.5), got Pool(share=0.3)",
        ),
        (
            {"source": Proxy(share=0.3), "ratio": attent.linear(0.2, 0.8)},
            "source",
            "must have a share of at least the highest ratio (0.8), got Proxy(share=0.3)",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_by_field(fields, field, rule):
    with pytest.raises(attent.PlanError) as error:
        Plan(**{"epochs": 4, "batch_size": 4, "warm_up": 1, "ratio": 0.5, **fields})
    assert (error.value.field, error.value.rule) == (field, rule)


def test_whoever_looks_at_no_score_needs_no_warm_up():
    taught, scored = drive(Course(Plan(epochs=2, batch_size=4, ratio=0.5, select=InTurn()), 8), lambda e: np.ones(8))
    assert (sorted(sum(taught, [])), scored) == (list(range(8)), [])


@pytest.mark.parametrize(
    "reference", [np.ones(3), np.ones(4, np.float32), np.array([1.0, np.nan, 1.0, 1.0]), [1.0] * 4]
)
def test_a_reference_that_does_not_fit(reference):
    with pytest.raises(attent.ScoreError, match="reference must be"):
        Course(Plan(epochs=2, batch_size=2, warm_up=1), 4, reference=reference)
