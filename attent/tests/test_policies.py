"""What is ranked, coverage, pools, proxies, replays and adaptive plans: which ids they teach."""

import copy
import dataclasses
import warnings

import msgspec
import numpy as np
import pytest

import attent
from attent import Course, Done, Noise, Plan, Score
from attent.cli.report_command import show_report
from attent.coverage import in_turn
from attent.deciding import decide, signs
from attent.deviations import deviations, stalest
from attent.infobatch import infobatch
from attent.paying import forward_share
from attent.proxy import Proxied
from attent.records import Seconds
from attent.reference.recipes import byte_gpt
from attent.tests.toy import Toy


def drive(course, losses):
    """Take a course to its end; ``losses(epoch)`` gives every example's loss. Return the ids of each epoch."""
    taught, seen = [], []
    while not isinstance(lesson := course.next(), Done):
        epoch = course.epoch
        if isinstance(lesson, Score):
            seen.append((epoch, lesson.ids.tolist()))
            course.record(losses(epoch)[lesson.ids])
            continue
        ids = np.concatenate(lesson.batches)
        if course.step == 0 or not taught:
            taught.append([])
        taught[-1] += ids.tolist()
        course.record(losses(epoch)[ids])
    return [sorted(ids) for ids in taught], seen


def test_a_reference_loss_is_subtracted_before_ranking():
    losses = np.array([5.0, 4.0, 3.0, 2.0])
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5)
    plain, _ = drive(Course(plan, 4), lambda epoch: losses)
    reduced, _ = drive(Course(plan, 4, reference=np.array([4.9, 3.8, 1.0, 0.5])), lambda epoch: losses)
    assert (plain[1], reduced[1]) == ([0, 1], [2, 3])


def test_progress_ranks_the_decrease_since_the_first_loss():
    first, later = np.array([3.0, 3.0, 1.0, 1.0]), np.array([2.9, 1.0, 1.0, 0.2])
    plan = Plan(epochs=3, batch_size=4, warm_up=2, ratio=0.5, measure="progress")
    taught, _ = drive(Course(plan, 4), lambda epoch: later if epoch else first)
    assert taught[2] == [1, 3]


def test_a_bonus_brings_back_what_was_skipped():
    losses = np.array([4.0, 3.0, 2.0, 1.0])
    greedy = Plan(epochs=4, batch_size=2, warm_up=1, ratio=0.5)
    assert drive(Course(greedy, 4), lambda epoch: losses)[0][1:] == [[0, 1]] * 3
    kind = dataclasses.replace(greedy, bonus=3.0)
    assert drive(Course(kind, 4), lambda epoch: losses)[0][1:] == [[0, 1], [2, 3], [0, 1]]


def test_coverage_teaches_those_taught_longest_ago_first():
    losses = np.arange(10.0)
    plan = Plan(epochs=6, batch_size=4, warm_up=1, ratio=0.4, coverage=True)
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
    plan = Plan(epochs=4, batch_size=2, warm_up=1, ratio=0.5, refresh=0.25)
    _, scored = drive(Course(plan, 4), lambda epoch: losses)
    assert scored == [(1, [0]), (2, [2]), (3, [3])]
    assert [row.scored for row in plan.timeline(4)] == [0, 1, 1, 1]
    assert plan.cost(4).examples_scored == 3


def test_a_pool_is_scored_and_chosen_from():
    plan = Plan(epochs=3, batch_size=2, ratio=0.2, source="pool", pool=0.5)
    losses = np.arange(10.0)
    taught, scored = drive(Course(plan, 10), lambda epoch: losses)
    assert [len(ids) for _, ids in scored] == [5, 5, 5]
    assert scored[0][1] != scored[1][1]
    assert taught == [ids[-2:] for _, ids in scored]  # higher ids have higher losses


def test_random_needs_no_pool():
    plan = Plan(epochs=2, batch_size=5, ratio=0.2, source="pool", selection="random")
    taught, scored = drive(Course(plan, 40), lambda epoch: np.ones(40))
    assert ([len(ids) for ids in taught], scored) == ([8, 8], [])


def test_a_random_plan_with_a_correction_goes_on(tmp_path):
    plan = Plan(epochs=4, batch_size=8, warm_up=1, selection="random", correction=2.0)
    whole, calls = attent.teach(Toy(60, seed=1), plan), iter(range(100))
    attent.teach(Toy(60, seed=1), plan, run=tmp_path / "r", stop=lambda: next(calls) == 1)
    resumed = attent.teach(Toy(60, seed=1), plan, run=tmp_path / "r", resume=True)
    assert attent.first_difference(whole, resumed) is None


@pytest.mark.parametrize("fields", [{"warm_up": 10}, {"ratio": 0.001}, {"ratio": 1e-300}, {"cycle": 3}])
def test_auto_refuses_what_would_cost_more_than_it_is_given(fields):
    with pytest.raises(attent.PlanError):
        Plan.auto(epochs=3, batch_size=8, **fields)


def test_kept_steps_shrink_the_batch():
    plan = Plan(epochs=2, batch_size=8, warm_up=1, ratio=0.5, keep_steps=True)
    assert [(row.batch_size, row.steps) for row in plan.timeline(80)] == [(8, 10), (4, 10)]
    course = Course(plan, 80)
    drive_all = []
    while not isinstance(lesson := course.next(), Done):
        drive_all.append([len(batch) for batch in lesson.batches])
        course.record(np.ones(sum(drive_all[-1])))
    assert drive_all == [[8] * 10, [4] * 10]


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
    again = dataclasses.replace(plan, source="replay")
    trace = attent.teach(Toy(30, seed=1), again, replay=earlier)
    assert [trace.ids(e).tolist() for e in range(5)] == [earlier.ids(e).tolist() for e in range(5)]
    assert sum(record.examples_scored for record in trace.records) == 0
    with pytest.raises(attent.PlanError, match="source='replay' without replay"):
        attent.teach(Toy(30, seed=1), again)
    with pytest.raises(attent.TraceError, match="over 30 examples, this one has 31"):
        attent.teach(Toy(31, seed=1), again, replay=earlier)


def test_a_proxy_scores_and_the_learner_trains():
    plan = Plan(epochs=1, batch_size=4, source="fresh", ratio=0.2)
    learner, scorer = Toy(20, seed=1), Toy(20, seed=2)
    wanted = attent.hard(scorer.score(np.arange(20)), 4).tolist()
    assert attent.teach(Proxied(learner, scorer), plan).ids(0).tolist() == wanted
    with pytest.raises(attent.LearnerError, match="over the learner's 20 examples, got 3"):
        Proxied(learner, Toy(3, seed=2))
    with pytest.raises(attent.PlanError, match="scores for source='fresh' or 'pool', got 'reuse'"):
        attent.teach(Proxied(learner, scorer), Plan.default(epochs=2, batch_size=4))
    assert Proxied(learner, scorer).evaluate() == (learner.evaluate() if hasattr(learner, "evaluate") else {})
    twin = copy.deepcopy(Proxied(learner, scorer))
    assert twin.score(np.arange(20)).tolist() == scorer.score(np.arange(20)).tolist()


def test_a_replay_of_a_pool_is_refused_since_it_ranked_only_a_part():
    plan = Plan(epochs=2, batch_size=8, source="pool", pool=0.5, ratio=0.3)
    earlier = attent.teach(Toy(30, seed=1), plan)
    with pytest.raises(attent.TraceError, match="source='pool', which ranked only a part"):
        attent.teach(Toy(30, seed=1), dataclasses.replace(plan, source="replay"), replay=earlier)


def test_a_run_goes_on_only_with_the_replay_it_began_with(tmp_path):
    plan = Plan(epochs=4, batch_size=8, source="fresh", ratio=0.3)
    one, other = (attent.teach(Toy(30, seed=seed), plan) for seed in (1, 2))
    again = dataclasses.replace(plan, source="replay")
    attent.teach(Toy(30, seed=1), again, replay=one, run=tmp_path / "r", stop=lambda: True)
    with pytest.raises(attent.CourseError, match="another reference or replay"):
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
    plan = Plan(epochs=4, batch_size=8, warm_up=1, ratio=0.5, bonus=0.5)
    whole = attent.teach(Toy(30, seed=1), plan)
    for stop in range(1, 6):
        run, calls = tmp_path / str(stop), iter(range(100))
        stopping = {"checkpoint_seconds": 0.0, "segment_steps": 1}
        attent.teach(Toy(30, seed=1), plan, run=run, stop=lambda: next(calls) == stop, **stopping)  # noqa: B023
        resumed = attent.teach(Toy(30, seed=1), plan, run=run, resume=True)
        for draw, taught in whole.selections.items():
            assert resumed.selections[draw].scores.tolist() == taught.scores.tolist()


def test_a_state_taken_between_choosing_and_training_ranks_alike():
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5, bonus=2.0)
    course = Course(plan, 6)
    course.record(np.arange(6.0)[np.concatenate(course.next().batches)])
    course.next()
    again = Course(plan, 6)
    again.load_state(course.state())
    assert again.ranked.tolist() == course.ranked.tolist() != course.scores.tolist()


@pytest.mark.parametrize("changes", [{"keep_steps": True}, {"selection": "infobatch"}])
def test_a_difference_in_steps_or_weights_is_one(changes):
    plan = Plan(epochs=2, batch_size=4, warm_up=1, ratio=1 / 3, selection=lambda scores, k, noise, ids, plan: first(k))

    def first(k):
        return np.arange(k)

    one = attent.teach(Toy(30, seed=1), plan)
    if "keep_steps" in changes:
        other = attent.teach(Toy(30, seed=1), dataclasses.replace(plan, keep_steps=True))
        assert "in 3 steps in the first and 10 in the second" in str(attent.first_difference(one, other))
        return
    record = one.records[1]
    weighted = msgspec.structs.replace(record.selection, weight_max=2.0)
    records = [one.records[0], msgspec.structs.replace(record, selection=weighted)]
    other = attent.Trace(one.header, records, one.selections)
    assert "largest weight is None in the first and 2.0" in str(attent.first_difference(one, other))


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


@pytest.mark.parametrize(("epochs", "cool_down"), [(1, 0), (2, 0), (3, 0), (4, 1), (20, 1)])
def test_auto_ends_a_run_of_four_epochs_or_more_on_all(epochs, cool_down):
    assert Plan.auto(epochs=epochs, batch_size=8).cool_down == cool_down


def test_auto_is_adaptive_and_its_passes_are_part_of_an_epoch():
    with pytest.raises(attent.PlanError, match=r"it needs adaptive=True; Plan\.default always teaches"):
        Plan.auto(epochs=5, batch_size=4, adaptive=False)
    with pytest.raises(attent.PlanError, match=r"\[0\.01, 0\.5\] for Plan\.auto, got 0\.7"):
        Plan.auto(epochs=5, batch_size=4, ratio=0.7)
    assert Plan.auto(epochs=5, batch_size=4, ratio=np.float32(0.5)).ratio == 0.5


def adaptive_losses(learnable=True, fall=0.7, level=0.05):
    """Of 100 examples 70 have a low loss; the other 30 are hard and fall by an epoch to ``fall`` of it, or not."""
    hard = np.r_[np.full(70, level), np.linspace(2.0, 3.0, 30)]
    return lambda epoch: hard * (np.r_[np.ones(70), np.full(30, fall**epoch)] if learnable else 1.0)


def whys(course, losses):
    """Take an adaptive course to its end; return the first word after the last colon of each reason."""
    found = []
    while not isinstance(lesson := course.next(), Done):
        if course.selection is not None and course.step == 0:
            found.append(course.selection.why)
        course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
    return found


def test_an_adaptive_plan_tries_at_once_what_is_hard_to_a_model_that_knows_the_rest():
    plan = Plan.auto(epochs=4, batch_size=10, seed=5)
    taught, scored = drive(Course(plan, 100), adaptive_losses(fall=0.7))
    assert scored == []
    assert [len(ids) for ids in taught] == [100, *[30, 40, 30] * 2, 100]  # an epoch, cut between batches
    assert all(set(range(70, 100)) <= set(ids) for ids in taught[1:-1])
    told = whys(Course(plan, 100), adaptive_losses(fall=0.7))
    assert told[0] == "at first sight the harder half holds 96 % of the loss: try it"
    assert told[1] == "what is taught is learnt (x 0.70): go on"


@pytest.mark.parametrize(("n", "batch_size"), [(100, 10), (101, 8), (97, 32), (64, 64), (63, 64)])
def test_an_adaptive_plan_that_never_teaches_is_full_training_to_the_batch(n, batch_size):
    def batches(plan):
        course, found = Course(plan, n), []
        while not isinstance(lesson := course.next(), Done):
            found += [ids.tolist() for ids in lesson.batches]
            course.record(np.ones(sum(map(len, lesson.batches))))
        return found

    plan, full = Plan.auto(epochs=5, batch_size=batch_size, seed=4), Plan.full(epochs=5, batch_size=batch_size, seed=4)
    if 3 * batch_size <= n:
        assert batches(plan) == batches(full)
        assert plan.total_steps(n) == full.total_steps(n)
        assert plan.cost(n).examples_trained == 5 * n
    else:  # an epoch of fewer than three batches has no three parts
        assert len(batches(plan)) > len(batches(full))


def test_auto_on_text_that_is_all_alike_gives_the_weights_of_full_training():
    states = []
    for plan in (Plan.auto(epochs=2, batch_size=16, seed=2), Plan.full(epochs=2, batch_size=16, seed=2)):
        learner = byte_gpt(plan, depth=1, width=8)
        attent.teach(learner, plan)
        states.append(learner.state())
    assert states[0].keys() == states[1].keys()
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_a_try_that_is_not_learnt_fast_ends_after_one_pass():
    plan = Plan.auto(epochs=4, batch_size=10, seed=5)
    told = whys(Course(plan, 100), adaptive_losses(fall=0.8))
    assert told[1] == "what was taught is not learnt fast (x 0.80): back to all in turn"
    taught, _ = drive(Course(plan, 100), adaptive_losses(fall=0.8))
    assert set(range(70, 100)) <= set(taught[1])
    assert set(taught[2]) & set(range(70)) == set(taught[2]) - set(taught[1])  # those not just taught come first


@pytest.mark.parametrize(
    ("fall", "how", "why"),
    [(0.5, "hard", "teach the hardest"), (0.6, "soft", "prefer the harder"), (0.8, None, "in turn")],
)
def test_the_faster_the_top_is_learnt_the_harder_an_adaptive_plan_chooses(fall, how, why):
    before = np.r_[np.full(70, 0.3), np.full(30, 2.0)]  # 81 % in the harder half: no try at first sight
    latest = before * np.r_[np.full(70, 0.9), np.full(30, fall)]
    assert decide(np.full(100, np.nan), before).how is None
    found = decide(before, latest)
    assert found.how == how
    assert found.why.endswith(why)


def test_an_adaptive_course_chooses_as_it_decides():
    plan = Plan.auto(epochs=6, batch_size=10, seed=3, temperature=0.4, bonus=0.2)
    losses = np.r_[np.full(70, 0.4), np.linspace(1.9, 2.1, 30)]
    for fall, expected in ((0.5, "hard"), (0.65, "soft")):
        course, visits = Course(plan, 100), np.zeros(100)
        while not isinstance(lesson := course.next(), Done):
            if course.how is not None:
                ranked = deviations(course.scores, bonus=0.2, ages=course.epoch - course.seen)
                noise = Noise(3, course.draw - 1)
                wanted = {
                    "hard": attent.hard(ranked, course.row.k),
                    "soft": attent.soft(course.scores, course.row.k, noise, temperature=0.4, scaling="std"),
                }
                assert course.how == expected
                assert course.ids.tolist() == wanted[expected].tolist()
                break
            ids = np.concatenate(lesson.batches)
            course.record((losses * np.r_[np.full(70, 0.95), np.full(30, fall)] ** visits)[ids])
            visits[ids] += 1


def test_an_adaptive_plan_ends_all_in_turn():
    plan = Plan.auto(epochs=3, batch_size=10, seed=5)
    told = whys(Course(plan, 100), adaptive_losses())
    assert told[-1] == "the end: all in turn"
    taught, _ = drive(Course(plan, 100), adaptive_losses())
    assert len(taught) == 7
    assert set(taught[-1]) <= set(range(70))  # the hard ones were taught in the pass before


def test_an_adaptive_plan_leaves_alone_what_is_hard_and_not_learnt():
    plan = Plan.auto(epochs=6, batch_size=10, seed=5)
    trace_of = Course(plan, 100)
    taught, _ = drive(trace_of, adaptive_losses(learnable=False))
    passes = taught[1:-1]
    assert [len(ids) for ids in passes] == [30, 40, 30] * 4
    for first in range(3, 12, 3):  # once the try is over, three passes are an epoch
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
    told = []
    show_report(tmp_path / "r", tell=told.append)
    assert f"epoch 1: {reasons[0]}" in told


@pytest.mark.parametrize("stop", range(14))
def test_an_adaptive_course_goes_on_from_any_lesson(stop):
    plan, losses = Plan.auto(epochs=4, batch_size=10, seed=5), adaptive_losses(learnable=True)
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


def test_a_state_of_another_reference_is_refused():
    plan = Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5)
    state = Course(plan, 4, reference=np.ones(4)).state()
    with pytest.raises(attent.CourseError, match="another reference"):
        Course(plan, 4).load_state(state)


def test_signs_need_pairs_and_say_what_falls():
    before = np.full(40, np.nan)
    before[:20] = 1.0
    assert signs(before, np.ones(40)) is None
    assert decide(before, np.ones(40)).how is None
    alike = np.linspace(1.0, 1.2, 100)
    assert "too alike" in decide(alike, alike * 0.9, None).why
    taught = np.arange(50)
    assert decide(alike, alike, taught, "soft").how is None
    assert decide(alike, alike * 0.98, taught, "soft").how == "soft"  # others were seen twice: no try
    only = np.where(np.arange(100) < 50, alike, np.nan)
    assert decide(only, alike * 0.98, taught, "hard").how is None
    for nothing in (np.zeros(100), np.full(100, -1.0)):
        assert "losses above 0" in decide(np.full(100, np.nan), nothing).why
        assert "losses above 0" in decide(nothing, nothing).why


def test_pieces():
    assert deviations(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert stalest(np.array([2, 0, 1, 0]), 2).tolist() == [1, 3]
    assert in_turn(np.array([5, 1, 1, 1]), 3, lambda ids, k: ids[-k:]).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"coverage": True, "source": "fresh"}, "coverage goes by when an example was last trained"),
        ({"refresh": 0.1, "coverage": True}, "set one of them"),
        ({"measure": "progress"}, "warm_up of at least 2, got 'reuse' and 1"),
        ({"source": "pool", "pool": 0.3}, "pool must be at least the highest ratio"),
        ({"adaptive": True, "warm_up": 0}, "needs warm_up of at least 1"),
        ({"adaptive": True, "selection": "infobatch"}, "set one of them"),
        ({"adaptive": True, "refresh": 0.1}, "adaptive goes by what was trained, refresh by what was scored"),
        ({"adaptive": True, "cycle": 2}, "it needs cycle None, got 2"),
        ({"coverage": True, "warm_up": 0}, "warm_up must be at least 1"),
        ({"coverage": True, "non_finite": "drop"}, "it needs non_finite='error', got 'drop'"),
        ({"adaptive": True, "non_finite": "last"}, "it needs non_finite='error', got 'last'"),
        ({"bonus": -1}, r"bonus must be in \[0, 1e\+06\], got -1"),
        ({"refresh": 1.5}, r"refresh must be in \[0, 1\]"),
    ],
)
def test_fields_that_do_not_go_together(fields, message):
    with pytest.raises(attent.PlanError, match=message):
        Plan(**{"epochs": 4, "batch_size": 4, "warm_up": 1, "ratio": 0.5, **fields})


@pytest.mark.parametrize(
    "reference", [np.ones(3), np.ones(4, np.float32), np.array([1.0, np.nan, 1.0, 1.0]), [1.0] * 4]
)
def test_a_reference_that_does_not_fit(reference):
    with pytest.raises(attent.ScoreError, match="reference must be"):
        Course(Plan(epochs=2, batch_size=2, warm_up=1), 4, reference=reference)
