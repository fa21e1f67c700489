"""Perceptrons on digits: some under heavy noise and partly covered, some turned on their side."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

import attent
from attent.errors import RecipeError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.classes import labelled
from panel.grouped import Part, classifier, learn_before
from panel.training import adamw, seeded

OWN = {"weight_decay": 0.01, "betas": (0.9, 0.999)}  # AdamW as PyTorch has it unless told
_SIDE, _CLASSES = 28, 10
_COVER = 14  # pixels, the side of the grey square that covers a noisy image
_LEAST = 20  # images, so that every group has one
_HELD_OUT_SEED = 99  # the same noise for every plan
Digits = tuple[torch.Tensor, torch.Tensor]  # pixels in [0, 1], float32 (n, 784), and labels, int64 (n,)


def perceptron(inputs: int, width: int, classes: int) -> nn.Sequential:
    """Return two hidden layers of some width: logits (B, classes) of rows (B, inputs)."""
    layers = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)]
    return nn.Sequential(*layers)


@attent.recipe(epochs=4, batch_size=32, metric_of="training")
def noisy_source(plan: Plan, *, learning_rate: float = 2e-3, data: str = "", examples: int = 4000) -> TorchLearner:
    """Teach a perceptron digits from scratch of which a fifth is under heavy noise and partly covered.

    Much of that fifth cannot be read. ``examples``: the most images to take. Groups: 0 clean, 1 noisy. Metrics: accuracy
    and loss in nats as the groups are trained, and accuracy of each, on held-out images that are in all of them.
    """
    (x, y), test = _digits(data, examples, plan.seed)
    draw = np.random.default_rng(plan.seed + 1)
    groups, hard = _drawn(draw, len(y), 0.2)
    x[hard] = noisy(x[hard], draw, 1.0)
    views = [test[0], noisy(test[0], np.random.default_rng(_HELD_OUT_SEED), 1.0)]
    return _learner(plan, _new_model(plan.seed), learning_rate, (x, y), groups, views, test[1])


@attent.recipe(epochs=3, batch_size=32, metric_of="training")
def hard_known(plan: Plan, *, learning_rate: float = 1e-3, data: str = "", examples: int = 4000) -> TorchLearner:
    """Continue a perceptron that knows clean digits and, less well, noisy ones on these and a few turned ones.

    A quarter is noisy and partly covered, a twentieth turned on its side; the model has learnt all but these, the very
    images. Groups: 0 clean, 1 noisy, 2 turned. Examples and metrics as with `noisy_source`.
    """
    (x, y), test = _digits(data, examples, plan.seed)
    draw = np.random.default_rng(plan.seed + 1)
    groups, hard, new = _drawn(draw, len(y), 0.25, 0.05)
    x[hard] = noisy(x[hard], draw, 0.6)
    model = _new_model(plan.seed)
    _know(model, (x[groups < 2], y[groups < 2]), plan.seed)
    x[new] = turned_left(x[new])
    views = [test[0], noisy(test[0], np.random.default_rng(_HELD_OUT_SEED), 0.6), turned_left(test[0])]
    return _learner(plan, model, learning_rate, (x, y), groups, views, test[1], new=(2,))


@attent.recipe(epochs=3, batch_size=32, metric_of="training")
def turned(plan: Plan, *, learning_rate: float = 1e-3, data: str = "", examples: int = 4000) -> TorchLearner:
    """Continue a perceptron that knows upright digits on the very images, of which 15 % are turned on their side now.

    Groups: 0 upright, 1 turned. Examples and metrics as with `noisy_source`.
    """
    (x, y), test = _digits(data, examples, plan.seed)
    model = _new_model(plan.seed)
    _know(model, (x, y), plan.seed)
    groups, new = _drawn(np.random.default_rng(plan.seed + 1), len(y), 0.15)
    x[new] = turned_left(x[new])
    return _learner(plan, model, learning_rate, (x, y), groups, [test[0], turned_left(test[0])], test[1], new=(1,))


def noisy(images: torch.Tensor, draw: np.random.Generator, deviation: float) -> torch.Tensor:
    """Return images float32 (n, 784) under normal noise, cut to [0, 1], each with a grey square somewhere."""
    noise = torch.from_numpy(draw.normal(0, deviation, images.shape).astype(np.float32))
    corners = torch.from_numpy(draw.integers(0, _SIDE - _COVER + 1, (len(images), 2)))
    within = (torch.arange(_SIDE) >= corners[..., None]) & (torch.arange(_SIDE) < corners[..., None] + _COVER)
    covered = (within[:, 0, :, None] & within[:, 1, None, :]).flatten(1)
    return (images + noise).clamp(0, 1).masked_fill(covered, 0.5)


def turned_left(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, 784) turned by 90 degrees."""
    return images.view(-1, _SIDE, _SIDE).rot90(1, (1, 2)).flatten(1)


def _digits(data: str, examples: int, seed: int) -> tuple[Digits, Digits]:
    """Return up to ``examples`` images to train on, drawn by the seed from 55 % of all, and the others, held out."""
    if examples < _LEAST:
        raise RecipeError(f"examples, the most images to take, must be at least {_LEAST}, got {examples}")
    ink, labels, ink_test, labels_test = labelled(data, "mnist_10k.npz")
    mixed = np.random.default_rng(12345).permutation(len(ink) + len(ink_test))
    x = torch.from_numpy(np.concatenate([ink, ink_test])[mixed]).float().flatten(1) / 255
    y = torch.cat([labels, labels_test])[mixed]
    pool = len(mixed) - len(mixed) * 45 // 100
    taken = np.random.default_rng(seed).permutation(pool)[:examples]
    return (x[taken], y[taken]), (x[pool:], y[pool:])


def _drawn(draw: np.random.Generator, many: int, *shares: float) -> list[Ids]:
    """Return the group of each example, of which 1 and up have some shares and 0 the rest; then the ids of 1 and up."""
    groups, order = np.zeros(many, np.int64), draw.permutation(many)
    ends = [round(sum(shares[:group]) * many) for group in range(len(shares) + 1)]
    parts = [order[start:end] for start, end in itertools.pairwise(ends)]
    for group, part in enumerate(parts, 1):
        groups[part] = group
    return [groups, *parts]


def _new_model(seed: int) -> nn.Sequential:
    with seeded(seed):
        return perceptron(_SIDE**2, 128, _CLASSES)


def _know(model: nn.Module, before: Digits, seed: int) -> None:
    learn_before(model, *before, Plan.full(epochs=6, batch_size=32, seed=seed), learning_rate=2e-3, **OWN)


def _learner(
    plan: Plan,
    model: nn.Module,
    learning_rate: float,
    taught: Digits,
    groups: Ids,
    views: list[torch.Tensor],
    labels: torch.Tensor,
    new: tuple[int, ...] = (),
) -> TorchLearner:
    """Return a learner that is measured on held-out images as each group has them."""
    seen_as = np.repeat(np.arange(len(views)), len(labels))
    held_out = Part(torch.cat(views), labels.repeat(len(views)), seen_as, seen_as)
    optimised = adamw(model.parameters(), learning_rate, plan.total_steps(len(groups)), **OWN)
    return classifier(plan, model, Part(*taught, groups, groups), held_out, optimised, new=new)
