"""Fetching batches of examples: from tensors in memory, from a dataset here, or through worker processes.

Random items (augmentation) are functions of their request alone. A dataset that draws from Python's,
NumPy's or torch's global generator, or from one that it keeps itself, is noticed by its first draw; from then on
these are seeded before each of its items by (seed, visit, id), and put back afterwards. So an item is the same for
every number of workers and after a resume, scoring sees each example in one fixed form, and a dataset that
draws nothing pays one comparison of generator states per batch, and nothing per item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from attent.errors import LearnerError
from attent_torch.generators import host_kept, mixed, seed_host
from attent_torch.in_memory import TensorSource, in_memory
from attent_torch.own_generators import Plain, generators_in, plain_of, put_back, same, seed_each, states_of, tell
from attent_torch.requests import Request, Source

Collate = Callable[[list[Any]], Any]


def sources(
    data: Any, score_data: Any, collate_fn: Collate | None, num_workers: int, device: torch.device
) -> tuple[Source, Source]:
    """Return the fastest sources for training and for scoring; one and the same if ``score_data`` is None.

    Raises LearnerError for data that are not map-style, and for two of different lengths.
    """
    pin_memory = device.type == "cuda"
    trained = _source(data, collate_fn, num_workers, pin_memory=pin_memory)
    if score_data is None:
        return trained, trained
    scored = _source(score_data, collate_fn, num_workers, pin_memory=pin_memory)
    if len(scored) != len(trained):
        raise LearnerError(f"score_data must hold the same examples as data, {len(trained)}, got {len(scored)}")
    return trained, scored


def _source(data: Any, collate_fn: Collate | None, num_workers: int, *, pin_memory: bool) -> Source:
    if collate_fn is None:
        tensors, rows = in_memory(data)
        if tensors is not None:
            return TensorSource(tensors, rows)
        _check_items(data)
    items = ItemSource(data, default_collate if collate_fn is None else collate_fn)
    return WorkerSource(items, num_workers, pin_memory=pin_memory) if num_workers else items


def _check_items(data: Any) -> None:
    """Raise LearnerError for columns that are no tensors: their names, or their number, would pass for examples."""
    if isinstance(data, Mapping) and 0 not in data:
        names = ", ".join(repr(name) for name, value in data.items() if in_memory(value)[0] is None)
        raise LearnerError(
            f"data is a {type(data).__qualname__} whose {names} are not tensors or arrays of numbers: give a dict of "
            "those alone, or a dataset of items; of several splits, one"
        )
    if isinstance(data, tuple):
        kinds = ", ".join(type(value).__qualname__ for value in data)
        raise LearnerError(
            f"data is a tuple of ({kinds}), not all of them tensors or arrays of numbers: turn each column into one, "
            "by torch.as_tensor, or give a list of items"
        )


class ItemSource(Dataset[Any]):
    """Batches of a map-style dataset's items, fetched one by one in the calling process."""

    def __init__(self, items: Any, collate: Collate) -> None:
        if not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
            raise LearnerError(
                "data must have __getitem__ and __len__ (a map-style dataset) or be tensors in memory, "
                f"got {type(items).__qualname__}"
            )
        self.items, self._collate, self._random = items, collate, False
        self._own = generators_in(items)  # an item may make more of them

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.items)

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches."""
        return map(self.__getitem__, requests)

    def __getitem__(self, request: Request) -> Any:
        """Return one batch; the global generators stay as they are."""
        ids = request.ids.tolist()
        before = states_of(self._own)
        if not self._random:
            with host_kept() as kept:
                batch = self._joined(self._plain(ids), ids)
            if not kept.drawn and same(before, states_of(self._own)) and len(generators_in(self.items)) == len(before):
                return batch
            self._random = True  # and the batch is fetched again, now seeded
            put_back(self._own, before)
        self._own = generators_in(self.items)
        before = states_of(self._own)
        try:
            with host_kept():
                return self._seeded(ids, request.key)
        finally:
            put_back(self._own, before)

    def _plain(self, ids: list[int]) -> list[Any]:
        together = getattr(self.items, "__getitems__", None)
        return [self._item(i) for i in ids] if together is None else list(together(ids))

    def _item(self, i: int) -> Any:
        try:
            return self.items[i]
        except Exception as error:
            raise LearnerError(f"example {i} cannot be fetched: {type(error).__name__}: {error}") from error

    def _joined(self, items: list[Any], ids: list[int]) -> Any:
        try:
            return self._collate(items)
        except Exception as error:
            named = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
            raise LearnerError(
                f"examples {named} cannot be joined to a batch: "
                f"{type(error).__name__}: {error}. Give a collate_fn for such items"
            ) from error

    def _seeded(self, ids: list[int], key: int) -> Any:
        items = []
        for i in ids:
            seed_host(mixed(key, i))
            seed_each(self._own, mixed(key, i))
            items.append(self._item(i))
        seed_host(mixed(key, len(self)))  # for a collate_fn that draws
        seed_each(self._own, mixed(key, len(self)))
        return self._joined(items, ids)


class WorkerSource:
    """Batches of a dataset fetched by worker processes, which are started once and kept."""

    def __init__(self, items: ItemSource, num_workers: int, *, pin_memory: bool) -> None:
        self._items = items
        self._requests: list[tuple[Request, Plain | None]] = []
        self._known, self._telling = plain_of(items.items), False  # by the workers, which get a copy of the dataset
        # Requests are the loader's "indices", so one pool serves every call. It gets a generator of its own
        # because it would draw its workers' seeds from the global one.
        self._loader: DataLoader[Any] = DataLoader(
            _Told(items),
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
        plain = plain_of(self._items.items)
        if not self._telling and plain != self._known:
            self._telling = True
        self._requests[:] = [(request, plain if self._telling else None) for request in requests]
        return iter(self._loader)


class _Told(Dataset[Any]):
    """Items in a worker process, which is told of attributes that have changed since it was started."""

    def __init__(self, items: ItemSource) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, told: tuple[Request, Plain | None]) -> Any:
        request, plain = told
        if plain is not None:
            tell(self._items.items, plain)
        return self._items[request]


def _as_it_is(batch: Any) -> Any:
    return batch


def column(name: str, given: Any, data: Any) -> Any:
    """Return ``given``, ``name`` for errors, or what it names in the data, one value per example.

    A text names a column of a dict, of a `datasets.Dataset` or of a loader over them, or an attribute of a dataset such
    as ``targets``; of a Subset, its part. Raises LearnerError where there is none of that name.

    Example:
        >>> import torch
        >>> from attent_torch.data import column
        >>> column("groups", "y", {"x": torch.zeros(2, 3), "y": torch.tensor([4, 0])}).tolist()
        [4, 0]
    """
    if isinstance(given, torch.Tensor):
        return given.detach().cpu()
    if not isinstance(given, str):
        return given
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, Subset):
        whole = column(name, given, data.dataset)
        return [whole[i] for i in data.indices]
    if isinstance(data, Mapping) and given in data:
        return column(name, data[given], None)
    if given in (getattr(data, "column_names", None) or ()):
        return data.with_format(None)[given][:]
    if not isinstance(data, Mapping) and hasattr(data, given):
        return column(name, getattr(data, given), None)
    there = getattr(data, "column_names", None) or (data if isinstance(data, Mapping) else None)
    if there is not None:
        raise LearnerError(
            f"{name} names the column {given!r}, the data have: {', '.join(map(str, there))}; give an array, one per "
            "example"
        )
    some = ", ".join(_of_each(data))
    raise LearnerError(
        f"{name} names {given!r}, and the data, a {type(data).__qualname__}, have no column and no attribute of that "
        f"name. Attributes with one value per example: {some or 'none'}; or give an array, one per example"
    )


def _of_each(data: Any) -> list[str]:
    """Return the attributes of a dataset that hold one value per example, by name."""
    names = [name for name in (*vars(type(data)), *getattr(data, "__dict__", ())) if not name.startswith("_")]
    found = []
    for name in dict.fromkeys(names):
        held = getattr(data, name, None)
        many = isinstance(held, torch.Tensor | np.ndarray | list | tuple) and getattr(held, "ndim", 1) > 0
        if many and len(held) == len(data):
            found.append(name)
    return found
