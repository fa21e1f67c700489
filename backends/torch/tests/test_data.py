"""Which examples arrive in which batch, from every kind of data, and random items."""

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from attent.errors import LearnerError
from attent_torch.devices import moved

Pair = namedtuple("Pair", "x y")


class Items(Dataset):
    """A dataset that nobody can see through: x, y and optional noise, item by item."""

    def __init__(self, x, y, draw=None):
        self.x, self.y, self.draw = x, y, draw

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if self.draw is None:
            return self.x[i], self.y[i]
        return self.x[i] + self.draw(), self.y[i]


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


DRAWS = {
    "python": random.random,
    "python, normal": lambda: random.gauss(0.0, 1.0),
    "numpy": np.random.random,
    "numpy, normal": np.random.normal,
    "torch": lambda: torch.rand(()).item(),
}


def drawn(generator):
    return DRAWS[generator]()


class Noisy(Items):
    """Adds one drawn number to each input."""

    def __init__(self, task, generator, only=range(24)):
        super().__init__(task.x, task.y)
        self.generator, self.only = generator, only

    def __getitem__(self, i):
        return self.x[i] + (drawn(self.generator) if i in self.only else 0.0), self.y[i]


def recorder(task):
    """Return a loss that keeps the noise of every example it meets, in a list of lists."""
    met = []

    def loss(model, batch):
        x, _ = batch
        matches = (x[:, None, 1] - x[:, None, 0] - (task.x[:, 1] - task.x[:, 0])).abs().argmin(1)
        met.append([round(float(n), 12) for n in x[:, 0] - task.x[matches, 0]])
        return task.loss(model, batch)

    return met, loss


@pytest.mark.parametrize("generator", DRAWS)
def test_scoring_sees_each_example_in_one_form_however_ids_are_split(task, generator):
    met, loss = recorder(task)
    learner = task.learner(data=Noisy(task, generator), loss=loss, score_batch_size=24)
    learner.score(np.arange(24))
    learner.train(task.batches)  # another visit, another form; scoring is not impressed
    del met[1:]
    ids = np.random.default_rng(0).permutation(24)
    for start in range(0, 24, 5):
        learner.score(ids[start : start + 5])
    together, *split = met
    assert sum(split, []) == [together[i] for i in ids]
    assert len(set(together)) == 24


@pytest.mark.parametrize("generator", DRAWS)
def test_training_items_depend_on_seed_step_and_id_only(task, generator):
    def noise(seed, batches, calls=1):
        met, loss = recorder(task)
        learner = task.learner(data=Noisy(task, generator), loss=loss, seed=seed)
        for part in np.array_split(np.arange(len(batches)), calls):
            learner.train([batches[i] for i in part])
        return met

    first = noise(0, [np.array([3, 4, 5]), np.array([3, 9])])
    assert noise(0, [np.array([3, 4, 5]), np.array([3, 9])], calls=2) == first
    reordered = noise(0, [np.array([5, 3]), np.array([9, 3])])
    assert reordered == [[first[0][2], first[0][0]], [first[1][1], first[1][0]]]
    assert first[0][0] != first[1][0]  # the same example, a step later
    assert noise(1, [np.array([3, 4, 5])])[0][0] != first[0][0]
    assert len({number for batch in first for number in batch}) == 5


def test_two_parts_of_a_batch_draw_what_the_whole_would(task):
    whole, loss = recorder(task)
    task.learner(data=Noisy(task, "numpy"), loss=loss).train([np.arange(6)])
    parts, loss = recorder(task)
    task.learner(data=Noisy(task, "numpy"), loss=loss, accumulate=2).train([np.arange(6)])
    assert parts[0] + parts[1] == whole[0]


@pytest.mark.parametrize("generator", DRAWS)
def test_a_first_draw_in_a_later_item_is_noticed(task, generator):
    learner = task.learner(data=Noisy(task, generator, only=[20]), score_batch_size=4)
    first = learner.score(np.arange(24))
    assert learner.score(np.arange(24)).tolist() == first.tolist()
    plain = task.learner(score_batch_size=4).score(np.arange(24))
    assert np.flatnonzero(first != plain).tolist() == [20]


@pytest.mark.parametrize("generator", DRAWS)
def test_items_leave_the_generators_alone(task, generator, values, assert_same):
    """So dropout does not depend on what the dataset draws."""
    learner = task.learner(data=Noisy(task, generator))
    before = (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2:],
        torch.get_rng_state().tolist(),
    )
    learner.train(task.batches)
    after = (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2:],
        torch.get_rng_state().tolist(),
    )
    assert before == after


def test_an_item_is_fetched_once_when_it_is_known_to_draw(task):
    fetched = []

    class Counting(Noisy):
        def __getitem__(self, i):
            fetched.append(i)
            return super().__getitem__(i)

    learner = task.learner(data=Counting(task, "python"), score_batch_size=3)
    learner.score(np.arange(9))
    assert fetched == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_collate_fn_draws_other_numbers_than_the_items(task):
    drawn = []

    class Drawing(Items):
        def __getitem__(self, i):
            drawn.append(torch.rand(()).item())
            return self.x[i], self.y[i]

    def collate(items):
        drawn.append(torch.rand(()).item())
        return torch.utils.data.default_collate(items)

    learner = task.learner(data=Drawing(task.x, task.y), collate_fn=collate)
    learner.score(np.arange(3))
    del drawn[:]
    learner.score(np.arange(3))
    assert len(drawn) == len(set(drawn)) == 4
    learner.score(np.arange(3)[::-1].copy())
    assert drawn[4:] == [drawn[2], drawn[1], drawn[0], drawn[3]]  # whatever item came last


def test_another_global_bit_generator_of_numpy_serves_too(task):
    usual = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(3))
        np.random.normal()
        met, loss = recorder(task)
        learner = task.learner(data=Noisy(task, "numpy, normal"), loss=loss, score_batch_size=24)
        before = str(np.random.get_state(legacy=False))
        learner.score(np.arange(24))
        learner.score(np.arange(24))
        assert str(np.random.get_state(legacy=False)) == before
        learner.load_state(learner.state())
        assert str(np.random.get_state(legacy=False)) == before
    finally:
        np.random.set_bit_generator(usual)
    assert met[0] == met[1]
    assert len(set(met[0])) == 24


def shaken(items):
    x, y = (torch.stack(part) for part in zip(*items, strict=True))
    return x + torch.rand(()), y


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_collate_fn_may_draw(task, num_workers):
    settings = {"data": Items(task.x, task.y), "collate_fn": shaken, "num_workers": num_workers}
    learner = task.learner(**settings)
    scores = learner.score(np.arange(24))
    losses = learner.train(task.batches)
    torch.rand(7)
    assert task.learner(**settings).score(np.arange(24)).tolist() == scores.tolist()
    assert task.learner(**(settings | {"num_workers": 0})).train(task.batches).tolist() == losses.tolist()
    assert not np.allclose(scores, task.learner().score(np.arange(24)), rtol=1e-3)


@pytest.mark.parametrize("generator", [None, "python", "numpy", "torch"])
def test_workers_change_nothing(task, values, assert_same, generator):
    data = Items(task.x, task.y) if generator is None else Noisy(task, generator)
    results = []
    for num_workers in (0, 2):
        learner = task.learner(task.model(dropout=0.3), data=data, num_workers=num_workers, accumulate=2)
        torch.manual_seed(5)
        results.append(
            (
                learner.score(np.arange(24)),
                learner.train(task.batches),
                learner.score(np.arange(3)),
                values(learner.model),
            )
        )
    here, there = results
    assert [part.tolist() for part in here[:3]] == [part.tolist() for part in there[:3]]
    assert_same(here[3], there[3])


def test_workers_are_kept_between_calls(task):
    class Who(Items):
        def __getitem__(self, i):
            info = torch.utils.data.get_worker_info()
            return torch.tensor([info.id, info.seed, i])

    seen = []

    def loss(model, batch):
        seen.extend(batch.tolist())
        return model(task.x[: len(batch)]).sum(1)

    learner = task.learner(data=Who(task.x, task.y), loss=loss, num_workers=2, score_batch_size=6)
    learner.score(np.arange(24))
    learner.score(np.arange(24))
    assert [i for _, _, i in seen] == [*range(24), *range(24)]
    assert len({(worker, seed) for worker, seed, _ in seen}) == 2


def test_a_call_that_fails_half_way_leaves_the_workers_usable(task):
    trouble = [True]

    def loss(model, batch):
        if trouble:
            raise RuntimeError("no")
        return task.loss(model, batch)

    learner = task.learner(data=Items(task.x, task.y), loss=loss, num_workers=2, score_batch_size=2)
    with pytest.raises(RuntimeError, match="no"):
        learner.score(np.arange(24))
    trouble.clear()
    assert (
        learner.score(np.arange(12, 24)).tolist() == task.learner(score_batch_size=2).score(np.arange(12, 24)).tolist()
    )


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
