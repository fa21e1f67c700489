"""Fetching batches of examples: from tensors in memory, from a dataset here, or through worker processes.

Random items (augmentation) are functions of their request alone. A dataset that draws from Python's,
NumPy's or torch's global generator is noticed by its first draw; from then on the generators are seeded
before each of its items by (seed, visit, id), and put back afterwards. So an item is the same for every
number of workers and after a resume, scoring sees each example in one fixed form, and a dataset that
draws nothing pays one comparison of generator states per batch, and nothing per item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from attent.errors import LearnerError
from attent.learner import Ids
from attent_torch.devices import mapped, moved
from attent_torch.generators import host_kept, mixed, seed_host


class Request(NamedTuple):
    """A batch to fetch: its ids, int64 (B,), and the key that its random numbers are drawn from."""

    ids: Ids
    key: int


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches in order, on the host or wherever the data live."""
        ...


def source(data: Any, collate_fn: Callable[[list[Any]], Any] | None, num_workers: int, *, pin_memory: bool) -> Source:
    """Return the fastest source for ``data``; raise LearnerError if it is not map-style data."""
    if collate_fn is None:
        tensors, rows = _in_memory(data)
        if tensors is not None:
            return TensorSource(tensors, rows)
    items = ItemSource(data, default_collate if collate_fn is None else collate_fn)
    return WorkerSource(items, num_workers, pin_memory=pin_memory) if num_workers else items


class TensorSource:
    """Batches of tensors in memory, indexed where they live, in the structure they came in.

    Raises LearnerError where their first dimensions differ.
    """

    def __init__(self, tensors: Any, rows: torch.Tensor | None) -> None:
        found: list[torch.Tensor] = []
        mapped(found.append, tensors)
        shapes = [tensor.shape for tensor in found]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            raise LearnerError(
                "tensors given as data must share their first dimension, the examples, got shapes "
                f"{', '.join(str(tuple(shape)) for shape in shapes)}; give a dataset of items as a list"
            )
        self._tensors, self._rows = tensors, rows
        self._devices = {tensor.device for tensor in found}
        self._n = shapes[0][0] if rows is None else len(rows)

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._n

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches; the ids of all of them travel to a device in one transfer."""
        if not requests:
            return
        rows = torch.from_numpy(np.concatenate([request.ids for request in requests]))
        if self._rows is not None:
            rows = self._rows[rows]
        sizes = [len(request.ids) for request in requests]
        parts = {device: torch.split(moved(rows, device), sizes) for device in self._devices}
        for index in range(len(requests)):
            here = {device: part[index] for device, part in parts.items()}
            yield mapped(partial(_selected, here), self._tensors)


def _selected(rows: Mapping[torch.device, torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    return tensor.index_select(0, rows[tensor.device])


class ItemSource(Dataset[Any]):
    """Batches of a map-style dataset's items, fetched one by one in the calling process."""

    def __init__(self, items: Any, collate: Callable[[list[Any]], Any]) -> None:
        if not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
            raise LearnerError(
                "data must have __getitem__ and __len__ (a map-style dataset) or be tensors in memory, "
                f"got {type(items).__qualname__}"
            )
        self._items, self._collate, self._random = items, collate, False

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._items)

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches."""
        return map(self.__getitem__, requests)

    def __getitem__(self, request: Request) -> Any:
        """Return one batch; the global generators stay as they are."""
        ids = request.ids.tolist()
        if not self._random:
            with host_kept() as kept:
                batch = self._collate(self._plain(ids))
            if not kept.drawn:
                return batch
            self._random = True  # and the batch is fetched again, now seeded
        with host_kept():
            return self._seeded(ids, request.key)

    def _plain(self, ids: list[int]) -> list[Any]:
        together = getattr(self._items, "__getitems__", None)
        return [self._items[i] for i in ids] if together is None else list(together(ids))

    def _seeded(self, ids: list[int], key: int) -> Any:
        items = []
        for i in ids:
            seed_host(mixed(key, i))
            items.append(self._items[i])
        seed_host(mixed(key, len(self)))  # for a collate_fn that draws
        return self._collate(items)


class WorkerSource:
    """Batches of a dataset fetched by worker processes, which are started once and kept."""

    def __init__(self, items: ItemSource, num_workers: int, *, pin_memory: bool) -> None:
        self._items = items
        self._requests: list[Request] = []
        # Requests are the loader's "indices", so one pool serves every call. It gets a generator of its own
        # because it would draw its workers' seeds from the global one.
        self._loader: DataLoader[Any] = DataLoader(
            items,
            batch_size=None,
            sampler=self._requests,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            persistent_workers=True,
            pin_memory=pin_memory,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._items)

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches; ends what an earlier call left unfinished."""
        self._requests[:] = requests
        return iter(self._loader)


def _as_it_is(batch: Any) -> Any:
    return batch


def _in_memory(data: Any) -> tuple[Any, torch.Tensor | None]:
    """Return the tensors that ``data`` consists of, and which of their rows; (None, None) for other data."""
    if type(data) is Subset:  # as from random_split
        tensors, rows = _in_memory(data.dataset)
        indices = torch.as_tensor(data.indices, dtype=torch.int64)
        return tensors, indices if rows is None else rows[indices]
    # Of a subclass nobody knows what its items are.
    return _tensors(data.tensors if type(data) is TensorDataset else data), None


def _tensors(data: Any) -> Any:
    """Return ``data`` with arrays as tensors if it is nothing but tensors and arrays, else None."""
    if isinstance(data, torch.Tensor):
        return data
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "biufc":
            return None
        return torch.from_numpy(data if data.flags.writeable else data.copy())
    if isinstance(data, Mapping):
        values = {key: _tensors(value) for key, value in data.items()}
        return None if not values or any(v is None for v in values.values()) else values
    if isinstance(data, tuple):
        parts = [_tensors(value) for value in data]
        if not parts or any(part is None for part in parts):
            return None
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return None
