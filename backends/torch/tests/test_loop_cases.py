"""What a loop meets on its way: its length asked for while it runs, an item that fails, a part of the data set."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset

import attent
from attent.errors import CourseError, LearnerError
from attent_torch import Teacher

N = 23
PLAN = attent.Plan.default(epochs=3, batch_size=4)


def test_an_epochs_length_stays_while_it_is_gone_through():
    teacher = Teacher(PLAN, N)
    loader = DataLoader(TensorDataset(torch.arange(N)), 4)
    lengths = []
    for _ in range(3):
        epoch = teacher(loader)
        for place, (ids,) in enumerate(epoch):
            teacher.record(torch.ones(len(ids)))
            if place + 1 == len(epoch):  # where scripts that accumulate take the last step
                lengths.append(place + 1)
        assert len(epoch) == lengths[-1]
    assert lengths == teacher.steps


def test_an_epoch_that_was_left_has_the_length_that_is_left():
    teacher = Teacher(PLAN, N)
    loader = DataLoader(TensorDataset(torch.arange(N)), 4)
    for (ids,) in teacher(loader):
        teacher.record(torch.ones(len(ids)))
        break
    assert len(teacher(loader)) == 5


class Failing(Dataset):
    def __init__(self, bad: int | None, everywhere: bool = True) -> None:
        self.bad, self.everywhere = bad, everywhere

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.bad and (self.everywhere or torch.utils.data.get_worker_info() is not None):
            raise OSError("disk gone")
        return torch.tensor([float(index)])


def trained(loader: DataLoader) -> list[int]:
    teacher, seen = Teacher(PLAN, loader), []
    for batch in teacher(loader):
        teacher.record(batch[:, 0])
        seen += batch[:, 0].int().tolist()
    return seen


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_named(workers):
    with pytest.raises(LearnerError, match=r"example 17 of the loader's dataset cannot be fetched: OSError: disk gone"):
        trained(DataLoader(Failing(17), 4, num_workers=workers))


def test_an_item_that_fails_in_workers_only_is_told_with_its_batch():
    whole = trained(DataLoader(Failing(None), 4))
    place = whole.index(17) // 4
    with pytest.raises(LearnerError) as caught:
        trained(DataLoader(Failing(17, everywhere=False), 4, num_workers=2))
    told = str(caught.value)
    assert f"a batch of the examples {whole[4 * place : 4 * place + 8]}, each of which can be fetched alone" in told
    assert "OSError: disk gone" in told


def test_a_collate_fn_that_fails_is_told_with_its_batch():
    def collate(items):
        if any(item == 17 for item in items):
            raise ValueError("ragged")
        return torch.stack(items)

    with pytest.raises(LearnerError, match=r"each of which can be fetched alone: ragged. Look at its collate_fn"):
        trained(DataLoader(Failing(None), 4, collate_fn=collate))


def test_an_item_that_fails_in_a_scoring_pass_is_named():
    loader = DataLoader(Failing(17), 4)
    plan = attent.Plan.paper(epochs=3, batch_size=4)
    teacher = Teacher(plan, loader, model=torch.nn.Linear(1, 1), loss=lambda model, batch: model(batch)[:, 0])
    with pytest.raises(LearnerError, match=r"example 17 of the loader's dataset cannot be fetched"):
        next(iter(teacher(loader)))


def test_a_part_of_a_data_set_is_to_be_a_subset():
    loader = DataLoader(Failing(None), 4, sampler=SubsetRandomSampler([1, 2, 3]))
    with pytest.raises(CourseError, match=r"give the loader that part, torch.utils.data.Subset\(dataset, indices\)"):
        Teacher(PLAN, loader)(loader)
