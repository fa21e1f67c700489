"""Lightning's fit. Run by ``backends/bench_trainers.py``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import attent
from attent_torch.trainers.lightning import Teaching, record

STEPS, BATCH = 50, 64


class Classifier(lightning.LightningModule):
    """The network of PyTorch's MNIST example, of half its size."""

    def __init__(self, taught: bool) -> None:
        super().__init__()
        self.taught = taught
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * 144, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return a batch's mean loss."""
        x, y = batch
        if self.taught:
            return record(self, F.cross_entropy(self.net(x), y, reduction="none"))
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), 1e-3)


class Turns(lightning.Callback):
    """Tells of each step taken."""

    def __init__(self, step_taken: Callable[[], None]) -> None:
        self.step_taken = step_taken

    def on_train_batch_end(self, *given: Any) -> None:
        """Tell of it."""
        self.step_taken()


def cases() -> dict[str, Any]:
    """Return the case."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = TensorDataset(torch.rand(STEPS * BATCH, 1, 28, 28), torch.randint(10, (STEPS * BATCH,)))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }

    def side(passes: int, step_taken: Callable[[], None], taught: bool) -> None:
        callbacks = [Teaching(attent.Plan.full(epochs=passes, batch_size=BATCH))] if taught else []
        trainer = lightning.Trainer(
            max_epochs=passes, accelerator="cpu", callbacks=[*callbacks, Turns(step_taken)], **quiet
        )
        trainer.fit(Classifier(taught), DataLoader(data, BATCH, shuffle=True))

    return {"Lightning: convnet": (partial(side, taught=True), partial(side, taught=False), STEPS)}
