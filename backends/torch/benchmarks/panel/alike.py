"""How alike two customers' questions are: a number, which a small reader of both learns."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import attent
from attent.errors import RecipeError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.bags import Bag, bags
from panel.data import Questions, questions
from panel.training import adamw, seeded

_PARTS = 80
_SAME = 0.15  # of the pairs are drawn from one intent
Batch = tuple[torch.Tensor, torch.Tensor]  # bags of both (B, 2, parts), scores (B,)


class Pair(nn.Module):
    """A number for two bags (B, 2, parts): a perceptron on what they have and do not have in common."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.bag = Bag(width, width)
        self.hidden, self.head = nn.Linear(2 * width, width), nn.Linear(width, 1)

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        """Return the numbers, (B,)."""
        one, other = self.bag(both[:, 0]), self.bag(both[:, 1])
        return self.head(F.gelu(self.hidden(torch.cat([(one - other).abs(), one * other], 1))))[:, 0]


@attent.recipe(epochs=3, batch_size=16, metric_of="training")
def alike(
    plan: Plan, *, learning_rate: float = 8e-3, data: str = "", examples: int = 2500, held_out: int = 4000
) -> TorchLearner:
    """Teach a reader of two questions how alike they are, by the squared error.

    3 where they are of one intent, and up to 2 more by the share of their words that they have in common; else four
    times that share. Pairs to train on are of two thirds of Banking77's questions, held-out ones of the rest; ``data`` as
    with `panel.readers.intents`. Groups: 1 where a pair is of one intent, a seventh, else 0. Metrics: loss, the squared
    error; correlation; loss of each group.
    """
    if min(examples, held_out) < 1:
        raise RecipeError(f"examples and held_out must be at least 1, got {examples} and {held_out}")
    given, _ = questions(data)
    draw = np.random.default_rng(plan.seed)
    order = draw.permutation(len(given.texts))
    cut = len(order) * 2 // 3
    x, y, groups = _pairs(given, order[:cut], examples, draw)
    x_test, y_test, groups_test = _pairs(given, order[cut:], held_out, draw)
    with seeded(plan.seed):
        model = Pair()
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples), 0.05)

    def evaluate(model: nn.Module) -> dict[str, float]:
        guessed = torch.cat([model(part) for part in x_test.split(500)])
        squares = ((guessed - y_test) ** 2).numpy()
        return {
            "loss": float(squares.mean()),
            "correlation": float(np.corrcoef(guessed.numpy(), y_test.numpy())[0, 1]),
            **{f"loss:{group}": float(squares[groups_test == group].mean()) for group in (0, 1)},
        }

    return TorchLearner(model, (x, y), _losses, optimizer, scheduler, evaluate=evaluate, groups=groups, seed=plan.seed)


def _losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    return (model(batch[0]) - batch[1]) ** 2


def _pairs(
    given: Questions, rows: Ids, count: int, draw: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, Ids]:
    """Return bags of both (count, 2, parts), scores (count,) and whether they are of one intent, int64 (count,)."""
    intents = given.intents
    of = {intent: rows[intents[rows] == intent] for intent in np.unique(intents[rows]).tolist()}
    first = draw.choice(rows, count)
    drawn_same = draw.random(count) < _SAME
    second = np.array(
        [
            draw.choice(of[int(intents[row])] if same else rows)
            for row, same in zip(first.tolist(), drawn_same, strict=True)
        ]
    )
    same = intents[first] == intents[second]
    common = np.array([_common(given.texts[one], given.texts[other]) for one, other in zip(first, second, strict=True)])
    both = torch.stack([bags([given.texts[row] for row in part], _PARTS) for part in (first, second)], 1)
    scores = np.where(same, 3 + 2 * common, 4 * common)
    return both, torch.from_numpy(scores).float(), same.astype(np.int64)


def _common(one: str, other: str) -> float:
    words, others = set(one.lower().split()), set(other.lower().split())
    return len(words & others) / len(words | others)
