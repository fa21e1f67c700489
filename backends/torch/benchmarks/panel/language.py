"""A byte GPT that has learnt to read dates and numbers of twelve locales, and goes on with those and six new ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answers import Dialogues, answer_losses, answered_exactly, dialogues, measured
from panel.gpt import ByteGPT
from panel.locales import KNOWN, NEW, Pair, pairs
from panel.training import adamw, pretrain, seeded

_WRITTEN, _MEANT = 35, 13  # bytes, of the longest of each


@attent.recipe(epochs=5, batch_size=16, metric_of="training")
def language_update(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    examples: int = 3000,
    held_out: int = 2000,
    known_share: float = 0.75,
    depth: int = 3,
    width: int = 64,
    pretraining_pairs: int = 24_000,
    pretraining_epochs: int = 2,
    costs: bool = False,
) -> TorchLearner:
    """Continue a byte GPT that reads dates and numbers of twelve locales on those (ids from 0) and six new ones.

    An example is what a locale writes and its canonical form; the loss is the form's, a mean over its bytes. Of the
    known ones, ``known_share`` of all, the model has seen the very pairs before. Metrics on other pairs of the same
    mixture: the share whose form it would write without a mistake, in all and by group, and the loss in nats per byte.
    Groups: 0 known, 1 new. ``costs``: the learner says what each example costs, the bytes of both forms.
    """
    if not 0 < known_share < 1:
        raise RecipeError(f"known_share must be in (0, 1), got {known_share}")
    known, test_known = round(known_share * examples), round(known_share * held_out)
    draw = np.random.default_rng(plan.seed)
    learnt = pairs(KNOWN, max(known, pretraining_pairs) + test_known, draw)
    new = pairs(NEW, examples - known + held_out - test_known, draw)
    train = _laid_out(learnt[:known] + new[: examples - known])
    test = _laid_out(learnt[len(learnt) - test_known :] + new[examples - known :])
    with seeded(plan.seed):
        model = ByteGPT(_WRITTEN + _MEANT, depth=depth, width=width, heads=width // 16)
    before = _laid_out(learnt[: len(learnt) - test_known])
    pretraining = Plan.full(epochs=pretraining_epochs, batch_size=32, seed=plan.seed)
    pretrain(model, torch.cat([before.text, before.answered], 1), _pretraining_loss, pretraining)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples))

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        right = measured(model, test, answered_exactly)
        return {
            "accuracy": right.mean(),
            "loss": measured(model, test, answer_losses).mean(),
            "accuracy:0": right[:test_known].mean(),
            "accuracy:1": right[test_known:].mean(),
        }

    optional = {
        "groups": np.repeat([0, 1], [known, examples - known]),
        "costs": (train.text > 0).sum(1) if costs else None,
    }
    learner = TorchLearner(
        model, train, answer_losses, optimizer, scheduler, evaluate=evaluate, seed=plan.seed, **optional
    )
    learner.new_groups = (1,)
    return learner


def _laid_out(some: list[Pair]) -> Dialogues:
    return dialogues(some, _WRITTEN, _MEANT, len(some), None)


def _pretraining_loss(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return answer_losses(model, Dialogues(rows[:, :-_MEANT], rows[:, -_MEANT:].bool()))
