"""A small loop of the user's own, by plan, and what it trains."""

import torch
import torch.nn.functional as F
from torch.utils.data import (
    DataLoader,
    TensorDataset,
)

import attent
from attent_torch import Teacher, cross_entropy

N = 23
PLANS = {
    "auto": attent.Plan.auto(epochs=5, batch_size=4),
    "default": attent.Plan.default(epochs=4, batch_size=4),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=4),
    "paper": attent.Plan.paper(epochs=4, batch_size=5),
}
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


def assert_within(ours, theirs, bound=1e-12):
    for mine, other in zip(ours, theirs, strict=True):
        assert (torch.as_tensor(mine) - torch.as_tensor(other)).abs().max().item() <= bound
