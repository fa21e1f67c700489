"""Which examples arrive in which batch, from every kind of data, and random items."""

import importlib.util
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, Subset, TensorDataset

from attent.errors import LearnerError
from attent_torch.devices import moved

_spec = importlib.util.spec_from_file_location("data_task", Path(__file__).with_name("data_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
Items, Noisy = shared.Items, shared.Noisy

Pair = namedtuple("Pair", "x y")


class NamedItems(Items):
    def __getitem__(self, i):
        return {"x": self.x[i], "more": {"y": self.y[i]}}


class Together(Items):
    """Gives out many items at a time, as the datasets library does; never one."""

    def __getitem__(self, i):
        raise AssertionError("not this way")

    def __getitems__(self, ids):
        return [(self.x[i], self.y[i]) for i in ids]


class Doubled(TensorDataset):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return 2 * x, 2 * y


class Handed:
    """A batch that moves itself."""

    def __init__(self, items):
        self.x, self.y = (torch.stack(part) for part in zip(*items, strict=True))

    def to(self, device):
        self.x, self.y = self.x.to(device), self.y.to(device)
        return self


def pairs(batch):
    return batch[0], batch[1]


def named(batch):
    return batch["x"], batch["more"]["y"]


def attributes(batch):
    return batch.x, batch.y


def subset_of_subset(x, y):
    inner, outer = (np.random.default_rng(seed).permutation(len(x)) for seed in (1, 2))
    back = np.argsort(inner[outer])
    return Subset(Subset(TensorDataset(x[back], y[back]), inner.tolist()), outer)


KINDS = {
    "tuple": (lambda x, y: (x, y), pairs, tuple),
    "arrays": (lambda x, y: (x.numpy(), y.numpy()), pairs, tuple),
    "named tuple": (Pair, attributes, Pair),
    "dict": (lambda x, y: {"x": x, "more": {"y": y}}, named, dict),
    "TensorDataset": (TensorDataset, pairs, tuple),
    "one tensor": (lambda x, y: torch.cat([x, y], 1), lambda b: (b[:, :3], b[:, 3:]), torch.Tensor),
    "subset": (lambda x, y: subset_of_subset(x, y), pairs, tuple),
    "list": (lambda x, y: list(zip(x, y, strict=True)), pairs, list),
    "dataset": (Items, pairs, list),
    "dataset of dicts": (NamedItems, named, dict),
    "many at a time": (Together, pairs, list),
    "subclass": (lambda x, y: Doubled(x / 2, y / 2), pairs, list),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_hold_the_examples_asked_for(task, kind):
    build, read, batch_type = KINDS[kind]
    arrived = []

    def loss(model, batch):
        assert type(batch) is batch_type
        arrived.append(tuple(part.clone() for part in read(batch)))
        return task.loss(model, read(batch))

    learner = task.learner(data=build(task.x, task.y), loss=loss, score_batch_size=4)
    assert len(learner) == 24
    scores = learner.score(np.array([7, 3, 3, 23, 0, 11]))
    learner.train([np.array([1, 22]), np.array([4])])
    for (x, y), ids in zip(arrived, ([7, 3, 3, 23], [0, 11], [1, 22], [4]), strict=True):
        assert x.tolist() == task.x[ids].tolist()
        assert y.tolist() == task.y[ids].tolist()
    assert np.allclose(scores, task.learner().score(np.array([7, 3, 3, 23, 0, 11])), rtol=1e-13)


@pytest.mark.parametrize("subset", [False, True])
def test_tensors_in_memory_are_not_read_item_by_item(task, monkeypatch, subset):
    data = TensorDataset(task.x, task.y)
    monkeypatch.setattr(Subset, "__getitem__", None)
    monkeypatch.setattr(Subset, "__getitems__", None)
    learner = task.learner(data=Subset(data, range(24)) if subset else data)
    data.__class__ = type("Locked", (TensorDataset,), {"__getitem__": None})
    assert learner.score(np.arange(24)).shape == (24,)


def test_arrays_that_may_not_be_written_are_taken(task):
    x, y = task.x.numpy().copy(), task.y.numpy().copy()
    x.flags.writeable = y.flags.writeable = False
    assert task.learner(data=(x, y)).score(np.arange(24)).tolist() == task.learner().score(np.arange(24)).tolist()


def test_arrays_that_run_backwards_are_taken(task):
    data = task.x.numpy()[::-1], task.y.numpy()[::-1]
    scores = task.learner(data=data).score(np.arange(24))
    assert np.allclose(scores, task.learner().score(np.arange(24))[::-1], rtol=1e-13)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_collate_fn_makes_the_batch(task, num_workers):
    learner = task.learner(
        data=Items(task.x, task.y),
        collate_fn=Handed,
        loss=lambda model, batch: task.loss(model, (batch.x, batch.y)),
        num_workers=num_workers,
    )
    assert learner.score(np.arange(24)).tolist() == task.learner().score(np.arange(24)).tolist()


def test_collate_fn_also_serves_tensors_in_memory(task):
    learner = task.learner(
        data=TensorDataset(task.x, task.y),
        collate_fn=Handed,
        loss=lambda model, batch: task.loss(model, (batch.x, batch.y)),
    )
    assert learner.score(np.arange(24)).tolist() == task.learner().score(np.arange(24)).tolist()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_score_data_are_for_scoring_only(task, num_workers):
    learner = task.learner(
        data=Noisy(task, "torch"), score_data=Items(task.x, task.y), num_workers=num_workers, score_batch_size=24
    )
    plain = task.learner(score_batch_size=24)
    assert learner.score(np.arange(24)).tolist() == plain.score(np.arange(24)).tolist()
    assert not np.allclose(learner.train(task.batches[:1]), plain.train(task.batches[:1]), rtol=1e-3)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Endless(), "data must have __getitem__ and __len__ .*, got Endless"),
        (7, "data must have __getitem__ and __len__ .*, got int"),
        ((torch.zeros(3, 2), torch.zeros(4)), r"must share their first dimension.*got shapes \(3, 2\), \(4,\)"),
        (torch.tensor(1.0), r"must share their first dimension.*got shapes \(\)"),
    ],
)
def test_other_data_are_refused(task, data, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(data=data)


def test_score_data_of_another_length_are_refused(task):
    with pytest.raises(LearnerError, match="score_data must hold the same examples as data, 24, got 23"):
        task.learner(score_data=(task.x[1:], task.y[1:]))


def test_a_model_without_parameters_of_its_own_can_be_scored(task):
    model = nn.Identity()
    learner = task.learner(
        model,
        optimizer=torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1),
        loss=lambda model, batch: model(batch[0])[:, 0],
    )
    assert learner.score(np.array([4])).tolist() == task.x[[4], 0].tolist()


def test_every_tensor_of_a_batch_moves():
    items = [(torch.zeros(2), torch.ones(1)), (torch.zeros(2), torch.ones(1))]
    batch = {"pair": Pair(torch.zeros(2), [torch.ones(1)]), "own": (Handed(items), "text", 3)}
    there = moved(batch, torch.device("meta"))
    assert type(there["pair"]) is Pair
    assert (there["pair"].x.device.type, there["pair"].y[0].device.type) == ("meta", "meta")
    own, text, number = there["own"]
    assert (own.x.device.type, text, number) == ("meta", "text", 3)
    assert moved(Handed(items), torch.device("meta")).y.device.type == "meta"


COLUMNS = {
    "a column of texts": (
        {"x": torch.ones(5, 2), "name": list("abcde")},
        "data is a dict whose 'name' are not tensors",
    ),
    "an array of texts": (
        {"x": torch.ones(5, 2), "name": np.array(list("abcde"))},
        "data is a dict whose 'name' are not",
    ),
    "splits": ({"train": [1, 2], "test": [3]}, "whose 'train', 'test' are not .* of several splits, one"),
    "a pair with a list": (
        (torch.ones(5, 2), [0] * 5),
        r"data is a tuple of \(Tensor, list\), not all of them tensors",
    ),
}


@pytest.mark.parametrize(("data", "told"), COLUMNS.values(), ids=COLUMNS)
def test_columns_that_would_be_counted_as_examples_are_refused(task, data, told):
    with pytest.raises(LearnerError, match=told):
        task.learner(data=data)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_fails_is_named(task, workers):
    class Failing(Items):
        def __getitem__(self, i):
            if i == 7:
                raise OSError("no such picture")
            return super().__getitem__(i)

    learner = task.learner(data=Failing(task.x, task.y), num_workers=workers)
    with pytest.raises(LearnerError, match="example 7 cannot be fetched: OSError: no such picture"):
        learner.score(np.arange(5, 9))


def test_items_that_do_not_fit_together_are_named(task):
    learner = task.learner(data=[torch.ones(2), torch.ones(3), torch.ones(2)])
    with pytest.raises(LearnerError, match="examples 2, 1 cannot be joined to a batch: .* Give a collate_fn"):
        learner.score(np.array([2, 1]))
