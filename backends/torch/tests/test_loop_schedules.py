"""The schedule of a loop of one's own: stepped too often, too rarely, restored or not; and the loader at the start."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import attent
from attent.errors import CourseError, LearnerError
from attent_torch import Teacher
from attent_torch.schedule import check_total

N = 23
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (N,), generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")  # PyTorch's own
DATA = TensorDataset(X, Y, torch.arange(N))


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


def stepped(plan, parts, at, **settings):
    """A loop that accumulates over ``parts`` batches and steps its schedule ``at(place)`` times after each."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.total_steps(N))
    loader = DataLoader(DATA, plan.batch_size // parts, shuffle=True)
    teacher = Teacher(plan, loader, accumulate=parts, scheduler=scheduler, **settings)
    place = 0
    for _ in teacher.ends:
        for x, y, _ in teacher(loader):
            (teacher.record(F.cross_entropy(model(x), y, reduction="none")) / parts).backward()
            place += 1
            if place % parts == 0:
                optimizer.step()
                optimizer.zero_grad()
            for _ in range(at(place)):
                scheduler.step()
    return scheduler


@pytest.mark.parametrize(
    ("parts", "at", "told"),
    [
        (2, lambda place: 1, "took 1 steps in 0 optimiser steps"),  # after every batch
        (2, lambda place: place % 2, "took 1 steps in 0 optimiser steps"),  # after the first of each
        (1, lambda place: 2, "took 2 steps in 1 optimiser steps"),
    ],
)
def test_a_schedule_that_is_stepped_too_often_stops_the_loop(parts, at, told):
    with pytest.raises(LearnerError, match=f"the scheduler {told}"):
        stepped(attent.Plan.default(epochs=3, batch_size=4), parts, at)


def test_a_schedule_that_is_stepped_once_an_epoch_is_told_of():
    plan = attent.Plan.default(epochs=3, batch_size=4)
    with pytest.warns(UserWarning, match="the scheduler took 0 steps in 6 optimiser steps: step it after every"):
        stepped(plan, 1, lambda place: place in (7, 9))
    with warnings.catch_warnings(action="error"):
        assert stepped(plan, 2, lambda place: place % 2 == 0).get_last_lr() == [0.0]


def test_a_chain_of_schedules_is_watched_too():
    plan, kinds = attent.Plan.default(epochs=3, batch_size=4), torch.optim.lr_scheduler
    optimizer = torch.optim.SGD(network().parameters(), 0.1)
    parts = [kinds.ConstantLR(optimizer, 0.5, 2), kinds.CosineAnnealingLR(optimizer, plan.total_steps(N))]
    scheduler = kinds.ChainedScheduler(parts)
    loader = DataLoader(DATA, 4)
    teacher = Teacher(plan, loader, scheduler=scheduler)
    for place, (_, y, _) in enumerate(teacher(loader)):
        teacher.record(y + 1.0)
        scheduler.step()
        if place == 2:
            break
    scheduler.step()
    with pytest.raises(LearnerError, match="the scheduler took 4 steps in 3 optimiser steps"):
        next(teacher.record(y + 1.0) for _, y, _ in teacher(loader))


@pytest.mark.parametrize("late", [False, True], ids=["the schedule first", "the plan first"])
def test_a_schedule_is_looked_at_again_where_a_run_goes_on(late, tmp_path):
    plan = attent.Plan.default(epochs=3, batch_size=4)
    model, loader = network(), DataLoader(DATA, 4, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    teacher = Teacher(plan, loader, run=tmp_path / "run")
    for x, y, _ in teacher(loader):
        teacher.record(F.cross_entropy(model(x), y, reduction="none"))
    state, total = teacher.state_dict(), plan.total_steps(N)

    def going_on(length, steps):
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length)
        if not late:
            for _ in range(steps):
                scheduler.step()
        again = Teacher(plan, loader, scheduler=scheduler, run=tmp_path / "run", resume=True)
        again.load_state_dict(state)
        if late:
            scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": steps})
        return next(iter(again(loader)))

    going_on(total, 6)
    with pytest.raises(
        LearnerError, match=f"too long: its CosineAnnealingLR has T_max={total}, {total} steps are left"
    ):
        going_on(total, 0)  # was not restored
    with pytest.raises(LearnerError, match="too long: its CosineAnnealingLR has T_max=40, 34 steps are left"):
        going_on(40, 6)


def test_a_loader_is_looked_at_when_the_teacher_is_built():
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(network().parameters(), 0.1), 15)
    loader = DataLoader(DATA, 4, shuffle=True, drop_last=True)
    with pytest.raises(CourseError, match="the loader has drop_last=True"):  # and not that the schedule is too short
        Teacher(attent.Plan.full(epochs=3, batch_size=4), loader, scheduler=scheduler)


@pytest.mark.parametrize(
    "tail",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [4, 6]),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.1),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
    ],
)
def test_a_short_part_of_a_schedule_in_a_row_is_not_taken_for_one_of_epochs(tail):
    optimizer = torch.optim.SGD(network().parameters(), 0.1)
    head = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, 92)
    check_total(torch.optim.lr_scheduler.SequentialLR(optimizer, [head, tail(optimizer)], [92]), 100, 10)


def test_a_long_part_of_a_schedule_in_a_row_that_counts_epochs_is_refused():
    optimizer = torch.optim.SGD(network().parameters(), 0.1)
    head = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, 8)
    tail = torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 7])
    with pytest.raises(LearnerError, match="seems to count epochs"):
        check_total(torch.optim.lr_scheduler.SequentialLR(optimizer, [head, tail], [8]), 100, 10)
