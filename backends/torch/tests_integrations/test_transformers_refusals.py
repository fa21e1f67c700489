"""Trainer, taught: arguments, data, models and versions that do not go with a plan are refused."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pytest
import torch
from accelerate.parallelism_config import ParallelismConfig
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import Trainer

import attent
from attent.errors import CourseError, LearnerError, PlanError
from attent_torch.trainers import transformers_checks
from attent_torch.trainers.transformers import TaughtTrainer, Teaching

_spec = importlib.util.spec_from_file_location("transformers_task", Path(__file__).with_name("transformers_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
MeanOnly, arguments, default_plan, taught = task.MeanOnly, task.arguments, task.default_plan, task.taught
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


def test_no_data_are_refused(tiny, tmp_path):
    with pytest.raises(LearnerError, match="train_dataset is missing: it is what a plan teaches"):
        TaughtTrainer(model=tiny.model("llama"), args=arguments(tmp_path), plan=default_plan())


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
