"""Loops of the user's own: which ids are in which step, with workers, schedules and accelerate."""

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import attent
from attent.cli.report_command import show_difference, show_report
from attent.errors import CourseError, LearnerError, TraceError
from attent_torch import Teacher, TorchLearner

_spec = importlib.util.spec_from_file_location("loop_task", Path(__file__).with_name("loop_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
DATA, Loop, N, PLANS, X = shared.DATA, shared.Loop, shared.N, shared.PLANS, shared.X
Y, assert_within, loss_of, network = shared.Y, shared.assert_within, shared.loss_of, shared.network

EVERY = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def taught(plan, data=(X, Y)):
    """What ``attent.teach`` trains: the batches' ids, the parameters, and the trace."""
    model, steps = network(), []
    learner = TorchLearner(model, data, loss_of, torch.optim.SGD(model.parameters(), 0.5, momentum=0.9))

    class Told:
        def __len__(self):
            return len(learner)

        def train(self, batches, weights=None):
            steps.extend(ids.tolist() for ids in batches)
            return learner.train(batches, weights)

        score, state, load_state = learner.score, learner.state, learner.load_state

    trace = attent.teach(Told(), plan)
    return steps, [value.detach() for value in model.parameters()], trace


@EVERY
@pytest.mark.parametrize(
    "workers",
    [
        {},
        {"num_workers": 2},
        {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 8},
    ],
    ids=["none", "two", "persistent"],
)
def test_a_loop_trains_what_teach_trains_in_the_same_steps(plan, workers):
    steps, parameters, trace = taught(plan)
    loop = Loop(plan, DataLoader(DATA, plan.batch_size, shuffle=True, **workers)).epochs(plan.full_epochs)
    assert loop.steps == steps
    assert loop.teacher.finished
    assert loop.teacher.total_steps == len(steps)
    assert attent.first_difference(loop.teacher.trace(), trace) is None
    assert_within(loop.learnt(), parameters)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_sampler_serves_a_loader_of_ones_own(workers):
    plan = PLANS["auto"]
    steps, parameters, _ = taught(plan)
    loop = Loop(plan)
    own = DataLoader(
        DATA, batch_sampler=loop.teacher.batch_sampler, num_workers=workers, persistent_workers=workers > 0
    )
    lengths = []
    while not loop.teacher.finished:  # one pass each
        lengths.append(len(own))
        for batch in own:
            loop.step(batch)
    assert loop.steps == steps
    assert lengths == [row.steps for row in plan.timeline(N)]
    assert_within(loop.learnt(), parameters)


def test_an_epoch_is_as_long_as_one_on_all_examples_under_auto():
    loop = Loop(attent.Plan.auto(epochs=5, batch_size=4))
    counts = []
    for _ in range(5):
        epoch = loop.teacher(loop.loader)
        counts.append((len(epoch), sum(1 for batch in epoch if loop.step(batch) is None)))
    assert counts == [(6, 6)] * 5  # a loader of 23 examples in batches of 4 has 6
    assert loop.teacher.finished


def test_more_epochs_than_planned_train_nothing_and_say_so():
    loop = Loop(PLANS["default"]).epochs(4)
    steps = len(loop.steps)
    with pytest.warns(UserWarning, match="the plan is at its end after 4 epochs: there is nothing more to train"):
        loop.epochs(1)
    assert len(loop.steps) == steps


@EVERY
@pytest.mark.parametrize("until", [1, 6, 11])
def test_a_loop_goes_on_in_mid_pass(plan, until, tmp_path):
    whole = Loop(plan).epochs(plan.full_epochs)
    first = Loop(plan, run=tmp_path / "run").epochs(plan.full_epochs, until)
    kept = {"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}
    torch.save({**kept, "teacher": first.teacher.state_dict()}, tmp_path / "kept.pt")
    if not first.teacher.finished:
        first.epochs(1)  # lost

    again = Loop(plan, run=tmp_path / "run", resume=True)
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    again.teacher.load_state_dict(kept["teacher"])
    again.model.load_state_dict(kept["model"])
    again.optimizer.load_state_dict(kept["optimizer"])
    while not again.teacher.finished:
        again.epochs(1)
    assert first.steps[:until] + again.steps == whole.steps
    assert_within(again.learnt(), whole.learnt(), 0)
    trace = attent.Trace.read(tmp_path / "run")
    assert trace.finished
    assert attent.first_difference(trace, whole.teacher.trace()) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_was_left_goes_on_with_the_next_batch(workers):
    plan = PLANS["auto"]
    loader = DataLoader(DATA, 4, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    loop = Loop(plan, loader)
    for until in (1, 4, 6, 8):
        loop.epochs(1, until)
    while not loop.teacher.finished:
        loop.epochs(1)
    assert loop.steps == taught(plan)[0]


class Items(Dataset):
    """Items that tell where they came from."""

    def __len__(self):
        return N

    def __getitem__(self, place):
        info = torch.utils.data.get_worker_info()
        return {"id": place, "worker": -1 if info is None else info.id, "mark": MARK}


MARK = "main"


def mark(worker):
    global MARK
    MARK = f"marked {worker}"


def joined(items):
    return [(item["id"], item["mark"]) for item in items]


def test_a_loader_keeps_all_but_its_order():
    loader = DataLoader(Items(), 4, shuffle=True, num_workers=2, worker_init_fn=mark, collate_fn=joined)
    teacher = Teacher(attent.Plan.full(epochs=1, batch_size=4), loader)
    batches = []
    for batch in teacher(loader):
        teacher.record(torch.ones(len(batch)))
        batches.append(batch)
    assert [[place for place, _ in batch] for batch in batches] == [
        ids.tolist() for ids in attent.Feed(teacher.feed.plan, N).batches()
    ]
    assert {told for batch in batches for _, told in batch} == {"marked 0", "marked 1"}


def test_a_loop_draws_nothing_from_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Loop(PLANS["default"], DataLoader(DATA, 4, shuffle=True, num_workers=1)).epochs(4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_losses_of_any_precision_are_credited_to_their_ids(dtype):
    plan = attent.Plan(epochs=2, batch_size=4, warm_up=1, ratio=0.2, select=attent.Hard())
    loader = DataLoader(DATA, 4)
    teacher = Teacher(plan, loader)
    for _ in range(2):
        for _, _, ids in teacher(loader):
            objective = teacher.record(torch.isin(ids, torch.tensor([2, 3, 5, 11, 20])).to(dtype).requires_grad_())
            assert objective.requires_grad
    assert teacher.trace().ids(1).tolist() == [2, 3, 5, 11, 20]


def test_a_plan_that_weighs_weighs_what_is_minimised():
    plan = PLANS["infobatch"]
    loader = DataLoader(DATA, 4)
    teacher, feed = Teacher(plan, loader), attent.Feed(plan, N)
    for _ in range(4):
        place = 0
        for _, _, ids in teacher(loader):
            losses = (1.0 + ids.double()) ** 2
            if place == 0:
                weights = feed.weights()
            expected = losses.mean() if weights is None else (losses * torch.from_numpy(weights[place])).mean()
            assert teacher.record(losses).item() == pytest.approx(expected.item(), rel=1e-14)
            feed.record(losses, ids)
            place += 1
            place = 0 if feed.done == 0 else place


# Schedules


def schedules(optimizer):
    kinds = torch.optim.lr_scheduler
    return {
        "a cosine of full training": (
            lambda: kinds.CosineAnnealingLR(optimizer, 100),
            "too long: its CosineAnnealingLR",
        ),
        "a cosine of epochs": (lambda: kinds.CosineAnnealingLR(optimizer, 5), "too short: its CosineAnnealingLR"),
        "one cycle": (lambda: kinds.OneCycleLR(optimizer, 0.1, total_steps=29), "too short: its OneCycleLR"),
        "milestones of epochs": (lambda: kinds.MultiStepLR(optimizer, [1, 3, 5]), "seems to count epochs"),
        "milestones of full training": (lambda: kinds.MultiStepLR(optimizer, [20, 40]), r"milestones \[20, 40\]"),
        "steps of epochs": (lambda: kinds.StepLR(optimizer, 2), "step_size=2 and so multiplies by 0.1 15 times"),
        "steps beyond the end": (lambda: kinds.StepLR(optimizer, 40), "never decays"),
        "a power": (lambda: kinds.ExponentialLR(optimizer, 0.5), "multiplies by 0.5 at every step"),
        "a warm-up and then": (
            lambda: kinds.SequentialLR(
                optimizer, [kinds.LinearLR(optimizer), kinds.CosineAnnealingLR(optimizer, 96)], [4]
            ),
            "too long: its CosineAnnealingLR has T_max=96, 100 steps are left, and the run takes 30",
        ),
    }


@pytest.mark.parametrize("kind", schedules(None))
@pytest.mark.parametrize("by", ["Teacher", "teach"])
def test_a_schedule_of_another_length_is_refused_before_the_first_step(kind, by):
    plan = attent.Plan.auto(epochs=5, batch_size=4)  # 30 steps
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    make, told = schedules(optimizer)[kind]
    scheduler = make()
    before = [value.clone() for value in model.parameters()]
    learner = TorchLearner(model, (X, Y), loss_of, optimizer, scheduler)
    with pytest.raises(LearnerError, match=told):
        Teacher(plan, DATA, scheduler=scheduler) if by == "Teacher" else attent.teach(learner, plan)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 31),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=31),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 20]),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 10),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: torch.optim.lr_scheduler.ConstantLR(o, 0.5, 3),
    ],
)
def test_a_schedule_of_the_runs_length_ends_with_it(make):
    plan = attent.Plan.auto(epochs=5, batch_size=4)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    scheduler = make(optimizer)
    with warnings.catch_warnings(action="error"):
        Teacher(plan, DATA, scheduler=scheduler)
        attent.teach(TorchLearner(model, (X, Y), loss_of, optimizer, scheduler), plan)
    assert scheduler.last_epoch == 30


# accelerate in one process


def test_a_teacher_built_before_its_process_group_is_refused(monkeypatch):
    loop = Loop(PLANS["default"])
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(CourseError, match="built as rank 0 of 1, this is rank 1 of 2: build it after"):
        loop.epochs(1)


def test_a_run_of_other_data_is_not_gone_on_with(tmp_path):
    Loop(PLANS["default"], run=tmp_path, fingerprint="one").epochs(1)
    with pytest.raises(TraceError, match="is of data with fingerprint 'one', not 'two'"):
        Loop(PLANS["default"], run=tmp_path, resume=True, fingerprint="two")


READ_BACK = {
    "hard": attent.Plan(epochs=4, batch_size=4, warm_up=1, ratio=0.4, select=attent.Hard()),
    "weighted": attent.Plan.default(epochs=4, batch_size=4, select=attent.Soft(temperature=0.3, correction=5.0)),
    "scoring": PLANS["paper"],
}


@pytest.mark.parametrize("plan", READ_BACK.values(), ids=READ_BACK)
def test_a_runs_folder_is_shown_compared_and_replayed(plan, tmp_path):
    Loop(plan, run=tmp_path / "run").epochs(4)
    trace = attent.Trace.read(tmp_path / "run")
    again = Loop(replace(plan, source=attent.Replay()), run=tmp_path / "again", replay=trace).epochs(4)
    assert [again.teacher.trace().ids(row).tolist() for row in range(4)] == [
        trace.ids(row).tolist() for row in range(4)
    ]
    assert sum(record.examples_scored for record in again.teacher.trace().records) == 0
    told = []
    show_report(tmp_path / "run", tell=told.append)
    assert plan.total_steps(N) == sum(record.steps for record in trace.records)
    assert "examples, finished" in told[0]
    assert not show_difference(tmp_path / "run", tmp_path / "again", tell=told.append)
    assert told[-1] == "the same 4 epochs"
    with pytest.raises(attent.PlanError, match="Auto.* goes by what training has shown"):
        replace(PLANS["auto"], source=attent.Replay())
