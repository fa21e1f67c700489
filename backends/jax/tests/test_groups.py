"""Groups and costs that a learner is given: as arrays, as columns by name, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import attent
from attent_jax import Teacher

N = 24
GROUPS = np.array([0] * 16 + [1] * 8)


def loss_of(params, batch):
    x, y = batch["x"], batch["y"]
    return ((x @ params["w1"][:, :2] - y) ** 2).mean(1)


@pytest.mark.parametrize(
    "given", [GROUPS, GROUPS.tolist(), ["old"] * 16 + ["young"] * 8], ids=["array", "list", "texts"]
)
def test_a_policy_by_group_goes_by_what_is_given(task, given):
    learner = task.learner(groups=given, costs=1 + GROUPS)
    assert isinstance(learner, attent.Groups)
    assert isinstance(learner, attent.Costs)
    learner.groups()[:] = 7  # a copy
    assert (learner.groups().dtype, learner.groups().tolist()) == (np.int64, GROUPS.tolist())
    assert (learner.costs().dtype, learner.costs().tolist()) == (np.float64, [1.0] * 16 + [2.0] * 8)
    trace = attent.teach(learner, attent.Plan.balanced(epochs=3, batch_size=4))
    assert np.bincount(GROUPS[trace.ids(2)]).tolist() == [4, 4]


def test_a_column_of_the_data_is_named(task):
    data = {"x": task.x, "y": task.y, "source": 1 + GROUPS}
    learner = task.learner(data=data, loss=loss_of, groups="source", costs="source")
    assert learner.groups().tolist() == (1 + GROUPS).tolist()
    assert learner.costs().tolist() == (1.0 + GROUPS).tolist()
    with pytest.raises(attent.LearnerError, match="groups names the column 'sauce', the data have: x, y, source"):
        task.learner(data=data, loss=loss_of, groups="sauce")


def test_groups_that_are_texts_keep_their_names(task):
    learner = task.learner(groups=["old"] * 16 + ["young"] * 8)
    assert learner.group_names == ("old", "young")
    assert task.learner(groups=GROUPS).group_names is None
    plan = attent.Plan.balanced(epochs=3, batch_size=4, select=attent.ByGroup())
    assert attent.teach(learner, plan).selection(1).why == {"group old": 4, "group young": 4}


def test_without_them_there_are_none(task):
    assert not isinstance(task.learner(), attent.Groups)
    assert not isinstance(task.learner(), attent.Costs)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": GROUPS[1:]}, r"groups must be one for each of the 24 examples, shape \(24,\), got shape \(23,\)"),
        ({"groups": GROUPS - 1}, "groups must be at least 0, got -1 for example 0"),
        ({"groups": np.zeros(N)}, "groups must be whole numbers or texts, got float64"),
        ({"costs": GROUPS}, "costs must be above 0 and finite, got 0.0 for example 0"),
    ],
)
def test_what_is_none_is_refused_when_the_learner_is_built(task, given, words):
    with pytest.raises(attent.LearnerError, match=words):
        task.learner(**given)


def test_a_loop_names_an_array_of_its_data():
    data = {"x": np.arange(24.0), "source": GROUPS}
    teacher = Teacher(attent.Plan.balanced(epochs=3, batch_size=4), data, groups="source")
    for _ in range(3):
        for batch in teacher:
            teacher.record(batch["x"])
    assert [np.bincount(GROUPS[teacher.trace().ids(epoch)]).tolist() for epoch in range(1, 7)] == [[4, 4]] * 6
    with pytest.raises(attent.LearnerError, match="groups names the column 'sauce', the data have: x, source"):
        Teacher(attent.Plan.balanced(epochs=3, batch_size=4), data, groups="sauce")
