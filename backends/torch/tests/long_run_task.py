"""A network and its learner, to be run for long."""

import numpy as np
import torch
from torch import nn

from attent_torch import TorchLearner, cross_entropy

X, Y = torch.randn(81, 4, generator=torch.Generator().manual_seed(0)), torch.arange(81) % 3
BATCHES = [np.arange(10), np.arange(10, 30), np.arange(30, 37)]


def network(seed=0, *layers):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), *layers, nn.Tanh(), nn.Linear(8, 3))


def learner(model=None, rate=0.1, schedule=None, optimizer=torch.optim.SGD, **settings):
    model = network() if model is None else model
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad], rate)
    scheduler = None if schedule is None else schedule(optimizer)
    data = settings.pop("data", (X, Y))
    return TorchLearner(model, data, cross_entropy, optimizer, scheduler, **settings)
