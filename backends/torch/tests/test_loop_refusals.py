"""Loops of the user's own: what is not one loss per example, in the plan's order, is refused, and evaluation is left alone."""

import contextlib
import importlib.util
from pathlib import Path

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import attent
from attent.errors import CourseError, LearnerError, PlanError, ScoreError
from attent_torch import Teacher

_spec = importlib.util.spec_from_file_location("loop_task", Path(__file__).with_name("loop_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
DATA, Loop, N, PLANS, X = shared.DATA, shared.Loop, shared.N, shared.PLANS, shared.X
Y, loss_of = shared.Y, shared.loss_of


def test_a_course_credits_losses_to_other_ids_where_a_teacher_does_not():
    """A loader with workers asks for the next batch before the last one's losses are there."""
    plan = attent.Plan.full(epochs=5, batch_size=4)
    loop = Loop(plan, DataLoader(DATA, 4, num_workers=2, prefetch_factor=4)).epochs(5)
    for epoch in range(5):
        assert sorted(sum(loop.steps[6 * epoch : 6 * epoch + 6], [])) == list(range(N))


def take(loop, times):
    """Go through an epoch, recording each batch as often as ``times(place)`` is long."""
    for place, batch in enumerate(loop.teacher(loop.loader)):
        for _ in times(place):
            loop.step(batch)


@pytest.mark.parametrize("forgotten", ["a record", "the last record of a pass"])
def test_a_batch_that_is_not_recorded_stops_the_loop(forgotten):
    loop = Loop(PLANS["default"])
    with pytest.raises(CourseError, match=r"the losses of the last batch were not recorded: call loss = teacher\.rec"):
        take(loop, lambda place: [] if place == (2 if forgotten == "a record" else 5) else [place])
    assert loop.teacher.feed.epoch == 0


def test_a_batch_that_is_recorded_twice_is_refused():
    loop = Loop(PLANS["default"])
    with pytest.raises(CourseError, match=r"no batch waits for its losses: call teacher\.record\(losses\) once"):
        take(loop, lambda place: range(2))
    assert len(loop.steps) == 1


@pytest.mark.parametrize("last", [False, True])
def test_evaluation_data_are_not_recorded(last):
    loop = Loop(PLANS["default"])
    for place, batch in enumerate(loop.teacher(loop.loader)):
        loop.step(batch)
        if place == (5 if last else 2):
            break
    with pytest.raises(CourseError, match="no batch waits for its losses"):
        loop.teacher.record(torch.ones(4))


def test_a_sampler_whose_batches_were_not_all_recorded_gives_no_more():
    data = TensorDataset(X[:20], Y[:20], torch.arange(20))
    loop = Loop(PLANS["default"], DataLoader(data, 4))
    own = DataLoader(data, batch_sampler=loop.teacher.batch_sampler)
    for place, batch in enumerate(own):
        if place != 3:
            loop.step(batch)
    with pytest.raises(CourseError, match="all 5 batches of pass 0 were given out and 4 were recorded"):
        next(iter(own))


WRONG_LOSSES = {
    "a mean": (torch.tensor(1.0), r"one loss per example, got their mean: compute it with reduction='none'"),
    "tokens": (torch.ones(4, 7), r"for tokens with attent_torch\.token_mean"),
    "too few": (torch.ones(3), r"shape \(4,\), got shape \(3,\)"),
    "whole numbers": (torch.ones(4, dtype=torch.int64), "floating-point dtype, got torch.int64"),
    "no tensor": ([1.0] * 4, r"must return a tensor of shape \(4,\)"),
}


@pytest.mark.parametrize(("losses", "told"), WRONG_LOSSES.values(), ids=WRONG_LOSSES)
def test_losses_that_are_not_one_per_example_are_refused(losses, told):
    loop = Loop(PLANS["default"])
    batches = iter(loop.teacher(loop.loader))
    batch = next(batches)
    with pytest.raises(LearnerError, match=told):
        loop.teacher.record(losses)
    loop.step(batch)  # nothing was kept
    assert len(next(batches)) == 3


def test_a_loss_that_is_no_number_is_told_by_its_id():
    loop = Loop(PLANS["default"])
    told = r"record\(\) was given 1 of 23 numbers that are not finite in epoch 0: id 7 \(nan"
    for place, (_, _, ids) in enumerate(loop.teacher(loop.loader)):
        losses = torch.where(ids == 7, float("nan"), 1.0)
        with pytest.raises(ScoreError, match=told) if place == 5 else contextlib.nullcontext():
            loop.teacher.record(losses)
        if place == 5:
            break


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(N))

    def __len__(self):
        return N


class Twice(BatchSampler):
    def __iter__(self):
        return iter([[0, 0]])


LOADERS = {
    "an iterable dataset": (lambda: DataLoader(Endless(), 4), "dataset is iterable: its examples have no ids"),
    "other data": (lambda: DataLoader(TensorDataset(X[:5]), 4), "has 5 examples, the teacher was built for 23"),
    "a weighted sampler": (
        lambda: DataLoader(DATA, 4, sampler=WeightedRandomSampler([1.0] * N, N)),
        "sampler is a WeightedRandomSampler, where the plan chooses",
    ),
    "a subset": (lambda: DataLoader(DATA, 4, sampler=SubsetRandomSampler([1])), "is a SubsetRandomSampler"),
    "replacement": (lambda: DataLoader(DATA, 4, sampler=RandomSampler(DATA, True)), "draws with replacement"),
    "a part": (lambda: DataLoader(DATA, 4, sampler=RandomSampler(DATA, num_samples=8)), "or only some"),
    "drop_last": (lambda: DataLoader(DATA, 4, drop_last=True), "has drop_last=True"),
    "other batches": (
        lambda: DataLoader(DATA, 5),
        "the plan's batch_size is 4, an optimiser step takes 5 examples: 5 in a batch of the loader. A plan's",
    ),
    "no batches": (lambda: DataLoader(DATA, None), "the loader has no batches: batch_size=None"),
    "its own batches": (
        lambda: DataLoader(DATA, batch_sampler=Twice(SequentialSampler(DATA), 4, False)),
        "the loader has batches by a Twice, where the plan makes the batches",
    ),
    "no loader": (lambda: [(X, Y)], r"teacher\(\.\.\.\) takes the script's DataLoader, got list"),
}


@pytest.mark.parametrize(("make", "told"), LOADERS.values(), ids=LOADERS)
def test_a_loader_whose_order_is_not_the_plans_is_refused_before_the_first_batch(make, told):
    teacher = Teacher(PLANS["default"], N)
    with pytest.raises(CourseError, match=told):
        teacher(make())


@pytest.mark.parametrize(
    "data", [{"x": X, "y": Y}, X, "words", None, 2.5], ids=["dict", "tensor", "text", "none", "float"]
)
def test_data_without_a_certain_number_of_examples_are_refused(data):
    with pytest.raises(PlanError, match="data must be the loader, its map-style dataset or the number of examples"):
        Teacher(PLANS["default"], data)


def test_a_plan_with_scoring_passes_wants_a_model_to_score_with():
    with pytest.raises(PlanError, match=r"the plan has scoring passes: give model=\.\.\. and loss"):
        Teacher(PLANS["paper"], DATA)


def test_scoring_leaves_the_model_as_it_was():
    plan = PLANS["paper"]
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3)).double()
    loader = DataLoader(DATA, 5, shuffle=True)
    teacher = Teacher(plan, loader, model=model, loss=loss_of)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    next(iter(teacher(loader)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    assert teacher.feed.row.scored == N
