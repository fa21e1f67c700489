"""What must not be forgotten, told by a PyTorch learner."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

import attent
from attent.errors import LearnerError, PlanError
from attent_torch import Teacher, TorchLearner, cross_entropy
from attent_torch.trainers.workers import Workers


def learner_of(plan, **settings):
    torch.manual_seed(0)
    x, y = torch.randn(120, 3), torch.arange(120) % 2
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    return TorchLearner(model, (x, y), cross_entropy, torch.optim.AdamW(model.parameters(), 1e-2), **settings)


def test_watched_numbers_are_taken_in_evaluation_mode_without_gradients_and_change_nothing():
    seen = []

    def watch(model):
        found = model(torch.ones(4, 3))
        seen.append((model.training, found.requires_grad))
        return found[:, 0]

    learner = learner_of(None, watch=watch)
    before, told = learner.state(), learner.watch()
    assert (told.dtype, told.shape) == (np.float64, (4,))
    assert (told == learner.watch()).all()
    assert seen == [(False, False)] * 2
    assert learner.model.training
    assert all((before[name] == array).all() for name, array in learner.state().items())
    assert isinstance(learner, attent.Watches)
    assert not isinstance(learner_of(None), attent.Watches)


def test_a_plan_that_keeps_takes_them_before_each_choice():
    plan = attent.Plan.auto(epochs=3, batch_size=8, keep=0.1)
    calls = []
    learner = learner_of(plan, watch=lambda model: (calls.append(1), [0.0, 1.0])[1])
    trace = attent.teach(learner, plan)
    assert len(calls) == 1 + sum(record.selection is not None for record in trace.records) == 8


def test_a_loop_watches_after_the_last_step_of_the_pass_before():
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(120, 3), torch.arange(120) % 2)
    model = nn.Linear(3, 2)
    optimizer, steps, told = torch.optim.SGD(model.parameters(), 0.1), [], []
    plan = attent.Plan.auto(epochs=3, batch_size=8, keep=0.1)

    def watch():
        told.append((teacher.feed.epoch, len(steps)))
        return np.zeros(5)

    loader = torch.utils.data.DataLoader(data, 8, shuffle=True)
    teacher = Teacher(plan, loader, watch=watch)
    while not teacher.finished:
        for x, y in teacher(loader):
            losses = nn.functional.cross_entropy(model(x), y, reduction="none")
            optimizer.zero_grad()
            teacher.record(losses).backward()
            optimizer.step()
            steps.append(1)
    rows = plan.timeline(120)
    chosen = [row.epoch for row in rows if row.select]
    assert told == [(epoch, sum(row.steps for row in rows[:epoch])) for epoch in [0, *chosen]]


@pytest.mark.parametrize("said", [{"loss": 1.0}, "0.5", [[1.0], [2.0, 3.0]], torch.ones(3, dtype=torch.complex64)])
def test_what_a_model_s_watch_must_not_return(said):
    with pytest.raises(LearnerError, match="watch must return one real number for each watched example, got"):
        learner_of(None, watch=lambda model: said).watch()


def test_half_precision_is_read_and_what_is_no_function_refused():
    assert learner_of(None, watch=lambda model: torch.ones(2, dtype=torch.bfloat16)).watch().tolist() == [1.0, 1.0]
    with pytest.raises(LearnerError, match="watch must be a function, got int"):
        learner_of(None, watch=3)


def test_a_loop_of_several_processes_refuses_a_plan_that_watches(monkeypatch):
    monkeypatch.setattr(Workers, "here", lambda: Workers(1, 2))
    monkeypatch.setattr(Workers, "telling", lambda self: contextlib.nullcontext())  # there is no other process to tell
    plan = attent.Plan.auto(epochs=3, batch_size=8, keep=0.1)
    with pytest.raises(PlanError, match="each process would go by its own numbers"):
        Teacher(plan, 120, watch=lambda: np.zeros(3))
