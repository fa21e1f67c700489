"""Questions and their answers as bytes, where the answer alone is learnt: how they are laid out, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.errors import RecipeError
from attent_torch import token_mean

_EVALUATED_TOGETHER = 128


class Dialogues(NamedTuple):
    """Questions and answers as bytes, int64 (n, T + 1); which of the last ones are an answer, not padding: (n, A)."""

    text: torch.Tensor
    answered: torch.Tensor


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


def answered_exactly(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    """Return whether every byte of an answer is the likeliest, so that writing it greedily gives it whole: 0 or 1, (B,)."""
    logits, answers = _answered(model, batch)
    return ((logits.argmax(-1) == answers) | ~batch.answered).all(1).float()


def measured(
    model: nn.Module, test: Dialogues, measure: Callable[[nn.Module, Dialogues], torch.Tensor]
) -> torch.Tensor:
    """Return what is measured of each held-out dialogue: (n,)."""
    parts = zip(*(whole.split(_EVALUATED_TOGETHER) for whole in test), strict=True)
    return torch.cat([measure(model, Dialogues(*part)) for part in parts])


def _answered(model: nn.Module, batch: Dialogues) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of the answers' bytes, and those bytes."""
    answers = batch.text[:, -batch.answered.shape[1] :]
    return model(batch.text[:, :-1], since=-answers.shape[1]), answers


def _byte_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
