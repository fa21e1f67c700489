"""Image classifiers: from scratch, going on from known classes, long-tailed, redundant and wrongly labelled data."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner, cross_entropy
from panel.classes import labelled
from panel.training import adamw, pretrain, seeded
from panel.vit import ViT, patches

Regime = Literal["plain", "known", "long-tailed", "redundant"]
_CLASSES, _NEW = 10, 3  # of which the last are new where a model knows the others
_HELD_OUT = 5000


def _task(
    plan: Plan,
    regime: Regime,
    learning_rate: float,
    data: str,
    examples: int,
    file: str = "mnist_10k.npz",
    side: int = 7,
    known_share: float = 0.7,
    wrong_share: float = 0.0,
) -> TorchLearner:
    x, y, x_test, y_test = labelled(data, file)
    if examples < _CLASSES:
        raise RecipeError(f"examples, the most images to take, must be at least {_CLASSES}, got {examples}")
    if not 0 <= wrong_share < 1:
        raise RecipeError(f"wrong_share must be in [0, 1), got {wrong_share}")
    # Images that are not taught are held out too: differences between arms are smaller than 1,500 images can show.
    x_test, y_test = np.concatenate([x_test, x[examples:]])[:_HELD_OUT], torch.cat([y_test, y[examples:]])[:_HELD_OUT]
    x, y, x_test = patches(x[:examples], side), y[:examples].clone(), patches(x_test, side)
    draw = np.random.default_rng(plan.seed)
    with seeded(plan.seed):
        model = ViT(x.shape[2], x.shape[1], width=48, heads=4, depth=2, classes=_CLASSES)
    if regime == "known":
        known = y < _CLASSES - _NEW
        if not 0 < known_share < 1:
            raise RecipeError(f"known_share must be in (0, 1), got {known_share}")
        few = round(int(known.sum()) * (1 - known_share) / known_share)
        new = torch.from_numpy(draw.permutation(np.flatnonzero(~known.numpy()))[:few])
        rows = torch.cat([torch.nonzero(known)[:, 0], new]).sort().values
        x, y, known = x[rows], y[rows], known[rows]
        pairs = torch.cat([x[known].flatten(1), y[known, None].float()], 1)
        pretrain(model, pairs, _pretraining_loss, Plan.full(epochs=12, batch_size=32, seed=plan.seed))
    if regime == "long-tailed":
        of = [np.flatnonzero(y.numpy() == c) for c in range(_CLASSES)]
        kept = [draw.choice(ids, max(1, round(len(ids) * 50 ** (-c / 9))), replace=False) for c, ids in enumerate(of)]
        rows = torch.from_numpy(np.sort(np.concatenate(kept)))
        x, y = x[rows], y[rows]
    if regime == "redundant":
        share = 1 / np.arange(1, len(y) + 1)
        rows = torch.from_numpy(draw.permutation(len(y))[draw.choice(len(y), len(y), p=share / share.sum())])
        x, y = x[rows], y[rows]
    if wrong_share:
        wrong = torch.from_numpy(draw.choice(len(y), int(len(y) * wrong_share), replace=False))
        y[wrong] = (y[wrong] + torch.from_numpy(draw.integers(1, _CLASSES, len(wrong)))) % _CLASSES
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(len(y)), 0.05)

    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = torch.cat([model(part) for part in x_test.split(500)])
        right = (logits.argmax(1) == y_test).float()
        whole = right.mean().item()
        each = [right[y_test == c].mean().item() for c in range(_CLASSES)]
        found = {f"accuracy:{c}": accuracy for c, accuracy in enumerate(each)}
        if regime == "long-tailed":  # the loss of a uniform test set is not what was trained
            return {"accuracy": sum(each) / _CLASSES, **found}
        return {"accuracy": whole, "loss": F.cross_entropy(logits, y_test).item(), **found}

    learner = TorchLearner(
        model, (x, y), cross_entropy, optimizer, scheduler, evaluate=evaluate, groups=y.numpy(), seed=plan.seed
    )
    if regime == "known":
        learner.new_groups = tuple(range(_CLASSES - _NEW, _CLASSES))
    return learner


def _pretraining_loss(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    places = model.places.shape[0]
    images = rows[:, :-1].reshape(len(rows), places, -1)
    return F.cross_entropy(model(images), rows[:, -1].long(), reduction="none")


@attent.recipe(epochs=8, batch_size=32, metric_of="training")
def mnist(plan: Plan, *, learning_rate: float = 4e-3, data: str = "", examples: int = 3000) -> TorchLearner:
    """A vision transformer on MNIST from scratch; groups: the labels; metrics: accuracy, loss in nats, and of each digit."""
    return _task(plan, "plain", learning_rate, data, examples)


@attent.recipe(epochs=8, batch_size=32, metric_of="training")
def cifar(plan: Plan, *, learning_rate: float = 2e-3, data: str = "", examples: int = 3000) -> TorchLearner:
    """A vision transformer on CIFAR-10 from scratch; groups and metrics as with `mnist`."""
    return _task(plan, "plain", learning_rate, data, examples, file="cifar10_12k.npz", side=8)


@attent.recipe(epochs=5, batch_size=16, metric_of="even")
def known_digits(
    plan: Plan,
    *,
    learning_rate: float = 4e-3,
    data: str = "",
    examples: int = 4000,
    known_share: float = 0.95,
    wrong_share: float = 0.0,
) -> TorchLearner:
    """Continue a model that knows seven digits on those and a few of the other three; metrics on all digits evenly.

    ``known_share`` of the examples are the very ones it was pre-trained on; ``wrong_share`` of all are labelled
    wrongly now. Groups and metrics as with `mnist`.
    """
    return _task(plan, "known", learning_rate, data, examples, known_share=known_share, wrong_share=wrong_share)


@attent.recipe(epochs=16, batch_size=16, metric_of="even")
def long_tail(plan: Plan, *, learning_rate: float = 4e-3, data: str = "", examples: int = 5000) -> TorchLearner:
    """Digits whose classes become rarer, 50 : 1 from the first to the last; metrics: accuracy on all evenly and on each."""
    return _task(plan, "long-tailed", learning_rate, data, examples)


@attent.recipe(epochs=10, batch_size=16, metric_of="unique")
def redundant(plan: Plan, *, learning_rate: float = 4e-3, data: str = "", examples: int = 5000) -> TorchLearner:
    """Digits drawn with Zipf's frequencies, so that most are duplicates; groups and metrics as with `mnist`."""
    return _task(plan, "redundant", learning_rate, data, examples)


@attent.recipe(epochs=8, batch_size=32)
def wrong_labels(plan: Plan, *, learning_rate: float = 4e-3, data: str = "", examples: int = 3000) -> TorchLearner:
    """Digits of which a tenth is labelled wrongly; groups: the labels; metrics as with `mnist`, on true labels."""
    return _task(plan, "plain", learning_rate, data, examples, wrong_share=0.1)
