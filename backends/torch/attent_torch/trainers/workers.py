"""Processes that train together: each takes its share of equal global batches, and all know every number."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from attent.choose.policy import asks
from attent.errors import PlanError, WorkersError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan
from attent.run.workers import check_failures, failure
from attent_torch.ranks import Ranks


def refuse_watching(plan: Plan) -> None:
    """Raise PlanError for a plan that decides by what is watched, which each of several processes would see its own."""
    if "watched" in asks(plan.select):
        raise PlanError(
            "a plan with keep decides by what is watched, and each process would go by its own numbers: train on one "
            "process, or by attent.teach with attent.Workers, or leave keep out"
        )


_TOLD = 8  # bytes that say which batches numbers are of: whole numbers below 256, which every float holds


class Workers(NamedTuple):
    """This process and how many train with it: rank 0 of 1 where no process group is initialised.

    Example:
        >>> from attent_torch.trainers.workers import Workers
        >>> Workers.here()
        Workers(rank=0, world=1)
    """

    rank: int
    world: int

    @classmethod
    def here(cls) -> Workers:
        """Return this process' place in the default process group."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls(0, 1)
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, ids: Ids, rank: int | None = None) -> Ids:
        """Return a rank's share of a global batch (this one's where None): parts as equal as can be, in order.

        Example:
            >>> import numpy as np
            >>> from attent_torch.trainers.workers import Workers
            >>> [Workers(rank, 2).share(np.array([7, 3, 5])).tolist() for rank in (0, 1)]
            [[7], [3, 5]]
        """
        rank = self.rank if rank is None else rank
        return ids[rank * len(ids) // self.world : (rank + 1) * len(ids) // self.world]

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Run a block that every rank runs; an error in it on one stops all at its end, by name.

        Raises WorkersError on the others, which would wait for that rank in their first step.
        """
        if self.world == 1:
            yield
            return
        ranks = Ranks()
        try:
            yield
        except Exception as error:
            with contextlib.suppress(WorkersError), ranks.answering():
                ranks.gather(failure(error))
            raise
        with ranks.answering():
            parts = ranks.gather(b"")
        check_failures(parts)

    def any(self, found: torch.Tensor) -> bool:
        """Return whether a number, shape (), is above 0 on any rank. Every rank must call it."""
        if self.world > 1:
            found = found.clone() if dist.get_backend() == "nccl" else found.cpu()
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def gathered(self, own: torch.Tensor, batches: Sequence[Ids]) -> tuple[Numbers, Ids]:
        """Return all numbers of these batches and their ids, the same on every rank, by one transfer and one gather.

        own: the numbers of this rank's shares, concatenated. Every rank must call it. Raises WorkersError on every one
        where a rank has other batches: their numbers would be credited to other examples.
        """
        if self.world == 1:
            ids = np.concatenate([np.empty(0, np.int64), *batches])
            return own.cpu().to(torch.float64).numpy(), ids
        shares = [np.concatenate([self.share(batch, rank) for batch in batches]) for rank in range(self.world)]
        lengths = [len(ids) for ids in shares]
        if dist.get_backend() != "nccl":
            own = own.cpu()
        # Shares differ by an example or two a batch; a gather wants equal lengths.
        padded = own.new_zeros(max(lengths) + _TOLD)
        padded[: len(own)] = own
        told = hashlib.sha256(np.concatenate([np.empty(0, np.int64), *batches]).data).digest()[:_TOLD]
        padded[-_TOLD:] = torch.tensor(list(told), dtype=own.dtype)
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(parts, padded)
        others = [rank for rank, part in enumerate(parts) if not torch.equal(part[-_TOLD:], parts[0][-_TOLD:])]
        if others:
            raise WorkersError(
                f"rank {others[0]} of {self.world} trained other batches than rank 0: give every process the same "
                "plan, data, groups, costs, reference and version of attent, and the state of one checkpoint"
            )
        numbers = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        return numbers.cpu().to(torch.float64).numpy(), np.concatenate(shares)
