"""Trainer, taught: steps and weights that are not finite, as by teach."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import TrainerCallback

import attent
from attent.errors import LearnerError
from attent_torch import TorchLearner

_spec = importlib.util.spec_from_file_location("transformers_task", Path(__file__).with_name("transformers_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
default_plan, taught = task.default_plan, task.taught
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
