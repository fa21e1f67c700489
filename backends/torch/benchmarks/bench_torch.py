"""What TorchLearner costs beside PyTorch written by hand: paired ratios from one process.

Each round times both sides once, in alternating order, because machine speed drifts. Printed is the median
of the rounds' ratios (1.00 means no cost) with its quartiles.

    python bench_torch.py [--rounds 30] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

import attent
from attent.data import digits
from attent.reference import Architecture, initial_parameters
from attent_torch import ReferenceNetwork, TorchLearner, cross_entropy

BATCH, SCORE_BATCH, SEGMENT = 64, 128, 32


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The same tensors, given out item by item."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[index], self.y[index]


def vision(device: str) -> tuple[ReferenceNetwork, torch.Tensor, torch.Tensor]:
    """Return the vision transformer of the recipe for digits, and its training data."""
    data = digits()
    patches = data.x_train.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 16.0
    architecture = Architecture("classify", length=16, outputs=10, patch=4)
    model = ReferenceNetwork(architecture, initial_parameters(architecture, seed=0)).to(device)
    x = torch.from_numpy(patches).to(device, torch.float32)
    return model, x, torch.from_numpy(data.y_train.astype(np.int64)).to(device)


def trained(model: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return an optimiser and a schedule for ``model``."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    return optimizer, LambdaLR(optimizer, lambda step: 1.0 / (1.0 + step))


def score_ratio(rounds: int, device: str) -> list[float]:
    """Time `score` of all examples against a bare forward without gradients over slices."""
    model, x, y = vision(device)
    learner = TorchLearner(model, (x, y), cross_entropy, trained(model)[0], score_batch_size=SCORE_BATCH)
    ids = np.arange(len(x))

    def bare() -> None:
        model.eval()
        with torch.no_grad():
            parts = [
                F.cross_entropy(model(x[i : i + SCORE_BATCH]), y[i : i + SCORE_BATCH], reduction="none")
                for i in range(0, len(x), SCORE_BATCH)
            ]
            torch.cat(parts).cpu()
        model.train()

    return paired(lambda: learner.score(ids), bare, rounds, device)


def train_ratio(rounds: int, device: str) -> list[float]:
    """Time `train` on one epoch in segments against the usual loop with the mean loss."""
    (ours, x, y), (theirs, *_) = vision(device), vision(device)
    learner = TorchLearner(ours, (x, y), cross_entropy, *trained(ours))
    batches = shuffled(len(x))

    def taught() -> None:
        for start in range(0, len(batches), SEGMENT):
            learner.train(batches[start : start + SEGMENT])

    return paired(
        taught, by_hand(theirs, lambda: ((x[ids], y[ids]) for ids in tensors(batches, x)), device), rounds, device
    )


def teach_ratio(rounds: int, device: str) -> list[float]:
    """Time ``attent.teach`` at ratio 1, shuffling and trace included, against the usual loop."""
    (ours, x, y), (theirs, *_) = vision(device), vision(device)
    learner = TorchLearner(ours, (x, y), cross_entropy, *trained(ours))
    plan = attent.Plan(epochs=1, batch_size=BATCH, ratio=1.0)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((x[ids], y[ids]) for ids in torch.randperm(len(x), device=x.device).split(BATCH))

    return paired(lambda: attent.teach(learner, plan), by_hand(theirs, batches, device), rounds, device)


def items_ratio(rounds: int, device: str) -> list[float]:
    """Time `train` on an item-by-item dataset against a loop over a DataLoader."""
    (ours, x, y), (theirs, *_) = vision(device), vision(device)
    data = Pairs(x.cpu(), y.cpu())
    learner = TorchLearner(ours, data, cross_entropy, *trained(ours))
    batches = shuffled(len(x))
    loader = DataLoader(data, batch_sampler=[batch.tolist() for batch in batches])
    return paired(lambda: learner.train(batches), by_hand(theirs, lambda: iter(loader), device), rounds, device)


def shuffled(n: int) -> list[np.ndarray]:
    """Return one epoch of batches."""
    order = np.random.default_rng(0).permutation(n)
    return [order[start : start + BATCH] for start in range(0, n, BATCH)]


def tensors(batches: list[np.ndarray], like: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the batches as tensors on the data's device."""
    return (torch.from_numpy(ids).to(like.device) for ids in batches)


def by_hand(
    model: nn.Module, batches: Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]], device: str
) -> Callable[[], None]:
    """Return the loop that a user would write, over one epoch."""
    optimizer, scheduler = trained(model)

    def loop() -> None:
        for inputs, labels in batches():
            loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return loop


def paired(ours: Callable[[], object], theirs: Callable[[], object], rounds: int, device: str) -> list[float]:
    """Return the time of ``ours`` over that of ``theirs`` for each round, after two rounds of warming up.

    On the CPU it is process time, which other programs disturb less; elsewhere the clock.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    ratios = []
    for turn in range(rounds + 2):
        seconds = {}
        for side in (ours, theirs) if turn % 2 else (theirs, ours):
            start = clock()
            side()
            seconds[side] = clock() - start
        ratios.append(seconds[ours] / seconds[theirs])
    return ratios[2:]


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for measure in (score_ratio, train_ratio, teach_ratio, items_ratio):
        low, middle, high = np.quantile(measure(arguments.rounds, arguments.device), [0.25, 0.5, 0.75])
        print(f"{measure.__name__:12s} {middle:.3f}  (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
