"""Data whose items draw random numbers, and those fetched by workers: items depend on seed, step and id alone."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch

_spec = importlib.util.spec_from_file_location("data_task", Path(__file__).with_name("data_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
DRAWS, Items, Noisy, drawn = shared.DRAWS, shared.Items, shared.Noisy, shared.drawn


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
