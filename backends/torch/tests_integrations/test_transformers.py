"""Trainer, taught: which ids in which step, what is trained and ranked, totals, resume, processes."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

import attent
from attent.errors import LearnerError, PlanError
from attent_torch import TorchLearner
from attent_torch.trainers import transformers_checks
from attent_torch.trainers.transformers import Teaching

_spec = importlib.util.spec_from_file_location("transformers_task", Path(__file__).with_name("transformers_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
MeanOnly, arguments, default_plan, taught = task.MeanOnly, task.arguments, task.default_plan, task.taught

CHECKPOINTING = "activation_checkpointing"  # its name from 5.20 on
if CHECKPOINTING not in inspect.signature(TrainingArguments).parameters:
    CHECKPOINTING = "gradient_checkpointing"
KINDS = ("llama", "bert", "plain")


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
    ("llama", default_plan(select=attent.Hard(), seed=3)),
    ("llama", default_plan(source=attent.Fresh(), warm_up=0)),
    ("llama", default_plan(select=attent.Soft(temperature=0.3, correction=5.0))),
    ("bert", attent.Plan.auto(epochs=3, batch_size=10)),
    ("bert", attent.Plan.infobatch(epochs=4, batch_size=10)),
    ("plain", default_plan(select=attent.Random())),
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


@pytest.mark.parametrize(
    ("kind", "accumulate", "told"), [("bert", 2, 1), ("bert", 1, 0), ("llama", 2, 0), ("plain", 2, 0)]
)
def test_a_gradient_that_is_mended_is_told_of(kind, accumulate, told, taught, monkeypatch):
    heard = []
    monkeypatch.setattr(transformers_checks.logger, "warning", heard.append)
    taught(kind, size=10 // accumulate, accumulate=accumulate, max_steps=1).train()
    assert [line.split(":")[0] for line in heard] == [
        "BertForSequenceClassification does not use num_items_in_batch"
    ] * told


def test_examples_of_a_language_model_are_ranked_by_the_sum_over_their_tokens(tiny, taught):
    short = [row[: 4 + i % 8] for i, row in enumerate(tiny.tokens.tolist())]
    padded = [row + [-100] * (12 - len(row)) for row in short]
    inputs = [[max(token, 0) for token in row] for row in padded]
    data = Dataset.from_dict({"input_ids": inputs, "labels": padded})
    trainer = taught(plan=attent.Plan.full(epochs=1, batch_size=10), data=data, learning_rate=0.0)
    recorded = {}
    record = attent.Feed.record

    def spy(feed, numbers, ids, skipped=0, **told):
        recorded.update(zip(ids.tolist(), numbers.tolist(), strict=True))
        return record(feed, numbers, ids, skipped, **told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attent.Feed, "record", spy)
        trainer.train()
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor(inputs)).logits
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), torch.tensor(padded)[:, 1:], reduction="none").sum(1)
    assert [recorded[id] for id in range(43)] == pytest.approx(
        each.tolist(), abs=1e-5
    )  # float32, as the model's own loss


@pytest.mark.parametrize(
    "plan", [default_plan(), default_plan(source=attent.Fresh()), attent.Plan.auto(epochs=3, batch_size=10)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_goes_on_from_any_checkpoint_to_the_bit(plan, accumulate, tiny, taught, tmp_path, seen, flat):
    settings = {"plan": plan, "size": 10 // accumulate, "accumulate": accumulate, "save_strategy": "steps"}
    settings |= {"save_steps": 2, "folder": tmp_path / "out"}

    def bert():
        return tiny.model("bert", dtype=torch.float32, dropout=0.1)

    whole = taught("bert", model=bert(), attent_run=tmp_path / "run", **settings)
    steps = seen(whole.model)
    whole.train()
    trace, total = attent.Trace.read(tmp_path / "run"), plan.total_steps(43)
    checkpoints = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda each: int(each.name.split("-")[1]))
    assert [int(each.name[11:]) for each in checkpoints] == [*range(2, total, 2), total]
    for checkpoint in reversed(checkpoints):  # the run folder forgets what it holds of later passes
        model = bert()
        again = taught("bert", model=model, attent_run=tmp_path / "run", **settings)
        more = seen(model)
        again.train(resume_from_checkpoint=str(checkpoint))
        assert more.batches == steps.batches[len(steps.batches) - len(more.batches) :]
        assert torch.equal(flat(again.model), flat(whole.model))
        assert again.state.global_step == total
        assert again.state.epoch == plan.epochs
        assert attent.first_difference(trace, attent.Trace.read(tmp_path / "run")) is None


def test_a_run_goes_on_with_another_accumulation(taught, tmp_path, seen, flat):
    settings = {"save_strategy": "steps", "save_steps": 7, "folder": tmp_path / "out"}
    whole = taught(**settings)
    whole.train()
    again = taught(size=2, accumulate=5, **settings)
    steps = seen(again.model)
    again.train(resume_from_checkpoint=str(tmp_path / "out/checkpoint-7"))
    assert len(steps.batches) == 4 + 5 + 4 * 5 + 2  # the rest of pass 1, of 17; pass 2; pass 3, of 43
    torch.testing.assert_close(flat(again.model), flat(whole.model), rtol=0, atol=1e-12)
    assert again.state.global_step == 14


def test_evaluation_and_generation_are_never_scored(tiny, taught, flat):
    class Generates(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=2, do_sample=False)

    alone = taught()
    alone.train()
    others = Dataset.from_dict({"input_ids": [[5] * 12] * 7, "labels": [[6] * 12] * 7})
    changes = {"eval_strategy": "steps", "eval_steps": 3, "eval_on_start": True}
    between = taught(eval_dataset=others, callbacks=[Generates()], **changes)
    between.train()
    assert between.feed.trace().records[-1].loss == alone.feed.trace().records[-1].loss
    assert attent.first_difference(alone.feed.trace(), between.feed.trace()) is None
    assert torch.equal(flat(alone.model), flat(between.model))
    assert [log["step"] for log in between.state.log_history if "eval_loss" in log] == [0, 3, 6, 9, 12, 14]


@pytest.mark.parametrize("changes", [
    {"dataloader_num_workers": 2},
    {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "dataloader_prefetch_factor": 4},
    {CHECKPOINTING: True},
    {"dataloader_pin_memory": False},
])  # fmt: skip
def test_ids_and_parameters_do_not_depend_on_how_batches_are_fetched_or_kept(changes, taught, seen, flat):
    one, other = taught(), taught(**changes)
    steps, others = seen(one.model), seen(other.model)
    one.train()
    other.train()
    assert others.batches == steps.batches
    torch.testing.assert_close(flat(other.model), flat(one.model), rtol=0, atol=1e-12)


def test_bf16(tiny, taught):
    exact = taught(model=tiny.model("llama", dtype=torch.float32))
    half = taught(model=tiny.model("llama", dtype=torch.float32), bf16=True)
    exact.train()
    half.train()
    losses = [[row.loss for row in each.feed.trace().records] for each in (exact, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_early_stopping_ends_between_passes_and_keeps_the_trace(tiny, taught, tmp_path):
    stop = EarlyStoppingCallback(early_stopping_patience=1)
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": "loss"}
    trainer = taught(
        attent_run=tmp_path / "run", callbacks=[stop], eval_dataset=Dataset.from_dict(tiny.rows("llama")),
        learning_rate=0.0, load_best_model_at_end=True, **settings,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.epoch == 2
    assert len(attent.Trace.read(tmp_path / "run").records) == 2


def test_a_smaller_max_steps_ends_the_schedule_too(taught):
    trainer = taught(max_steps=7)
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps == 7
    assert trainer.lr_scheduler.get_last_lr() == [0.0, 0.0]
    assert trainer.feed.epoch == 2
    assert len(trainer.feed.trace().records) == 2


def test_training_twice_begins_anew(taught, tmp_path):
    trainer = taught(learning_rate=0.0)
    trainer.train()
    first = trainer.feed.trace()
    trainer.train()
    assert attent.first_difference(first, trainer.feed.trace()) is None


def test_two_bases_one_trainer_of_a_user(tiny, tmp_path, seen):
    class Mine(Teaching, Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return 2 * super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    plan = default_plan()
    trainer = Mine(
        model=tiny.model("llama"), args=arguments(tmp_path), train_dataset=Dataset.from_dict(tiny.rows("llama")),
        plan=plan,
    )  # fmt: skip
    steps = seen(trainer.model)
    trainer.train()
    assert len(steps.batches) == plan.total_steps(43)


def test_two_processes_train_what_one_trains(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([*run, script, tmp_path / "two"], check=True, capture_output=True, text=True)
    subprocess.run([sys.executable, script, tmp_path / "one"], check=True, capture_output=True, text=True)
    one, two, other = (json.loads((tmp_path / name).read_text()) for name in ("one-0", "two-0", "two-1"))
    for case in one:
        steps = one[case]["batches"]
        assert [sorted(a + b) for a, b in zip(two[case]["batches"], other[case]["batches"], strict=True)] == [
            sorted(step + step[:1] if len(step) == 1 else step)
            for step in steps  # alone, it stands in on the other
        ], case
        assert two[case]["ids"] == other[case]["ids"] == one[case]["ids"]
        np.testing.assert_allclose(two[case]["losses"], one[case]["losses"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(two[case]["parameters"], one[case]["parameters"], rtol=0, atol=1e-12)
        assert other[case]["parameters"] == two[case]["parameters"]
    assert [len(step) for step in one["plain"]["batches"]].count(1) == 2


def test_a_plan_that_balances_groups_is_given_them(tiny, taught):
    plan = default_plan(select=attent.Balanced())
    trainer = taught("bert", plan=plan, feed_options={"groups": tiny.classes})
    trainer.train()
    counts = np.bincount(tiny.classes[trainer.feed.trace().ids(1)], minlength=5)
    assert counts.max() - counts.min() <= 1
    with pytest.raises(PlanError, match="groups"):
        taught("bert", plan=plan).train()


def test_columns_of_text_are_left_out_as_trainer_does(tiny, taught, flat):
    named = Dataset.from_dict({**tiny.rows("llama"), "name": ["x"] * 43})
    trainer, without = taught(data=named), taught()
    trainer.train()
    without.train()
    assert torch.equal(flat(trainer.model), flat(without.model))


def test_per_example_loss_ranks_what_it_returns(tiny, taught):
    chosen = []

    def ids(outputs, inputs):
        chosen.append(len(inputs["labels"]))
        return inputs["input_ids"][:, 0].double()

    plan = default_plan(select=attent.Hard())
    trainer = taught("bert", model=MeanOnly(), plan=plan, per_example_loss=ids)
    trainer.train()
    assert trainer.feed.trace().ids(1).tolist() == list(range(26, 43))


def test_a_policy_by_group_goes_by_a_column(tiny, taught):
    labels = ["new" if i % 5 == 0 else "old" for i in range(43)]
    data = Dataset.from_dict(tiny.rows("llama")).add_column("source", labels)
    plan = attent.Plan.balanced(epochs=2, batch_size=10)
    trainer = taught(plan=plan, data=data, groups="source")
    trainer.train()
    groups = np.array([label == "old" for label in labels]).astype(int)
    trace = trainer.feed.trace()
    assert [np.bincount(groups[trace.ids(epoch)]).tolist() for epoch in range(1, 4)] == [[5, 5], [9, 11], [7, 6]]
    with pytest.raises(LearnerError, match="groups names the column 'sauce', the data have: "):
        taught(plan=plan, data=data, groups="sauce").train()
    with pytest.raises(PlanError, match="goes by groups, and none are known"):
        taught(plan=plan, data=data).train()


@pytest.mark.parametrize("plan", [
    default_plan(select=attent.Hard()),
    default_plan(select=attent.Soft(temperature=0.3, correction=5.0)),
    default_plan(source=attent.Fresh(), warm_up=0),
], ids=["hard", "weighted", "scoring"])  # fmt: skip
def test_a_runs_folder_is_shown_compared_and_replayed(plan, taught, tmp_path, read_back):
    taught(plan=plan, attent_run=tmp_path / "run").train()
    trace = attent.Trace.read(tmp_path / "run")
    options = {"attent_run": tmp_path / "again", "feed_options": {"replay": trace}}
    trainer = taught(plan=replace(plan, source=attent.Replay()), folder=tmp_path / "other", **options)
    trainer.train()
    again = trainer.feed.trace()
    read_back(trace, again)
