"""A group that stays hard while the others are learnt: found at first sight, and then nothing is chosen."""

import numpy as np
import pytest

import attent
from attent import Course, Plan
from attent.choose.auto import told
from attent.choose.stuck import stuck_group
from attent.errors import LearnerError
from attent.tests.test_adaptive import whys
from attent.tests.toy import Toy

QUARTERS = np.arange(1000).reshape(4, 250)[[0, 3]]
GROUPS = np.where(np.arange(1000) % 5, 0, 1)  # of group 1 a fifth


def first_sight(began, ended, others=(2.0, 0.4)):
    """Return losses at first sight of 1000 examples in order: in the first quarter, and from then on, of group 1."""
    early = np.arange(1000) < 250
    return np.where(GROUPS == 1, np.where(early, began, ended), np.where(early, *others))


@pytest.mark.parametrize(
    ("began", "ended", "others", "found"),
    [
        (2.0, 1.8, (2.0, 0.4), 1),
        (2.0, 1.5, (2.0, 0.4), None),  # it falls to .75
        (2.0, 1.8, (2.0, 1.1), 1),
        (2.0, 1.8, (2.0, 1.15), None),  # to .9, the others to .575
        (0.5, 0.61, (3.0, 0.4), 1),
        (0.5, 0.59, (3.0, 0.4), None),  # which is not much harder than the others
        (0.0, 2.0, (2.0, 0.4), None),  # no fall can be told
        (2.0, 1e301, (2.0, 0.4), 1),
        (2e307, 1.8e307, (2e307, 0.4e307), 1),  # whose sums are beyond float64
        (2e307, 1.5e307, (2e307, 0.4e307), None),
    ],
)
def test_a_group_is_stuck_where_it_stays_hard_and_the_others_are_learnt(began, ended, others, found):
    assert stuck_group(first_sight(began, ended, others), GROUPS, QUARTERS) == found


def test_a_rare_group_and_one_seen_too_seldom_are_not_told_stuck():
    losses = first_sight(2.0, 1.8)
    rare = np.where((GROUPS == 1) & (np.arange(1000) % 10 == 0), 1, 0)  # a tenth: 25 in each quarter
    assert stuck_group(losses, rare, QUARTERS) is None
    rarer = np.where(np.arange(2000) % 11, 0, 7)  # less than a tenth, 45 and more in each quarter
    quarters = np.arange(2000).reshape(4, 500)[[0, 3]]
    learnt = np.where(np.arange(2000) < 500, 2.0, 0.4)
    assert stuck_group(np.where(rarer == 7, 2.0, learnt), rarer, quarters) is None
    often = np.where(np.arange(2000) % 10, 0, 7)
    assert stuck_group(np.where(often == 7, 2.0, learnt), often, quarters) == 7
    assert stuck_group(losses, GROUPS, np.empty((2, 0), np.int64)) is None


class Grouped(Toy):
    """A toy of 1000 examples, of which a fifth stays hard; it counts how often it was asked for groups."""

    known: object = GROUPS
    steps = 0

    def groups(self):
        if isinstance(self.known, Exception):
            raise self.known
        return self.known

    def train(self, batches, weights=None):
        super().train(batches, weights)
        ids = np.concatenate(batches)
        self.steps += len(ids)
        left = 2.0 if self.steps <= 250 else 0.4
        return np.where(GROUPS[ids] == 1, 1.9, left)


def test_a_run_with_a_stuck_group_is_full_training_and_says_why():
    plan = Plan.auto(epochs=3, batch_size=10, seed=4)
    taught, full, unknown = Grouped(1000), Grouped(1000), Grouped(1000)
    trace = attent.teach(taught, plan)
    reasons = [told(one.selection.why) for one in trace.records if one.selection]
    stuck = "group 1 stays hard while the others are learnt: all in turn to the end"
    assert reasons[:2] == [stuck, "as told before: all in turn to the end"]
    attent.teach(full, Plan.full(epochs=3, batch_size=10, seed=4))
    assert taught.trained == full.trained
    # Where the learner knows no groups, a choice is tried: nothing but groups tells noise from what is new.
    unknown.known = LearnerError("groups() needs one target per example")
    assert attent.teach(unknown, plan).selection(1).how == "soft"


def test_a_group_that_has_a_name_is_told_by_it():
    learner = Grouped(1000)
    learner.group_names = ["prose", "noise"]
    trace = attent.teach(learner, Plan.auto(epochs=3, batch_size=10, seed=4))
    why = next(one.selection.why for one in trace.records if one.selection)
    assert why == {"sign": "stuck", "group": "noise"}
    assert told(why) == "group noise stays hard while the others are learnt: all in turn to the end"
    kept = attent.Workers(learner, 0, 1, lambda told: [told])
    assert kept.group_names == ["prose", "noise"]


@pytest.mark.parametrize("names", [["prose"], ["a", "a"], "ab", ["a", 1], {"a": 0, "b": 1}])
def test_names_that_are_none_are_refused_before_training(names):
    learner = Grouped(1000)
    learner.group_names = names
    with pytest.raises(
        LearnerError, match=r"^group_names must be a list of texts, all different, one for each of the 2 "
    ):
        attent.teach(learner, Plan.auto(epochs=3, batch_size=10))
    assert learner.steps == 0


def test_a_policy_that_needs_groups_tells_what_the_learner_says_of_them():
    learner = Grouped(1000)
    learner.known = LearnerError("groups() needs one target per example")
    with pytest.raises(LearnerError, match=r"^groups\(\) needs one target per example$"):
        attent.teach(learner, Plan.balanced(epochs=3, batch_size=10))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (GROUPS[:-1], r"groups must be an int64 array of shape \(1000,\), one group per example, got int64 \(999,\)"),
        (GROUPS.astype(float), r"groups must be an int64 array of shape \(1000,\), one group per example, got float64"),
        (GROUPS - 1, r"groups must be at least 0, got -1 for example 1"),
    ],
)
def test_groups_that_are_none_are_refused_before_training(given, words):
    learner = Grouped(1000)
    learner.known = given
    with pytest.raises(LearnerError, match=f"^{words}"):
        attent.teach(learner, Plan.auto(epochs=3, batch_size=10))
    assert learner.steps == 0


def test_a_course_goes_on_only_with_the_groups_it_began_with():
    plan = Plan.auto(epochs=3, batch_size=10, seed=4)
    course = Course(plan, 1000, groups=GROUPS)
    state = course.state()
    Course(plan, 1000, groups=GROUPS).load_state(state)
    for other in (None, 1 - GROUPS):
        with pytest.raises(attent.CourseError, match="with other reference losses, replay, groups or costs"):
            Course(plan, 1000, groups=other).load_state(state)
    one = Course(plan, 1000, groups=np.zeros(1000, np.int64))  # of which none can be stuck
    losses = np.where(np.arange(1000) < 700, 0.3, 2.0)
    assert whys(one, lambda epoch: losses) == whys(Course(plan, 1000), lambda epoch: losses)
