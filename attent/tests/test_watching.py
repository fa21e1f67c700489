"""What must be kept: a plan that teaches only while what is watched has not become worse."""

import numpy as np
import pytest

import attent
from attent import Auto, Course, Done, Plan
from attent.choose.auto import told
from attent.errors import LearnerError, PlanError
from attent.tests.toy import Toy

KNOWN = [0.0, 0.0, 0.0, 1.0]  # one of four is wrong at first
LOST = [0.0, 0.0, 1.0, 1.0]


def losses(epoch):
    """Return losses of 100 examples, of which the last 8 are new and learnt fast: taught, whenever nothing forbids it."""
    return np.r_[np.full(92, 0.02), np.full(8, 2.0 * 0.5**epoch)]


def taught_passes(course, watched):
    """Take a course to its end; return of each pass whether it chose the hardest, and why."""
    hows, asked = [], iter(watched)
    course._watching._watch = lambda: np.array(next(asked))
    while not isinstance(lesson := course.next(), Done):
        if course.selection is not None and course.step == 0:
            hows.append((course.selection.how, told(course.selection.why)))
        course.record(losses(course.epoch)[np.concatenate(lesson.batches)])
    assert not list(asked)
    return hows


def course_of(keep=0.1, **fields):
    plan = Plan.auto(epochs=3, batch_size=10, seed=5, keep=keep, **fields)
    return Course(plan, 100, watch=lambda: np.zeros(4))


def test_a_pass_before_which_too_much_is_lost_is_in_turn_and_the_one_after_it_is_back_may_teach():
    hows = taught_passes(course_of(), [KNOWN, KNOWN, KNOWN, KNOWN, LOST, LOST, KNOWN, KNOWN])
    lost = "what is watched has come to 0.5 from 0.25, which is more than may be lost: all in turn"
    assert [how for how, _ in hows] == [*["hardest"] * 3, "in turn", "in turn", "hardest", "in turn"]
    assert [why for _, why in hows][3:5] == [lost, lost]
    assert hows[-1][1] == "the end: all in turn"


@pytest.mark.parametrize(("keep", "stops"), [(0.25, False), (0.2499, True), (0, True)])
def test_as_much_as_keep_says_may_be_lost(keep, stops):
    hows = taught_passes(course_of(keep), [KNOWN, KNOWN, *[LOST] * 6])
    assert [how for how, _ in hows][1:6] == ["in turn" if stops else "hardest"] * 5


def test_the_best_so_far_is_what_counts():
    hows = taught_passes(course_of(), [LOST, LOST, KNOWN, *[LOST] * 5])
    assert [how for how, _ in hows][:3] == ["hardest", "hardest", "in turn"]


def test_what_the_first_epoch_loses_counts_too():
    hows = taught_passes(course_of(), [KNOWN, LOST, LOST, *[KNOWN] * 5])
    assert [how for how, _ in hows] == ["in turn", "in turn", *["hardest"] * 4, "in turn"]


def test_a_plan_that_keeps_nothing_asks_nothing_and_chooses_the_same():
    def asked():
        raise AssertionError

    plan = Plan.auto(epochs=3, batch_size=10, seed=5)
    free, keeping = Course(plan, 100, watch=asked), course_of(keep=9.0)
    while not isinstance(lesson := free.next(), Done):
        other = keeping.next()
        assert [ids.tolist() for ids in lesson.batches] == [ids.tolist() for ids in other.batches]
        for course in (free, keeping):
            course.record(losses(course.epoch)[np.concatenate(lesson.batches)])


def test_a_resumed_course_remembers_the_best(tmp_path):
    class Watched(Toy):
        def watch(self):
            return np.abs(self.data - self.guess)[:7].copy()

    plan = Plan.auto(epochs=4, batch_size=8, keep=0.02)
    whole = attent.teach(Watched(60, seed=3), plan)
    reasons = [record.selection.why for record in whole.records if record.selection]
    for stop in range(1, len(whole.records)):
        calls = iter(range(1000))
        folder = tmp_path / str(stop)
        attent.teach(Watched(60, seed=3), plan, run=folder, stop=lambda calls=calls, stop=stop: next(calls) == stop)
        resumed = attent.teach(Watched(60, seed=3), plan, run=folder, resume=True)
        assert attent.first_difference(whole, resumed) is None
        assert reasons == [record.selection.why for record in resumed.records if record.selection]


class Forgetting:
    """A watch whose numbers can be set, and which remembers how often it was asked."""

    def __init__(self, numbers):
        self.numbers, self.asked = numbers, 0

    def __call__(self):
        self.asked += 1
        return np.array(self.numbers)


@pytest.mark.parametrize("now", [KNOWN, LOST])
def test_a_feed_resumed_in_mid_pass_keeps_the_choice_it_had_made(now):
    # What is watched in mid-pass is another model's: the pass goes on with the ids that were chosen before it.
    watch = Forgetting(KNOWN)
    plan = Plan.auto(epochs=3, batch_size=5, seed=5, keep=0.1)
    feed = attent.Feed(plan, 100, watch=watch)
    for ids in feed.batches():
        feed.record(losses(0)[ids], ids)
    batches = feed.batches()
    feed.record(losses(1)[batches[0]], batches[0])
    watch.numbers = now
    again = attent.Feed(plan, 100, watch=watch)
    again.load_state(feed.state())
    assert [ids.tolist() for ids in again.batches()] == [ids.tolist() for ids in batches]
    assert (again.done, watch.asked) == (1, 2)
    for ids in again.batches()[1:]:
        ended = again.record(losses(1)[ids], ids)
    assert ended.selection.how == "hardest"
    again.batches()
    assert watch.asked == 3


def test_a_pass_that_cannot_be_written_is_recorded_as_it_was_trained(tmp_path, monkeypatch):
    watch = Forgetting(KNOWN)
    feed = attent.Feed(Plan.auto(epochs=3, batch_size=10, seed=5, keep=0.1), 100, watch=watch, run=tmp_path / "r")
    for ids in feed.batches():
        feed.record(losses(0)[ids], ids)
    trained = np.sort(np.concatenate(feed.batches()))
    watch.numbers = LOST
    ended = feed._recorder.ended

    def full(record):
        raise OSError("no space left")

    monkeypatch.setattr(feed._recorder, "ended", full)
    with pytest.raises(OSError, match="no space"):
        feed.record(losses(1)[trained], trained)
    monkeypatch.setattr(feed._recorder, "ended", ended)
    assert feed.record(losses(1)[trained], trained).selection.how == "hardest"


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ([0.5], "must return a NumPy array, got builtins.list"),
        (np.array([1e308]), "must return finite numbers, got 1e"),
        (np.array([0.5], np.float32), "must return float64, got float32"),
        (np.zeros((2, 2)), "must return shape"),
        (np.empty(0), "must return shape"),
        (np.array([0.1, np.nan]), "must return finite numbers, got nan for watched example 1"),
    ],
)
def test_what_cannot_be_watched_is_told(said, match):
    course = Course(Plan.auto(epochs=3, batch_size=10, keep=0.1), 100, watch=lambda: said)
    with pytest.raises(LearnerError, match=rf"^watch\(\) {match}"):
        course.next()  # before the first step


def test_what_a_watch_raises_is_told_under_its_name():
    course = Course(Plan.auto(epochs=3, batch_size=10, keep=0.1), 100, watch=lambda model: model)
    with pytest.raises(LearnerError, match=r"^watch\(\) raised TypeError: .*missing 1 required positional argument"):
        course.next()


def test_keep_and_a_policy_are_not_given_both():
    with pytest.raises(PlanError, match=r"keep belongs to the policy where one is given: select=Auto\(keep=...\)"):
        Plan.auto(epochs=3, batch_size=10, keep=0.1, select=Auto())


def test_as_many_must_be_watched_as_at_first():
    with pytest.raises(LearnerError, match=r"watch\(\) must return shape \(4,\)"):
        taught_passes(course_of(), [KNOWN, KNOWN[:3]])


@pytest.mark.parametrize("make", [lambda plan: attent.teach(Toy(60), plan), lambda plan: attent.Feed(plan, 60)])
def test_a_learner_or_feed_that_watches_nothing_is_refused_before_training(make):
    with pytest.raises(PlanError, match=r"nothing is watched: give the learner a method watch\(\)"):
        make(Plan.auto(epochs=3, batch_size=8, keep=0.1))


def test_watch_must_be_a_function():
    with pytest.raises(PlanError, match="watch must be a function"):
        attent.Feed(Plan.auto(epochs=3, batch_size=8), 60, watch=np.zeros(3))


@pytest.mark.parametrize("keep", [-0.1, np.nan, np.inf, "0.1", True])
def test_keep_must_be_a_number_from_0(keep):
    with pytest.raises(PlanError, match="keep must be at least 0, or None"):
        Auto(keep=keep)


def test_a_feed_watches_before_each_pass_that_is_chosen():
    calls = []
    plan = Plan.auto(epochs=2, batch_size=10, seed=5, keep=0.1)
    feed = attent.Feed(plan, 100, watch=lambda: (calls.append(feed.epoch), np.array(KNOWN))[1])
    while not feed.finished:
        for ids in feed.batches():
            feed.record(losses(feed.epoch)[ids], ids)
    assert calls == [0, 1, 2, 3, 4]


def test_keep_is_part_of_the_plan_and_can_be_typed():
    plan = Plan.auto(epochs=3, batch_size=8, keep=0.1)
    assert plan.select == Auto(bonus=0.2, keep=0.1)
    assert Plan.from_dict(plan.to_dict()) == plan
    assert Plan(epochs=3, batch_size=8, warm_up=1, select="auto(keep=0.1)").select == Auto(keep=0.1)
