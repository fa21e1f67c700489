"""What long runs bring: frozen parameters, things beside the model, odd last batches."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import attent
from attent import LearnerError
from attent_torch import TorchLearner, cross_entropy

_spec = importlib.util.spec_from_file_location("long_run_task", Path(__file__).with_name("long_run_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
BATCHES, X, Y, learner, network = shared.BATCHES, shared.X, shared.Y, shared.learner, shared.network


# What a state holds


def lora(seed=0):
    """A frozen embedding and matrix with a small trained part."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 400), nn.Tanh(), nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 3))
    for parameter in model[:4].parameters():
        parameter.requires_grad_(False)
    return model


def size(state):
    return sum(array.nbytes for array in state.values())


def test_a_state_leaves_out_what_is_frozen(assert_same):
    it = learner(lora())
    it.train(BATCHES[:1])
    state = it.state()
    assert sorted(name for name in state if name.startswith("model/")) == ["model/4.bias", "model/4.weight"]
    assert size(state) < 20_000 < 4 * 400 * 400
    other = learner(lora())
    other.load_state(state)
    assert np.array_equal(it.train(BATCHES), other.train(BATCHES))
    assert_same(other.state(), it.state())


def test_another_base_model_is_refused():
    state, it = learner(lora()).state(), learner(lora(seed=1))
    before = it.score(np.arange(81))
    with pytest.raises(
        LearnerError, match=r"leaves out 4 parameters that training does not change \('0.weight', .*very"
    ):
        it.load_state(state)
    assert np.array_equal(it.score(np.arange(81)), before)


def test_one_bit_of_a_base_model_counts():
    state, model = learner(lora()).state(), lora()
    model[2].weight.data.view(torch.int32)[399, 399] ^= 1
    with pytest.raises(LearnerError, match="those of this learner are others"):
        learner(model).load_state(state)


def test_a_frozen_parameter_that_changes_all_the_same_is_kept():
    def averaging(model, batch):
        with torch.no_grad():
            model[0].weight.data = model[0].weight.data * 0.9  # as a momentum encoder is updated
        return cross_entropy(model, batch)

    def build():
        model = lora()
        return TorchLearner(model, (X, Y), averaging, torch.optim.SGD(model[4].parameters(), 0.1))

    it = build()
    it.train(BATCHES)
    assert "model/0.weight" in it.state()
    other = build()
    other.load_state(it.state())
    assert torch.equal(other.model[0].weight, it.model[0].weight)
    assert np.array_equal(it.train(BATCHES), other.train(BATCHES))


def test_a_state_of_everything_is_still_taken_up():
    """As earlier versions made it."""
    from attent_torch.state import pack, unpack

    it, whole = learner(lora()), lora(seed=3)
    tree = unpack(it.state())
    for name in ("frozen", "buffers", "extra"):
        del tree[name]
    tree["model"] = dict(whole.state_dict())
    it.load_state(pack(tree))
    assert torch.equal(it.model[0].weight, whole[0].weight)


@pytest.mark.parametrize(
    "wrapped", [lambda m: torch.compile(m, backend="eager"), nn.DataParallel], ids=["compiled", "module"]
)
def test_names_of_wrapped_models_are_recognised(wrapped):
    def build(wrap):
        model = network()
        return learner(wrap(model) if wrap else model)

    plain, other = build(None), build(wrapped)
    plain.train(BATCHES)
    other.load_state(plain.state())
    assert np.array_equal(other.score(np.arange(81)), plain.score(np.arange(81)))
    other.train(BATCHES)
    plain.load_state(other.state())
    assert np.array_equal(other.score(np.arange(81)), plain.score(np.arange(81)))


class Drifting(nn.Module):
    """Has a buffer that training changes and no state_dict has, and a mask that nothing changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()), persistent=False)
        self.register_buffer("mask", torch.ones(50_000), persistent=False)

    def forward(self, x):
        if self.training:
            self.scale.mul_(0.9)
        return x * self.scale


def test_buffers_that_are_not_in_the_state_dict_go_on(assert_same):
    it = learner(network(0, Drifting()))
    at_first = it.state()
    it.train(BATCHES)
    state = it.state()
    assert "buffers/1.scale" in state
    assert size(state) < 20_000
    other = learner(network(0, Drifting()))
    other.load_state(state)
    assert np.array_equal(it.train(BATCHES), other.train(BATCHES))
    for each in (it, other):
        each.load_state(at_first)
        assert float(each.model[1].scale) == 1.0
    assert_same(it.state(), other.state())


class Counter:
    def __init__(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        if state["count"] < 0:
            raise ValueError("below zero")
        self.count = state["count"]


def test_what_is_given_beside_the_model_goes_on():
    def build():
        model, counter = network(), Counter()
        average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        )

        def loss(model, batch):
            if model.training:
                counter.count += 1
                average.update_parameters(model)
            return cross_entropy(model, batch)

        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return (
            TorchLearner(model, (X, Y), loss, optimizer, extra={"ema": average, "counter": counter}),
            average,
            counter,
        )

    it, average, counter = build()
    it.train(BATCHES)
    other, resumed, resumed_counter = build()
    other.load_state(it.state())
    assert (counter.count, resumed_counter.count) == (3, 3)
    for each in (it, other):
        each.train(BATCHES)
    for name, value in average.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_something_beside_the_model_that_refuses_changes_nothing():
    first, second = Counter(), Counter()
    it = learner(extra={"first": first, "second": second})
    first.count, second.count = 5, -1
    state = it.state()
    first.count = second.count = 2
    before = it.score(np.arange(81))
    with pytest.raises(LearnerError, match=r"extra\['second'\] refused its state: ValueError: below zero"):
        it.load_state(state)
    assert (first.count, second.count) == (2, 2)
    assert np.array_equal(it.score(np.arange(81)), before)
    with pytest.raises(LearnerError, match="extra is of 'first', 'second', this learner's of nothing"):
        learner().load_state(state)
    with pytest.raises(LearnerError, match=r"extra\['x'\] must have state_dict\(\), object has none"):
        learner(extra={"x": object()})


# Batches


@pytest.mark.parametrize(
    ("layers", "settings", "plan", "told"),
    [
        (
            [nn.BatchNorm1d(8)],
            {},
            attent.Plan.full(epochs=1, batch_size=20),
            r"epoch 0 trains 81 .* of 20, the last of 1",
        ),
        (
            [nn.BatchNorm1d(8)],
            {"accumulate": 20},
            attent.Plan.full(epochs=1, batch_size=27),
            "in the parts of accumulate=20",
        ),
        ([nn.BatchNorm1d(8)], {}, attent.Plan.full(epochs=1, batch_size=27), None),
        ([nn.LayerNorm(8)], {}, attent.Plan.full(epochs=1, batch_size=20), None),
        (
            [nn.Unflatten(1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten()],
            {},
            attent.Plan.full(epochs=1, batch_size=20),
            None,
        ),
    ],
)
def test_a_last_batch_of_one_is_told_before_the_start(tmp_path, layers, settings, plan, told):
    it = learner(network(0, *layers), **settings)
    if told is None:
        assert attent.teach(it, plan, run=tmp_path / "run").finished
        return
    with pytest.raises(LearnerError, match=rf"{told}.*BatchNorm \('1'\) cannot train on one|BatchNorm \('1'\).*{told}"):
        attent.teach(it, plan, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert it.steps == 0


def test_batch_norm_in_evaluation_mode_takes_any_batch():
    it = learner(network(0, nn.BatchNorm1d(8)))
    it.model[1].eval()
    assert attent.teach(it, attent.Plan.full(epochs=1, batch_size=20)).finished


def test_scoring_goes_by_the_batches_of_the_run():
    sizes = []

    def loss(model, batch):
        if not model.training:
            sizes.append(len(batch[1]))
        return cross_entropy(model, batch)

    def build(**settings):
        model = network()
        return TorchLearner(model, (X, Y), loss, torch.optim.SGD(model.parameters(), 0.1), **settings)

    plan = attent.Plan(epochs=2, batch_size=20, ratio=0.5, source="fresh", warm_up=1)
    for settings, largest in (({}, 20), ({"accumulate": 3}, 7), ({"score_batch_size": 33}, 33)):
        sizes.clear()
        attent.teach(build(**settings), plan)
        assert max(sizes) == largest


# Optimisers and data


class ScheduleFree(torch.optim.Optimizer):
    """As schedulefree's: trains one point and is judged at the average of others."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "train_mode": False, "k": 0})

    def _swap(self, training):
        for group in self.param_groups:
            if group["train_mode"] != training:
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.data.lerp_(self.state[p]["z"], 1 - 1 / 0.9 if not training else 0.1)
                group["train_mode"] = training

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            assert group["train_mode"]
            group["k"] += 1
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                z.sub_(p.grad, alpha=group["lr"])
                p.lerp_(z, 1 / (group["k"] + 1))


def test_a_schedule_free_optimizer_is_scored_at_its_average(assert_same):
    it = learner(optimizer=ScheduleFree)
    it.train(BATCHES)
    before = it.state()
    scores = it.score(np.arange(81))
    assert_same(it.state(), before)
    it.optimizer.eval()
    with torch.no_grad():
        expected = nn.functional.cross_entropy(it.model(X), Y, reduction="none")
    assert np.allclose(scores, expected.numpy(), rtol=1e-5)
    it.optimizer.train()
    it.load_state(before)
    plain = nn.functional.cross_entropy(it.model(X), Y, reduction="none").detach().numpy()
    assert np.abs(scores - plain).max() > 1e-4
    other = learner(optimizer=ScheduleFree)
    other.load_state(before)
    assert np.array_equal(other.train(BATCHES), it.train(BATCHES))


class Noisy(Dataset):
    """Draws from generators of its own: NumPy's, torch's, Python's."""

    def __init__(self):
        import random

        self.steps = {"numpy": np.random.default_rng(1), "torch": torch.Generator().manual_seed(2)}
        self.old, self.python, self.epoch = np.random.RandomState(3), random.Random(4), 0

    def __len__(self):
        return 81

    def __getitem__(self, i):
        noise = self.steps["numpy"].normal() + float(torch.randn((), generator=self.steps["torch"]))
        noise += self.old.normal() + self.python.random()
        return X[i] + noise + self.epoch, Y[i]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_with_generators_of_its_own_resumes(workers):
    whole = learner(data=Noisy(), num_workers=workers)
    losses = np.concatenate([whole.train(BATCHES), whole.train(BATCHES)])
    first = learner(data=Noisy())
    assert np.array_equal(first.train(BATCHES), losses[: len(losses) // 2])
    second = learner(data=Noisy(), num_workers=workers)
    second.load_state(first.state())
    assert np.array_equal(second.train(BATCHES), losses[len(losses) // 2 :])
    assert np.array_equal(second.score(np.arange(9)), second.score(np.arange(9)))


def test_workers_see_the_epoch_that_a_dataset_is_given():
    found = {}
    for workers in (0, 1):
        data = Noisy()
        it = learner(data=data, num_workers=workers)
        found[workers] = [it.score(np.arange(5))]
        data.epoch = 3
        found[workers].append(it.score(np.arange(5)))
        data.epoch = 0
        found[workers].append(it.score(np.arange(5)))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[1][0], found[1][2])
    assert not np.array_equal(found[1][0], found[1][1])
