"""train(): which losses it returns, and which step it takes (rules P2, P3, P4)."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._python_dispatch import TorchDispatchMode

from attent.errors import LearnerError


def test_equals_the_loop_by_hand_bit_for_bit(task, values, assert_same):
    ours, theirs = task.model(dropout=0.4), task.model(dropout=0.4)
    settings = []
    for model in (ours, theirs):
        optimizer = torch.optim.AdamW(model.parameters(), 0.05)
        settings.append((optimizer, LambdaLR(optimizer, lambda step: 1.0 / (1 + step))))
    learner = task.learner(ours, optimizer=settings[0][0], scheduler=settings[0][1])
    torch.manual_seed(3)
    losses = np.concatenate([learner.train(task.batches[:2]), learner.train(task.batches[2:])])
    torch.manual_seed(3)
    assert losses.tolist() == task.by_hand(theirs, *settings[1]).tolist()
    assert losses.dtype == np.float64
    assert losses.shape == (30,)
    assert_same(values(ours), values(theirs))
    assert learner.steps == 5


def test_weights_scale_gradients_and_losses_come_back_unweighted(task, values, assert_same):
    ours, theirs = task.model(), task.model()
    learner = task.learner(ours)
    losses = learner.train(task.batches, task.weights)
    expected = task.by_hand(theirs, torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9), weights=task.weights)
    assert losses.tolist() == expected.tolist()
    assert_same(values(ours), values(theirs))


def test_weights_of_one_equal_no_weights(task, values, assert_same):
    with_ones, without = task.model(), task.model()
    task.learner(with_ones).train(task.batches, [np.ones(len(ids)) for ids in task.batches])
    task.learner(without).train(task.batches)
    assert_same(values(with_ones), values(without))


def test_returned_losses_are_from_before_each_update(task):
    learner = task.learner()
    ids = task.batches[0]
    before = learner.score(ids)
    losses = learner.train([ids])
    assert losses.tolist() == before.tolist()
    assert (learner.score(ids) != before).all()


@pytest.mark.parametrize("parts", [2, 3, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulation_takes_the_step_of_the_whole_batch(task, parts, weighted):
    weights = task.weights if weighted else None
    whole, split = task.model(), task.model()
    expected = task.learner(whole, clip_norm=0.5).train(task.batches, weights)
    learner = task.learner(split, clip_norm=0.5, accumulate=parts)
    assert np.allclose(learner.train(task.batches, weights), expected, rtol=1e-12, atol=0)
    for a, b in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-15)
    assert learner.steps == 5


def test_accumulation_runs_that_many_forwards_of_nearly_equal_size(task):
    sizes = []

    def loss(model, batch):
        sizes.append(len(batch[0]))
        return task.loss(model, batch)

    task.learner(loss=loss, accumulate=3).train([np.arange(7), np.arange(2)])
    assert sizes == [3, 2, 2, 1, 1]


def test_clipping_caps_the_norm_of_the_whole_gradient(task, values, assert_same):
    ours, theirs = task.model(), task.model()
    ids = task.batches[0]
    task.learner(ours, optimizer=torch.optim.SGD(ours.parameters(), 1.0), clip_norm=0.01).train([ids])
    task.loss(theirs, (task.x[ids], task.y[ids])).mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.01)
    assert norm > 0.1  # so the cap was felt
    torch.optim.SGD(theirs.parameters(), 1.0).step()
    assert_same(values(ours), values(theirs))


def test_schedule_steps_once_per_optimiser_step(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 8.0)
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    task.learner(model, optimizer=optimizer, scheduler=scheduler, accumulate=2).train(task.batches[:3])
    assert scheduler.get_last_lr() == [1.0]


def test_gradients_of_others_do_not_leak_in(task, values, assert_same):
    clean, dirty = task.model(), task.model()
    for parameter in dirty.parameters():
        parameter.grad = torch.ones_like(parameter)
    for model in (clean, dirty):
        task.learner(model).train(task.batches[:1])
    assert_same(values(clean), values(dirty))


def test_a_model_in_evaluation_mode_is_switched_to_training_as_a_whole(task):
    model = task.model(dropout=0.5).eval()
    task.learner(model).train(task.batches[:1])
    assert [module.training for module in model.modules()] == [True] * 5


def test_a_frozen_submodule_stays_frozen(task):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    model[1].eval()
    task.learner(model).train(task.batches[:2])
    assert (model.training, model[1].training) == (True, False)
    assert model[1].running_mean.tolist() == [0.0, 0.0]


def test_tasks_are_summed_with_their_weights(task, values, assert_same):
    def tasks(model, batch):
        error = (model(batch[0]) - batch[1]) ** 2
        return {"left": error[:, 0], "right": error[:, 1]}

    ours, theirs = task.model(), task.model()
    learner = task.learner(ours, loss=tasks, task_weights={"left": 0.25, "right": 2.0})
    ids = task.batches[0]
    error = ((theirs(task.x[ids]) - task.y[ids]) ** 2) @ torch.tensor([0.25, 2.0], dtype=torch.float64)
    assert np.allclose(learner.score(ids), error.detach().numpy(), rtol=1e-13)
    assert np.allclose(learner.train([ids]), error.detach().numpy(), rtol=1e-13)
    error.mean().backward()
    torch.optim.SGD(theirs.parameters(), 0.1).step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-15)


def test_tasks_weigh_one_unless_told(task):
    def tasks(model, batch):
        error = (model(batch[0]) - batch[1]) ** 2
        return {"left": error[:, 0], "right": error[:, 1]}

    ids = task.batches[0]
    error = (task.model()(task.x[ids]) - task.y[ids]) ** 2
    assert np.allclose(task.learner(loss=tasks).score(ids), error.sum(1).detach().numpy(), rtol=1e-13)


class Transfers(TorchDispatchMode):
    """Counts the times that numbers leave tensors: as Python scalars, or by a call of Tensor.cpu."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.scalars = self.tensors = 0
        original = torch.Tensor.cpu

        def cpu(tensor):
            self.tensors += 1
            return original(tensor)

        monkeypatch.setattr(torch.Tensor, "cpu", cpu)

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.scalars += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(("call", "fused"), [("train", True), ("train", False), ("score", False)])
def test_one_transfer_to_the_host_per_call(task, monkeypatch, call, fused):
    learner = task.learner(clip_norm=1.0, accumulate=2, score_batch_size=5)
    learner.optimizer.param_groups[0]["fused"] = fused
    learner.optimizer._step_supports_amp_scaling = fused
    learner.train(task.batches[:1])  # at its first step an optimiser makes its moments
    with Transfers(monkeypatch) as transfers:
        if call == "train":
            learner.train(task.batches, task.weights)
        else:
            learner.score(np.arange(24))
    # One that is not fused must be told for each step whether it is to be taken.
    assert (transfers.tensors, transfers.scalars) == (1, len(task.batches) if call == "train" and not fused else 0)


def test_the_counter_of_transfers_counts(monkeypatch):
    with Transfers(monkeypatch) as transfers:
        torch.ones(2).cpu()
        torch.ones(1).item()
    assert (transfers.tensors, transfers.scalars) == (1, 1)


def test_losses_that_are_views_do_not_keep_their_batch(task):
    kept = []

    def loss(model, batch):
        wide = (model(batch[0]) - batch[1]) ** 2
        kept.append(torch.utils.weak.WeakTensorKeyDictionary({wide: None}))
        return wide[:, 0]

    task.learner(loss=loss).score(np.arange(24))
    assert [len(alive) for alive in kept] == [0]


def test_losses_that_are_not_finite_pass_through(task):
    task.x[task.batches[0][2]] = np.nan
    losses = task.learner().train(task.batches[:1])
    assert np.isnan(losses).tolist() == [False, False, True, False, False, False]


def test_no_batches_take_no_step(task, values, assert_same):
    learner = task.learner()
    before = values(learner.model)
    assert learner.train([]).tolist() == []
    assert_same(values(learner.model), before)


def test_a_loss_without_gradient_is_refused(task):
    learner = task.learner(loss=lambda model, batch: task.loss(model, batch).detach())
    with pytest.raises(LearnerError, match="the loss has no gradient"):
        learner.train(task.batches[:1])
