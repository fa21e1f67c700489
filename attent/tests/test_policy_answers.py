"""What a policy answers: an answer that is none is named and changes nothing. Rule S5."""

from __future__ import annotations

import numpy as np
import pytest

import attent
from attent import Choice, Course, InTurn, Noise, Plan
from attent.choose import policy
from attent.tests.toy import Toy


class Answers:
    """Gives one answer, whatever it is asked."""

    def __init__(self, answer):
        self.answer = [answer]  # a policy may not hold arrays

    def __repr__(self):
        return "Answers()"

    def choose(self, scores, k, noise, ids):
        return self.answer[0]


TWO = np.array([1, 3])
IDS = "policy Answers() must return int64 ids of shape (2,), got "
ORDERED = "policy Answers() must return distinct ids in ascending order within [0, 8)"
WEIGHTS = "policy Answers() must return finite float64 weights of at least 0, of shape (2,), or None"
RANKED = "policy Answers() must return ranked numbers as float64 of shape (8,), or None"
WHY = "policy Answers() must return why as a JSON-ready mapping, or None: "
MEMORY = WHY.replace("why", "memory")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([1, 3], f"{IDS}list"),
        (None, f"{IDS}NoneType"),
        ((1, 3), f"{IDS}tuple"),
        (np.array([1, 3], np.int32), f"{IDS}int32 (2,)"),
        (np.array([1.0, 3.0]), f"{IDS}float64 (2,)"),
        (np.array([True, False]), f"{IDS}bool (2,)"),
        (np.array([1, 3, 5]), f"{IDS}int64 (3,)"),
        (np.array([1]), f"{IDS}int64 (1,)"),
        (np.array([], np.int64), f"{IDS}int64 (0,)"),
        (np.array([[1, 3]]), f"{IDS}int64 (1, 2)"),
        (np.array([3, 1]), ORDERED),
        (np.array([3, 3]), ORDERED),
        (np.array([1, 8]), ORDERED),
        (np.array([-1, 3]), ORDERED),
        (Choice([1, 3]), f"{IDS}list"),
        (Choice(np.array([3, 1])), ORDERED),
        (Choice(TWO, [1.0, 1.0]), WEIGHTS),
        (Choice(TWO, np.ones(2, np.float32)), WEIGHTS),
        (Choice(TWO, np.ones(2, np.int64)), WEIGHTS),
        (Choice(TWO, np.ones(3)), WEIGHTS),
        (Choice(TWO, np.ones((2, 1))), WEIGHTS),
        (Choice(TWO, np.array([1.0, -0.5])), WEIGHTS),
        (Choice(TWO, np.array([1.0, np.nan])), WEIGHTS),
        (Choice(TWO, np.array([1.0, np.inf])), WEIGHTS),
        (Choice(TWO, ranked=np.ones(2)), RANKED),
        (Choice(TWO, ranked=np.ones(8, np.float32)), RANKED),
        (Choice(TWO, ranked=[1.0] * 8), RANKED),
        (Choice(TWO, how=3), "policy Answers() must return how as a text, or None, got 3"),
        (Choice(TWO, why=[3]), WHY),
        (Choice(TWO, why={"loss": np.int64(3)}), f"{WHY}Object of type int64 is not JSON serializable"),
        (Choice(TWO, why={"loss": np.nan}), f"{WHY}Out of range float values are not JSON compliant"),
        (Choice(TWO, memory="turn"), MEMORY),
        (Choice(TWO, memory={"noise": np.zeros(2)}), f"{MEMORY}Object of type ndarray is not JSON serializable"),
        (Choice(TWO, memory={"loss": np.inf}), MEMORY),
    ],
    ids=lambda given: repr(given)[:60],
)
def test_an_answer_that_is_none_is_named_and_changes_nothing(answer, words):
    course = Course(Plan(epochs=2, batch_size=8, ratio=0.25, warm_up=1, select=Answers(answer)), 8)
    course.record(np.arange(8.0)[np.concatenate(course.next().batches)])
    before = {name: array.tobytes() for name, array in course.state().items()}
    for _ in range(2):
        with pytest.raises(attent.PlanError) as error:
            course.next()
        assert str(error.value).startswith(words)
    assert {name: array.tobytes() for name, array in course.state().items()} == before


@pytest.mark.parametrize("answer", [TWO, Choice(TWO), Choice(TWO, np.array([0.0, 2.5])), Choice(TWO, why={}, how="")])
def test_an_answer_that_is_one_is_taught(answer):
    trace = attent.teach(Toy(8), Plan(epochs=2, batch_size=8, ratio=0.25, warm_up=1, select=Answers(answer)))
    assert trace.ids(1).tolist() == [1, 3]


@pytest.mark.parametrize("place", [0, 1])
def test_ids_that_were_not_given_are_refused(place):
    scores = np.where(np.arange(8) == TWO[place], np.nan, 1.0)
    with pytest.raises(attent.PlanError, match=r"^policy Answers\(\) returned ids that it was not given$"):
        policy.choose(Answers(TWO), scores, 2, Noise(0, 0), non_finite="drop")
    others = np.setdiff1d(np.arange(8), TWO[place])
    with pytest.raises(attent.PlanError, match=r"^policy Answers\(\) returned ids that it was not given$"):
        policy.choose(Answers(TWO), np.ones(8), 2, Noise(0, 0), among=others)
    assert policy.choose(Answers(TWO), np.ones(8), 2, Noise(0, 0), among=np.array([0, 1, 3, 5])).ids.tolist() == [1, 3]


def test_who_chooses_among_ties_must_answer_well():
    with pytest.raises(attent.PlanError, match=r"policy Answers\(\) returned ids that it was not given"):
        InTurn(ties=Answers(TWO)).choose(np.zeros(5), 2, Noise(0, 0), turns=np.array([9, 1, 1, 9, 9]))
    chosen = InTurn(ties=Answers(TWO)).choose(np.zeros(6), 3, Noise(0, 0), turns=np.array([9, 1, 0, 1, 1, 0]))
    assert chosen.ids.tolist() == [0, 1, 3]
