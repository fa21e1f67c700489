"""Plain PyTorch loops and accelerate's. Run by ``backends/bench_trainers.py``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import attent
from attent.reference import Architecture, initial_parameters
from attent_torch import ReferenceNetwork, Teacher

STEPS, BATCH = 50, 64


def transformer() -> nn.Module:
    """Return the vision transformer of the recipe for digits."""
    architecture = Architecture("classify", length=16, outputs=10, patch=4)
    return ReferenceNetwork(architecture, initial_parameters(architecture, seed=0))


def convolutions() -> nn.Module:
    """Return the network of PyTorch's MNIST example, of half its size."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * 144, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def loops(new: Callable[[], nn.Module], shape: tuple[int, ...], accelerated: bool = False) -> tuple[Any, Any, int]:
    """Return a loop with a `Teacher`, one without, and the steps of a pass."""
    data = TensorDataset(torch.rand(STEPS * BATCH, *shape), torch.randint(10, (STEPS * BATCH,)))

    def side(passes: int, step_taken: Callable[[], None], taught: bool) -> None:
        model, accelerator = new(), Accelerator(cpu=True) if accelerated else None
        loader: Any = DataLoader(data, BATCH, shuffle=True)
        optimizer: Any = torch.optim.AdamW(model.parameters(), 1e-3)
        scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        if accelerator is not None:
            model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
        backward: Any = torch.Tensor.backward if accelerator is None else accelerator.backward
        teacher = Teacher(attent.Plan.full(epochs=passes, batch_size=BATCH), loader) if taught else None
        for _ in range(passes):
            for x, y in loader if teacher is None else teacher(loader):
                if teacher is None:
                    loss = F.cross_entropy(model(x), y)
                else:
                    loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
                optimizer.zero_grad()
                backward(loss)
                optimizer.step()
                scheduler.step()
                step_taken()

    return partial(side, taught=True), partial(side, taught=False), STEPS


def cases() -> dict[str, Any]:
    """Return the cases."""
    torch.set_num_threads(1)
    return {
        "PyTorch loop, small steps: ViT on digits": loops(transformer, (16, 4)),
        "PyTorch loop: convnet": loops(convolutions, (1, 28, 28)),
        "accelerate loop: convnet": loops(convolutions, (1, 28, 28), accelerated=True),
    }
