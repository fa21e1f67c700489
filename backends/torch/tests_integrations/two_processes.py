"""Trains tiny models in each process it is started in, and writes what each process trained. A test's script."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from conftest import Seen, Tiny, parameters
from datasets import Dataset
from transformers import TrainingArguments

import attent
from attent_torch.trainers.transformers import TaughtTrainer

N = 41  # each pass of all examples ends on a step of one
rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
tiny, told = Tiny(), {}


def mean(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs["logits"], labels)


for case, source in (
    ("llama", attent.Reuse()),
    ("llama by length", attent.Reuse()),
    ("plain", attent.Fresh()),
    ("bert", attent.Reuse()),
    ("bert own loss", attent.Reuse()),
):
    kind = case.split()[0]
    model = tiny.model(kind)
    seen = Seen(model)
    rows = tiny.rows(kind, N)
    if kind == "llama":  # sequences of many lengths
        rows["length"] = [4 + i % 8 for i in range(N)]
        rows["labels"] = [row[: 4 + i % 8] + [-100] * (8 - i % 8) for i, row in enumerate(rows["labels"])]
    arguments = TrainingArguments(
        tempfile.mkdtemp(), per_device_train_batch_size=10 // processes, learning_rate=1e-2, max_grad_norm=0.0,
        report_to=[], use_cpu=True, ddp_backend="gloo" if processes > 1 else None, save_strategy="no",
        logging_strategy="no", disable_tqdm=True,
        train_sampling_strategy="group_by_length" if "length" in case else "random",
    )  # fmt: skip
    plan = attent.Plan.default(epochs=4, batch_size=10, source=source)
    trainer = TaughtTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(rows),
        plan=plan,
        compute_loss_func=mean if "own" in case else None,
    )
    trainer.train()
    trace = trainer.feed.trace()
    told[case] = {
        "batches": seen.batches,
        "ids": [trace.ids(epoch).tolist() for epoch in range(4)],
        "losses": [row.loss for row in trace.records],
        "parameters": parameters(model).tolist(),
    }
Path(f"{sys.argv[1]}-{rank}").write_text(json.dumps(told))
os._exit(0)  # gloo's threads outlive their group: one at work while the interpreter ends takes the process with it
