"""score() and evaluate(): the right numbers, and nothing changed (rules P1, P2, P5)."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from attent import Evaluates, Learner


class Restless(nn.Module):
    """Draws from every generator, and writes its buffers even in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2), persistent=False)
        self.double()

    def forward(self, x):
        self.count += 1
        self.last = x[0, :2].clone()
        noise = random.random() + np.random.random() + torch.rand(()).item()
        return self.inner(x) * (1.0 + noise)


def everything(model):
    """Values and identities of all that a scoring pass could change."""
    state = np.random.get_state()
    return (
        {name: value.tolist() for name, value in model.state_dict().items()},
        [(id(buffer), buffer.tolist()) for buffer in model.buffers()],
        [module.training for module in model.modules()],
        [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        random.getstate(),
        (state[1].tolist(), state[2:]),
        torch.get_rng_state().tolist(),
    )


@pytest.fixture
def restless():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    np.random.normal(), random.gauss(0, 1)  # both keep a second number in store
    model = Restless()
    model.inner[1].eval()  # frozen by its user
    model(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
    return model


def test_scores_are_the_losses_in_evaluation_mode(task):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()
    learner = task.learner(model)
    learner.train(task.batches)
    ids = np.array([5, 2, 2, 23, 0])
    scores = learner.score(ids)
    model.eval()
    with torch.no_grad():
        expected = task.loss(model, (task.x[ids], task.y[ids])).numpy()
    assert np.allclose(scores, expected, rtol=1e-13)
    assert (scores.dtype, scores.shape) == (np.float64, (5,))
    assert scores[1] == scores[2]


@pytest.mark.parametrize("call", ["score", "evaluate"])
def test_nothing_changes(task, restless, call):
    learner = task.learner(restless, evaluate=lambda model: {"mean": model(task.x).mean()})
    before = everything(restless)
    learner.score(np.arange(24)) if call == "score" else learner.evaluate()
    assert everything(restless) == before


@pytest.mark.parametrize("call", ["score", "evaluate"])
def test_nothing_changes_when_it_fails(task, restless, call):
    def failing(model, batch=None):
        model(task.x)
        raise RuntimeError("no")

    learner = task.learner(restless, loss=failing, evaluate=failing)
    before = everything(restless)
    with pytest.raises(RuntimeError, match="no"):
        learner.score(np.arange(24)) if call == "score" else learner.evaluate()
    assert everything(restless) == before


def test_a_loss_that_draws_draws_the_same_each_time(task, restless):
    learner = task.learner(restless)
    first = learner.score(np.arange(24))
    random.random(), np.random.random(), torch.rand(3)
    assert learner.score(np.arange(24)).tolist() == first.tolist()


def test_training_goes_on_as_if_nothing_had_been_scored(task, values, assert_same):
    models = [task.model(dropout=0.5), task.model(dropout=0.5)]
    for model, scored in zip(models, (True, False), strict=True):
        learner = task.learner(model)
        torch.manual_seed(0)
        for ids in task.batches:
            learner.train([ids])
            if scored:
                learner.score(np.arange(24))
    assert_same(values(models[0]), values(models[1]))


@pytest.mark.parametrize("size", [1, 7, 24, 1000])
def test_the_batch_size_of_scoring_does_not_matter(task, size):
    expected = task.learner(score_batch_size=24).score(np.arange(24))
    assert np.allclose(task.learner(score_batch_size=size).score(np.arange(24)), expected, rtol=1e-13)


def test_scores_follow_the_order_of_the_ids(task):
    learner = task.learner(score_batch_size=5)
    ids = np.random.default_rng(0).permutation(24)
    assert np.allclose(learner.score(ids), learner.score(np.arange(24))[ids], rtol=1e-13)


def test_no_ids_have_no_scores(task):
    scores = task.learner().score(np.empty(0, np.int64))
    assert (scores.shape, scores.dtype) == ((0,), np.float64)


def test_a_module_that_overrides_train_is_told_of_both_changes(task):
    class Merging(nn.Linear):  # as adapters do: weights are merged for evaluation
        calls = []

        def train(self, mode=True):
            self.calls.append(mode)
            return super().train(mode)

    model = Merging(3, 2).double()
    task.learner(model).score(np.arange(3))
    assert (model.calls, model.training) == ([False, True], True)


def test_a_module_may_keep_what_it_made_while_scoring(task):
    class Caching(nn.Linear):
        scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = torch.full((2,), 2.0, dtype=x.dtype)
            return super().forward(x) * self.scale

    learner = task.learner(Caching(3, 2).double())
    learner.score(np.arange(3))
    assert learner.train(task.batches[:1]).shape == (6,)


def test_evaluate_runs_in_evaluation_mode_and_returns_numbers(task):
    seen = []

    def evaluate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return {"loss": torch.tensor(0.25), "accuracy": np.float32(0.5)}

    learner = task.learner(evaluate=evaluate)
    assert learner.evaluate() == {"loss": 0.25, "accuracy": 0.5}
    assert [type(value) for value in learner.evaluate().values()] == [float, float]
    assert seen == [(False, False)] * 2


def test_a_learner_evaluates_only_if_it_can(task):
    without, able = task.learner(), task.learner(evaluate=lambda model: {"loss": 0.0})
    assert [isinstance(learner, Learner) for learner in (without, able)] == [True, True]
    assert [isinstance(learner, Evaluates) for learner in (without, able)] == [False, True]
