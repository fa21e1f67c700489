"""Rules T1 to T6: plans, schedules, timelines and costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

import attent
from attent import Fresh, Plan, Reuse, Soft, constant, cosine, linear, step
from attent.plan.schedules import parse


def phases(plan, n=100):
    return [(row.phase, row.round, row.k, row.score, row.select, row.steps) for row in plan.timeline(n)]


def test_a_timeline_epoch_by_epoch():
    plan = Plan(epochs=6, batch_size=30, ratio=linear(0.2, 0.6), interval=2, warm_up=1, cool_down=1)
    assert phases(plan) == [
        ("warm-up", None, 100, False, False, 4),
        ("taught", 0, 20, False, True, 1),
        ("taught", 0, 20, False, False, 1),
        ("taught", 1, 60, False, True, 2),
        ("taught", 1, 60, False, False, 2),
        ("cool-down", None, 100, False, False, 4),
    ]
    assert plan.total_steps(100) == 14
    assert plan.cost(100) == (0, 360, 3.6, pytest.approx(0.4))


def test_reused_scores_need_one_pass_where_nothing_was_trained_before():
    rows = Plan(epochs=3, batch_size=10, ratio=0.5).timeline(10)
    assert [row.score for row in rows] == [True, False, False]
    assert [row.select for row in rows] == [True, True, True]


def test_fresh_scores_are_taken_before_each_selection_and_counted():
    plan = Plan(epochs=4, batch_size=10, ratio=0.5, interval=2, source="fresh", warm_up=0)
    assert [row.score for row in plan.timeline(10)] == [True, False, True, False]
    assert plan.cost(10, forward_share=0.5) == (20, 20, 3.0, 0.25)
    again = Plan(epochs=4, batch_size=10, ratio=0.5, interval=2, source="fresh", reselect=True)
    assert [row.score for row in again.timeline(10)] == [True] * 4


def test_random_never_scores_and_ratio_one_never_selects():
    plan = Plan(epochs=3, batch_size=5, ratio=0.5, select="random", source="fresh")
    assert plan.cost(10) == (0, 15, 1.5, 0.5)
    everything = Plan(epochs=3, batch_size=5, ratio=1.0, source="fresh").timeline(10)
    assert [(row.k, row.score, row.select) for row in everything] == [(10, False, False)] * 3


def test_cycles_train_on_all_examples_after_the_interval():
    plan = Plan(epochs=7, batch_size=50, cycle=3, interval=2, ratio=0.5, warm_up=1)
    assert [row.phase for row in plan.timeline(100)] == [
        "warm-up", "taught", "taught", "full", "taught", "taught", "full",
    ]  # fmt: skip


def test_intervals_end_with_their_cycle_and_with_the_run():
    assert [tuple(r) for r in Plan(epochs=5, batch_size=1, interval=4).rounds()] == [(0, 0.4, 4, 0), (4, 0.4, 1, 0)]
    cycles = Plan(epochs=6, batch_size=1, interval=9, cycle=3).rounds()
    assert [(r.taught, r.full) for r in cycles] == [(3, 0), (3, 0)]


def test_rising_intervals_grow():
    rounds = Plan(epochs=20, batch_size=1, interval=linear(1, 5)).rounds()
    assert [r.taught for r in rounds] == [1, 1, 1, 2, 2, 2, 3, 4, 4]
    assert sum(r.taught for r in rounds) == 20


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (constant(0.3), [0.3, 0.3, 0.3]),
        (linear(0.2, 0.8), [0.2, 0.5, 0.8]),
        (linear(0.8, 0.2), [0.8, 0.5, 0.2]),
        (cosine(0.2, 0.8), [0.2, 0.5, 0.8]),
        (cosine(0.8, 0.2), [0.8, 0.5, 0.2]),
        (step([0.1, 0.9], [0.5]), [0.1, 0.9, 0.9]),
    ],
    ids=repr,
)
def test_schedules_rise_fall_and_read_back(schedule, values):
    assert [schedule(p) for p in (0.0, 0.5, 1.0)] == values
    assert parse(repr(schedule)) == schedule


def test_any_callable_is_a_schedule():
    plan = Plan(epochs=3, batch_size=1, ratio=lambda p: 0.5 - 0.4 * p, interval=lambda p: 1)
    assert [r.ratio for r in plan.rounds()] == [0.5, 0.3, pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 0}, "epochs must be a whole number in [1, 1000000], got 0"),
        ({"epochs": 2.0}, "epochs must be a whole number in [1, 1000000], got 2.0"),
        ({"epochs": True}, "epochs must be a whole number in [1, 1000000], got True"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"ratio": 0}, r"ratio must be in (0, 1], got 0"),
        ({"ratio": 1.4}, r"ratio must be in (0, 1], got 1.4"),
        ({"ratio": math.nan}, r"ratio must be in (0, 1], got nan"),
        ({"ratio": "much"}, "ratio cannot be taken: no schedule 'much'; known: constant, linear, cosine, step"),
        ({"ratio": linear(0.5, 1.5)}, "ratio must be in (0, 1], got 1.25 from linear(0.5, 1.5) at progress 0.75"),
        ({"interval": 0}, "interval must be a whole number of at least 1, got 0"),
        ({"interval": linear(1, 0.2)}, "interval must be at least 1 epoch, got 0.8 from linear(1.0, 0.2)"),
        (
            {"select": "greedy"},
            "select cannot be taken: no policy 'greedy'; known: hard, soft, random, band, infobatch,",
        ),
        ({"select": Soft}, "select must be a policy such as Soft(temperature=0.3), or its text, got <class '"),
        ({"select": None}, "select must be a policy such as Soft(temperature=0.3), or its text, got None"),
        ({"source": "new"}, "source cannot be taken: no source 'new'; known: reuse, fresh, pool, proxy, replay"),
        ({"source": Fresh}, "got <class 'attent.choose.sources.Fresh'>: write Fresh()"),
        ({"source": 3}, "source must be a source such as Reuse(), or its text, got 3"),
        ({"source": "reuse(bonus=-1)"}, "source cannot be taken: bonus must be in [0, 1e+06], got -1"),
        ({"source": "reuse(refresh=1.5)"}, "source cannot be taken: refresh must be in [0, 1], got 1.5"),
        (
            {"select": "soft(scaling='max')"},
            "select cannot be taken: scaling must be one of none, std, rank, got 'max'",
        ),
        ({"select": "soft(temperature=-1)"}, "select cannot be taken: temperature must be at least 0, got -1"),
        ({"select": "band(cap=0)"}, "select cannot be taken: cap must be in (0, 1], got 0"),
        ({"warm_up": 4, "cool_down": 2}, "warm_up + cool_down must be at most epochs (5), got 4 + 2"),
        ({"seed": -1}, "seed must be a whole number in [0, 18446744073709551615], got -1"),
        ({"cycle": 0}, "cycle must be a whole number of at least 1, got 0"),
        ({"select": "soft(correction=0)"}, "select cannot be taken: correction must be above 0, or None, got 0"),
        ({"select": "hard(correction=5.0)"}, "policy 'hard': got an unexpected keyword argument 'correction'"),
        ({"select": "soft(0, correction=5.0)"}, "select cannot be taken: correction needs a choice that is random"),
        ({"non_finite": "skip"}, "non_finite must be one of error, drop, last, got 'skip'"),
        ({"reselect": 1}, "reselect must be true or false, got 1"),
    ],
    ids=str,
)
def test_impossible_plans_are_refused_where_they_are_written(fields, words):
    with pytest.raises(attent.PlanError) as error:
        Plan(**{"epochs": 5, "batch_size": 2, **fields})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [({"ratio": linear(0.5, 1.5)}, "ratio"), ({"interval": linear(1, 0.2)}, "interval"), ({"epochs": 0}, "epochs")],
)
def test_a_refusal_carries_its_field(schedule, field):
    with pytest.raises(attent.PlanError) as error:
        Plan(**{"epochs": 5, "batch_size": 2, **schedule})
    assert error.value.field == field


def test_plans_read_back():
    plan = Plan(epochs=9, batch_size=4, ratio=cosine(0.2, 0.7), interval=linear(1, 3), select="hard")
    assert Plan.from_dict(plan.to_dict()) == plan
    with pytest.raises(attent.PlanError, match="no plan field 'ratios'; known: batch_size, bucket, cool_down, cycle, epochs"):
        Plan.from_dict({"epochs": 1, "batch_size": 1, "ratios": 0.5})
    with pytest.raises(attent.PlanError, match="a plan needs batch_size"):
        Plan.from_dict({"epochs": 1})


@pytest.mark.parametrize("text", ["cosine(0.2", "cosine(a, b)", "sin(1, 2)", "linear(1)", "step([1], [2])", "''"])
def test_schedules_that_cannot_be_read(text):
    with pytest.raises(attent.PlanError):
        parse(text)


def test_presets():
    plan = Plan.default(epochs=10, batch_size=32)
    assert (plan.warm_up, plan.cool_down, plan.ratio, plan.select, plan.source) == (
        1, 1, 0.4, Soft(temperature=0.3), Reuse(),
    )  # fmt: skip
    assert Plan.default(epochs=1, batch_size=1).timeline(5)[0].phase == "warm-up"
    assert [row.phase for row in Plan.full(epochs=2, batch_size=1).timeline(3)] == ["warm-up", "warm-up"]
    paper = Plan.paper(epochs=30, batch_size=8)
    assert (paper.rounds()[0].ratio, paper.rounds()[-1].ratio, paper.source) == (0.2, 0.8, Fresh())
    simple = Plan.official_simple(epochs=4, batch_size=8).timeline(10)
    assert [(row.k, row.select) for row in simple] == [(10, False), (7, True), (7, False), (7, False)]
    assert Plan.official(epochs=30, batch_size=8, cycles=4, seed=5).seed == 5


@pytest.mark.parametrize(
    "preset", ["default", "paper", "official", "official_simple", "rs2", "infobatch", "auto", "balanced"]
)
def test_presets_tell_which_fields_a_plan_has(preset):
    with pytest.raises(attent.PlanError, match="^no plan field 'foo'; known: batch_size, bucket, cool_down, cycle, .*warm_up$"):
        getattr(Plan, preset)(epochs=20, batch_size=8, foo=1)


@pytest.mark.parametrize(("epochs", "longest"), [(12, 1), (14, 1), (15, 2), (26, 3), (100, 9)])
def test_the_papers_intervals_grow_from_15_epochs_on(epochs, longest):
    assert max(each.taught for each in Plan.paper(epochs=epochs, batch_size=8).rounds()) == longest


def test_the_official_timeline():
    plan = Plan.official(epochs=30, batch_size=8, cycles=4)  # cycles of 7, one epoch left over
    assert [tuple(r) for r in plan.rounds()] == [(1, 0.2, 5, 2), (8, 0.35, 5, 2), (15, 0.65, 5, 2), (22, 0.8, 5, 2)]
    rows = plan.timeline(100)
    assert (len(rows), rows[0].phase, rows[-1].phase) == (30, "warm-up", "cool-down")
    assert [row.epoch for row in rows if row.score] == [1, 8, 15, 22]
    soft = Plan.official(epochs=30, batch_size=8, cycles=4, select="soft").timeline(100)
    assert [row.epoch for row in soft if row.score] == [e for c in (1, 8, 15, 22) for e in range(c, c + 5)]
    with pytest.raises(attent.PlanError, match=r"epochs must be at least cycles \+ 1 = 11, got 10"):
        Plan.official(epochs=10, batch_size=1)


def test_the_official_defaults_hardly_save():
    # 1600 epochs, forward a third of a step: 25 epochs of examples saved, 3.3 spent on scoring.
    cost = Plan.official(epochs=1600, batch_size=64).cost(3000, forward_share=1 / 3)
    assert cost.saving == pytest.approx((25 - 10 / 3) / 1600, abs=1e-4)


def test_steps_are_the_batches_that_will_be_trained():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, batch = int(rng.integers(1, 60)), int(rng.integers(1, 20))
        plan = Plan(epochs=5, batch_size=batch, ratio=float(rng.uniform(0.05, 1)), warm_up=1)
        assert plan.total_steps(n) == sum(-(-row.k // batch) for row in plan.timeline(n))


def test_no_data_is_refused():
    with pytest.raises(attent.PlanError, match="n must be a whole number of at least 1, got 0"):
        Plan(epochs=1, batch_size=1).timeline(0)
    with pytest.raises(attent.PlanError, match=r"forward_share must be in \[0, 1e\+06\], got -1"):
        Plan(epochs=1, batch_size=1).cost(5, forward_share=-1)
    with pytest.raises(attent.PlanError, match="got 1e\\+308"):
        Plan(epochs=1, batch_size=1).cost(5, forward_share=1e308)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1.5, "n must be a whole number of at least 1, got 1.5"),
        (100.0, "n must be a whole number of at least 1, got 100.0"),
        (True, "n must be a whole number of at least 1, got True"),
        ("9", "n must be a whole number of at least 1, got '9'"),
        (-1, "n must be a whole number of at least 1, got -1"),
        (2**63, "n must be below 2**63, got 9223372036854775808"),
    ],
)
def test_examples_are_counted_in_whole_numbers(n, words):
    for plan in (Plan(epochs=1, batch_size=1), Plan(epochs=2, batch_size=1, source="pool")):
        for ask in (plan.timeline, plan.cost, plan.total_steps):
            with pytest.raises(attent.PlanError) as error:
                ask(n)
            assert str(error.value) == words
    assert Plan(epochs=1, batch_size=3).total_steps(np.int64(8)) == 1  # 0.4 * 8


@pytest.mark.parametrize(
    "preset", ["default", "paper", "official", "official_simple", "rs2", "infobatch", "auto", "balanced", "full"]
)
@pytest.mark.parametrize(("epochs", "told"), [(10**6 + 1, "1000001"), (10**400, "a number of 1329 bits")])
def test_more_epochs_than_can_be_laid_out_are_refused_at_once(preset, epochs, told):
    rule = f"epochs must be a whole number in [1, 1000000], got {told}"
    for make in (Plan, getattr(Plan, preset)):
        with pytest.raises(attent.PlanError) as error:
            make(epochs=epochs, batch_size=4)
        assert str(error.value) == rule


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"interval": 10**400}, "interval must be below 2**63, got a number of 1329 bits"),
        ({"batch_size": 10**5000}, "batch_size must be below 2**63, got a number of 16610 bits"),
        ({"cycle": 2**63}, "cycle must be below 2**63, got 9223372036854775808"),
        (
            {"seed": 10**400},
            "seed must be a whole number in [0, 18446744073709551615], got a number of 1329 bits",
        ),
        (
            {"select": {"name": "soft", "temperature": 10**400}},
            "select cannot be taken: temperature must be at least 0, got a number of 1329 bits",
        ),
        ({"ratio": -(10**5000)}, "ratio must be in (0, 1], got a number of 16610 bits"),
    ],
)  # fmt: skip
def test_numbers_that_nothing_can_hold_are_refused_and_not_written_out(fields, words):
    with pytest.raises(attent.PlanError) as error:
        Plan(**{"epochs": 5, "batch_size": 2, **fields})
    assert str(error.value) == words


def test_an_interval_longer_than_the_run_ends_with_it():
    assert [r.taught for r in Plan(epochs=5, batch_size=1, interval=2**63 - 1).rounds()] == [5]


def test_numbers_of_numpy_are_numbers():
    plan = Plan(epochs=np.int64(3), batch_size=np.int32(2), ratio=np.float64(0.5), seed=np.uint64(2**64 - 1))
    assert plan == Plan(epochs=3, batch_size=2, ratio=0.5, seed=2**64 - 1)
    assert all(type(value) in (int, float, str, bool, type(None)) for value in plan.to_dict().values())
    with pytest.raises(attent.PlanError, match=r"epochs must be a whole number in \[1, 1000000\], got '3'"):
        Plan.default(epochs="3", batch_size=1)
