"""Trainers that are taught, with arguments that a test may change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import TrainingArguments

import attent
from attent_torch.trainers.transformers import TaughtTrainer


def arguments(folder: Path, size: int = 10, accumulate: int = 1, **changes) -> TrainingArguments:
    settings = {
        "learning_rate": 1e-2,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "log_level": "error",
    }
    sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulate}
    return TrainingArguments(str(folder), **{**settings, **sizes, "logging_steps": 1, "max_grad_norm": 0.0, **changes})


def default_plan(**changes) -> attent.Plan:
    return attent.Plan.default(**{"epochs": 4, "batch_size": 10, **changes})


@pytest.fixture
def taught(tiny, tmp_path):
    def build(kind="llama", plan=None, model=None, data=None, cls=TaughtTrainer, **changes):
        options = {name: changes.pop(name) for name in ("attent_run", "per_example_loss", "feed_options", "callbacks", "eval_dataset", "groups")
                   if name in changes}  # fmt: skip
        return cls(
            model=tiny.model(kind) if model is None else model,
            args=arguments(changes.pop("folder", tmp_path / "out"), **changes),
            train_dataset=Dataset.from_dict(tiny.rows(kind)) if data is None else data,
            plan=default_plan() if plan is None else plan,
            **options,
        )

    return build


class MeanOnly(torch.nn.Module):
    def __init__(self, auxiliary=0.0, logits=False):
        super().__init__()
        self.head, self.auxiliary, self.logits = torch.nn.Embedding(64, 5).double(), auxiliary, logits

    def forward(self, input_ids, labels):
        logits = self.head(input_ids).mean(1)
        loss = F.cross_entropy(logits, labels) + self.auxiliary
        return {"loss": loss, **({"logits": logits} if self.logits else {})}
