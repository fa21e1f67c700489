"""Seconds of a taught Trainer on all examples over those of the same Trainer untaught, in pairs, in one process."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

import attent
from attent_torch.trainers.transformers import TaughtTrainer

N, LENGTH, VOCABULARY, CLASSES, BATCH = 160, 64, 8000, 10, 8
SIZE = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}


def language(seed: int) -> tuple[torch.nn.Module, Dataset]:
    torch.manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (N, LENGTH)).tolist()
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SIZE))
    return model, Dataset.from_dict({"input_ids": tokens, "labels": tokens})


def classes(seed: int) -> tuple[torch.nn.Module, Dataset]:
    torch.manual_seed(seed)
    rows = {"input_ids": torch.randint(VOCABULARY, (N, LENGTH)).tolist()}
    rows["labels"] = torch.randint(CLASSES, (N,)).tolist()
    return BertForSequenceClassification(
        BertConfig(vocab_size=VOCABULARY, num_labels=CLASSES, **SIZE)
    ), Dataset.from_dict(rows)


def seconds(task: str, taught: bool) -> float:
    """Return processor seconds of one run: others on the machine do not count."""
    model, data = (classes if task == "classes" else language)(0)
    settings = {"per_device_train_batch_size": BATCH, "num_train_epochs": 2, "report_to": [], "save_strategy": "no"}
    settings |= {"use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
    base, ours, config, more = Trainer, TaughtTrainer, TrainingArguments, {}
    if task == "sft":
        from tokenizers import Tokenizer, models
        from trl import SFTConfig, SFTTrainer

        from attent_torch.trainers.trl import TaughtSFTTrainer

        base, ours, config = SFTTrainer, TaughtSFTTrainer, SFTConfig
        settings |= {"bf16": False, "gradient_checkpointing": False}
        words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        more = {"processing_class": PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a", pad_token="a")}
    given = {"model": model, "args": config(tempfile.mkdtemp(), **settings), "train_dataset": data, **more}
    plan = attent.Plan.full(epochs=2, batch_size=BATCH)
    trainer = ours(plan=plan, **given) if taught else base(**given)
    begun = time.process_time()
    trainer.train()
    return time.process_time() - begun


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for task in ("language", "classes", "sft"):
        seconds(task, True), seconds(task, False)  # warm
        both = []
        for pair in range(pairs):
            first = bool(pair % 2)
            times = {kind: seconds(task, kind) for kind in (first, not first)}
            both.append((times[True], times[False]))
        ratios = [taught / own for taught, own in both]
        print(
            f"{task}: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}), "
            f"{1000 * statistics.median(own for _, own in both) / (2 * N // BATCH):.1f} ms a step untaught",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
