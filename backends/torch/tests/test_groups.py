"""Groups and costs that a learner is given: as arrays, as columns by name, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import attent
from attent_torch import Teacher
from attent_torch.data import column

N = 24
GROUPS = np.array([0] * 16 + [1] * 8)


def loss_of(model, batch):
    return ((model(batch["x"]) - batch["y"]) ** 2).mean(1)


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
    data = {"x": task.x, "y": task.y, "source": torch.tensor(1 + GROUPS)}
    learner = task.learner(data=data, loss=loss_of, groups="source", costs="source")
    assert learner.groups().tolist() == (1 + GROUPS).tolist()
    assert learner.costs().tolist() == (1.0 + GROUPS).tolist()
    with pytest.raises(attent.LearnerError, match="groups names the column 'sauce', the data have: x, y, source"):
        task.learner(data=data, loss=loss_of, groups="sauce")


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


class Labelled(torch.utils.data.Dataset):
    """A dataset that keeps its labels in an attribute, as torchvision's do."""

    targets = torch.tensor(GROUPS)

    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.tensor([float(i)]), self.targets[i]


def taught_ids(loader, **settings):
    teacher = Teacher(attent.Plan.balanced(epochs=3, batch_size=4), loader, **settings)
    for _ in range(3):
        for x, _ in teacher(loader):
            teacher.record(x[:, 0])
    return [teacher.trace().ids(epoch).tolist() for epoch in range(7)]


def test_a_loop_names_an_attribute_of_its_dataset():
    loader = torch.utils.data.DataLoader(Labelled(), batch_size=4, shuffle=True)
    named = taught_ids(loader, groups="targets")
    assert named == taught_ids(loader, groups=GROUPS) == taught_ids(loader, groups=torch.tensor(GROUPS))
    assert [np.bincount(GROUPS[ids]).tolist() for ids in named[1:]] == [[4, 4]] * 6
    with pytest.raises(attent.LearnerError) as caught:
        taught_ids(loader, groups="labels")
    assert str(caught.value) == (
        "groups names 'labels', and the data, a Labelled, have no column and no attribute of that name. Attributes with "
        "one value per example: targets; or give an array, one per example"
    )


def test_where_no_attribute_would_do_that_is_said():
    data = torch.utils.data.TensorDataset(torch.zeros(N, 1), torch.zeros(N))
    with pytest.raises(attent.LearnerError, match="a TensorDataset, have no column .* one value per example: none; or"):
        column("groups", "targets", data)
    ragged = Labelled()
    ragged.parts = [[1], [2, 3]] * 12
    ragged.few, ragged.called = [1, 2], "x" * N
    with pytest.raises(attent.LearnerError, match="one value per example: targets, parts; or"):
        column("groups", "labels", ragged)


def test_groups_that_are_texts_keep_their_names(task):
    assert task.learner(groups=["old"] * 16 + ["young"] * 8).group_names == ("old", "young")
    assert task.learner(groups=GROUPS).group_names is None
    data = Labelled()
    data.source = ["young" if group else "old" for group in GROUPS]
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    teacher = Teacher(attent.Plan.balanced(epochs=3, batch_size=4, select=attent.ByGroup()), loader, groups="source")
    for x, _ in itertools.chain(teacher(loader), teacher(loader)):
        teacher.record(x[:, 0])
    assert teacher.trace().selection(1).why == {"group old": 4, "group young": 4}


def test_of_a_subset_it_is_the_part():
    part = torch.utils.data.Subset(Labelled(), [23, 0, 17, 1])
    assert column("groups", "targets", part) == [1, 0, 1, 0]
