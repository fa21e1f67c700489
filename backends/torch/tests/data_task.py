"""Datasets whose items say which they are, some at random."""

import random

import numpy as np
import torch
from torch.utils.data import Dataset


class Items(Dataset):
    """A dataset that nobody can see through: x, y and optional noise, item by item."""

    def __init__(self, x, y, draw=None):
        self.x, self.y, self.draw = x, y, draw

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if self.draw is None:
            return self.x[i], self.y[i]
        return self.x[i] + self.draw(), self.y[i]


DRAWS = {
    "python": random.random,
    "python, normal": lambda: random.gauss(0.0, 1.0),
    "numpy": np.random.random,
    "numpy, normal": np.random.normal,
    "torch": lambda: torch.rand(()).item(),
}


def drawn(generator):
    return DRAWS[generator]()


class Noisy(Items):
    """Adds one drawn number to each input."""

    def __init__(self, task, generator, only=range(24)):
        super().__init__(task.x, task.y)
        self.generator, self.only = generator, only

    def __getitem__(self, i):
        return self.x[i] + (drawn(self.generator) if i in self.only else 0.0), self.y[i]
