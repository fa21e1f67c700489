"""What ``teach`` may not be given is named at once, and nothing is written or taught then."""

import math

import numpy as np
import pytest

import attent
from attent import Plan, teach
from attent.tests.toy import Toy

PLAN = Plan(epochs=2, batch_size=5, warm_up=1)


def refused(tmp_path, given, words):
    learner = given.pop("learner", Toy())
    with pytest.raises(attent.AttentError) as error:
        teach(learner, given.pop("plan", PLAN), **{"run": tmp_path / "run", **given})
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []
    return type(error.value)


def test_learner_and_plan_in_the_other_order(tmp_path):
    words = "teach takes first the learner, then the plan: teach(learner, plan)"
    assert refused(tmp_path, {"learner": PLAN, "plan": Toy()}, words) is attent.PlanError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"plan": {}}, "plan must be an attent.Plan, got {}: make one by attent.Plan.auto(epochs=..., batch_size=...)"),
        ({"plan": None}, "plan must be an attent.Plan, got None"),
        ({"run": 5}, "run must be the path of a folder, or None, got 5"),
        ({"replay": "x"}, "replay must be a trace, got 'x': read a run's by attent.Trace.read(folder)"),
        ({"versions": "x"}, "versions must be texts by package, such as {'torch': '2.4.0'}, got 'x'"),
        ({"versions": {"torch": 2}}, "versions must be texts by package, such as {'torch': '2.4.0'}, got {'torch': 2}"),
        ({"recipe": 5}, "recipe must be a name, got 5"),
        ({"resume": "no"}, "resume must be True or False, got 'no'"),
        ({"listeners": print}, "got <built-in function print>: write listeners=[print]"),
        ({"listeners": [print, 3]}, "listeners must be a list or tuple of functions, got [<built-in function print>, 3]"),
        ({"stop": True}, "stop must be a function that returns whether to stop, got True"),
        ({"checkpoint_seconds": math.nan}, "checkpoint_seconds must be at least 0, got nan"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be at least 0, got -1"),
        ({"checkpoint_seconds": "1"}, "checkpoint_seconds must be at least 0, got '1'"),
        ({"keep_scores": "no"}, "keep_scores must be True, False or None, got 'no'"),
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_argument_is_named_before_anything_is_written(tmp_path, given, words):
    assert refused(tmp_path, dict(given), words) is attent.PlanError


@pytest.mark.parametrize("steps", ["a", 0, -3, 2.0, True])
def test_segment_steps_must_be_a_whole_number(steps):
    with pytest.raises(attent.CourseError) as error:
        teach(Toy(), PLAN, segment_steps=steps)
    assert str(error.value) == f"segment_steps must be a whole number of at least 1, got {steps!r}"


def test_what_is_possible_is_taken(tmp_path):
    seen = []
    trace = teach(
        Toy(),
        PLAN,
        run=str(tmp_path / "run"),
        listeners=(seen.append,),
        checkpoint_seconds=np.int64(0),
        segment_steps=np.int32(2),
        keep_scores=True,
        versions={"toy": "1"},
        recipe="toy",
    )
    assert (trace.finished, trace.header.versions["toy"], trace.header.recipe) == (True, "1", "toy")
    assert [progress.epoch for progress in seen] == [0, 0, 1]
