"""Lightning trains what the plan says, in every step, on one process and two, and goes on exactly from a checkpoint."""

from __future__ import annotations

import difflib
import json
import logging
import os
import runpy
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
)
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

import attent
from attent_torch import TorchLearner
from attent_torch.trainers.lightning import Teaching, record

N, SIZE = 90, 16
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"
AUTO, DEFAULT = attent.Plan.auto(epochs=4, batch_size=SIZE), attent.Plan.default(epochs=4, batch_size=SIZE)
PARTS = {"auto": 1, "default": 2}  # batches accumulated in two processes
WEIGHTED = attent.Plan.infobatch(epochs=4, batch_size=SIZE)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*logging interval:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*val_dataloader:UserWarning"),
]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)
_random = np.random.default_rng(0)
INPUTS, LABELS = torch.tensor(_random.normal(size=(N, 6))), torch.tensor(_random.integers(0, 3, N))


class Numbered(Dataset):
    """Examples that carry their ids."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        return index, INPUTS[index], LABELS[index]


def losses_of(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(net(inputs), labels, reduction="none")


def new_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


class Module(LightningModule):
    """A user's module that remembers which ids each step trained."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = new_net(), []

    def training_step(self, batch, batch_idx):
        self.seen.append([self.current_epoch, batch[0].tolist()])
        return self.loss(batch)

    def loss(self, batch) -> torch.Tensor:
        loss = record(self, losses_of(self.net, *batch[1:]))
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("held_out", self.loss(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5)
        self.steps = self.trainer.estimated_stepping_batches
        return [optimizer], [{"scheduler": CosineAnnealingLR(optimizer, self.steps), "interval": "step"}]


def loader_of(**settings) -> DataLoader:
    return DataLoader(Numbered(), **{"batch_size": SIZE, "shuffle": True, **settings})


def new_trainer(*callbacks, epochs: int = 4, **settings) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    kept = {"enable_checkpointing": any(isinstance(each, ModelCheckpoint) for each in callbacks)}
    return Trainer(max_epochs=epochs, callbacks=list(callbacks), **{**quiet, **kept, **settings})


def taught(plan: attent.Plan, *callbacks, loader=None, held_out=True, ckpt=None, module=None, run=None, **settings):
    module, teaching = module or Module(), Teaching(plan, run=run)
    trainer = new_trainer(teaching, *callbacks, **settings)
    trainer.fit(
        module,
        loader_of() if loader is None else loader,
        loader_of(shuffle=False) if held_out else None,
        ckpt_path=ckpt,
    )
    return module, teaching, trainer


class Watched(TorchLearner):
    """A learner that remembers which ids each step trained."""

    def train(self, batches, weights=None):
        self.seen = [*getattr(self, "seen", []), *(ids.tolist() for ids in batches)]
        return super().train(batches, weights)


def by_teach(plan: attent.Plan) -> tuple[attent.Trace, Watched]:
    net = new_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    schedule = CosineAnnealingLR(optimizer, plan.total_steps(N))
    learner = Watched(net, (INPUTS, LABELS), lambda net, batch: losses_of(net, *batch), optimizer, scheduler=schedule)
    return attent.teach(learner, plan), learner


def weights_of(net: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in net.parameters()])


@pytest.mark.parametrize("plan", [AUTO, DEFAULT, WEIGHTED], ids=["auto", "default", "weighted"])
@pytest.mark.parametrize("workers", [{}, {"num_workers": 2, "persistent_workers": True}], ids=["main", "workers"])
def test_every_step_trains_what_teach_trains(plan, workers):
    trace, learner = by_teach(plan)
    module, teaching, trainer = taught(plan, loader=loader_of(**workers))
    assert [ids for _, ids in module.seen] == learner.seen
    assert attent.first_difference(teaching.teacher.trace(), trace) is None
    torch.testing.assert_close(weights_of(module.net), weights_of(learner.model), rtol=0, atol=1e-12)
    assert teaching.teacher.finished
    assert module.steps == trainer.global_step == plan.total_steps(N)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0
    assert trainer.current_epoch == 4
    assert [count for _, count in sorted(Counter(epoch for epoch, _ in module.seen).items())] == teaching.teacher.steps


@pytest.mark.parametrize(("plan", "held_out"), [(AUTO, True), (DEFAULT, False)], ids=["auto", "default"])
def test_goes_on_exactly_from_any_step(plan, held_out, tmp_path):
    keep = ModelCheckpoint(tmp_path / "states", "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, teaching, trainer = taught(plan, keep, held_out=held_out, run=tmp_path / "run")
    trace = teaching.teacher.trace()
    every = sorted((tmp_path / "states").iterdir(), key=lambda path: int(path.stem.removeprefix("step=")))
    assert len(every) == trainer.global_step
    ends = np.cumsum(teaching.teacher.steps).tolist()
    for step in sorted({1, 3, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}):
        path = every[step - 1]
        module, again, after = taught(plan, ckpt=path, held_out=held_out)
        assert module.seen == whole.seen[step:], path
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), path
        assert (after.current_epoch, after.global_step, module.steps) == (4, trainer.global_step, whole.steps), path
        assert again.teacher.finished, path
    module, again, _ = taught(plan, ckpt=every[7], run=tmp_path / "run")
    assert attent.first_difference(again.teacher.trace(), trace) is None


@pytest.mark.parametrize("late", [True, False])
def test_goes_on_exactly_from_every_epoch(late, tmp_path):
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=late)
    whole, teaching, _ = taught(DEFAULT, keep)
    ends = np.cumsum(teaching.teacher.steps).tolist()
    for epoch, end in enumerate(ends):
        path = tmp_path / f"epoch={epoch}.ckpt"
        assert torch.load(path, weights_only=True)["callbacks"]["attent"]
        module, _, _ = taught(DEFAULT, ckpt=path)
        assert module.seen == whole.seen[end:], epoch
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), epoch


def test_one_cycle_ends_with_the_run_where_the_first_pass_is_the_shortest():
    class OneCycle(Module):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            schedule = OneCycleLR(optimizer, 0.5, total_steps=self.trainer.estimated_stepping_batches)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    plan = attent.Plan.paper(epochs=4, batch_size=SIZE)
    assert plan.timeline(N)[0].steps < plan.timeline(N)[3].steps
    module = OneCycle()
    teaching = Teaching(plan, loss=lambda module, batch: losses_of(module.net, *batch[1:]))
    trainer = new_trainer(teaching)
    trainer.fit(module, loader_of())
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == trainer.global_step == plan.total_steps(N)
    assert [len(teaching.teacher.trace().ids(epoch)) for epoch in range(4)] == [row.k for row in plan.timeline(N)]


@pytest.mark.parametrize("kind", ["auto", "default", "infobatch"])
@pytest.mark.parametrize("accumulate", [2, 5])
def test_a_step_trains_the_plans_batch_whatever_the_accumulation(kind, accumulate):
    plan = getattr(attent.Plan, kind)(epochs=4, batch_size=20)
    whole, teaching, _ = taught(plan, loader=loader_of(batch_size=20))
    parts, again, trainer = taught(
        plan, loader=loader_of(batch_size=20 // accumulate), accumulate_grad_batches=accumulate
    )
    assert len(parts.seen) == accumulate * len(whole.seen)
    for step, (epoch, ids) in enumerate(whole.seen):
        found = parts.seen[step * accumulate : (step + 1) * accumulate]
        assert {each for each, _ in found} == {epoch}
        own = [id for _, part in found for id in part]
        assert own == ids if len(ids) >= accumulate else set(own) == set(ids)
    assert attent.first_difference(again.teacher.trace(), teaching.teacher.trace()) is None
    torch.testing.assert_close(weights_of(parts.net), weights_of(whole.net), rtol=0, atol=1e-12)
    assert parts.steps == trainer.global_step == plan.total_steps(N)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0


def test_goes_on_exactly_from_any_step_of_accumulated_batches(tmp_path):
    settings = {"accumulate_grad_batches": 2}
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, _, trainer = taught(DEFAULT, keep, loader=loader_of(batch_size=SIZE // 2), **settings)
    for step in range(1, trainer.global_step + 1):
        module, _, _ = taught(
            DEFAULT, loader=loader_of(batch_size=SIZE // 2), ckpt=tmp_path / f"step={step}.ckpt", **settings
        )
        assert module.seen == whole.seen[2 * step :], step
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), step


def test_other_callbacks_keep_working(tmp_path):
    class Worse(Module):
        def validation_step(self, batch, batch_idx):
            self.log("held_out", float(self.current_epoch))

    best = ModelCheckpoint(tmp_path, monitor="held_out", save_top_k=1)
    stop = EarlyStopping("held_out", patience=2)
    module, teaching, trainer = taught(DEFAULT, best, stop, module=Worse())
    assert trainer.current_epoch == 3
    assert best.best_model_path.endswith("epoch=0-step=6.ckpt")
    assert teaching.teacher.feed.epoch == 3
    assert len(module.seen) == sum(teaching.teacher.steps[:3])


def test_validation_within_an_epoch_is_not_recorded():
    module, _, _ = taught(DEFAULT, val_check_interval=0.5)
    plain, _, _ = taught(DEFAULT, held_out=False)
    assert module.seen == plain.seen


def test_the_module_stays_usable_without_a_plan():
    module = Module()
    new_trainer(epochs=1).fit(module, loader_of(shuffle=False))
    assert module.seen[0][1] == list(range(SIZE))


def test_a_second_fit_with_another_trainer_begins_anew():
    teaching, first, second = Teaching(DEFAULT), Module(), Module()
    for module in (first, second):
        new_trainer(teaching).fit(module, loader_of())
    assert first.seen == second.seen


def test_a_fit_that_was_stopped_is_gone_on_with():
    class Stopped(Module):
        def training_step(self, batch, batch_idx):
            if len(self.seen) == 9 and self.stop:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    module, teaching, whole = Stopped(), Teaching(DEFAULT), taught(DEFAULT)[0]
    trainer = new_trainer(teaching)
    module.stop = True
    with pytest.raises(SystemExit):  # Lightning's way
        trainer.fit(module, loader_of())
    assert isinstance(trainer.fit_loop._data_source.instance, DataLoader)
    module.stop = False
    trainer.fit(module, loader_of())
    assert [ids for _, ids in module.seen] == [ids for _, ids in whole.seen]


def test_the_trainer_gets_its_own_loader_back():
    trainer = taught(DEFAULT)[2]
    assert isinstance(trainer.fit_loop._data_source.instance, DataLoader)
    assert trainer.reload_dataloaders_every_n_epochs == 0


def test_a_data_module_and_a_dry_run_are_taught_too(tmp_path):
    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return loader_of()

    module, dry = Module(), Module()
    new_trainer(Teaching(DEFAULT)).fit(module, datamodule=Data())
    assert module.seen == taught(DEFAULT)[0].seen
    new_trainer(Teaching(DEFAULT, run=tmp_path / "run"), fast_dev_run=True).fit(dry, datamodule=Data())
    assert dry.seen == module.seen[:1]
    assert not (tmp_path / "run").exists()


def test_two_optimisers_by_hand():
    class ByHand(Module):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self):
            return [torch.optim.SGD(each.parameters(), 0.5) for each in (self.net[0], self.net[2])]

    module, teaching, _ = taught(DEFAULT, module=ByHand())
    assert teaching.teacher.finished
    assert len(module.seen) == DEFAULT.total_steps(N)


class Mean(Module):
    def loss(self, batch):
        return losses_of(self.net, *batch[1:]).mean()


class OnlyMean(Module):
    def loss(self, batch):
        return record(self, losses_of(self.net, *batch[1:]).mean())


class TooLong(Module):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5)
        return [optimizer], [{"scheduler": CosineAnnealingLR(optimizer, 400), "interval": "step"}]


class ByEpoch(Module):
    """Its schedule is stepped once an epoch, as Lightning does where nothing is said."""

    length = 4

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.5)
        return [optimizer], [CosineAnnealingLR(optimizer, self.length)]


class ByEpochTooLong(ByEpoch):
    length = DEFAULT.total_steps(N)


class ByLbfgs(Module):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters())


class Endless(IterableDataset):
    def __iter__(self):
        return iter(Numbered())


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ("Mean.training_step gave no losses of its examples", {"module": Mean}),
        ("takes one loss per example, got their mean", {"module": OnlyMean}),
        ("the scheduler is too long", {"module": TooLong}),
        ("the scheduler is too long: .*, and it is stepped after each of 4 epochs", {"module": ByEpochTooLong}),
        ("max_epochs=9 and the plan spends 4", {"epochs": 9}),
        ("limit_train_batches=0.5", {"limit_train_batches": 0.5}),
        ("overfit_batches=1", {"overfit_batches": 1}),
        ("has reload_dataloaders_every_n_epochs", {"reload_dataloaders_every_n_epochs": 1}),
        ("16, an optimiser step takes 8 examples: 8 in a batch", {"loader": {"batch_size": 8}}),
        ("takes 32 examples: 16 in a batch of the loader, accumulated over 2", {"accumulate_grad_batches": 2}),
        ("val_check_interval=5, and the plan's shortest epoch has 3 batches", {"val_check_interval": 5}),
        ("LBFGS calls training_step several times a step", {"module": ByLbfgs}),
        ("GradientAccumulationScheduler changes how many", {"callback": GradientAccumulationScheduler({2: 2})}),
        ("LearningRateFinder trains for a while", {"callback": LearningRateFinder()}),
        (
            "sampler is a WeightedRandomSampler",
            {"loader": {"sampler": WeightedRandomSampler([1] * N, N), "shuffle": None}},
        ),
        ("drop_last=True", {"loader": {"drop_last": True}}),
        ("takes one DataLoader, got dict", {"loader": {"a": 1}}),
        ("must be the loader, its map-style dataset", {"loader": {"dataset": Endless(), "shuffle": None}}),
    ],
)
def test_says_what_is_wrong_before_the_first_step(told, given):
    settings = dict(given)
    more = [settings.pop("callback")] if "callback" in settings else []
    module, loader = settings.pop("module", Module)(), settings.pop("loader", {})
    if loader == {"a": 1}:
        loader = {"a": loader_of()}
    elif "dataset" in loader:
        loader = DataLoader(loader["dataset"], batch_size=SIZE)
    else:
        loader = loader_of(**loader)
    before = weights_of(module.net)
    with pytest.raises(attent.AttentError, match=told):
        taught(DEFAULT, *more, module=module, loader=loader, **settings)
    assert torch.equal(weights_of(module.net), before)


def test_a_schedule_of_the_plans_epochs_ends_with_them():
    _, teaching, trainer = taught(DEFAULT, module=ByEpoch())
    assert teaching.teacher.finished
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0


def test_an_epoch_that_is_left_early_is_refused():
    class Leaves(Module):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 3 else None

    with pytest.raises(attent.CourseError, match="the epoch ended within pass 0 of the plan"):
        taught(DEFAULT, module=Leaves())
    module, _, trainer = taught(DEFAULT, max_steps=8)  # a training that ends is another matter
    assert len(module.seen) == trainer.global_step == 8


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    keep = ModelCheckpoint(tmp_path, "plain")
    new_trainer(keep, epochs=2).fit(Module(), loader_of())
    with pytest.raises(attent.CourseError, match="is no checkpoint of a taught run"):
        taught(DEFAULT, ckpt=tmp_path / "plain.ckpt")


def test_another_version_of_lightning_is_refused(monkeypatch):
    monkeypatch.setattr(lightning, "__version__", "2.7.0")
    with pytest.raises(attent.LearnerError, match="for lightning 2.6, and 2.7.0 is installed"):
        Teaching(DEFAULT)


@pytest.mark.parametrize("plan", ["auto", "default"])
def test_two_processes_train_their_shares_of_the_same_batches(plan, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, __file__, plan, str(tmp_path)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    one, teaching, _ = taught({"auto": AUTO, "default": DEFAULT}[plan])
    parts = PARTS[plan]
    assert len(ranks[0]["seen"]) == len(ranks[1]["seen"]) == parts * len(one.seen)
    for step, (epoch, ids) in enumerate(one.seen):
        own = [part for rank in ranks for part in rank["seen"][parts * step : parts * (step + 1)]]
        assert {part[0] for part in own} == {epoch}
        assert [id for part in own for id in part[1]] == ids
    for rank in ranks:
        np.testing.assert_allclose(rank["weights"], weights_of(one.net), rtol=0, atol=1e-12)
        assert rank["again"] == rank["seen"][8 * parts :]
        assert rank["weights"] == rank["weights_again"]
        assert rank["steps"] == one.steps
    assert attent.first_difference(attent.Trace.read(tmp_path / "run"), teaching.teacher.trace()) is None


def on_a_rank(plan: attent.Plan, parts: int, folder: Path) -> None:
    """Train, and go on from a checkpoint in mid-pass, on one of two processes."""
    found = {}
    for again in ("", "_again"):
        keep = ModelCheckpoint(folder / f"states{again}", "{step}", every_n_train_steps=8, save_top_k=-1)
        module, _, trainer = taught(
            plan, keep, strategy="ddp", devices=2, loader=loader_of(batch_size=SIZE // 2 // parts), accumulate_grad_batches=parts,
            ckpt=folder / "states" / "step=8.ckpt" if again else None, run=None if again else folder / "run",
        )  # fmt: skip
        found |= {"again" if again else "seen": module.seen, f"weights{again}": weights_of(module.net).tolist()}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps({**found, "steps": module.steps}))


@pytest.mark.parametrize("name", ["lightning_trainer"])
def test_at_most_five_lines_of_the_script_change(name):
    before, after = ((EXAMPLES / f"{name}{kind}.py").read_text().splitlines() for kind in ("_before", ""))
    added = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert 0 < len(added) <= 5, added
    assert len(after) <= 40


@pytest.mark.parametrize("name", ["lightning_trainer_before", "lightning_trainer"])
def test_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert found["trainer"].current_epoch == 5
    assert found["trainer"].callback_metrics["accuracy"] > 0.9


class Sorted(Numbered):
    """Examples whose groups are an attribute."""

    source = np.arange(N) // 60


def test_a_policy_by_group_goes_by_an_attribute_of_the_dataset():
    teaching = Teaching(attent.Plan.balanced(epochs=2, batch_size=SIZE), groups="source")
    trainer = Trainer(
        max_epochs=2, callbacks=[teaching], logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(Sorted(), batch_size=SIZE, shuffle=True))
    trace = teaching.teacher.trace()
    taken = [np.bincount(Sorted.source[trace.ids(epoch)]).tolist() for epoch in range(1, len(trace.records))]
    assert [max(each) - min(each) <= 1 for each in taken] == [True] * len(taken)


if __name__ == "__main__":
    on_a_rank({"auto": AUTO, "default": DEFAULT}[sys.argv[1]], PARTS[sys.argv[1]], Path(sys.argv[2]))


# What is not finite

SICK = 7


class Sick(Module):
    """Has no finite loss of example 7, nor of a batch with it a finite statistic."""

    def __init__(self, normed=True) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(8).double() if normed else nn.Identity()
        self.net = nn.Sequential(self.net[0], norm, *self.net[1:])

    def training_step(self, batch, batch_idx):
        ids, inputs, labels = batch
        return self.loss((ids, torch.where((ids == SICK)[:, None], torch.nan, inputs), labels))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_not_finite_is_left_out_as_by_teach(accumulate):
    plan = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, non_finite="last", source=attent.Reuse())
    module = Sick(normed=accumulate == 1)
    settings = {"epochs": 3, "loader": loader_of(batch_size=SIZE // accumulate), "held_out": False}
    module, teaching, _ = taught(plan, module=module, accumulate_grad_batches=accumulate, **settings)
    learnt = Sick(normed=accumulate == 1).net
    optimizer = torch.optim.SGD(learnt.parameters(), 0.5)
    schedule = CosineAnnealingLR(optimizer, plan.total_steps(N))
    inputs = INPUTS.clone()
    inputs[SICK] = torch.nan
    trace = attent.teach(
        TorchLearner(learnt, (inputs, LABELS), lambda net, batch: losses_of(net, *batch), optimizer, schedule), plan
    )
    found = teaching.teacher.trace()
    assert attent.first_difference(found, trace) is None
    assert [record.steps_skipped for record in found.records] == [record.steps_skipped for record in trace.records]
    assert found.records[0].steps_skipped == 1
    torch.testing.assert_close(weights_of(module.net), weights_of(learnt), rtol=0, atol=1e-12)
    for mine, theirs in zip(module.net.buffers(), learnt.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["automatic", "manual"])
@pytest.mark.parametrize("policy", ["error", "drop"])
def test_steps_that_the_loss_scaler_leaves_out_are_counted(policy, way):
    """Of 16-mixed, with gradients that overflow in three steps; by hand the module may leave steps out too."""
    plan = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, non_finite=policy, source=attent.Reuse())
    sick, taken = {1, 5, 7}, []

    class Overflowing(Module):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = way == "automatic"
            self.net.float()[0].weight.register_hook(self.overflow)
            self.calls = 0

        def overflow(self, gradient):
            self.calls += 1
            return gradient * torch.inf if self.calls - 1 in sick else gradient

        def training_step(self, batch, batch_idx):
            loss = super().training_step((batch[0], batch[1].float(), batch[2]), batch_idx)
            if way == "manual":
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def on_train_batch_start(self, *args):
            self.before = self.net[0].weight.detach().clone()

        def on_train_batch_end(self, *args):
            taken.append(not torch.equal(self.before, self.net[0].weight))

    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
    _, teaching, _ = taught(
        plan, module=Overflowing(), epochs=3, loader=loader_of(batch_size=SIZE), held_out=False, plugins=[precision]
    )
    assert [step for step, yes in enumerate(taken) if not yes] == sorted(sick)
    assert [record.steps_skipped for record in teaching.teacher.trace().records] == [2, 1, 0]


class Breaking(lightning.pytorch.Callback):
    """Spoils a weight after a step."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == self.at:
            with torch.no_grad():
                pl_module.net[2].bias[1] = torch.inf


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    kept = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    with pytest.raises(attent.LearnerError, match=r"'net.2.bias' of the model is not finite in pass 1\. Nothing of it"):
        taught(DEFAULT, Breaking(6), kept, held_out=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step=3.ckpt"]
    with pytest.raises(attent.LearnerError, match=r"'net.2.bias' of the model is not finite"):
        taught(DEFAULT, Breaking(DEFAULT.total_steps(N)), held_out=False)


def test_batch_norm_is_told_of_a_last_batch_of_one_before_a_step():
    module = Sick()
    with pytest.raises(attent.LearnerError, match=r"epoch 0 trains 90 examples in batches of 89, the last of 1: Batch"):
        taught(attent.Plan.full(epochs=4, batch_size=89), module=module, loader=loader_of(batch_size=89))
    assert module.trainer.global_step == 0


READ_BACK = {
    "hard": attent.Plan(epochs=4, batch_size=SIZE, warm_up=1, ratio=0.4, select=attent.Hard()),
    "weighted": attent.Plan.default(epochs=4, batch_size=SIZE, select=attent.Soft(temperature=0.3, correction=5.0)),
}


@pytest.mark.parametrize("plan", READ_BACK.values(), ids=READ_BACK)
def test_a_runs_folder_is_shown_compared_and_replayed(plan, tmp_path, read_back):
    taught(plan, run=tmp_path / "run")
    trace = attent.Trace.read(tmp_path / "run")
    teaching = Teaching(replace(plan, source=attent.Replay()), run=tmp_path / "again", replay=trace)
    new_trainer(teaching).fit(Module(), loader_of())
    again = teaching.teacher.trace()
    read_back(trace, again)
