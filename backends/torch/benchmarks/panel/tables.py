"""A table of customers of whom some answer nearly by chance."""

from __future__ import annotations

import numpy as np
import torch

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.grouped import Part, classifier
from panel.perceptrons import OWN, perceptron
from panel.training import adamw, seeded

_COLUMNS, _CLASSES = 12, 4
_HELD_OUT, _HELD_OUT_SEED, _RULE_SEED = 20_000, 99_999, 7  # the same for every plan
_CHANCE = 12.0  # how much of an answer is chance: to those that go by it, and to the others
_NEARLY_NONE = 0.3


@attent.recipe(epochs=5, batch_size=32, metric_of="training")
def chance_group(plan: Plan, *, learning_rate: float = 1e-2, examples: int = 5000, share: float = 0.15) -> TorchLearner:
    """Teach a perceptron four answers from twelve columns; ``share`` of the customers answer nearly by chance.

    The first column says who they are; the plan's seed draws all. Groups: 0 by the rule, 1 by chance. Metrics: accuracy
    and loss in nats as trained, and accuracy of each group, on 20,000 other customers.
    """
    if examples < 1 or not 0 < share < 1:
        raise RecipeError(f"examples must be at least 1 and share in (0, 1), got {examples} and {share}")
    train = _customers(examples, share, np.random.default_rng(plan.seed))
    held_out = _customers(_HELD_OUT, share, np.random.default_rng(_HELD_OUT_SEED))
    with seeded(plan.seed):
        model = perceptron(_COLUMNS, 64, _CLASSES)
    optimised = adamw(model.parameters(), learning_rate, plan.total_steps(examples), **OWN)
    return classifier(plan, model, train, held_out, optimised)


def _customers(many: int, share: float, draw: np.random.Generator) -> Part:
    columns = draw.normal(0, 1, (many, _COLUMNS)).astype(np.float32)
    rule = np.random.default_rng(_RULE_SEED).normal(0, 1, (_COLUMNS, _CLASSES))
    groups = (draw.random(many) < share).astype(np.int64)
    columns[:, 0] = groups
    liked = 3 * (columns[:, 1:] @ rule[1:]) + 3 * np.sin(2 * columns[:, 1 : 1 + _CLASSES])
    chance = draw.gumbel(0, 1, liked.shape) * np.where(groups == 1, _CHANCE, _NEARLY_NONE)[:, None]
    answers = (liked + chance).argmax(1).astype(np.int64)
    return Part(torch.from_numpy(columns), torch.from_numpy(answers), groups, groups)
