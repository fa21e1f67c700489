"""Adaptive plans: what they teach, when, how and why, and that without teaching they are full training."""

import numpy as np
import pytest

import attent
from attent import Auto, Course, Done, Noise, Plan, Soft
from attent.choose.auto import told
from attent.choose.scores import deviations
from attent.cli.phases import shown_phases
from attent.cli.report_command import show_report
from attent.reference.recipes import byte_gpt
from attent.tests.driving import drive
from attent.tests.toy import Toy


@pytest.mark.parametrize("fields", [{"warm_up": 10}, {"ratio": 0.001}, {"ratio": 1e-300}, {"cycle": 3}])
def test_auto_refuses_what_would_cost_more_than_it_is_given(fields):
    with pytest.raises(attent.PlanError):
        Plan.auto(epochs=3, batch_size=8, **fields)


@pytest.mark.parametrize(("epochs", "cool_down"), [(1, 0), (2, 0), (3, 0), (4, 1), (20, 1)])
def test_auto_ends_a_run_of_four_epochs_or_more_on_all(epochs, cool_down):
    assert Plan.auto(epochs=epochs, batch_size=8).cool_down == cool_down


def test_auto_counts_passes_that_are_part_of_an_epoch():
    with pytest.raises(attent.PlanError, match=r"^select must count passes, as Auto\(\) does, got Hard\(\)$"):
        Plan.auto(epochs=5, batch_size=4, select="hard")
    with pytest.raises(attent.PlanError, match=r"^ratio must be a number in \[0\.01, 0\.5\] for passes, got 0\.7$"):
        Plan.auto(epochs=5, batch_size=4, ratio=0.7)
    assert Plan.auto(epochs=5, batch_size=4, ratio=np.float32(0.5)).ratio == 0.5


NAMES = {"hard": "hardest", "soft": "soft", None: "in turn"}


def adaptive_losses(learnable=True, fall=0.7, level=0.12, at_once=1.0):
    """Of 100 examples 70 have a low loss; the other 30 are hard and fall by an epoch to ``fall`` of it, or not.

    ``at_once``: what the first epoch leaves of them beyond that.
    """
    hard = np.r_[np.full(70, level), np.linspace(2.0, 3.0, 30)]

    def losses(epoch):
        left = fall**epoch * (at_once if epoch else 1.0) if learnable else 1.0
        return hard * np.r_[np.ones(70), np.full(30, left)]

    return losses


def whys(course, losses):
    """Take an adaptive course to its end; return the reasons of its choices, in words."""
    found = []
    while not isinstance(lesson := course.next(), Done):
        if course.selection is not None and course.step == 0:
            found.append(told(course.selection.why))
        course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
    return found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fall": 0.7, "at_once": 0.7}, {"hardest"}),
        ({"fall": 0.8}, {"hardest", "in turn"}),
        ({"level": 0.3, "fall": 0.7}, {"soft"}),
        ({"level": 0.3, "fall": 0.5}, {"soft", "hardest"}),
        ({"level": 0.9}, {"in turn"}),
    ],
)
def test_how_a_pass_chose_is_recorded_and_shown(settings, words):
    plan, losses = Plan.auto(epochs=6, batch_size=10, seed=5), adaptive_losses(**settings)
    course, records, hows = Course(plan, 100), [], []
    while not isinstance(lesson := course.next(), Done):
        how = None if course.memory is None else NAMES[course.memory["how"]]
        word = how if course.row.phase == "taught" else course.row.phase
        record = course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
        if record is not None:
            records.append(record)
            hows.append(word)
    assert shown_phases(plan.to_dict(), records) == hows
    assert words <= set(hows)


def test_an_adaptive_plan_tries_at_once_what_is_hard_to_a_model_that_knows_the_rest():
    plan = Plan.auto(epochs=4, batch_size=10, seed=5)
    taught, scored = drive(Course(plan, 100), adaptive_losses(at_once=0.7))
    assert scored == []
    # An epoch, cut between batches, its first part once more.
    assert [len(ids) for ids in taught] == [100, 10, 20, 40, 30, 30, 40, 30, 100]
    assert sorted(taught[1] + taught[2]) == list(range(70, 100))
    assert all(set(range(70, 100)) <= set(ids) for ids in taught[3:-1])
    reasons = whys(Course(plan, 100), adaptive_losses(at_once=0.7))
    assert reasons[0] == "at first sight the harder half holds 92 % of the loss: try the hardest"
    assert reasons[1] == "what is tried is not seen to be learnt by heart (x 0.49): teach the rest of it"
    assert reasons[2:4] == [f"what is taught is learnt (x {fall}): go on" for fall in ("0.39", "0.62")]  # of both parts


@pytest.mark.parametrize(("n", "batch_size"), [(100, 10), (101, 8), (129, 32), (128, 32), (97, 32), (64, 64)])
def test_an_adaptive_plan_that_never_teaches_is_full_training_to_the_batch(n, batch_size):
    def batches(plan):
        course, found = Course(plan, n), []
        while not isinstance(lesson := course.next(), Done):
            found += [ids.tolist() for ids in lesson.batches]
            course.record(np.ones(sum(map(len, lesson.batches))))
        return found

    plan, full = Plan.auto(epochs=5, batch_size=batch_size, seed=4), Plan.full(epochs=5, batch_size=batch_size, seed=4)
    if 4 * batch_size <= n:
        assert batches(plan) == batches(full)
        assert plan.total_steps(n) == full.total_steps(n)
        assert plan.cost(n).examples_trained == 5 * n
    else:  # an epoch of fewer than four batches has no three parts, of which one is cut in two
        assert len(batches(plan)) != len(batches(full))


@pytest.mark.parametrize(
    ("ratio", "n", "sizes"),
    [(0.5, 15, [3, 5, 8]), (0.7, 15, [4, 7, 11]), (0.25, 30, [3, 5, 8]), (0.4, 100, [13, 27, 40])],
)
def test_a_third_of_the_ratio_is_rounded_as_it_is_written(ratio, n, sizes):
    plan = Plan(epochs=4, batch_size=8, warm_up=1, ratio=ratio, select=attent.Auto())
    assert [row.k for row in plan.timeline(n)][1:] == sizes


def batches_in_turn(plan, n):
    """The batches of a plan whose losses are all alike, so that nothing is ever taught."""
    course, found = Course(plan, n), []
    while not isinstance(lesson := course.next(), Done):
        found += [ids.tolist() for ids in lesson.batches]
        course.record(np.ones(sum(map(len, lesson.batches))))
    return found


@pytest.mark.parametrize(("ratio", "parts"), [(1 / 3, 3), (0.34, 3), (0.5, 2), (0.2, 5)])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_passes_in_turn_are_an_epoch_where_each_can_have_a_batch(ratio, parts, batch_size):
    for n in range(1, parts * batch_size + 20):
        plan = Plan.auto(epochs=4, batch_size=batch_size, ratio=ratio)
        same = batches_in_turn(plan, n) == batches_in_turn(Plan.full(epochs=4, batch_size=batch_size), n)
        assert same == (n >= (parts + 1) * batch_size), n
        if same:
            assert plan.cost(n).examples_trained == 4 * n


@pytest.mark.parametrize(
    ("fields", "n", "cost", "steps"),
    [
        ({}, 95, 382, 13),
        ({}, 50, 202, 11),
        ({}, 10, 38, 9),
        ({}, 1, 9, 9),
        ({"ratio": 0.4}, 1000, 4000, 130),
        ({"interval": 2}, 200, 802, 32),
    ],
)
def test_elsewhere_passes_cost_nearly_that(fields, n, cost, steps):
    plan = Plan.auto(epochs=4, batch_size=32, **fields)
    assert (plan.cost(n).examples_trained, plan.total_steps(n)) == (cost, steps)


def test_auto_on_text_that_is_all_alike_gives_the_weights_of_full_training():
    states = []
    for plan in (Plan.auto(epochs=2, batch_size=16, seed=2), Plan.full(epochs=2, batch_size=16, seed=2)):
        learner = byte_gpt(plan, depth=1, width=8)
        attent.teach(learner, plan)
        states.append(learner.state())
    assert states[0].keys() == states[1].keys()
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


@pytest.mark.parametrize("fall", [0.75, 0.8, 0.9])
def test_what_a_model_that_knows_the_rest_does_not_learn_at_once_is_taught_for_one_pass_of_the_run(fall):
    plan = Plan.auto(epochs=4, batch_size=10, seed=5)
    reasons = whys(Course(plan, 100), adaptive_losses(fall=fall))
    over = "what is hard to a model that knows the rest is not "
    taught, _ = drive(Course(plan, 100), adaptive_losses(fall=fall))
    parts = [np.linspace(2.0, 3.0, 30)[np.array(ids) - 70].sum() for ids in taught[1:3]]
    both = (fall * parts[0] + fall**2 * parts[1]) / sum(parts)
    assert reasons[2] == f"{over}learnt at once (x {both:.2f}), so not new: all in turn to the end"
    assert reasons[3:5] == ["as told before: all in turn to the end"] * 2  # though what is in turn is learnt fast too
    assert [set(ids) <= set(range(70, 100)) for ids in taught[1:-1]] == [True, True, *[False] * 5]
    assert set(sum(taught[3:5], [])) == set(range(70))  # those not just taught come first


def test_a_course_says_how_the_epoch_before_began():
    plan = Plan.auto(epochs=3, batch_size=10, seed=5)
    for n, many in ((50, 50), (100, 60), (1200, 150)):
        course, batches = Course(plan, n), []
        while course.epoch == 0:
            batches += course.next().batches
            course.record(np.ones(len(np.concatenate(course.next().batches))))
        assert course._offered("ask")("opening").tolist() == np.concatenate(batches)[:many].tolist()
        later = Course(Plan.auto(epochs=4, batch_size=10, seed=5, warm_up=2), n)
        while later.epoch < 2:
            later.record(np.ones(len(np.concatenate(later.next().batches))))
        assert later._offered("ask")("opening").tolist() == []  # its losses are of the second epoch


@pytest.mark.parametrize(("warm_up", "sign"), [(1, "spread"), (2, "known"), (3, "known")])
def test_only_the_first_epoch_tells_what_a_model_knew_as_it_was_given(warm_up, sign):
    loss = np.r_[np.full(80, 0.01), np.full(20, 2.0)]
    course = Course(Plan.auto(epochs=warm_up + 2, batch_size=10, seed=5, warm_up=warm_up), 100)
    while course.selection is None:
        course.record(loss[np.concatenate(course.next().batches)])
        course.next()
    assert course.selection.why["sign"] == sign


def test_a_course_says_how_the_first_epoch_began_and_ended_while_two_passes_were_trained_after_it():
    course, batches = Course(Plan.auto(epochs=3, batch_size=10, seed=5), 101), []
    for epoch in range(5):
        if epoch:
            order = np.concatenate(batches)
            quarters = [order[:25].tolist(), order[-25:].tolist()] if epoch <= 3 else [[], []]
            assert course._offered("ask")("quarters").tolist() == quarters
        while course.epoch == epoch:
            batches += course.next().batches if not epoch else []
            course.record(np.ones(len(np.concatenate(course.next().batches))))
            course.next()


@pytest.mark.parametrize("bucket", [2, 100])
def test_it_goes_by_the_batches_that_were_trained_where_they_hold_examples_that_cost_alike(bucket):
    plan = Plan.auto(epochs=3, batch_size=10, seed=5, bucket=bucket)
    course = Course(plan, 601, costs=np.random.default_rng(0).random(601) + 1)
    order = np.concatenate(course.next().batches)
    course.record(np.ones(601))
    ask = course._offered("ask")
    assert ask("opening").tolist() == order[:75].tolist()
    assert ask("quarters").tolist() == [order[:150].tolist(), order[-150:].tolist()]


def test_a_first_epoch_that_was_not_on_all_tells_nothing():
    asks = []

    class Asking:
        ranks = False

        def choose(self, scores, k, noise, ids=None, *, ask):
            asks.append((ask("opening").tolist(), ask("quarters").tolist()))
            return attent.Choice(np.arange(k))

    drive(Course(Plan(epochs=3, batch_size=10, select=Asking()), 100), lambda epoch: np.ones(100))
    assert asks == [([], [[], []])] * 3


@pytest.mark.parametrize(("fall", "stops"), [(0.51, True), (0.53, False)])
@pytest.mark.parametrize(("n", "told_at"), [(1800, 1), (900, 2)])
def test_a_course_stops_teaching_what_is_learnt_by_heart_as_soon_as_enough_were_taught(n, told_at, fall, stops):
    hard = np.arange(n) >= n * 2 // 3

    def losses(epoch):
        return np.where(hard, 2.0 * (fall if epoch else 1.0), 0.2)

    plan = Plan.auto(epochs=3, batch_size=10, seed=5)
    reasons = whys(Course(plan, n), losses)
    assert reasons[0].endswith("try the hardest")
    begun = f"what is tried is not seen to be learnt by heart (x {fall:.2f}): teach the rest of it"
    on = f"what is taught is learnt (x {fall:.2f}): go on"
    by_heart = (
        f"what was seen just before falls at once (x {fall:.2f}), so it is learnt by heart: all in turn to the end"
    )
    over = ["as told before: all in turn to the end"] * 3
    spent = "what is taught is hardly learnt any more (x 1.00): back to all in turn"
    assert reasons[1:4] == ([begun] * (told_at - 1) + [by_heart, *over])[:3] if stops else [begun, on, spent]
    taught, _ = drive(Course(plan, n), losses)
    hardest = set(np.flatnonzero(hard).tolist())
    assert [set(ids) <= hardest for ids in taught[1:5]] == [True, told_at > 1 or not stops, not stops, False]
    if not stops:
        assert sorted(taught[1] + taught[2]) == sorted(taught[3]) == sorted(hardest)


@pytest.mark.parametrize(("level", "fall", "how"), [(0.2, 0.59, "hardest"), (0.4, 0.745, "soft")])
def test_a_first_try_is_judged_by_a_third_that_is_like_the_whole_and_then_takes_the_rest(level, fall, how):
    losses = np.r_[np.full(1200, level), np.linspace(2.0, 3.0, 600)]
    course, passes, tries = Course(Plan.auto(epochs=3, batch_size=40, seed=5), 1800), [], []
    while course.epoch < 4:
        ids = np.concatenate(course.next().batches)
        if course.selection is not None and course.step == 0:
            assert course.selection.how == how
            tries.append(course.memory["tries"])
        passes.append(ids)
        course.record((losses * fall**course.epoch)[ids])
    first, rest = passes[1], passes[2]
    assert (len(first), len(rest)) == (200, 400)
    assert not set(first) & set(rest)
    assert np.mean(first >= 1200) == pytest.approx(np.mean(rest >= 1200), abs=0.05)
    if how == "hardest":
        assert sorted([*first, *rest]) == list(range(1200, 1800))
        assert losses[first].mean() == pytest.approx(losses[rest].mean(), abs=0.05)  # not the hardest of them
    assert tries == ([1, 1, 0] if how == "hardest" else [2, 2, 1])


def test_the_two_parts_of_a_first_pass_count_as_one_in_ages():
    course = Course(Plan.auto(epochs=3, batch_size=10, seed=5), 100)
    ages = []
    while course.epoch < 5:
        if course.step == 0:
            ages.append(course._offered("ask")("ages").copy())
        taught = np.concatenate(course.next().batches)
        course.record(np.ones(len(taught)))
        if course.epoch == 2:
            first = taught
    assert [set(each.tolist()) for each in ages[2:4]] == [{0, 1}, {1, 2}]
    assert set(ages[2][first].tolist()) == {0}
    assert set(ages[3][first].tolist()) == {1}
    assert np.count_nonzero(ages[3] == 1) == 30
    assert np.count_nonzero(ages[4] == 1) == 40


@pytest.mark.parametrize(("fall", "tries", "expected"), [(0.5, 0, "hard"), (0.65, 1, "tried"), (0.65, 0, "proved")])
def test_an_adaptive_course_chooses_as_it_decides(fall, tries, expected):
    soft, proved = Soft(temperature=0.8, scaling="rank"), Soft(temperature=0.5)
    plan = Plan.auto(epochs=6, batch_size=10, seed=3, select=Auto(bonus=0.2, soft=soft, proved=proved))
    losses = np.r_[np.full(70, 0.4), np.linspace(1.9, 2.1, 30)]
    course, visits = Course(plan, 100), np.zeros(100)
    while not isinstance(lesson := course.next(), Done):
        if course.memory is not None and course.memory["how"] is not None and course.memory["tries"] == tries:
            break
        ids = np.concatenate(lesson.batches)
        course.record((losses * np.r_[np.full(70, 0.95), np.full(30, fall)] ** visits)[ids])
        visits[ids] += 1
    ranked = deviations(course.scores, bonus=0.2, ages=course._offered("ages"))
    noise = Noise(3, course.draw - 1)
    wanted = {
        "hard": attent.hard(ranked, course.row.k),
        "tried": attent.soft(course.scores, course.row.k, noise, temperature=0.8, scaling="rank"),
        "proved": attent.soft(course.scores, course.row.k, noise, temperature=0.5, scaling="std"),
    }
    assert len({tuple(ids) for ids in wanted.values()}) == 3
    assert course.memory["how"] == ("hard" if expected == "hard" else "soft")
    assert course.ids.tolist() == wanted[expected].tolist()
    assert course.ranked.tolist() == (ranked if expected == "hard" else course.scores).tolist()


def test_an_adaptive_plan_ends_all_in_turn():
    plan = Plan.auto(epochs=3, batch_size=10, seed=5)
    assert whys(Course(plan, 100), adaptive_losses(at_once=0.7))[-1] == "the end: all in turn"
    taught, _ = drive(Course(plan, 100), adaptive_losses(at_once=0.7))
    assert len(taught) == 8
    assert set(taught[-1]) <= set(range(70))  # the hard ones were taught in the pass before


def test_an_adaptive_plan_leaves_alone_what_is_hard_and_not_learnt():
    plan = Plan.auto(epochs=6, batch_size=10, seed=5)
    trace_of = Course(plan, 100)
    taught, _ = drive(trace_of, adaptive_losses(learnable=False))
    passes = taught[1:-1]
    assert [len(ids) for ids in passes] == [10, 20, 40, 30, *[30, 40, 30] * 3]
    for first in range(4, 13, 3):  # once the try is over, three passes are an epoch
        assert sorted(sum(passes[first : first + 3], [])) == list(range(100))


@pytest.mark.parametrize("epochs", range(1, 12))
def test_auto_costs_the_epochs_it_is_given(epochs):
    plan = Plan.auto(epochs=epochs, batch_size=10)
    assert abs(plan.cost(4000).examples_trained - epochs * 4000) <= plan.epochs / 2  # k is a whole number
    assert plan.full_epochs == epochs
    assert abs(plan.cost(4000).saving) < 1e-2  # not what its many short passes would seem to save


def test_why_is_in_the_trace_and_a_resumed_run_decides_alike(tmp_path):
    plan = Plan.auto(epochs=5, batch_size=8)
    whole = attent.teach(Toy(60, seed=3), plan)
    calls = iter(range(1000))
    attent.teach(Toy(60, seed=3), plan, run=tmp_path / "r", stop=lambda: next(calls) == 4)
    resumed = attent.teach(Toy(60, seed=3), plan, run=tmp_path / "r", resume=True)
    assert attent.first_difference(whole, resumed) is None
    reasons = [record.selection.why for record in resumed.records if record.selection]
    assert reasons == [record.selection.why for record in whole.records if record.selection]
    assert all(reasons)
    shown = []
    show_report(tmp_path / "r", tell=shown.append)
    assert f"pass 1: {told(reasons[0])}" in [" ".join(line.split()) for line in shown]


@pytest.mark.parametrize("stop", range(14))
def test_an_adaptive_course_goes_on_from_any_lesson(stop):
    plan, losses = Plan.auto(epochs=4, batch_size=10, seed=5), adaptive_losses(at_once=0.7)
    whole, _ = drive(Course(plan, 100, segment_steps=2), losses)
    course = Course(plan, 100, segment_steps=2)
    for _ in range(stop):
        lesson = course.next()
        course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
    again = Course(plan, 100, segment_steps=2)
    again.load_state(course.state())
    done, step = again.epoch, again.step
    rest, _ = drive(again, losses)
    assert rest[1 if step else 0 :] == whole[done + (1 if step else 0) :]


def test_a_loss_that_is_not_finite_is_told_with_a_way_out_that_an_adaptive_plan_has():
    course = Course(Plan.auto(epochs=2, batch_size=8), 60)
    ids = np.concatenate(course.next().batches)
    with pytest.raises(attent.ScoreError, match=r"non_finite='drop' or 'last' in a plan of another policy"):
        course.record(np.where(ids == 5, np.inf, 1.0))
