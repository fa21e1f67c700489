"""Trainer, taught: which ids in which step, what is trained and ranked, totals, resume, processes."""

from __future__ import annotations

import functools
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
from accelerate.parallelism_config import ParallelismConfig
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

import attent
from attent.errors import CourseError, LearnerError, PlanError
from attent_torch import TorchLearner
from attent_torch.trainers import transformers_checks
from attent_torch.trainers.transformers import TaughtTrainer, Teaching

CHECKPOINTING = "activation_checkpointing"  # its name from 5.20 on
if CHECKPOINTING not in inspect.signature(TrainingArguments).parameters:
    CHECKPOINTING = "gradient_checkpointing"
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


REFUSED = [
    ({"size": 5}, "batch_size is 10, an optimiser step of the trainer takes 5 examples: 5 on each device"),
    ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy='sequential' orders the examples"),
    ({"train_sampling_strategy": "batch_rebalance"}, "train_sampling_strategy='random', or 'group_by_length' for"),
    ({"dataloader_drop_last": True}, "set dataloader_drop_last=False"),
    ({"auto_find_batch_size": True}, "changes the batches that the plan lays out"),
    ({"ignore_data_skip": True}, "ignore_data_skip=True trains examples"),
    ({"plan": 3}, "plan must be an attent.Plan, got 3"),
]


@pytest.mark.parametrize(("flag", "told"), [("is_fsdp_enabled", "FSDP"), ("is_deepspeed_enabled", "DeepSpeed")])
def test_a_model_that_is_sharded_is_refused_when_the_trainer_is_made(flag, told, taught, monkeypatch):
    own = Trainer.create_accelerator_and_postprocess

    def sharded(trainer):
        own(trainer)
        setattr(trainer, flag, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", sharded)
    with pytest.raises(PlanError, match=f"the trainer divides the model or its examples by {told}, .*fully_shard"):
        taught("plain")


def test_a_model_of_parallel_layers_is_refused_when_the_trainer_is_made(taught, monkeypatch):
    own = Trainer.create_accelerator_and_postprocess

    def parallel(trainer):
        own(trainer)
        trainer.accelerator.state.parallelism_config = ParallelismConfig(tp_size=2)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", parallel)
    with pytest.raises(PlanError, match="the trainer divides the model or its examples by a parallelism_config"):
        taught("plain")


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_what_contradicts_the_plan_is_refused_when_the_trainer_is_made(changes, told, taught):
    with pytest.raises(PlanError) as caught:
        taught(**changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(("epochs", "told"), [(3.0, 0), (4.0, 0), (2.0, 1), (0.5, 1)])
def test_epochs_that_are_not_used_are_told_of(epochs, told, taught, monkeypatch):
    heard = []
    monkeypatch.setattr(transformers_checks.logger, "warning", heard.append)
    taught(num_train_epochs=epochs).train()
    assert heard == [f"num_train_epochs={epochs:g} is not used: the plan's length is of 4 epochs"] * told


def test_more_steps_than_the_plan_takes_are_refused(taught, seen):
    trainer = taught(max_steps=15)
    steps = seen(trainer.model)
    with pytest.raises(PlanError, match="max_steps is 15, the plan takes 14 steps"):
        trainer.train()
    assert steps.batches == []


def test_a_sampler_already_set_is_refused(tiny, tmp_path):
    class Sorted(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Mine(Teaching, Sorted):
        pass

    with pytest.raises(PlanError, match="Sorted has a sampler of its own"):
        Mine(model=tiny.model("llama"), args=arguments(tmp_path), train_dataset=[1], plan=default_plan())


def stream():
    yield {"input_ids": [1, 2], "labels": [1, 2]}


class Unsized(torch.utils.data.IterableDataset):
    def __iter__(self):
        return stream()


class Sized(Unsized):
    def __len__(self):
        return 1


@pytest.mark.parametrize(("data", "told"), [
    (IterableDataset.from_generator(stream), "is a IterableDataset, which is read in its own order"),
    (Unsized(), "is a Unsized, which is read in its own order"),
    (Sized(), "is a Sized, which is read in its own order"),
    (DatasetDict(train=Dataset.from_dict({"x": [1]})), r"is a DatasetDict of splits train: give one split"),
    ({"input_ids": torch.ones(3, 2), "labels": [1, 2, 3]}, "is a dict of columns or splits input_ids, labels"),
])  # fmt: skip
def test_data_that_cannot_be_asked_for_by_id_are_refused(data, told, taught):
    with pytest.raises(LearnerError, match=told):
        taught(data=data, max_steps=3)


def test_a_plan_that_balances_groups_is_given_them(tiny, taught):
    plan = default_plan(select=attent.Balanced())
    trainer = taught("bert", plan=plan, feed_options={"groups": tiny.classes})
    trainer.train()
    counts = np.bincount(tiny.classes[trainer.feed.trace().ids(1)], minlength=5)
    assert counts.max() - counts.min() <= 1
    with pytest.raises(PlanError, match="groups"):
        taught("bert", plan=plan).train()


def test_no_data_are_refused(tiny, tmp_path):
    with pytest.raises(LearnerError, match="train_dataset is missing: it is what a plan teaches"):
        TaughtTrainer(model=tiny.model("llama"), args=arguments(tmp_path), plan=default_plan())


def test_columns_of_text_are_left_out_as_trainer_does(tiny, taught, flat):
    named = Dataset.from_dict({**tiny.rows("llama"), "name": ["x"] * 43})
    trainer, without = taught(data=named), taught()
    trainer.train()
    without.train()
    assert torch.equal(flat(trainer.model), flat(without.model))


class Failing(torch.utils.data.Dataset):
    def __init__(self, rows, bad):
        self.rows, self.bad = Dataset.from_dict(rows), bad

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        if at == self.bad:
            raise OSError("disk gone")
        return self.rows[at]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_names_its_id(workers, tiny, taught):
    trainer = taught(data=Failing(tiny.rows("llama"), bad=17), dataloader_num_workers=workers)
    with pytest.raises(LearnerError, match=r"train_dataset\[17\] failed: OSError: disk gone"):
        trainer.train()


def test_a_collator_that_fails_names_its_examples(tiny, taught):
    rows = tiny.rows("llama")
    rows["input_ids"][17] = [1]
    trainer = taught(data=Dataset.from_dict(rows))
    with pytest.raises(LearnerError, match=r"the data collator failed on examples \[.*17.*\]: ValueError"):
        trainer.train()


class MeanOnly(torch.nn.Module):
    def __init__(self, auxiliary=0.0, logits=False):
        super().__init__()
        self.head, self.auxiliary, self.logits = torch.nn.Embedding(64, 5).double(), auxiliary, logits

    def forward(self, input_ids, labels):
        logits = self.head(input_ids).mean(1)
        loss = F.cross_entropy(logits, labels) + self.auxiliary
        return {"loss": loss, **({"logits": logits} if self.logits else {})}


@pytest.mark.parametrize(("model", "told"), [
    (MeanOnly(), "the model returned loss for inputs input_ids, labels: logits and labels are needed"),
    (MeanOnly(auxiliary=0.5, logits=True), "the model's loss on the first examples is .*, or an auxiliary one"),
])  # fmt: skip
def test_a_model_whose_losses_cannot_be_told_is_refused_before_it_trains(model, told, taught, flat):
    before = flat(model)
    trainer = taught("bert", model=model)
    with pytest.raises(LearnerError, match=told):
        trainer.train()
    assert torch.equal(flat(model), before)


def test_per_example_loss_ranks_what_it_returns(tiny, taught):
    chosen = []

    def ids(outputs, inputs):
        chosen.append(len(inputs["labels"]))
        return inputs["input_ids"][:, 0].double()

    plan = default_plan(select=attent.Hard())
    trainer = taught("bert", model=MeanOnly(), plan=plan, per_example_loss=ids)
    trainer.train()
    assert trainer.feed.trace().ids(1).tolist() == list(range(26, 43))


def test_per_example_loss_of_a_wrong_shape_is_refused(taught):
    trainer = taught(per_example_loss=lambda outputs, inputs: outputs["loss"])
    with pytest.raises(LearnerError, match=r"must return one number per example, shape \(2,\), got \(\)"):
        trainer.train()


def test_other_data_are_refused_on_resume(tiny, taught, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2, "folder": tmp_path / "out"}
    taught(**settings).train()
    rows = tiny.rows("llama")
    rows["input_ids"][0] = [9] * 12
    with pytest.raises(CourseError, match="fingerprint"):
        taught(data=Dataset.from_dict(rows), **settings).train(resume_from_checkpoint=True)


def test_a_checkpoint_of_plain_trainer_is_refused(tiny, taught, tmp_path):
    data, settings = Dataset.from_dict(tiny.rows("llama")), {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    Trainer(model=tiny.model("llama"), args=arguments(tmp_path / "out", **settings), train_dataset=data).train()
    with pytest.raises(CourseError, match=r"checkpoint-4 has no attent\.json: it is no checkpoint of a taught run"):
        taught(folder=tmp_path / "out").train(resume_from_checkpoint=True)


@pytest.mark.parametrize("data", [b'{"feed": "\xff"}', b"[" * 2000, b"{}", b""])
def test_a_state_that_is_damaged_is_refused(data, taught, tmp_path):
    taught(folder=tmp_path / "out", save_strategy="steps", save_steps=3, max_steps=3).train()
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    (checkpoint / "attent.json").write_bytes(data)
    with pytest.raises(attent.AttentError, match="is damaged|not a feed's state"):
        taught(folder=tmp_path / "out").train(resume_from_checkpoint=True)


def test_compute_loss_that_leaves_out_supers_is_refused_where_examples_are_weighed(tiny, tmp_path):
    class Mine(TaughtTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(**inputs)["loss"]

    trainer = Mine(
        model=tiny.model("llama"), args=arguments(tmp_path), train_dataset=Dataset.from_dict(tiny.rows("llama")),
        plan=attent.Plan.infobatch(epochs=4, batch_size=10),
    )  # fmt: skip
    with pytest.raises(LearnerError, match=r"compute_loss of Mine must call the model, and super\(\).compute_loss"):
        trainer.train()


def test_this_version_of_transformers_is_one_that_is_known():
    transformers_checks.check_version()


@pytest.mark.parametrize("version", ["5.5.4", "6.0.0"])
def test_another_version_is_refused(version, monkeypatch, taught):
    monkeypatch.setattr(transformers_checks.transformers, "__version__", version)
    with pytest.raises(
        LearnerError, match=rf"transformers {version} cannot be taught: known are 5.6 up to, not with, 6"
    ):
        taught()


@pytest.mark.parametrize("hook", transformers_checks.HOOKS)
def test_a_version_whose_trainer_lost_a_hook_is_refused(hook, monkeypatch, taught):
    monkeypatch.delattr(Trainer, hook)
    with pytest.raises(LearnerError, match=rf"its Trainer has no {hook}\("):
        taught()


def test_a_trainer_that_takes_other_steps_is_noticed(taught, monkeypatch):
    own = Trainer._run_epoch

    @functools.wraps(own)
    def deaf(self, **given):  # as if a later Trainer read its steps elsewhere
        own(self, **{**given, "num_update_steps_per_epoch": 1})

    monkeypatch.setattr(Trainer, "_run_epoch", deaf)
    with pytest.raises(CourseError, match="Trainer took 1 of the 5 steps of pass 0"):
        taught().train()


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


# What is not finite


SICK = 7


class Sick(torch.nn.Module):
    """A classifier with statistics that has no finite loss of example 7, nor of a batch with it a finite statistic."""

    def __init__(self, normed=True):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(64, 16), torch.nn.Linear(16, 5)
        self.norm = torch.nn.BatchNorm1d(16) if normed else torch.nn.Identity()

    def forward(self, input_ids, labels=None):
        x = self.embed(input_ids).mean(1)
        x = self.norm(torch.where(input_ids[:, :1] == SICK, torch.nan, x))
        logits = self.head(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_not_finite_is_left_out_as_by_teach(accumulate, tiny, taught, flat):
    plan = attent.Plan(epochs=3, batch_size=10, ratio=0.5, warm_up=1, non_finite="last", source=attent.Reuse())
    model = Sick(normed=accumulate == 1).double()
    trainer = taught("plain", plan=plan, model=model, size=10 // accumulate, accumulate=accumulate, weight_decay=0.1)
    trainer.train()
    learnt = Sick(normed=accumulate == 1).double()
    steps = plan.total_steps(43)
    still = [parameter for name, parameter in learnt.named_parameters() if "bias" in name or "norm" in name]
    decayed = [learnt.embed.weight, learnt.head.weight]  # Trainer leaves out biases and norms
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": still}], 1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, (steps - step) / steps))

    def loss(model, batch):
        inputs, labels = batch
        return F.cross_entropy(model(inputs, labels)["logits"], labels, reduction="none")

    data = torch.tensor(tiny.tokens), torch.tensor(tiny.classes)
    trace = attent.teach(TorchLearner(learnt, data, loss, optimizer, schedule), plan)
    assert attent.first_difference(trainer.feed.trace(), trace) is None
    counted = [record.steps_skipped for record in trainer.feed.trace().records]
    assert counted == [record.steps_skipped for record in trace.records]
    assert counted[0] == 1
    torch.testing.assert_close(flat(model), flat(learnt), rtol=0, atol=1e-12)
    if accumulate == 1:
        assert bool(torch.isfinite(model.norm.running_mean).all())
        torch.testing.assert_close(model.norm.running_mean, learnt.norm.running_mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("policy", ["error", "drop"])
def test_steps_that_the_loss_scaler_leaves_out_are_counted(policy, accumulate, tiny, taught):
    """As under fp16=True, which asks for a GPU: with accelerate's scaler, and gradients that overflow in three steps."""
    plan = attent.Plan(epochs=3, batch_size=10, ratio=0.5, warm_up=1, non_finite=policy)
    model, moved = tiny.model("plain"), []

    def overflow(gradient):
        return gradient * torch.inf if trainer.state.global_step in {0, 4, 6} else gradient

    class Watching(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.before = model.head.bias.detach().clone()

        def on_optimizer_step(self, args, state, control, model=None, **kwargs):
            moved.append(not torch.equal(self.before, model.head.bias))

    model.head.weight.register_hook(overflow)
    trainer = taught(
        "plain", plan=plan, model=model, size=10 // accumulate, accumulate=accumulate, max_grad_norm=0.0,
        callbacks=[Watching()], save_strategy="steps", save_steps=2,
    )  # fmt: skip
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    trainer.train()
    assert [step for step, yes in enumerate(moved) if not yes] == [0, 4, 6]
    assert [record.steps_skipped for record in trainer.feed.trace().records] == [2, 1, 0]


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_weights_that_are_not_finite_are_never_kept(policy, taught, tmp_path):
    class Breaking(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 6:
                with torch.no_grad():
                    model.head.bias[2] = torch.inf

    plan = default_plan(non_finite=policy)
    trainer = taught("plain", plan=plan, save_strategy="steps", save_steps=3, callbacks=[Breaking()])
    with pytest.raises(LearnerError, match=r"'head.bias' of the model is not finite at step 6\. Nothing of it is kept"):
        trainer.train()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["checkpoint-3"]

    class Late(Breaking):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == state.max_steps:
                with torch.no_grad():
                    model.head.bias[2] = torch.inf

    trainer = taught("plain", plan=plan, callbacks=[Late()])
    with pytest.raises(LearnerError, match=r"'head.bias' of the model is not finite after pass 3"):
        trainer.train()
    assert not trainer.feed.finished


def test_batch_norm_is_told_of_a_last_batch_of_one_before_a_step(tiny, taught):
    data = Dataset.from_dict(tiny.rows("plain", 41))
    trainer = taught("plain", plan=attent.Plan.full(epochs=2, batch_size=10), model=Sick(), data=data)
    with pytest.raises(LearnerError, match=r"epoch 0 trains 41 examples in batches of 10, the last of 1: BatchNorm"):
        trainer.train()
    assert trainer.state.global_step == 0


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
