"""A small problem with known answers: 24 examples, two inputs each, and a network that has a dropout layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attent_torch import TorchLearner

N = 24

torch.set_num_threads(1)  # these tensors are small, and threads beside other programs' threads only wait


class Task:
    """Builds equal models, optimisers and learners as often as asked."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.x = torch.from_numpy(random.normal(size=(N, 3)))
        self.y = torch.from_numpy(random.normal(size=(N, 2)))
        order = random.permutation(N)
        self.batches = [order[:6], order[6:11], order[11:18], order[3:9], order[18:]]
        self.weights = [random.uniform(0.1, 3.0, size=len(ids)) for ids in self.batches]

    def model(self, dropout: float = 0.0, dtype: torch.dtype = torch.float64, seed: int = 1) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2)).to(dtype)

    @staticmethod
    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return F.mse_loss(model(x), y, reduction="none").mean(1)

    def learner(self, model: nn.Module | None = None, data: object = None, **settings: object) -> TorchLearner:
        model = self.model() if model is None else model
        optimizer = settings.pop("optimizer", None) or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        scheduler = settings.pop("scheduler", None)
        loss = settings.pop("loss", self.loss)
        return TorchLearner(model, (self.x, self.y) if data is None else data, loss, optimizer, scheduler, **settings)

    def by_hand(self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler=None, weights=None) -> np.ndarray:
        """The loop that a user would write; returns what train() must return."""
        losses = []
        for step, ids in enumerate(self.batches):
            each = self.loss(model, (self.x[ids], self.y[ids]))
            losses.append(each.detach().clone())
            objective = each.mean() if weights is None else (each * torch.from_numpy(weights[step])).mean()
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
        return torch.cat(losses).numpy()


@pytest.fixture
def task() -> Task:
    return Task()


@pytest.fixture
def values():
    """A model's parameters and buffers as copies, by name."""
    return lambda model: {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.fixture
def assert_same():
    """Two such dictionaries, or states, are equal to the last bit."""

    def check(a, b):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype, name
            left, right = (
                v.numpy() if isinstance(v, torch.Tensor) and v.dtype != torch.bfloat16 else v
                for v in (a[name], b[name])
            )
            assert torch.equal(left, right) if isinstance(left, torch.Tensor) else np.array_equal(left, right), name

    return check
