"""The user's DataLoader with other batches: everything it was built with stays, but for which examples come when."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
)
from torch.utils.data import SequentialSampler as InOrder

from attent.errors import CourseError, LearnerError, PlanError

_KEPT = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order",
)  # fmt: skip


def with_batches(loader: Any, batches: Any, generator: torch.Generator | None = None) -> Any:
    """Return a loader like ``loader`` that fetches these batches of ids, each a list of whole numbers.

    Kept are workers, collate_fn, pinned memory, worker_init_fn, generator and the rest. One that accelerate prepared
    keeps its device, and tells accelerate where a pass ends; its sharding and padding are left out. ``generator`` is
    for a loader that has none.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from attent_torch.trainers.loaders import with_batches
        >>> list(with_batches(DataLoader(torch.arange(9), collate_fn=list), [[8, 0], [3]]))
        [[tensor(8), tensor(0)], [tensor(3)]]
    """
    settings = {name: getattr(loader, name) for name in _KEPT if hasattr(loader, name)}
    if settings.get("generator") is None:
        settings["generator"] = generator
    if not settings.get("pin_memory_device"):
        settings.pop("pin_memory_device", None)  # newer versions warn of it, even empty
    fetching: DataLoader[Any] = DataLoader(loader.dataset, batch_sampler=batches, **settings)
    if not _prepared(loader):
        return fetching
    accelerate = importlib.import_module("accelerate.data_loader")
    return accelerate.prepare_data_loader(
        fetching, loader.device, num_processes=1, process_index=0, put_on_device=loader.device is not None,
        non_blocking=loader._non_blocking,
    )  # fmt: skip


def fetched(loader: Any, batches: Sequence[Iterable[int]]) -> Iterator[Any]:
    """Yield a loader's batches, which are to hold these ids. Raises LearnerError naming an example that fails."""
    fetching = iter(loader)
    for place in itertools.count():
        try:
            batch = next(fetching)
        except StopIteration:
            return
        except Exception as error:
            if _worker_died(loader, error):
                raise LearnerError(
                    f"a DataLoader worker died, killed or out of memory ({type(error).__name__}: {error}). The run can "
                    "go on from its last state; with fewer workers it needs less memory"
                ) from error
            raise LearnerError(_failed(loader.dataset, batches[place : place + 2], error)) from error
        yield batch


def _worker_died(loader: Any, error: Exception) -> bool:
    """Return whether a process of the loader is gone, as PyTorch says or as its broken pipe does."""
    if getattr(loader, "num_workers", 0) == 0:
        return False
    return isinstance(error, ConnectionError | EOFError) or "DataLoader worker (pid" in str(error)


def _failed(data: Any, batches: Sequence[Iterable[int]], error: Exception) -> str:
    """Return in words which example failed, of the batch asked for or, since accelerate looks ahead, the next."""
    ids = [int(each) for each in itertools.chain(*batches)]
    for each in ids:
        try:
            data[each]
        except Exception as own:
            return f"example {each} of the loader's dataset cannot be fetched: {type(own).__name__}: {own}"
    told = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return (
        f"the loader failed on a batch of the examples {ids}, each of which can be "
        f"fetched alone: {told[0]}. Look at its collate_fn and, where it has workers, at worker_init_fn"
    )


def accumulated(loader: Any) -> int | None:
    """Return how many batches of a loader that accelerate prepared make a step, None of any other loader."""
    return int(loader.gradient_state.num_steps) if _prepared(loader) else None


def length_of(data: Any) -> int:
    """Return the number of examples of a loader, of its dataset, or as given. Raises PlanError for what has none.

    Example:
        >>> from attent_torch.trainers.loaders import length_of
        >>> length_of([3, 1, 4])
        3
    """
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, Mapping | torch.Tensor | tuple | str) or not isinstance(data, int | Sized):
        raise PlanError(
            f"data must be the loader, its map-style dataset or the number of examples, got {type(data).__qualname__}"
        )
    return data if isinstance(data, int) else len(data)


def check_loader(loader: Any, n: int, batch_size: int, world: int, parts: int) -> None:
    """Raise CourseError, naming the way out, unless the plan's batches can take the place of the loader's own."""
    if not isinstance(loader, DataLoader):
        raise CourseError(f"teacher(...) takes the script's DataLoader, got {type(loader).__qualname__}")
    if isinstance(loader.dataset, IterableDataset):
        raise CourseError(
            "the loader's dataset is iterable: its examples have no ids to be chosen by. Use a map-style dataset, "
            "with __getitem__ and __len__"
        )
    if len(loader.dataset) != n:
        raise CourseError(f"the loader has {len(loader.dataset)} examples, the teacher was built for {n}")
    sampler = loader.batch_sampler
    while hasattr(sampler, "batch_sampler"):  # accelerate's shards
        sampler = sampler.batch_sampler
    if getattr(sampler, "fits_any_plan", False):  # one of ours
        return
    if not isinstance(sampler, BatchSampler) or type(sampler).__iter__ is not BatchSampler.__iter__:
        kind = "no batches: batch_size=None" if sampler is None else f"batches by a {type(sampler).__qualname__}"
        raise CourseError(f"the loader has {kind}, where the plan makes the batches: leave its batch_sampler out")
    order = sampler.sampler
    if isinstance(order, SubsetRandomSampler):
        raise CourseError(
            "the loader's sampler is a SubsetRandomSampler, which trains a part of the examples, where the plan takes "
            "from all of them: give the loader that part, torch.utils.data.Subset(dataset, indices), and leave it out"
        )
    drawn = isinstance(order, RandomSampler) and (order.replacement or order.num_samples != n)
    if drawn or not isinstance(order, RandomSampler | InOrder | DistributedSampler):
        told = "draws with replacement, or only some" if drawn else f"is a {type(order).__qualname__}"
        raise CourseError(f"the loader's sampler {told}, where the plan chooses the examples: leave it out")
    if sampler.drop_last:
        raise CourseError(
            "the loader has drop_last=True, where the plan trains every example that it chose: leave drop_last out. "
            "An epoch's last batch may then be smaller"
        )
    if accumulated(loader) not in (None, 1, parts):  # a script may also accumulate by itself
        raise CourseError(
            f"accelerate takes a step after {accumulated(loader)} batches, the teacher goes by {parts}: give the "
            "teacher the prepared loader, or accumulate=accelerator.gradient_accumulation_steps"
        )
    size = sampler.batch_size * parts
    if batch_size not in (size, size * world):
        raise CourseError(
            f"the plan's batch_size is {batch_size}, an optimiser step takes "
            f"{size * world} examples: {sampler.batch_size} in a batch of the loader"
            + (f", accumulated over {parts}" if parts > 1 else "")
            + (f", in {world} processes" if world > 1 else "")
            + ". A plan's batch is the examples of an optimiser step: make the two equal"
        )


def _prepared(loader: Any) -> bool:
    return type(loader).__module__.startswith("accelerate.")


def list_batches(ids: Iterable[int], size: int) -> list[list[int]]:
    """Return whole numbers in lists of ``size``, the last one shorter.

    Example:
        >>> from attent_torch.trainers.loaders import list_batches
        >>> list_batches(range(5), 2)
        [[0, 1], [2, 3], [4]]
    """
    every = list(ids)
    return [every[start : start + size] for start in range(0, len(every), size)]
