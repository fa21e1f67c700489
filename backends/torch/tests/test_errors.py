"""Errors name the thing, the rule, the value and the way out, and nothing has changed then (rule P7)."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

import attent
from attent.errors import LearnerError
from attent_torch import Teacher, TorchLearner, token_mean

GOOD = np.array([0, 1])
BAD_IDS = [
    (np.array([3, 24]), r"ids must be in \[0, 24\), got 24"),
    (np.array([3, -1]), r"ids must be in \[0, 24\), got -1"),
    (np.array([1.0]), r"must be a one-dimensional int64 array of example ids, got float64 of shape \(1,\)"),
    (np.array([1], np.int32), r"got int32 of shape \(1,\)"),
    (np.array([True]), r"got bool of shape \(1,\)"),
    (np.array([[1]]), r"got int64 of shape \(1, 1\)"),
    ([1, 2], r"got list"),
    (torch.tensor([1]), r"got Tensor"),
]


@pytest.mark.parametrize(("ids", "message"), BAD_IDS)
def test_ids_to_score(task, ids, message):
    with pytest.raises(LearnerError, match=f"^ids.*{message}"):
        task.learner().score(ids)


@pytest.mark.parametrize(("ids", "message"), [*BAD_IDS, (np.empty(0, np.int64), "is empty; an optimiser step needs")])
def test_ids_to_train_are_checked_before_the_first_step(task, assert_same, ids, message):
    learner = task.learner()
    before = learner.state()
    with pytest.raises(LearnerError, match=rf"^batches\[1\].*{message}"):
        learner.train([GOOD, ids])
    assert_same(learner.state(), before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones(2)], "weights must hold one array per batch, 2, got 1"),
        ([np.ones(2), np.ones(3)], r"weights\[1\] must be .* of its batch's shape \(2,\), got float64 of shape \(3,\)"),
        ([np.ones(2), np.ones((2, 1))], r"weights\[1\] must be .*, got float64 of shape \(2, 1\)"),
        ([np.ones(2), np.ones(2, np.float32)], r"weights\[1\] must be float64 .*, got float32"),
        ([np.ones(2), [1.0, 1.0]], r"weights\[1\] must be float64 .*, got list"),
        ([np.ones(2), np.array([1.0, np.nan])], r"weights\[1\] must be finite, got nan for example 1"),
    ],
)
def test_weights_are_checked_before_the_first_step(task, assert_same, weights, message):
    learner = task.learner()
    before = learner.state()
    with pytest.raises(LearnerError, match=f"^{message}"):
        learner.train([GOOD, GOOD], weights)
    assert_same(learner.state(), before)


def wide(model, batch):
    return (model(batch[0]) - batch[1]) ** 2


LOSSES = [
    (lambda m, b: wide(m, b).mean(), None, r'shape \(2,\), got shape \(\); build the criterion with reduction="none"'),
    (wide, None, r"got shape \(2, 2\); reduce each example to one number, for tokens with attent_torch.token_mean"),
    (lambda m, b: wide(m, b)[:1, 0], None, r"got shape \(1,\); its shape must be that of the ids asked for"),
    (lambda m, b: wide(m, b)[:, 0].long(), None, "the loss must be of a floating-point dtype, got torch.int64"),
    (lambda m, b: 0.5, None, r"must return a tensor of shape \(2,\) or a dict of them by task, got 0.5"),
    (lambda m, b: {}, None, r"must return a tensor of shape \(2,\) or a dict of them by task, got {}"),
    (lambda m, b: {"a": wide(m, b).mean()}, None, r"loss\['a'\] must be one number per example, shape \(2,\), got"),
    (lambda m, b: {"a": 1.0}, None, r"loss\['a'\] must be a tensor of shape \(2,\), got 1.0"),
    (lambda m, b: {"a": wide(m, b)[:, 0]}, {"a": 1.0, "b": 1.0}, "names 'a', 'b', but the loss returned 'a'"),
    (
        lambda m, b: {"a": wide(m, b)[:, 0], "b": wide(m, b)[:, 1]},
        {"a": 1.0},
        "names 'a', but the loss returned 'a', 'b'",
    ),
    (lambda m, b: wide(m, b)[:, 0], {"a": 1.0}, "task_weights names 'a', but the loss returned one tensor"),
]


@pytest.mark.parametrize(("loss", "task_weights", "message"), LOSSES)
@pytest.mark.parametrize("call", ["score", "train"])
def test_losses(task, values, assert_same, loss, task_weights, message, call):
    learner = task.learner(loss=loss, task_weights=task_weights)
    before = values(learner.model)
    with pytest.raises(LearnerError, match=message):
        learner.score(GOOD) if call == "score" else learner.train([GOOD])
    assert_same(values(learner.model), before)


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        (nn.CrossEntropyLoss(reduction="none"), "CrossEntropyLoss()"),
        (nn.MSELoss, "MSELoss"),
        (nn.functional.cross_entropy, "cross_entropy"),
    ],
)
def test_a_criterion_of_torch_is_no_loss(task, loss, named):
    with pytest.raises(LearnerError) as caught:
        task.learner(loss=loss)
    assert str(caught.value) == (
        f"loss must take (model, batch) and return one loss per example, got torch's {named}, which takes outputs and "
        'targets: give attent_torch.cross_entropy, or call it in a function of your own, with reduction="none"'
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1, got 0"),
        ({"accumulate": 1.5}, "accumulate must be a whole number of at least 1, got 1.5"),
        ({"accumulate": True}, "accumulate must be a whole number of at least 1, got True"),
        ({"score_batch_size": 0}, "score_batch_size must be a whole number of at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0, got -1"),
        ({"seed": -5}, "seed must be a whole number of at least 0, got -5"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, got 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be above 0, got nan"),
        ({"autocast": torch.int8}, "autocast must be torch.bfloat16, .* or None, got torch.int8"),
        ({"score_autocast": "bf16"}, "score_autocast must be torch.bfloat16, .* or None, got 'bf16'"),
        ({"device": "meta"}, r"device is meta, but the model's parameters are on cpu; call model.to\(device\) before"),
    ],
)
def test_settings(task, settings, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(**settings)


def test_an_optimizer_of_another_model(task):
    with pytest.raises(LearnerError, match="optimizer holds no parameter of the model"):
        task.learner(optimizer=torch.optim.SGD(task.model().parameters(), 0.1))


@pytest.mark.parametrize("given", [torch.optim.AdamW, "adamw", None, lambda parameters: None])
def test_an_optimizer_that_is_not_built(task, given):
    message = (
        r"optimizer must be one of torch's, built on the model's parameters, such as .*, got (the class|'|None|<fun)"
    )
    with pytest.raises(LearnerError, match=message):
        TorchLearner(task.model(), (task.x, task.y), task.loss, given)


@pytest.mark.parametrize(
    "given", [torch.optim.lr_scheduler.CosineAnnealingLR, "cosine", torch.optim.SGD([torch.zeros(1)])]
)
def test_a_schedule_that_is_none(task, given):
    model = task.model()
    with pytest.raises(LearnerError, match="scheduler must be one of torch.optim.lr_scheduler's, built"):
        task.learner(model, optimizer=torch.optim.SGD(model.parameters(), 0.1), scheduler=given)
    with pytest.raises(LearnerError, match="scheduler must be one of torch.optim.lr_scheduler's, built"):
        Teacher(attent.Plan.full(epochs=1, batch_size=2), 4, scheduler=given)


def test_a_model_that_is_not_built(task):
    optimizer = torch.optim.SGD([torch.zeros(1)])
    with pytest.raises(LearnerError, match="model must be a torch.nn.Module, built, got the class Linear"):
        TorchLearner(torch.nn.Linear, (task.x, task.y), task.loss, optimizer)


def test_an_optimizer_that_needs_a_closure(task):
    model = task.model()
    with pytest.raises(LearnerError, match="must not need a closure: LBFGS"):
        task.learner(model, optimizer=torch.optim.LBFGS(model.parameters()))


def test_a_schedule_of_another_optimizer(task):
    model = task.model()
    mine, other = (torch.optim.SGD(model.parameters(), 0.1) for _ in range(2))
    with pytest.raises(LearnerError, match="scheduler belongs to another optimizer"):
        task.learner(model, optimizer=mine, scheduler=LambdaLR(other, lambda step: 1.0))


def test_a_schedule_that_waits_for_a_metric(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(LearnerError, match="ReduceLROnPlateau waits for a metric"):
        task.learner(model, optimizer=optimizer, scheduler=ReduceLROnPlateau(optimizer))


def test_errors_of_model_and_loss_are_their_own(task):
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        task.learner(nn.Linear(7, 2).double()).score(GOOD)


def test_token_mean_averages_valid_tokens_only():
    losses = torch.tensor([[1.0, 2.0, 6.0], [4.0, torch.nan, torch.inf], [7.0, 7.0, 7.0]], requires_grad=True)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    means = token_mean(losses, mask)
    assert means.tolist() == [3.0, 4.0, 0.0]
    means.sum().backward()
    assert torch.allclose(losses.grad, torch.tensor([[1 / 3] * 3, [1.0, 0.0, 0.0], [0.0] * 3]))


def test_token_mean_widens_sixteen_bits():
    losses = torch.full((1, 4096), 1.0, dtype=torch.float16) * 100  # their sum does not fit into float16
    means = token_mean(losses, torch.ones(1, 4096, dtype=torch.bool))
    assert (means.dtype, means.tolist()) == (torch.float32, [100.0])


@pytest.mark.parametrize(("losses", "mask"), [((2, 3), (2, 4)), ((2,), (2,)), ((2, 3), (2,))])
def test_token_mean_refuses_other_shapes(losses, mask):
    with pytest.raises(LearnerError, match="token_mean takes losses and mask of one shape"):
        token_mean(torch.zeros(losses), torch.zeros(mask, dtype=torch.bool))
