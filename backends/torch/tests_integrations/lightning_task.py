"""Numbered examples, a module and a trainer of Lightning, and what teach makes of the same."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset

import attent
from attent_torch.trainers.lightning import Teaching, record

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)
QUIET = [
    pytest.mark.filterwarnings("ignore:.*many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*logging interval:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*val_dataloader:UserWarning"),
]
N, SIZE = 90, 16
AUTO, DEFAULT = attent.Plan.auto(epochs=4, batch_size=SIZE), attent.Plan.default(epochs=4, batch_size=SIZE)
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


def weights_of(net: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in net.parameters()])
