"""A small Llama-style decoder that knows other text, fine-tuned with low-rank adapters on questions and answers."""

from __future__ import annotations

import torch
from torch import nn

import attent
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answers import answer_accuracies, answer_losses, dialogues, measured
from panel.data import code, play, problems, windows
from panel.gpt import next_byte_losses
from panel.llama import ByteLlama, with_adapters
from panel.training import adamw, pretrain, seeded


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

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        found = {"loss": answer_losses, "byte_accuracy": answer_accuracies}
        return {name: measured(model, test, each).mean() for name, each in found.items()}

    return TorchLearner(model, train, answer_losses, optimizer, scheduler, evaluate=evaluate, seed=plan.seed)
