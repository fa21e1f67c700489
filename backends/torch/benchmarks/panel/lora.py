"""A small Llama-style decoder that knows other text, fine-tuned with low-rank adapters on questions and answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner, token_mean
from panel.data import code, play, problems, windows
from panel.gpt import next_byte_losses
from panel.llama import ByteLlama, with_adapters
from panel.training import adamw, pretrain, seeded

_EVALUATED_TOGETHER = 128


class Dialogues(NamedTuple):
    """Questions and answers as bytes, int64 (n, T + 1); which of the last ones are an answer, not padding: (n, A)."""

    text: torch.Tensor
    answered: torch.Tensor


@attent.recipe(epochs=6, batch_size=16)
def lora_llama(
    plan: Plan,
    *,
    learning_rate: float = 1.4e-2,
    data: str = "",
    examples: int = 2048,
    held_out: int = 500,
    question_bytes: int = 32,
    answer_bytes: int = 64,
    depth: int = 2,
    width: int = 48,
    rank: int = 8,
    pretraining_windows: int = 11_000,
    pretraining_epochs: int = 2,
) -> TorchLearner:
    """Fine-tune a decoder pre-trained on plays and program text, by adapters of rank 8, on GSM8K's answers.

    An example is the end of a question and the beginning of its answer; the loss is the answer's, a mean over
    its bytes. Metrics: that loss on held-out problems, and the share of answer bytes predicted right.
    """
    length = question_bytes + answer_bytes
    pairs, held_out_pairs = problems(data)
    train = dialogues(pairs, question_bytes, answer_bytes, examples, plan.seed)
    test = dialogues(held_out_pairs, question_bytes, answer_bytes, held_out, None)
    known = [windows(text, length, pretraining_windows // 2, plan.seed) for text in (play(data)[0], code()[0])]
    with seeded(plan.seed):
        model = ByteLlama(length, depth=depth, width=width, heads=width // 16)
        pretraining = Plan.full(epochs=pretraining_epochs, batch_size=16, seed=plan.seed)
        pretrain(model, torch.cat(known), next_byte_losses, pretraining)
        with_adapters(model, rank)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples), weight_decay=0.01)

    parts = [Dialogues(*part) for part in zip(*(whole.split(_EVALUATED_TOGETHER) for whole in test), strict=True)]

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        measured = {"loss": answer_losses, "byte_accuracy": answer_accuracies}
        return {name: torch.cat([each(model, part) for part in parts]).mean() for name, each in measured.items()}

    return TorchLearner(model, train, answer_losses, optimizer, scheduler, evaluate=evaluate, seed=plan.seed)


def dialogues(
    pairs: list[tuple[bytes, bytes]], question_bytes: int, answer_bytes: int, count: int, seed: int | None
) -> Dialogues:
    """Return ``count`` pairs drawn by ``seed``, or the first ones where it is None; what is short is padded with 0.

    The answer begins at the same place in all. Raises RecipeError if there are fewer.
    """
    if not 1 <= count <= len(pairs):
        raise RecipeError(f"there are {len(pairs)} questions, got a wish for {count}")
    chosen = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(len(pairs))[:count]
    text = np.zeros((count, question_bytes + answer_bytes + 1), np.int64)
    answered = np.zeros((count, answer_bytes), bool)
    start = question_bytes + 1
    for row, pair in enumerate(chosen):
        question, answer = (np.frombuffer(part + b"\n", np.uint8) for part in pairs[pair])
        question, answer = question[-start:], answer[:answer_bytes]
        text[row, start - len(question) : start] = question
        text[row, start : start + len(answer)] = answer
        answered[row, : len(answer)] = True
    return Dialogues(torch.from_numpy(text), torch.from_numpy(answered))


def answer_losses(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    """Return the mean loss over each answer's bytes, in nats: shape (B,)."""
    logits, answers = _answered(model, batch)
    return token_mean(_byte_losses(logits, answers), batch.answered)


def answer_accuracies(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    """Return the share of each answer's bytes that the model thinks likeliest: shape (B,)."""
    logits, answers = _answered(model, batch)
    return token_mean((logits.argmax(-1) == answers).float(), batch.answered)


def _answered(model: nn.Module, batch: Dialogues) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of the answers' bytes, and those bytes."""
    answers = batch.text[:, -batch.answered.shape[1] :]
    return model(batch.text[:, :-1], since=-answers.shape[1]), answers


def _byte_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
