"""A pass's batches as Trainer wants them: dealt out to micro-batches and processes, each example with its id."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from attent.errors import LearnerError
from attent.learner import Ids, Numbers
from attent.run.feed import Feed

SHARE = "attent_share"


@dataclasses.dataclass(frozen=True)
class Share:
    """What one process trains in one micro-batch of an optimiser step.

    ``weight`` is what the mean of its losses weighs in the step's mean, where even shares weigh 1. A step with fewer
    examples than shares has ``stand_in``s: one of its examples, so that the process takes part, weighing 0.
    """

    ids: Ids
    weights: Numbers | None  # the plan's, of the examples
    weight: float
    stand_in: bool = False

    def weigh(self, loss: torch.Tensor, each: torch.Tensor, mean: bool) -> torch.Tensor:
        """Return a share's loss as it counts in its step. ``each``: its examples' losses. ``mean``: loss is theirs."""
        if self.stand_in:
            return 0.0 * each.sum()
        if mean and self.weight != 1:
            loss = loss * self.weight
        if self.weights is not None:
            # The loss is a multiple of the sum of the examples' losses: each gets its weight times its part of it.
            weights = torch.as_tensor(self.weights, dtype=each.dtype, device=each.device)
            total = each.detach().sum()
            multiple = torch.where(total == 0, 0.0, loss.detach() / total)
            loss = loss + multiple * ((weights - 1) * each).sum()
        return loss


def dealt(batch: Ids, weights: Numbers | None, micro_batches: int, processes: int, process: int) -> list[Share]:
    """Return a process' share of each micro-batch of a step: contiguous parts, as even as they can be.

    Example:
        >>> import numpy as np
        >>> from attent_torch.trainers.transformers_shares import dealt
        >>> [share.ids.tolist() for share in dealt(np.arange(7), None, micro_batches=2, processes=2, process=0)]
        [[0, 1], [4, 5]]
    """
    parts = micro_batches * processes
    shares = []
    for places in np.array_split(np.arange(len(batch)), parts)[process::processes]:
        each = None if weights is None else weights[places]
        weight = len(places) * parts / len(batch)
        shares.append(Share(batch[places], each, weight) if len(places) else Share(batch[:1], None, 0.0, stand_in=True))
    return shares


class Shares(Sampler[Share]):
    """The batch sampler of one process: its shares of the pass under way, whenever it is iterated."""

    def __init__(self, feed: Callable[[], Feed], size: int, accumulate: int, processes: int, process: int) -> None:
        self.feed, self.accumulate, self.processes, self.process = feed, accumulate, processes, process
        self.size = size  # most examples of a share

    def __iter__(self) -> Iterator[Share]:
        """Yield the shares of the pass, step by step."""
        feed = self.feed()
        batches, weights = feed.batches(), feed.weights()
        for step, batch in enumerate(batches):
            many = self.accumulate if step + 1 < len(batches) else self.last(len(batch))
            yield from dealt(batch, None if weights is None else weights[step], many, self.processes, self.process)

    def __len__(self) -> int:
        """Return the micro-batches of the pass under way."""
        row = self.feed().row
        return (row.steps - 1) * self.accumulate + self.last(row.k - (row.steps - 1) * row.batch_size)

    def last(self, count: int) -> int:
        """Return the micro-batches of a pass's last step, which Trainer allows to be fewer."""
        return math.ceil(count / (self.size * self.processes))


class Shared(Dataset[Any]):
    """A data set fetched by shares. An item that fails names its id."""

    def __init__(self, data: Any) -> None:
        self.data = data
        if hasattr(data, "set_epoch"):
            self.set_epoch = data.set_epoch

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.data)

    def __getitems__(self, share: Share) -> tuple[Share, list[Any]]:
        """Return the share with its items."""
        ids = share.ids.tolist()
        try:
            return share, self.data.__getitems__(ids) if hasattr(self.data, "__getitems__") else self._each(ids)
        except LearnerError:
            raise
        except Exception:
            return share, self._each(ids)

    def _each(self, ids: Sequence[int]) -> list[Any]:
        items = []
        for each in ids:
            try:
                items.append(self.data[each])
            except Exception as error:
                raise LearnerError(f"train_dataset[{each}] failed: {type(error).__name__}: {error}") from error
        return items


class Collate:
    """A data collator whose batches tell which examples they hold."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, fetched: tuple[Share, list[Any]]) -> Any:
        """Return the items as a batch."""
        share, items = fetched
        try:
            inputs = self.collate(items)
            labels = inputs.get("labels")
            if share.stand_in and torch.is_tensor(labels) and not labels.is_floating_point():
                inputs["labels"] = torch.full_like(labels, -100)  # not among the items the loss is divided by
            inputs[SHARE] = share
        except Exception as error:
            raise LearnerError(
                f"the data collator failed on examples {share.ids.tolist()}: {type(error).__name__}: {error}"
            ) from error
        return inputs
