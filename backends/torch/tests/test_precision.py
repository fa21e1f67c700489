"""Automatic mixed precision, apart for training and scoring; loss scaling; 16-bit losses."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR


@pytest.fixture
def single(task):
    """The task in float32, with a loss that tells the dtype of the model's output."""
    task.x, task.y = task.x.float(), task.y.float()
    seen = []

    def make(**settings):
        def loss(model, batch):
            output = model(batch[0])
            seen.append(output.dtype)
            return F.mse_loss(output.float(), batch[1], reduction="none").mean(1)

        return task.learner(task.model(dtype=torch.float32), loss=settings.pop("loss", loss), **settings)

    return make, seen


@pytest.mark.parametrize(
    ("autocast", "score_autocast", "trained", "scored"),
    [
        (None, None, torch.float32, torch.float32),
        (torch.bfloat16, None, torch.bfloat16, torch.bfloat16),
        (None, torch.bfloat16, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.bfloat16, torch.float32),
        (torch.float16, torch.bfloat16, torch.float16, torch.bfloat16),
    ],
)
def test_training_and_scoring_cast_apart(task, single, autocast, score_autocast, trained, scored):
    make, seen = single
    learner = make(autocast=autocast, score_autocast=score_autocast)
    learner.train(task.batches[:1])
    scores = learner.score(np.arange(24))
    assert seen == [trained, scored]
    assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")
    exact = make()
    exact.model.load_state_dict(learner.model.state_dict())
    assert np.allclose(scores, exact.score(np.arange(24)), rtol=0.05)


def test_weights_are_cast_anew_after_every_step(task, single):
    make, _ = single
    learner = make(autocast=torch.bfloat16)
    losses = learner.train([task.batches[0]] * 30)
    assert losses[-6:].mean() < 0.7 * losses[:6].mean()


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_loss_scaling_takes_the_step_without_it(task, single, clip_norm):
    make, _ = single
    scaled, plain = make(autocast=torch.float16, clip_norm=clip_norm), make(clip_norm=clip_norm)
    scaled._steps.scaler.load_state_dict(scaled._steps.scaler.state_dict() | {"scale": 256.0})
    losses = scaled.train(task.batches[:1], task.weights[:1])
    assert np.allclose(losses, plain.train(task.batches[:1], task.weights[:1]), rtol=0.01)
    start = task.model(dtype=torch.float32)
    for a, b, before in zip(scaled.model.parameters(), plain.model.parameters(), start.parameters(), strict=True):
        assert torch.allclose(a - before, b - before, rtol=0.02, atol=2e-4)
        assert not torch.equal(b, before)


def test_an_overflow_skips_the_update_but_not_the_schedule(task):
    model = task.model(dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    learner = task.learner(
        model,
        data=(task.x.float(), task.y.float()),
        loss=lambda model, batch: model(batch[0]).float().sum(1) * 1e6,
        optimizer=optimizer,
        scheduler=scheduler,
        autocast=torch.float16,
    )
    before = [parameter.tolist() for parameter in model.parameters()]
    with warnings.catch_warnings(action="error"):  # torch's own warning would blame the order of two calls
        learner.train(task.batches[:2])
    assert learner.skipped == 2
    assert [parameter.tolist() for parameter in model.parameters()] == before
    assert scheduler.get_last_lr() == [0.25]
    assert learner.steps == 2


def test_sixteen_bit_losses_are_weighed_and_returned_in_float32(task):
    model = task.model(dtype=torch.bfloat16)
    learner = task.learner(
        model,
        data=(task.x.bfloat16(), task.y.bfloat16()),
        loss=lambda model, batch: {name: (model(batch[0])[:, i]) ** 2 for i, name in enumerate("ab")},
        task_weights={"a": 1.0, "b": 0.001},
    )
    scores = learner.score(np.arange(24))
    with torch.no_grad():
        each = (model(task.x.bfloat16()) ** 2).double().numpy()
    assert np.allclose(scores, each[:, 0] + 0.001 * each[:, 1], rtol=1e-6, atol=0)
