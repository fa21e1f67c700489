"""A learner on every rank of a process group: what goes between them. Under torchrun, over gloo or nccl."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

import attent
from attent.errors import LearnerError, WorkersError
from attent.run.workers import framed
from attent_torch.generators import mixed, seed_device, seed_host
from attent_torch.learner import TorchLearner


def workers(learner: TorchLearner) -> attent.Workers:
    """Return the learners of all ranks as one, for ``attent.teach`` on every rank of the default process group.

    Each rank builds the learner of the same data and the same first parameters, after ``init_process_group``. A plain
    module has its gradients averaged once a step; one in DistributedDataParallel is averaged by it, as it goes
    backward; one given to ``fully_shard`` (FSDP2) stays in parts, and its state is put together where it is kept.
    Without a process group it is one rank of one, so that a script runs with and without torchrun.

    A rank that dies, or does not answer within the group's timeout (``init_process_group(timeout=...)``), is an
    ``attent.WorkersError`` on the others. With several ranks a step's random numbers, of dropout for one, are those of
    (seed, step, rank). Buffers, such as running statistics, are rank 0's after each call of ``train``.

    Raises WorkersError where torchrun's WORLD_SIZE says several and there is no process group, LearnerError for
    FSDP's older wrapper, or a sharded model with ``accumulate``.

    Example:
        >>> import attent, torch
        >>> from attent_torch import TorchLearner, cross_entropy, workers
        >>> model, data = torch.nn.Linear(4, 2), (torch.eye(4), torch.tensor([0, 1, 0, 1]))
        >>> learner = TorchLearner(model, data, cross_entropy, torch.optim.SGD(model.parameters(), 0.1))
        >>> attent.teach(workers(learner), attent.Plan.default(epochs=2, batch_size=2)).finished
        True
    """
    if not isinstance(learner, TorchLearner):
        raise LearnerError(f"workers takes a TorchLearner, got {type(learner).__name__}")
    if not (dist.is_available() and dist.is_initialized()):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise WorkersError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but there is no process group: call "
                "torch.distributed.init_process_group() before attent_torch.workers()"
            )
        return attent.Workers(learner, 0, 1, lambda told: [told])
    ranks = Ranks()
    learner.join(ranks)
    return attent.Workers(learner, ranks.rank, ranks.world, ranks.gather, answering=ranks.answering)


class Ranks:
    """This process' place in the default process group, and what it exchanges with the others."""

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        nccl = dist.get_backend() == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def gather(self, told: bytes) -> Sequence[bytes]:
        """Return the bytes of all ranks. Raises WorkersError where one does not answer."""
        return framed(self._gathered)(told)

    def _gathered(self, own: npt.NDArray[np.uint8]) -> list[bytes]:
        sent = torch.from_numpy(own).to(self._device)
        parts = [torch.empty_like(sent) for _ in range(self.world)]
        dist.all_gather(parts, sent)
        return [part.cpu().numpy().tobytes() for part in parts]

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Say in an error of attent's that a rank is gone, where the process group says it in one of its own."""
        try:
            yield
        except RuntimeError as error:  # gloo's have no type of their own
            if isinstance(error, attent.AttentError) or not _of_the_group(error):
                raise
            raise WorkersError(
                f"another rank than {self.rank} of {self.world} is gone, or did not answer within the process group's "
                f"timeout: {str(error).strip().splitlines()[0]:.200}. Look at its output, and start all again with "
                "resume=True; init_process_group(timeout=...) says how long ranks wait"
            ) from error

    def largest(self, found: torch.Tensor) -> torch.Tensor:
        """Return the largest of the ranks' numbers."""
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found

    def average(self, parameters: Sequence[torch.Tensor]) -> None:
        """Average gradients over the ranks in one transfer; a parameter that has none on all of them keeps none."""
        groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
        for parameter in parameters:
            if parameter.requires_grad:
                groups.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for (dtype, device), members in groups.items():
            there = torch.tensor([p.grad is not None for p in members], dtype=dtype).to(device)
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
            flat = torch.cat([there, *(part.reshape(-1) for part in parts)])
            dist.all_reduce(flat)
            flat[len(members) :] /= self.world
            known, starts = flat[: len(members)].tolist(), len(members)
            for p, count in zip(members, known, strict=True):
                if count:
                    average = flat[starts : starts + p.numel()].view(p.shape)
                    p.grad = average.clone() if p.grad is None else p.grad.copy_(average)
                starts += p.numel()

    def share(self, buffers: Iterable[torch.Tensor]) -> None:
        """Give running statistics, each rank's of its own shares, the values that they have on rank 0."""
        for buffer in buffers:
            _from_first(buffer)

    def seed(self, key: int, devices: Sequence[torch.device]) -> None:
        """Start the global generators from a key, on each rank from another."""
        own = mixed(key, self.rank)
        seed_host(own)
        for device in devices:
            seed_device(device, own)


def _from_first(buffer: torch.Tensor) -> None:
    """Give a buffer the values that it has on rank 0."""
    sent = buffer.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(sent.view(torch.uint8) if sent.dtype is torch.bool else sent, 0)
    if not torch.equal(sent, buffer):  # one that was expanded cannot be written, and is the same on all
        buffer.copy_(sent)


def _of_the_group(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection closed by peer", "process group", "store->get"))
