"""From jobs to rows: means, savings and paired intervals by numbers worked out by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from attent.judging.arms import Arm
from attent.judging.curve import Estimate, Read, estimate, resamples
from attent.judging.jobs import JobResult
from attent.judging.judgement import complete_seeds, measured_forward_share, rows_of
from attent.judging.verdict import best_of, certainty, percent, verdict
from attent.run.records import Seconds

ARMS = [Arm("full", "full", {}, 1.0), Arm("mine", "policy", {}), Arm("full-0.5", "full", {}, 0.5)]


def job(arm, seed, cost, quality, scored=0, **others):
    """Return a job over 100 examples; cost in epochs trained."""
    return JobResult(
        arm=arm,
        seed=seed,
        plan={},
        options={},
        epochs=1,
        steps=1,
        examples_scored=scored,
        examples_trained=round(100 * cost),
        quality=quality,
        **others,
    )


def jobs_of(mine, seeds=3, noise=(0.0, 0.3, -0.1)):
    """Return jobs on a curve .6 at 4 and .8 at 8, each seed shifting all arms alike."""
    values = {"full": (8, 0.8), "full-0.5": (4, 0.6), "mine": mine}
    return [
        job(arm, seed, cost, {"accuracy": quality + noise[seed]})
        for seed in range(seeds)
        for arm, (cost, quality) in values.items()
    ]


def rows(jobs, seeds, metrics=("accuracy",), alike=None, share=1 / 3):
    found, curves = rows_of(ARMS, alike or {}, jobs, seeds, metrics, 100, share)
    return {row.arm: row for row in found}, curves


def test_shares_are_of_the_seconds_of_all_seeds():
    jobs = [
        msgspec.structs.replace(each, seconds=Seconds(scoring=each.seed, selecting=1.0, training=6.0 - each.seed))
        for each in jobs_of((4.0, 0.7))
    ]
    found, _ = rows(jobs, [0, 1, 2])
    assert found["mine"].share_of_seconds == {"scoring": pytest.approx(3 / 21), "selecting": pytest.approx(3 / 21)}
    assert rows(jobs_of((4.0, 0.7)), [0, 1, 2])[0]["mine"].share_of_seconds == {}


def test_what_a_seed_does_to_all_arms_cancels():
    found, curves = rows(jobs_of((4.0, 0.7)), [0, 1, 2])
    saved = found["mine"].savings["accuracy"]["full_epochs"]
    # Full training reaches .7 half way between 4 and 8 in the logarithm: at 4 * sqrt(2).
    assert saved.value == pytest.approx(1 - 1 / np.sqrt(2), rel=1e-9)
    assert saved.low == pytest.approx(saved.value, rel=1e-9)
    assert saved.high == pytest.approx(saved.value, rel=1e-9)
    assert saved.surely_above
    assert curves["accuracy"].costs == [4.0, 8.0]
    assert curves["accuracy"].measured == pytest.approx([0.6 + 0.2 / 3, 0.8 + 0.2 / 3])
    assert found["mine"].quality["accuracy"] == pytest.approx(0.7 + 0.2 / 3)
    assert found["mine"].ahead["accuracy"].value == pytest.approx(0.1)
    assert found["mine"].worse == []


def test_the_interval_is_that_of_the_resampled_seeds():
    by_seed = [0.65, 0.7, 0.75]
    jobs = [
        job(arm, seed, cost, {"accuracy": quality})
        for seed, mine in enumerate(by_seed)
        for arm, cost, quality in (("full", 8, 0.8), ("full-0.5", 4, 0.6), ("mine", 4, mine))
    ]
    saved = rows(jobs, [0, 1, 2])[0]["mine"].savings["accuracy"]["full_epochs"]
    means = np.sort(np.array(by_seed)[resamples(3)[1:]].mean(1))
    low, high = (1 - 2 ** -((means[place] - 0.6) / 0.2) for place in (50, 1949))
    assert (saved.low, saved.high) == (pytest.approx(low), pytest.approx(high))
    assert low == pytest.approx(1 - 2**-0.25)  # the seed .65 three times over: 1 resample in 27
    assert high == pytest.approx(1 - 2**-0.75)


def test_beyond_the_ends_there_are_only_bounds():
    above = rows(jobs_of((6.0, 0.85)), [0, 1, 2])[0]["mine"].savings["accuracy"]["full_epochs"]
    assert (above.value, above.bound, above.high_open, above.low_open) == (0.25, 1, True, False)
    assert above.surely_above
    below = rows(jobs_of((4.2, 0.5)), [0, 1, 2])[0]["mine"].savings["accuracy"]["full_epochs"]
    assert below.value == pytest.approx(-0.05)
    assert (below.bound, below.low_open, below.high_open) == (-1, True, False)
    assert below.surely_below


def test_a_short_arm_is_a_point_of_the_curve():
    jobs = [
        job(arm, seed, cost, {"accuracy": quality})
        for seed in range(2)
        for arm, cost, quality in (("full", 8, 0.8), ("full-0.5", 2, 0.4), ("short", 4, 0.7), ("mine", 4, 0.7))
    ]
    found, curves = rows_of([*ARMS, Arm("short", "short", {})], {}, jobs, [0, 1], ["accuracy"], 100, 1 / 3)
    assert curves["accuracy"].arms == ["full-0.5", "short", "full"]
    assert curves["accuracy"].costs == [2.0, 4.0, 8.0]
    # Without the short arm, which a straight line from 2 to 8 misses, a quarter would seem to be saved.
    savings = {row.arm: row.savings["accuracy"]["full_epochs"].value for row in found if row.savings}
    assert savings == {"mine": 0.0}
    assert rows(jobs, [0, 1])[0]["mine"].savings["accuracy"]["full_epochs"].value == pytest.approx(1 - 2**-0.5)


def test_a_single_seed_has_no_interval():
    saved = rows(jobs_of((4.0, 0.7), seeds=1), [0])[0]["mine"].savings["accuracy"]["full_epochs"]
    assert (saved.low, saved.high) == (None, None)
    assert not saved.surely_above


def test_lower_is_better_where_the_name_says_so():
    jobs = [
        job(arm, seed, cost, {"test_loss": loss})
        for seed in range(2)
        for arm, cost, loss in (("full", 8, 0.2), ("full-0.5", 4, 0.4), ("mine", 4, 0.3))
    ]
    found, curves = rows(jobs, [0, 1], ("test_loss",))
    assert found["mine"].savings["test_loss"]["full_epochs"].value == pytest.approx(1 - 1 / np.sqrt(2))
    assert found["mine"].ahead["test_loss"].value == pytest.approx(0.1)
    assert curves["test_loss"].measured == pytest.approx([0.4, 0.2])


def test_a_metric_that_is_surely_worse_is_named():
    jobs = [
        job(arm, seed, cost, {"accuracy": quality, "loss": loss + seed})
        for seed in range(5)
        for arm, cost, quality, loss in (("full", 8, 0.8, 0.2), ("full-0.5", 4, 0.6, 0.4), ("mine", 4, 0.7, 0.5))
    ]
    found, curves = rows(jobs, range(5), ("accuracy", "loss"))
    assert found["mine"].ahead["loss"].value == pytest.approx(-0.1)
    assert found["mine"].worse == ["loss"]
    said, pays = verdict("digits", list(found.values()), curves, ["accuracy", "loss"], 5)
    assert said.endswith("But at that cost full training is better by loss: no clear win.")
    assert pays is None


def test_cheaper_than_the_curve_begins_nothing_is_called_worse():
    # Full training at the cost of 2 would be at most .6: whether .55 is worse than it nobody knows.
    found, _ = rows(jobs_of((2.0, 0.55)), [0, 1, 2])
    ahead = found["mine"].ahead["accuracy"]
    assert (ahead.value, ahead.bound) == (pytest.approx(-0.05), 1)
    assert found["mine"].worse == []


def test_scored_examples_count_their_share():
    jobs = [*jobs_of((4.0, 0.7)), job("mine", 3, 4.0, {"accuracy": 0.7}, scored=100)]
    assert jobs[-1].full_epochs(100, 0.25) == 4.25


def test_process_time_has_a_curve_of_its_own():
    jobs = [
        job(arm, seed, cost, {"accuracy": quality}, process_seconds=seconds, wall_seconds=None)
        for seed in range(2)
        for arm, cost, quality, seconds in (("full", 8, 0.8, 16), ("full-0.5", 4, 0.6, 9), ("mine", 4, 0.7, 12))
    ]
    savings = rows(jobs, [0, 1])[0]["mine"].savings["accuracy"]
    assert savings["process_seconds"].value == pytest.approx(0.0)
    assert "wall_seconds" not in savings


def test_a_failed_job_counts_with_the_worst_of_all():
    jobs = jobs_of((4.0, 0.7), noise=(0, 0, 0))
    jobs = [one for one in jobs if (one.arm, one.seed) != ("mine", 1)]
    jobs.append(job("mine", 1, 4.0, {}, failure="the loss is NaN", failed_epoch=2))
    found, _ = rows(jobs, [0, 1, 2])
    assert found["mine"].quality["accuracy"] == pytest.approx((0.7 + 0.6 + 0.7) / 3)
    assert found["mine"].failures == ["seed 1, epoch 2: the loss is NaN"]
    assert list(found["mine"].savings["accuracy"]) == ["full_epochs"]


def test_seconds_that_nobody_knows_leave_the_other_arms_theirs():
    jobs = [
        job(arm, seed, cost, {"accuracy": quality}, process_seconds=seconds)
        for seed in range(2)
        for arm, cost, quality, seconds in (
            ("full", 8, 0.8, 16),
            ("full-0.5", 4, 0.6, 9),
            ("mine", 4, 0.7, 12),
            ("other", 4, 0.7, None if seed else 12),
        )
    ]
    found, _ = rows_of([*ARMS, Arm("other", "policy", {})], {}, jobs, [0, 1], ["accuracy"], 100, 1 / 3)
    kinds = {row.arm: list(row.savings["accuracy"]) for row in found if row.savings}
    assert kinds == {"mine": ["full_epochs", "process_seconds"], "other": ["full_epochs"]}


def test_an_arm_that_is_not_run_twice_takes_the_row_of_its_twin():
    jobs = [one for one in jobs_of((8.0, 0.8)) if one.arm != "mine"]
    found, _ = rows(jobs, [0, 1, 2], alike={"mine": "full"})
    assert found["mine"].savings["accuracy"]["full_epochs"].value == 0.0
    assert complete_seeds(jobs, [arm.name for arm in ARMS], {"mine": "full"}) == [0, 1, 2]


def test_only_whole_seeds_count():
    jobs = jobs_of((4.0, 0.7))[:-1]
    assert complete_seeds(jobs, [arm.name for arm in ARMS], {}) == [0, 1]


def test_the_forward_share_is_what_scoring_took():
    jobs = [
        job("a", 0, 2.0, {}, scored=100, seconds=Seconds(scoring=1.0, training=3.0)),
        job("b", 0, 4.0, {}, seconds=Seconds(training=9.0)),
    ]
    assert measured_forward_share(jobs) == pytest.approx((1 / 100) / (12 / 600))
    assert measured_forward_share(jobs[1:]) is None


def test_resamples_are_the_same_everywhere():
    drawn = resamples(5)
    assert drawn.shape == (2001, 5)
    assert drawn[0].tolist() == [0, 1, 2, 3, 4]
    assert drawn[1:4].tolist() == [[0, 1, 0, 2, 2], [1, 4, 4, 1, 0], [3, 0, 2, 1, 4]]
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4}


def test_the_ends_of_an_interval_may_be_open():
    values = np.concatenate([[5.0], np.arange(100.0)])
    bound = np.zeros(101, np.int8)
    bound[-4:] = 1
    found = estimate(Read(values, bound), 5)
    assert (found.low, found.high, found.low_open, found.high_open) == (2.0, 97.0, False, True)
    bound[1:4] = -1
    assert estimate(Read(values, bound), 5).low_open


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(value=0.224), "22 %"),
        (Estimate(value=0.23, bound=1), ">= 23 %"),
        (Estimate(value=-0.05, bound=-1), "<= -5 %"),
    ],
)
def test_savings_in_words(found, text):
    assert percent(found) == text


def test_intervals_in_words():
    assert certainty(Estimate(value=0.2, low=-0.1, high=0.3, low_open=True), 5) == "95 %: <= -10 to 30, 5 seeds"
    assert certainty(Estimate(value=0.2), 1) == "1 seed, no interval"


def told(mine, seeds=5, metrics=("accuracy",)):
    noise = [0.1 * seed for seed in range(seeds)]
    found, curves = rows(jobs_of(mine, seeds, noise), range(seeds))
    return verdict("digits", list(found.values()), curves, list(metrics), seeds)


def test_the_verdict_where_teaching_pays():
    assert told((4.0, 0.7)) == (
        "On digits, mine reaches in 4.00 full epochs the accuracy of 5.66: it saves 29 % (95 %: 29 to 29, 5 seeds).",
        "mine",
    )
    said, _ = told((6.0, 0.9), metrics=("accuracy", "loss"))
    assert said == (
        "On digits, mine reaches in 6.00 full epochs the accuracy of at least 8.00: it saves >= 25 % "
        "(95 %: >= 25 to >= 25, 5 seeds). No other metric is surely worse."
    ).replace(">= 25 to", "25 to")


def test_the_verdict_where_it_does_not():
    assert told((6.0, 0.7)) == (
        "On digits, no policy saves with certainty: the best is mine, -6 % (95 %: -6 to -6, 5 seeds). "
        "Train on all data. At equal cost mine is surely worse by accuracy than full training "
        "(difference -0.0170, 95 %: -0.0170 to -0.0170, 5 seeds).",
        None,
    )


def test_against_training_that_fails_nothing_is_proved():
    jobs = jobs_of((4.0, 0.7), 5, [0.0] * 5)
    failing = [msgspec.structs.replace(one, failure="NaN", failed_epoch=1) for one in jobs if one.arm == "full"][:1]
    rest = [one for one in jobs if (one.arm, one.seed) != ("full", 0)]
    found, curves = rows([*rest, *failing], range(5))
    said, pays = verdict("digits", list(found.values()), curves, ["accuracy"], 5)
    assert said.endswith(" But runs of full failed: against training that fails nothing is proved.")
    assert pays is None


def test_few_seeds_prove_nothing():
    said, pays = told((4.0, 0.7), seeds=4)
    assert said.endswith("(95 %: 29 to 29, 4 seeds). That is no proof yet: certainty needs at least 5 seeds.")
    assert pays is None
    said, pays = told((4.0, 0.7), seeds=1)
    assert said == (
        "On digits, mine saves 29 % with a single seed, which proves nothing: an interval needs at least 2. "
        "At equal cost mine is better by accuracy than full training (difference 0.100, in this single run)."
    )
    assert pays is None


def test_the_best_is_the_surest_of_those_worse_in_nothing():
    from attent.judging.judgement import Row

    def row(name, value, low, worse=()):
        saved = Estimate(value=value, low=low, high=value)
        return Row(
            arm=name,
            kind="policy",
            costs={},
            quality={},
            savings={"accuracy": {"full_epochs": saved}},
            worse=list(worse),
        )

    greedy, sure, hurt = row("greedy", 0.5, 0.02), row("sure", 0.3, 0.2), row("hurt", 0.6, 0.4, ["loss"])
    assert best_of([greedy, hurt, sure], "accuracy") is sure
    assert best_of([greedy, hurt], "accuracy") is greedy
    assert best_of([hurt], "accuracy") is hurt


CONTROLLED = [*ARMS, Arm("balanced", "control", {}, of="mine")]


def beside(mine, balanced, seeds=5):
    """Return rows, and the verdict on a policy that saves for certain, beside a control of these values by seed."""
    noise = [0.1 * seed for seed in range(seeds)]
    jobs = jobs_of((4.0, 0.7 + mine), seeds, noise)
    jobs += [job("balanced", seed, 4.0, {"accuracy": 0.7 + noise[seed] + balanced[seed]}) for seed in range(seeds)]
    found, curves = rows_of(CONTROLLED, {}, jobs, range(seeds), ["accuracy"], 100, 1 / 3)
    return {row.arm: row for row in found}, verdict("digits", found, curves, ["accuracy"], seeds)


def test_a_control_is_compared_seed_by_seed_and_is_no_point_of_the_curve():
    by_seed = [0.01, 0.02, 0.03, 0.04, 0.05]
    found, _ = beside(0.0, by_seed)
    ahead = found["mine"].ahead_of["balanced"]["accuracy"]
    means = np.sort(-np.array(by_seed)[resamples(5)[1:]].mean(1))
    assert (ahead.value, ahead.low, ahead.high) == (
        pytest.approx(-0.03), pytest.approx(means[50]), pytest.approx(means[1949]),
    )  # fmt: skip
    assert found["mine"].savings["accuracy"]["full_epochs"].value == pytest.approx(1 - 1 / np.sqrt(2))
    assert found["balanced"].savings["accuracy"]["full_epochs"].value > 0.29
    assert found["balanced"].ahead_of == {}


def test_where_a_control_surely_does_better_no_policy_pays():
    _, (said, pays) = beside(0.0, [0.01, 0.02, 0.03, 0.04, 0.05])
    assert said.startswith("On digits, mine reaches in 4.00 full epochs the accuracy of 5.66: it saves 29 % ")
    assert said.endswith(
        " But balanced, which looks at no score, does better than mine: accuracy 0.9300 against 0.9000 "
        "(difference -0.0300, 95 %: -0.0420 to -0.0180, 5 seeds)."
    )
    assert pays is None


@pytest.mark.parametrize(
    ("balanced", "told"),
    [
        (
            [-0.02, -0.03, -0.04, -0.03, -0.02],
            "mine also beats balanced, which looks at no score: accuracy 0.8720 against",
        ),
        (
            [-0.02, 0.03, -0.02, 0.03, -0.02],
            "balanced, which looks at no score, does about as well as mine: accuracy 0.9000",
        ),
    ],
)
def test_what_a_control_shows_is_told_and_a_policy_may_pay_all_the_same(balanced, told):
    _, (said, pays) = beside(0.0, balanced)
    assert told in said
    assert pays == "mine"


@pytest.mark.parametrize("seeds", [4, 5])
def test_where_only_a_control_saves_that_is_said_in_place_of_all_data_alone(seeds):
    _, (said, pays) = beside(-0.15, [0.0] * seeds, seeds)
    drawn = f", or on what balanced draws: it saves 29 % (95 %: 29 to 29, {seeds} seeds)" if seeds == 5 else ""
    assert f"the best is mine, <= 0 % (95 %: <= 0 to 0, {seeds} seeds). Train on all data{drawn}. At equal" in said
    assert pays is None


@pytest.mark.parametrize(("by", "than"), [(0.03, "ahead of"), (-0.03, "behind"), (0.0, "level with")])
def test_a_single_run_beside_a_control_is_told_as_one(by, than):
    _, (said, pays) = beside(0.0, [by], 1)
    assert f"balanced, which looks at no score, is {than} mine: accuracy {0.7 + by:.4f} against 0.7000 " in said
    assert said.endswith(", in this single run), which proves nothing.")
    assert pays is None


def test_where_short_training_wins_that_is_said_with_its_interval():
    said, pays = told((4.0, 0.55))
    assert "mine, <= 0 % (95 %: <= 0 to 0, 5 seeds). Train on all data." in said
    assert said.endswith(
        " At equal cost mine is surely worse by accuracy than full training "
        "(difference -0.0500, 95 %: -0.0500 to -0.0500, 5 seeds)."
    )
    assert pays is None


def test_without_full_training_nothing_is_claimed():
    jobs = [job("mine", seed, 4.0, {"accuracy": 0.7}) for seed in range(5)]
    found, curves = rows_of([ARMS[1]], {}, jobs, range(5), ["accuracy"], 100, 1 / 3)
    assert curves == {}
    assert verdict("digits", found, curves, ["accuracy"], 5) == (
        "Whether teaching beats training on all examples is not known: no such arm was run.", None,
    )  # fmt: skip


def test_without_quality_nothing_is_claimed():
    jobs = [job(arm, 0, 4.0, {}) for arm in ("full", "full-0.5", "mine")]
    found, curves = rows(jobs, [0], metrics=())
    assert verdict("digits", list(found.values()), curves, [], 1) == (
        "The learner does not judge itself (it has no evaluate), so whether teaching paid is not known.", None,
    )  # fmt: skip
