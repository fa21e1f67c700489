"""Classifiers of examples that are of several groups, measured on the mixture that they are trained on, and by group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.learner import Ids, Numbers
from attent.plan.plan import Plan
from attent_torch import TorchLearner, cross_entropy
from panel.training import Optimised, pretrain

_EVALUATED_TOGETHER = 1000


class Part(NamedTuple):
    """Inputs (n, ...), classes int64 (n,), and of each example its group and its stratum, int64 (n,).

    Each stratum counts by its share of the examples that are taught, however many of it are held out.
    """

    x: torch.Tensor
    y: torch.Tensor
    groups: Ids
    strata: Ids


def classifier(
    plan: Plan,
    model: nn.Module,
    train: Part,
    held_out: Part,
    optimised: Optimised,
    *,
    new: tuple[int, ...] = (),
    even: bool = False,
    costs: torch.Tensor | None = None,
) -> TorchLearner:
    """Return a learner of ``train`` by cross-entropy that evaluates on ``held_out``; metrics as `measured` gives them.

    ``new``: the groups that the model does not know yet. ``costs``: what each example costs, (n,).
    """
    weights = as_trained(held_out.strata, train.strata)

    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = torch.cat([model(part) for part in held_out.x.split(_EVALUATED_TOGETHER)])
        return measured(logits, held_out, weights, even=even)

    optional = {"groups": train.groups, "costs": costs}
    learner = TorchLearner(model, train[:2], cross_entropy, *optimised, evaluate=evaluate, seed=plan.seed, **optional)
    learner.new_groups = new
    return learner


def as_trained(held_out: Ids, taught: Ids) -> Numbers:
    """Return what held-out examples count, float64 (n,), so that each stratum has its share of those that are taught.

    held_out, taught: the stratum of each example, int64.

    Example:
        >>> import numpy as np
        >>> from panel.grouped import as_trained
        >>> as_trained(np.array([0, 0, 1]), np.array([0, 1, 1, 1])).tolist()
        [0.125, 0.125, 0.75]
    """
    many = int(max(held_out.max(), taught.max())) + 1
    share = np.bincount(taught, minlength=many) / len(taught)
    return share[held_out] / np.bincount(held_out, minlength=many)[held_out]


def measured(logits: torch.Tensor, held_out: Part, weights: Numbers, *, even: bool = False) -> dict[str, float]:
    """Return accuracy and loss in nats as the weights have it, and each group's accuracy.

    logits: (n, classes). weights: float64 (n,), of sum 1. ``even``: the mean of the strata's accuracies too.
    """
    right = (logits.argmax(1) == held_out.y).double().numpy()
    losses = F.cross_entropy(logits, held_out.y, reduction="none").double().numpy()
    return summed_up(right, losses, held_out.groups, held_out.strata, weights, even=even)


def summed_up(
    right: Numbers, losses: Numbers, groups: Ids, strata: Ids, weights: Numbers, *, even: bool = False
) -> dict[str, float]:
    """Return what `measured` does, of held-out examples that are right or not, 0.0 or 1.0, and their losses: (n,).

    Example:
        >>> import numpy as np
        >>> from panel.grouped import summed_up
        >>> group = np.array([0, 1])
        >>> summed_up(np.array([1.0, 0.0]), np.array([0.5, 2.5]), group, group, np.array([0.75, 0.25]), even=True)
        {'accuracy': 0.75, 'loss': 1.0, 'even': 0.5, 'accuracy:0': 1.0, 'accuracy:1': 0.0}
    """
    found = {"accuracy": float((right * weights).sum()), "loss": float((losses * weights).sum())}
    if even:
        found["even"] = float(np.mean([right[strata == stratum].mean() for stratum in np.unique(strata)]))
    for group in np.unique(groups).tolist():
        mine = groups == group
        found[f"accuracy:{group}"] = float(np.average(right[mine], weights=weights[mine]))
    return found


def learn_before(model: nn.Module, x: torch.Tensor, y: torch.Tensor, plan: Plan, **how: Any) -> None:
    """Pre-train a classifier of rows (n, numbers), classes int64 (n,), without attent; ``how``: as `pretrain` has it."""
    pretrain(model, torch.cat([x, y[:, None].to(x.dtype)], 1), _losses, plan, **how)


def _losses(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(rows[:, :-1]), rows[:, -1].long(), reduction="none")
