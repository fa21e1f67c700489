"""Byte-level language models: one from scratch, and one that goes on from text it knows to text it does not."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

import attent
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import play, problem_text, problems, windows
from panel.gpt import ByteGPT, next_byte_losses
from panel.training import adamw, pretrain, seeded

New = Literal["play", "problems"]
_EVALUATED_TOGETHER = 128


@attent.recipe(epochs=8, batch_size=8)
def byte_gpt(
    plan: Plan,
    *,
    learning_rate: float = 4e-3,
    data: str = "",
    examples: int = 2048,
    held_out: int = 512,
    window_bytes: int = 64,
    depth: int = 2,
    width: int = 48,
) -> TorchLearner:
    """Pre-train a byte GPT on Shakespeare, an example being a window of text; metric: loss in nats per byte."""
    text, held_out_text = play(data)
    train = windows(text, window_bytes, examples, plan.seed)
    test = windows(held_out_text, window_bytes, held_out, None)
    with seeded(plan.seed):
        model = ByteGPT(window_bytes, depth=depth, width=width, heads=width // 16)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples))
    return TorchLearner(
        model,
        train,
        next_byte_losses,
        optimizer,
        scheduler,
        evaluate=lambda model: {"loss": window_losses(model, test).mean()},
        seed=plan.seed,
    )


@attent.recipe(epochs=8, batch_size=16)
def continued_gpt(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    data: str = "",
    examples: int = 2048,
    held_out: int = 800,
    known_share: float = 0.7,
    new: New = "problems",
    window_bytes: int = 64,
    depth: int = 2,
    width: int = 48,
    pretraining_windows: int = 14_000,
    pretraining_epochs: int = 3,
) -> TorchLearner:
    """Continue a byte GPT that knows one text on a mixture of that (ids from 0) with another (the last ids).

    ``new``: ``problems``, GSM8K's text after Shakespeare, or ``play``, the other way about. Metrics: loss on held-out
    text of the same mixture, in nats per byte, and on its known and its new part.
    """
    known = round(known_share * examples)
    test_known = round(known_share * held_out)
    pairs, held_out_pairs = problems(data)
    texts = [(problem_text(pairs), problem_text(held_out_pairs)), play(data)]
    (known_text, held_out_known), (new_text, held_out_new) = texts if new == "play" else texts[::-1]
    learned = windows(known_text, window_bytes, max(known, pretraining_windows), plan.seed)
    train = torch.cat([learned[:known], windows(new_text, window_bytes, examples - known, plan.seed)])
    test = torch.cat(
        [
            windows(held_out_known, window_bytes, test_known, None),
            windows(held_out_new, window_bytes, held_out - test_known, None),
        ]
    )
    with seeded(plan.seed):
        model = ByteGPT(window_bytes, depth=depth, width=width, heads=width // 16)
    pretraining = Plan.full(epochs=pretraining_epochs, batch_size=32, seed=plan.seed)
    pretrain(model, learned, next_byte_losses, pretraining)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples))

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        losses = window_losses(model, test)
        return {"loss": losses.mean(), "known_loss": losses[:test_known].mean(), "new_loss": losses[test_known:].mean()}

    return TorchLearner(model, train, next_byte_losses, optimizer, scheduler, evaluate=evaluate, seed=plan.seed)


def window_losses(model: nn.Module, test: torch.Tensor) -> torch.Tensor:
    """Return the loss of each held-out window: (n,)."""
    return torch.cat([next_byte_losses(model, part) for part in test.split(_EVALUATED_TOGETHER)])
