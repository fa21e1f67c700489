"""Data that are tensors in memory: whole batches by index, without a Python call per item."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset

from attent.errors import LearnerError
from attent_torch.devices import mapped, moved
from attent_torch.requests import Request


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


def in_memory(data: Any) -> tuple[Any, torch.Tensor | None]:
    """Return the tensors that ``data`` consists of, and which of their rows; (None, None) for other data."""
    if type(data) is Subset:  # as from random_split
        tensors, rows = in_memory(data.dataset)
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about arrays that may not be written, such as mapped files: none is
            return torch.from_numpy(data if min(data.strides, default=0) >= 0 else data.copy())
    if isinstance(data, Mapping):
        values = {key: _tensors(value) for key, value in data.items()}
        return None if not values or any(v is None for v in values.values()) else values
    if isinstance(data, tuple):
        parts = [_tensors(value) for value in data]
        if not parts or any(part is None for part in parts):
            return None
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return None
