"""Schedules are stepped after every optimiser step; one that was built for epochs is told of."""

import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

import attent
from attent.errors import LearnerError

EVERY = "A scheduler is stepped after every optimiser step, not every epoch"


def learner(task, make, rate=0.1):
    """Return a learner whose scheduler is ``make(optimizer)``."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    return task.learner(model, optimizer=optimizer, scheduler=make(optimizer))


def steps(count):
    return [np.array([0, 1])] * count


def warm_then_cosine(optimizer):
    warm = torch_schedules.LinearLR(optimizer, 0.1, total_iters=4)
    return torch_schedules.SequentialLR(optimizer, [warm, torch_schedules.CosineAnnealingLR(optimizer, 6)], [4])


def chained(optimizer):
    parts = [torch_schedules.ConstantLR(optimizer, 0.5, 3), torch_schedules.CosineAnnealingLR(optimizer, 10)]
    return torch_schedules.ChainedScheduler(parts)


TEN_STEPS = {
    "CosineAnnealingLR has T_max=10": lambda o: torch_schedules.CosineAnnealingLR(o, 10),
    "PolynomialLR has total_iters=10": lambda o: torch_schedules.PolynomialLR(o, 10),
    "CosineAnnealingLR has T_max=6": warm_then_cosine,
    "CosineAnnealingLR has T_max=10 ": chained,
}


@pytest.mark.parametrize(("part", "make"), TEN_STEPS.items(), ids=["cosine", "polynomial", "sequential", "chained"])
def test_a_schedule_that_ends_too_early_is_told_of_once_and_before_the_steps_beyond_it(task, part, make):
    ours = learner(task, make)
    ours.train(steps(3))
    ours.train(steps(7))  # its very length
    with pytest.warns(UserWarning, match="too short") as caught:
        ours.train(steps(2))
    assert [str(warning.message) for warning in caught] == [
        f"the scheduler is too short: its {part.strip()}, 0 steps are left, and 2 are to be taken at once. {EVERY}: "
        "build it for plan.total_steps(len(data)) steps in all"
    ]
    ours.train(steps(2))  # a second warning would be an error


def test_a_schedule_that_cannot_go_on_is_refused_before_the_first_step(task, assert_same):
    ours = learner(task, lambda o: torch_schedules.OneCycleLR(o, 0.1, total_steps=40))
    ours.train(steps(38))
    before = ours.state()
    with pytest.raises(LearnerError) as caught:
        ours.train(steps(3))
    assert str(caught.value) == (
        "the scheduler is too short: its OneCycleLR has total_steps=40, 2 steps are left, and 3 are to be taken at "
        f"once. {EVERY}: build it for plan.total_steps(len(data)) steps in all"
    )
    assert_same(ours.state(), before)
    ours.train(steps(2))


def test_a_schedule_of_epochs_is_refused_at_the_start_of_a_run(task):
    plan = attent.Plan.full(epochs=6, batch_size=3)
    told = "the scheduler is too short: its CosineAnnealingLR has T_max=6, 6 steps are left, and the run takes 48"
    with pytest.raises(LearnerError, match=told):
        attent.teach(learner(task, lambda o: torch_schedules.CosineAnnealingLR(o, plan.epochs)), plan)


def test_a_learning_rate_that_has_died_is_told_of_once(task):
    ours = learner(task, lambda o: torch_schedules.StepLR(o, 2, 0.1))
    ours.train(steps(23))
    with pytest.warns(UserWarning, match="learning rate") as caught:
        ours.train(steps(1))
    assert [str(warning.message) for warning in caught] == [
        f"the learning rate has been below a millionth of its highest for 10 of 24 steps. {EVERY}: build it for "
        "plan.total_steps(len(data)) steps in all"
    ]
    ours.train(steps(20))  # a second warning would be an error


ALIVE = {
    "a cosine to 0": lambda o: torch_schedules.CosineAnnealingLR(o, 20_000),
    "a power to 0": lambda o: torch_schedules.PolynomialLR(o, 20_000, 4.0),
    "a warm-up from 0": lambda o: torch_schedules.LambdaLR(o, lambda step: max(0, step - 500) / 2e4),
    "one cycle": lambda o: torch_schedules.OneCycleLR(o, 0.1, total_steps=20_000),
    "restarts": lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 5),
    "never changed": lambda o: torch_schedules.ConstantLR(o, 1.0),
}


@pytest.mark.parametrize("make", ALIVE.values(), ids=ALIVE.keys())
def test_warm_ups_and_ends_are_no_death(make):
    from attent_torch.schedule import Schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    schedule = Schedule(make(optimizer))
    optimizer.step()  # torch wants one before the scheduler's first
    with warnings.catch_warnings(action="error"):
        schedule.check(20_000)
        for _ in range(20_000):
            schedule.step()


def test_a_learning_rate_held_in_a_tensor_is_not_fetched(task):
    ours = learner(task, lambda o: torch_schedules.StepLR(o, 2, 0.1), rate=torch.tensor(0.1))
    ours.train(steps(40))  # no warning, and no waiting for a device
    assert float(ours.optimizer.param_groups[0]["lr"]) < 1e-15
