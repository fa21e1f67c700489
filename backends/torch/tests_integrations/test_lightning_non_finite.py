"""Lightning, taught: steps, weights and runs that are not finite, as by teach."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

import attent
from attent_torch import TorchLearner

_spec = importlib.util.spec_from_file_location("lightning_task", Path(__file__).with_name("lightning_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
DEFAULT, INPUTS, LABELS, Module, N = task.DEFAULT, task.INPUTS, task.LABELS, task.Module, task.N
SIZE, loader_of, losses_of, taught, weights_of = task.SIZE, task.loader_of, task.losses_of, task.taught, task.weights_of
pytestmark = task.QUIET
SICK = 7


class Sick(Module):
    """Has no finite loss of example 7, nor of a batch with it a finite statistic."""

    def __init__(self, normed=True) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(8).double() if normed else nn.Identity()
        self.net = nn.Sequential(self.net[0], norm, *self.net[1:])

    def training_step(self, batch, batch_idx):
        ids, inputs, labels = batch
        return self.loss((ids, torch.where((ids == SICK)[:, None], torch.nan, inputs), labels))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_not_finite_is_left_out_as_by_teach(accumulate):
    plan = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, non_finite="last", source=attent.Reuse())
    module = Sick(normed=accumulate == 1)
    settings = {"epochs": 3, "loader": loader_of(batch_size=SIZE // accumulate), "held_out": False}
    module, teaching, _ = taught(plan, module=module, accumulate_grad_batches=accumulate, **settings)
    learnt = Sick(normed=accumulate == 1).net
    optimizer = torch.optim.SGD(learnt.parameters(), 0.5)
    schedule = CosineAnnealingLR(optimizer, plan.total_steps(N))
    inputs = INPUTS.clone()
    inputs[SICK] = torch.nan
    trace = attent.teach(
        TorchLearner(learnt, (inputs, LABELS), lambda net, batch: losses_of(net, *batch), optimizer, schedule), plan
    )
    found = teaching.teacher.trace()
    assert attent.first_difference(found, trace) is None
    assert [record.steps_skipped for record in found.records] == [record.steps_skipped for record in trace.records]
    assert found.records[0].steps_skipped == 1
    torch.testing.assert_close(weights_of(module.net), weights_of(learnt), rtol=0, atol=1e-12)
    for mine, theirs in zip(module.net.buffers(), learnt.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["automatic", "manual"])
@pytest.mark.parametrize("policy", ["error", "drop"])
def test_steps_that_the_loss_scaler_leaves_out_are_counted(policy, way):
    """Of 16-mixed, with gradients that overflow in three steps; by hand the module may leave steps out too."""
    plan = attent.Plan(epochs=3, batch_size=SIZE, ratio=0.5, warm_up=1, non_finite=policy, source=attent.Reuse())
    sick, taken = {1, 5, 7}, []

    class Overflowing(Module):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = way == "automatic"
            self.net.float()[0].weight.register_hook(self.overflow)
            self.calls = 0

        def overflow(self, gradient):
            self.calls += 1
            return gradient * torch.inf if self.calls - 1 in sick else gradient

        def training_step(self, batch, batch_idx):
            loss = super().training_step((batch[0], batch[1].float(), batch[2]), batch_idx)
            if way == "manual":
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def on_train_batch_start(self, *args):
            self.before = self.net[0].weight.detach().clone()

        def on_train_batch_end(self, *args):
            taken.append(not torch.equal(self.before, self.net[0].weight))

    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
    _, teaching, _ = taught(
        plan, module=Overflowing(), epochs=3, loader=loader_of(batch_size=SIZE), held_out=False, plugins=[precision]
    )
    assert [step for step, yes in enumerate(taken) if not yes] == sorted(sick)
    assert [record.steps_skipped for record in teaching.teacher.trace().records] == [2, 1, 0]


class Breaking(lightning.pytorch.Callback):
    """Spoils a weight after a step."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == self.at:
            with torch.no_grad():
                pl_module.net[2].bias[1] = torch.inf


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    kept = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    with pytest.raises(attent.LearnerError, match=r"'net.2.bias' of the model is not finite in pass 1\. Nothing of it"):
        taught(DEFAULT, Breaking(6), kept, held_out=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step=3.ckpt"]
    with pytest.raises(attent.LearnerError, match=r"'net.2.bias' of the model is not finite"):
        taught(DEFAULT, Breaking(DEFAULT.total_steps(N)), held_out=False)


def test_batch_norm_is_told_of_a_last_batch_of_one_before_a_step():
    module = Sick()
    with pytest.raises(attent.LearnerError, match=r"epoch 0 trains 90 examples in batches of 89, the last of 1: Batch"):
        taught(attent.Plan.full(epochs=4, batch_size=89), module=module, loader=loader_of(batch_size=89))
    assert module.trainer.global_step == 0
