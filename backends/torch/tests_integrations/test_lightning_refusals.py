"""Lightning, taught: what does not go with a plan is refused, before the first step where it can be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateFinder, ModelCheckpoint
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

import attent
from attent_torch.trainers.lightning import Teaching, record

_spec = importlib.util.spec_from_file_location("lightning_task", Path(__file__).with_name("lightning_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
DEFAULT, Module, N, Numbered, SIZE = task.DEFAULT, task.Module, task.N, task.Numbered, task.SIZE
loader_of, losses_of, new_trainer, taught, weights_of = (
    task.loader_of,
    task.losses_of,
    task.new_trainer,
    task.taught,
    task.weights_of,
)
pytestmark = task.QUIET


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
