"""Loops of the user's own: which ids are in which step, with workers, ranks and accelerate; and what is refused."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import attent
from attent.cli.report_command import show_difference, show_report
from attent.errors import CourseError, LearnerError, PlanError, ScoreError, TraceError
from attent_torch import Teacher, TorchLearner, cross_entropy

N = 23
PLANS = {
    "auto": attent.Plan.auto(epochs=5, batch_size=4),
    "default": attent.Plan.default(epochs=4, batch_size=4),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=4),
    "paper": attent.Plan.paper(epochs=4, batch_size=5),
}
EVERY = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
X = torch.randn(N, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (N,), generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(X, Y, torch.arange(N))


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    return model.double()


def loss_of(model, batch):
    return cross_entropy(model, batch[:2])


class Loop:
    """A user's script: its model, optimiser and loader, and the ids of the steps it took."""

    def __init__(self, plan, loader=None, **settings):
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.5, momentum=0.9)
        self.loader = DataLoader(DATA, plan.batch_size, shuffle=True) if loader is None else loader
        self.teacher = Teacher(plan, self.loader, model=self.model, loss=loss_of, **settings)
        self.steps = []

    def step(self, batch):
        x, y, ids = batch
        loss = self.teacher.record(F.cross_entropy(self.model(x), y, reduction="none"))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps.append(ids.tolist())

    def epochs(self, count, until=None):
        for _ in range(count):
            for batch in self.teacher(self.loader):
                self.step(batch)
                if len(self.steps) == until:
                    return self
        return self

    def learnt(self):
        return [value.detach() for value in self.model.parameters()]


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


def assert_within(ours, theirs, bound=1e-12):
    for mine, other in zip(ours, theirs, strict=True):
        assert (torch.as_tensor(mine) - torch.as_tensor(other)).abs().max().item() <= bound


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


# What goes wrong silently without a teacher


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


# Several processes

SCRIPT = Path(__file__).with_name("rank.py")


def ranks(kind, plan, folder, world):
    """Run so many processes of ``rank.py`` and return what each wrote."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), kind, plan, str(folder)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        for process in running:
            output = process.communicate(timeout=240)[0]
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize(
    ("kind", "plan"),
    [("ddp", "auto"), ("ddp", "infobatch"), ("ddp", "paper"), ("stopped", "auto"), ("accelerate", "auto")],
)
def test_two_processes_train_what_one_trains(kind, plan, tmp_path):
    if kind == "accelerate":
        pytest.importorskip("accelerate")
    (alone,) = ranks("ddp", plan, tmp_path / "one", 1)
    pair = ranks(kind, plan, tmp_path / "two", 2)
    assert [each["finished"] for each in pair] == [True, True]
    assert {len(each["seen"]) for each in pair} == {len(alone["seen"]), pair[0]["steps"]}
    # Each rank its share, and where a batch has one example the rank without one trains it for nothing.
    for whole, first, second in zip(alone["seen"], pair[0]["seen"], pair[1]["seen"], strict=True):
        assert whole == (first + second if len(whole) > 1 else first)
        assert len(second) - len(first) in (0, 1)
    assert pair[0]["taught"] == alone["taught"]
    for each in pair:
        assert_within(each["parameters"], alone["parameters"])
    folders = [attent.Trace.read(tmp_path / name / "run") for name in ("one", "two")]
    assert attent.first_difference(*folders) is None


def test_what_one_of_two_processes_is_given_wrongly_stops_both_at_once(tmp_path):
    told = [rank["error"] for rank in ranks("misled", "auto", tmp_path / "two", 2)]
    words = "LearnerError: groups must be one for each of the 21 examples, shape (21,), got shape (20,)"
    assert told == [f"WorkersError: rank 1 of 2 has stopped, and so have all: {words}", words]


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
