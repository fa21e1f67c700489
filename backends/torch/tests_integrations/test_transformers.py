"""Trainer, taught: which ids in which step, what is trained and ranked, totals, resume, processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

import attent
from attent.errors import CourseError, LearnerError, PlanError
from attent_torch import TorchLearner
from attent_torch.trainers import transformers_checks
from attent_torch.trainers.transformers import TaughtTrainer, Teaching

KINDS = ("llama", "bert", "plain")


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
        options = {name: changes.pop(name) for name in ("attent_run", "per_example_loss", "callbacks", "eval_dataset")
                   if name in changes}  # fmt: skip
        return cls(
            model=tiny.model(kind) if model is None else model,
            args=arguments(changes.pop("folder", tmp_path / "out"), **changes),
            train_dataset=Dataset.from_dict(tiny.rows(kind)) if data is None else data,
            plan=default_plan() if plan is None else plan,
            **options,
        )

    return build


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_each_step_trains_the_plans_batch_whatever_the_accumulation(kind, accumulate, tiny, taught, seen, flat):
    whole = taught(kind)
    steps = seen(whole.model)
    whole.train()
    parts = taught(kind, size=10 // accumulate, accumulate=accumulate)
    micro = seen(parts.model)
    parts.train()
    plan, by_step, at = whole.plan, [], iter(micro.batches)
    for row in plan.timeline(43):
        for step in range(row.steps):
            left = row.k - step * 10
            many = accumulate if left > 10 else -(-left // (10 // accumulate))
            by_step.append([id for _ in range(many) for id in next(at)])
    assert by_step == steps.batches
    assert next(at, None) is None
    torch.testing.assert_close(flat(parts.model), flat(whole.model), rtol=0, atol=1e-12)
    assert parts.feed.trace().records[-1].loss == pytest.approx(whole.feed.trace().records[-1].loss, abs=1e-12)
    assert [log["loss"] for log in parts.state.log_history[:-1]] == pytest.approx(
        [log["loss"] for log in whole.state.log_history[:-1]],
        abs=1e-6,  # Trainer logs in float32
    )


def test_a_passs_steps_are_what_the_feed_gave(taught, seen):
    trainer = taught()
    micro = seen(trainer.model)
    trainer.train()
    trace, at = trainer.feed.trace(), 0
    for row in trainer.plan.timeline(43):
        ids = [id for batch in micro.batches[at : at + row.steps] for id in batch]
        at += row.steps
        assert sorted(ids) == trace.ids(row.epoch).tolist()
    assert at == len(micro.batches) == 14
    assert trace.ids(0).tolist() == list(range(43))
    assert len(trace.ids(1)) == 17


@pytest.mark.parametrize(("kind", "plan"), [
    ("llama", default_plan()),
    ("llama", default_plan(selection="hard", seed=3)),
    ("llama", default_plan(source="fresh", warm_up=0)),
    ("llama", default_plan(correction=5.0)),
    ("bert", attent.Plan.auto(epochs=3, batch_size=10)),
    ("bert", attent.Plan.infobatch(epochs=4, batch_size=10)),
    ("plain", default_plan(keep_steps=True)),
])  # fmt: skip
def test_trainer_and_teach_train_the_same(kind, plan, tiny, taught, flat):
    trainer = taught(kind, plan=plan)
    trainer.train()
    tokens = torch.tensor(tiny.tokens)
    model = tiny.model(kind)
    labels = tokens if kind == "llama" else torch.tensor(tiny.classes)

    def loss(model, batch):
        inputs, labels = batch
        logits = model(input_ids=inputs, labels=labels)["logits"]
        if kind == "llama":  # all tokens of a step weigh the same, and these sequences are of one length
            logits = logits.float()  # as the model's own loss does
            return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none").mean(1)
        return F.cross_entropy(logits, labels, reduction="none")

    steps = plan.total_steps(43)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, (steps - step) / steps))
    trace = attent.teach(TorchLearner(model, (tokens, labels), loss, optimizer, schedule), plan)
    ours = trainer.feed.trace()
    assert [ours.ids(epoch).tolist() for epoch in range(plan.epochs)] == [
        trace.ids(epoch).tolist() for epoch in range(plan.epochs)
    ]
    each, near = (11, 1e-5) if kind == "llama" else (1, 1e-10)
    assert [row.loss / each for row in ours.records] == pytest.approx([row.loss for row in trace.records], abs=near)
    torch.testing.assert_close(flat(trainer.model), flat(model), rtol=0, atol=near)
    assert trainer.state.global_step == trainer.state.max_steps == steps
    assert trainer.state.epoch == plan.epochs
    assert trainer.lr_scheduler.get_last_lr() == [0.0, 0.0][: len(trainer.optimizer.param_groups)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulate", [1, 4])
def test_loss_and_gradient_are_trainers_own(kind, accumulate, tiny, taught, tmp_path):
    rows = Dataset.from_dict(tiny.rows(kind, n=40))  # one step of all examples: their order does not matter
    size = {"size": 40 // accumulate, "accumulate": accumulate}
    ours = taught(kind, plan=attent.Plan.full(epochs=1, batch_size=40), data=rows, **size)
    # With accumulation 4 Trainer's own gradient of this BERT is 4 times as large: transformers issue 47688.
    own = Trainer(model=tiny.model(kind), args=arguments(tmp_path, 40, num_train_epochs=1), train_dataset=rows)
    ours.train()
    own.train()
    for name in ("loss", "grad_norm"):
        assert ours.state.log_history[0][name] == pytest.approx(own.state.log_history[0][name], abs=1e-6)


def test_examples_of_a_language_model_are_ranked_by_the_sum_over_their_tokens(tiny, taught):
    short = [row[: 4 + i % 8] for i, row in enumerate(tiny.tokens.tolist())]
    padded = [row + [-100] * (12 - len(row)) for row in short]
    inputs = [[max(token, 0) for token in row] for row in padded]
    data = Dataset.from_dict({"input_ids": inputs, "labels": padded})
    trainer = taught(plan=attent.Plan.full(epochs=1, batch_size=10), data=data, learning_rate=0.0)
    recorded = {}
    record = attent.Feed.record

    def spy(feed, numbers, ids):
        recorded.update(zip(ids.tolist(), numbers.tolist(), strict=True))
        return record(feed, numbers, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attent.Feed, "record", spy)
        trainer.train()
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor(inputs)).logits
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), torch.tensor(padded)[:, 1:], reduction="none").sum(1)
    assert [recorded[id] for id in range(43)] == pytest.approx(each.tolist(), abs=1e-10)
