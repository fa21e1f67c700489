"""What is asked of data: batches by their ids, and the keys that their random items are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from attent.learner import Ids


class Request(NamedTuple):
    """A batch to fetch: its ids, int64 (B,), and the key that its random numbers are drawn from."""

    ids: Ids
    key: int


def split(ids: Ids, parts: int, key: int) -> list[Request]:
    """Return requests for ``parts`` nearly equal parts of a batch, fewer if it has fewer examples."""
    if parts == 1:
        return [Request(ids, key)]
    return [Request(part, key) for part in np.array_split(ids, min(parts, len(ids)))]


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batches(self, requests: Sequence[Request]) -> Iterator[Any]:
        """Yield the requested batches in order, on the host or wherever the data live."""
        ...
