"""A loop that accumulates trains the plan's batch in each optimiser step, in as many parts as it likes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import attent
from attent.errors import CourseError, PlanError
from attent_torch import Teacher, TorchLearner, cross_entropy

N = 23  # a pass of all ends on a step of 3, fewer than 5 parts
X = torch.randn(N, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (N,), generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(X, Y, torch.arange(N))
PLANS = {
    "auto": attent.Plan.auto(epochs=5, batch_size=10),
    "default": attent.Plan.default(epochs=4, batch_size=10),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=10),
}
EVERY = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
PARTS = pytest.mark.parametrize("parts", [1, 2, 5])


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()


def by_teach(plan):
    """Train by attent.teach; return each step's ids, the model and the trace."""
    model, steps = network(), []

    class Told(TorchLearner):
        def train(self, batches, weights=None):
            steps.extend(ids.tolist() for ids in batches)
            return super().train(batches, weights)

    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    return steps, model, attent.teach(Told(model, (X, Y), cross_entropy, optimizer), plan)


def check_same(plan, parts, seen, model, trace):
    """Each step's parts are the plan's batch, and nothing but it; parameters and trace are those of attent.teach."""
    steps, wanted, told = by_teach(plan)
    assert len(seen) == parts * len(steps)
    for step, ids in enumerate(steps):
        found = [id for part in seen[step * parts : (step + 1) * parts] for id in part]
        assert found == ids if len(ids) >= parts else set(found) == set(ids)
    assert attent.first_difference(trace, told) is None
    for own, other in zip(model.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


def loop(plan, parts, until=None, state=None):
    """A script that accumulates by hand; ``until`` a number of the loader's batches."""
    model, loader = network(), DataLoader(DATA, 10 // parts, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    teacher, seen = Teacher(plan, loader, accumulate=parts), []
    if state is not None:
        model.load_state_dict(state[0])
        teacher.load_state_dict(state[1])
    while not teacher.finished:
        for x, y, ids in teacher(loader):
            loss = teacher.record(F.cross_entropy(model(x), y, reduction="none")) / parts
            loss.backward()
            seen.append(ids.tolist())
            if len(seen) % parts == 0:
                optimizer.step()
                optimizer.zero_grad()
            if len(seen) == until:
                return seen, model, teacher
    return seen, model, teacher


@EVERY
@PARTS
def test_a_step_trains_the_plans_batch_whatever_the_accumulation(plan, parts):
    seen, model, teacher = loop(plan, parts)
    check_same(plan, parts, seen, model, teacher.trace())
    assert teacher.total_steps == len(seen) // parts == sum(teacher.steps)


@EVERY
@PARTS
def test_accelerate_tells_its_own_accumulation(plan, parts):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=parts)
    model, loader, seen, stepped = network(), DataLoader(DATA, 10 // parts, shuffle=True), [], []
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    teacher = Teacher(plan, loader)
    while not teacher.finished:
        for x, y, ids in teacher(loader):
            with accelerator.accumulate(model):
                accelerator.backward(teacher.record(F.cross_entropy(model(x), y, reduction="none")))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            seen.append(ids.tolist())
            stepped.append(accelerator.sync_gradients)
    assert stepped == [place % parts == 0 for place in range(1, len(seen) + 1)]
    assert scheduler.scheduler.last_epoch == teacher.total_steps
    check_same(plan, parts, seen, model, teacher.trace())
    other = Teacher(plan, DATA, accumulate=3)
    told = f"accelerate takes a step after {parts} batches, the teacher goes by 3" if parts > 1 else "takes 30 examples"
    with pytest.raises(CourseError, match=told):
        other(loader)
    accelerate.state.AcceleratorState._reset_state(True)


@EVERY
def test_a_script_under_accelerate_may_accumulate_by_itself(plan):
    accelerate = pytest.importorskip("accelerate")
    accelerator, model = accelerate.Accelerator(cpu=True), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(DATA, 2, shuffle=True))
    teacher, seen = Teacher(plan, loader, accumulate=5), []
    while not teacher.finished:
        for place, (x, y, ids) in enumerate(teacher(loader)):
            accelerator.backward(teacher.record(F.cross_entropy(model(x), y, reduction="none")) / 5)
            seen.append(ids.tolist())
            if (place + 1) % 5 == 0:
                optimizer.step()
                optimizer.zero_grad()
    check_same(plan, 5, seen, model, teacher.trace())
    accelerate.state.AcceleratorState._reset_state(True)


def test_a_state_between_batches_that_are_accumulated_is_that_before_the_step():
    plan = PLANS["default"]
    whole, wanted, _ = loop(plan, 5)
    first, model, stopped = loop(plan, 5, until=17)  # 15 of them in three steps
    state = model.state_dict(), stopped.state_dict()
    rest, again, _ = loop(plan, 5, state=state)
    assert rest == whole[15:]
    assert first == whole[:17]
    for own, other in zip(again.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("accumulate", [0, -1, 2.0, True])
def test_an_accumulation_of_no_batches_is_refused(accumulate):
    with pytest.raises(PlanError, match="accumulate must be a whole number of at least 1, got"):
        Teacher(PLANS["auto"], DATA, accumulate=accumulate)


def test_a_loader_of_other_parts_is_refused():
    teacher = Teacher(PLANS["auto"], DATA, accumulate=2)
    with pytest.raises(CourseError, match="takes 20 examples: 10 in a batch of the loader, accumulated over 2"):
        teacher(DataLoader(DATA, 10))
