"""Hugging Face's Trainer and TRL's. Run by ``backends/bench_trainers.py``."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

import attent
from attent_torch.trainers.transformers import TaughtTrainer
from attent_torch.trainers.trl import TaughtSFTTrainer

STEPS, BATCH = 50, 8
LENGTH, VOCABULARY, CLASSES = 32, 2000, 10
SIZE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4}
SETTINGS = {
    "per_device_train_batch_size": BATCH, "report_to": [], "save_strategy": "no",
    "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no",
}  # fmt: skip


def language() -> torch.nn.Module:
    """Return a small Llama."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SIZE))


def classifier() -> torch.nn.Module:
    """Return a small BERT."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, num_labels=CLASSES, **SIZE))


class Turns(TrainerCallback):
    """Tells of each step taken."""

    def __init__(self, step_taken: Callable[[], None]) -> None:
        self.step_taken = step_taken

    def on_step_end(self, *given: Any, **named: Any) -> None:
        """Tell of it."""
        self.step_taken()


def sides(
    ours: Any, base: Any, config: Any, model: Callable[[], torch.nn.Module], data: Dataset, **more: Any
) -> tuple[Any, Any, int]:
    """Return a run with attent, one without, and the steps of a pass."""

    def side(passes: int, step_taken: Callable[[], None], taught: bool) -> None:
        plan = {"plan": attent.Plan.full(epochs=passes, batch_size=BATCH)} if taught else {}
        arguments = config(tempfile.mkdtemp(), num_train_epochs=passes, **SETTINGS)
        given = {"model": model(), "args": arguments, "train_dataset": data, "callbacks": [Turns(step_taken)], **more}
        (ours if taught else base)(**plan, **given).train()

    return partial(side, taught=True), partial(side, taught=False), STEPS


def cases() -> dict[str, Any]:
    """Return the cases."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    ids = torch.randint(VOCABULARY, (STEPS * BATCH, LENGTH)).tolist()
    texts = Dataset.from_dict({"input_ids": ids, "labels": ids})
    labels = Dataset.from_dict({"input_ids": ids, "labels": torch.randint(CLASSES, (STEPS * BATCH,)).tolist()})
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a", pad_token="a")

    def sft(folder: str, **settings: Any) -> SFTConfig:
        return SFTConfig(folder, bf16=False, gradient_checkpointing=False, **settings)

    return {
        "Trainer: small BERT": sides(TaughtTrainer, Trainer, TrainingArguments, classifier, labels),
        "Trainer: small Llama": sides(TaughtTrainer, Trainer, TrainingArguments, language, texts),
        "SFTTrainer: small Llama": sides(
            TaughtSFTTrainer, SFTTrainer, sft, language, texts, processing_class=tokenizer
        ),
    }
