"""Plain PyTorch loops, also under DistributedDataParallel and accelerate: five lines change, the loop stays."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Sampler

import attent
from attent.errors import CourseError, LearnerError, PlanError
from attent.learner import Ids
from attent.plan.timeline import epoch_ends
from attent_torch.data import column
from attent_torch.devices import accelerators, model_device, moved, numbers_on
from attent_torch.evaluation import evaluation
from attent_torch.generators import mixed
from attent_torch.losses import per_example
from attent_torch.schedule import check_total
from attent_torch.steps import not_finite
from attent_torch.trainers.loaders import accumulated, check_loader, fetched, list_batches, with_batches
from attent_torch.trainers.workers import Workers

Loss = Callable[[nn.Module, Any], torch.Tensor]
_LOADER, _SCORING = 10, 11  # children of the seed, so that a loader's numbers and a scoring model's are their own


class Teacher:
    """Chooses what a training loop of your own trains: it gives the batches, and is told each example's loss.

    ``for batch in teacher(loader)`` takes the place of ``for batch in loader``, and ``loss = teacher.record(losses)``
    of the mean. One ``teacher(loader)`` is an epoch: as much training as the plan spends on one, so that
    ``for epoch in range(epochs)`` stays as it is.

    Under an initialised process group each rank trains its share of every global batch (``plan.batch_size`` examples
    over all ranks), all ranks take the same number of steps, and rank 0 writes. Every rank must build the teacher,
    after the group, and ``state_dict`` must be called on every rank.

    Args:
        plan: what is taught when.
        data: the loader or dataset that is trained on, or its number of examples.
        model, loss: ``loss(model, batch)`` gives one loss per example; only for a plan that has scoring passes.
        scheduler: of the learning rate, stepped after every optimiser step: refused at once where it was built for
            another number of steps. None: not looked at.
        accumulate: how many of the loader's batches one optimiser step takes. A batch of the plan is a step's examples,
            dealt out to so many; each loss is divided by ``accumulate`` before ``backward``, as accelerate does. None:
            accelerate's number, for a loader that it prepared, 1 for any other.
        run: folder to write the run to; None: in memory.
        resume: go on with the run in that folder, from the state given to ``load_state_dict``.
        settings: further ones of `attent.Feed`. ``groups`` and ``costs`` may also name a column, or an attribute such
            as ``targets``, of the dataset.

    Raises PlanError, LearnerError or TraceError before anything is trained.

    Example:
        >>> import attent, torch
        >>> from attent_torch import Teacher
        >>> data = torch.utils.data.TensorDataset(torch.eye(4), torch.tensor([0, 1, 0, 1]))
        >>> loader = torch.utils.data.DataLoader(data, batch_size=2, shuffle=True)
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
        >>> teacher = Teacher(attent.Plan.default(epochs=3, batch_size=2), loader)
        >>> for epoch in range(3):
        ...     for x, y in teacher(loader):
        ...         loss = teacher.record(torch.nn.functional.cross_entropy(model(x), y, reduction="none"))
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        >>> teacher.finished, [len(teacher.trace().ids(epoch)) for epoch in range(3)]
        (True, [4, 2, 4])
    """

    def __init__(
        self,
        plan: attent.Plan,
        data: Any,
        *,
        model: nn.Module | None = None,
        loss: Loss | None = None,
        scheduler: LRScheduler | None = None,
        accumulate: int | None = None,
        run: Any = None,
        resume: bool = False,
        **settings: Any,
    ) -> None:
        self.workers = Workers.here()
        versions = {"torch": str(torch.__version__), **(settings.pop("versions", None) or {})}
        n, write = _length(data), self.workers.rank == 0
        for name in ("groups", "costs"):
            if name in settings:
                settings[name] = column(name, settings[name], data)
        self.feed = attent.Feed(plan, n, run=run, resume=resume, versions=versions, write=write, **settings)
        self._rows = plan.timeline(n)
        if (model is None or loss is None) and any(row.score for row in self._rows):
            raise PlanError(
                "the plan has scoring passes: give model=... and loss=..., a function of (model, batch) that returns "
                "one loss per example; or a plan that scores by the losses of training, as Plan.auto and "
                "Plan.default do"
            )
        if scheduler is not None and not resume:  # what is resumed was looked at when it began
            # accelerate takes a step for each process unless it splits the batches itself.
            times = self.workers.world if getattr(scheduler, "split_batches", None) is False else 1
            check_total(scheduler, times * self.feed.total_steps, plan.epochs)
        self._parts = accumulated(data) or 1 if accumulate is None else accumulate
        if not isinstance(self._parts, int) or isinstance(self._parts, bool) or self._parts < 1:
            raise PlanError(f"accumulate must be a whole number of at least 1, got {accumulate!r}")
        self._model, self._loss = model, loss
        self.ends = epoch_ends(self._rows, plan.full_epochs)  # the pass before which each epoch ends
        self.batch_sampler = Batches(self, handing_out=True)
        self._loaders: dict[int, tuple[Any, Any]] = {}  # by the id of a loader: itself, and the one in its place
        self._generator = torch.Generator()  # of the workers' seeds, so that a loader draws nothing from the global one
        self._clear()

    @property
    def finished(self) -> bool:
        """Whether the plan is at its end."""
        return self.feed.finished

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run: the length of a learning-rate schedule."""
        return self.feed.total_steps

    @property
    def steps(self) -> list[int]:
        """Optimiser steps of each epoch of the run."""
        return [sum(row.steps for row in self._rows[a:b]) for a, b in itertools.pairwise([0, *self.ends])]

    @property
    def waiting(self) -> bool:
        """Whether a batch was given whose losses are not recorded."""
        return self._given > self._place

    def trace(self) -> attent.Trace:
        """Return what was taught so far."""
        return self.feed.trace()

    def __call__(self, loader: DataLoader[Any]) -> Epoch:
        """Return one epoch: an iterable, with a length, over batches as ``loader`` makes them.

        The loader's workers, collate_fn, pinned memory and the rest are kept; its sampler is replaced. Raises
        CourseError for a loader whose order is not the plan's to choose, before the first batch.
        """
        if Workers.here() != self.workers:
            raise CourseError(
                f"the teacher was built as rank {self.workers.rank} of {self.workers.world}, this is rank "
                f"{Workers.here().rank} of {Workers.here().world}: build it after the process group (Accelerator())"
            )
        if id(loader) not in self._loaders:
            check_loader(loader, self.feed.n, self.feed.plan.batch_size, self.workers.world, self._parts)
            self._loaders[id(loader)] = loader, with_batches(loader, Batches(self, handing_out=False), self._generator)
        return Epoch(self, self._loaders[id(loader)][1])

    def record(self, losses: torch.Tensor) -> torch.Tensor:
        """Take the losses of the batch last given, and return what to call ``backward`` on: their mean.

        losses: floating-point tensor, shape (B,), one per example in the batch's order. They are kept on the device and
        come to the host once a pass. The mean is weighted where the plan weighs, and scaled for ranks whose gradients
        are averaged, as DistributedDataParallel and FSDP do, and for batches that are accumulated: one with a larger
        share of the step counts for more.

        Raises CourseError where no batch waits for its losses, LearnerError for another shape, ScoreError at the end of
        a pass where a loss is not finite.
        """
        taught, place = self._begun(), self._place
        if place >= self._given:
            raise CourseError("no batch waits for its losses: call teacher.record(losses) once for each batch")
        share = taught.shares[place]
        if isinstance(losses, torch.Tensor) and losses.ndim == 0:
            raise LearnerError(
                "teacher.record takes one loss per example, got their mean: compute it with reduction='none'. Of a "
                "model that returns only a mean, as Hugging Face's .loss, take the logits and compute the loss from "
                "them, over tokens with attent_torch.token_mean"
            )
        losses = per_example(losses, len(share), None)
        self._last = losses.detach().clone()  # a view would keep a batch's logits alive
        self._kept.append(self._last[:0] if taught.padding[place] else self._last)
        result = losses @ self._scale(taught, place, losses) if taught.factors else losses.mean()
        if self._place == len(taught.shares):
            self._hand_over()
        return result

    def finite(self, optimizer: torch.optim.Optimizer) -> bool:
        """Say whether the losses last recorded and the optimiser's gradients are finite: after backward, before a step.

        ``if teacher.finite(optimizer): optimizer.step()`` is what a plan with ``non_finite="drop"`` or ``"last"`` asks
        of a loop. All ranks are told the same, so each must call it. What the forward pass wrote to buffers, as
        BatchNorm does, is not put back.
        """
        if self._last is None:
            raise CourseError("no losses are recorded: call teacher.finite after teacher.record and backward")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return not self.workers.any(not_finite([self._last, *gradients]))

    def state_dict(self) -> dict[str, Any]:
        """Return texts to keep in a checkpoint, as ``torch.save`` and ``torch.load(weights_only=True)`` take them.

        Right after a step, in mid-pass too; between batches that are accumulated it is that before the step. Under a
        process group every rank must call it.
        """
        self._hand_over()
        return self.feed.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one after the last recorded. Raises as `attent.Feed.load_state`."""
        self.feed.load_state(state)
        self._clear()

    def _clear(self) -> None:
        self._taught: _Pass | None = None
        self._kept: list[torch.Tensor] = []  # losses of this rank, batch by batch, that the feed does not have yet
        self._done = self.feed.done * self._parts  # batches of the pass whose losses the feed has
        self._given = 0  # batches of the pass that were given out
        self._last: torch.Tensor | None = None  # losses

    @property
    def _place(self) -> int:
        """Batches of the loader, in the pass, whose losses are recorded."""
        return self._done + len(self._kept)

    def _begun(self) -> _Pass:
        """Return the pass under way; one that has not begun begins, with a scoring pass where the plan has one."""
        if self._taught is None:
            ids = self.feed.to_score()
            if ids is not None:
                self._score(ids)
            self._taught = _Pass.of(self.feed, self.workers, self._parts)
        return self._taught

    def _hand_over(self) -> None:
        """Give the feed the losses that were kept on the device, of whole steps."""
        steps = len(self._kept) // self._parts
        if not steps:
            return
        done, epoch, count = self.feed.done, self.feed.epoch, steps * self._parts
        batches = self.feed.batches()[done : done + steps]
        self.feed.record(*self.workers.gathered(torch.cat(self._kept[:count]), batches))
        self._kept = self._kept[count:]
        if self.feed.epoch != epoch:
            last = self._last  # its step is still to be taken
            self._clear()
            self._last = last
        else:
            self._done = self.feed.done * self._parts

    def _scale(self, taught: _Pass, place: int, losses: torch.Tensor) -> torch.Tensor:
        """Return by what each loss counts in the objective of this rank: shape (B,)."""
        if taught.scales is None:
            taught = self._taught = taught._replace(scales=numbers_on(losses.device, taught.factors))
        start = taught.starts[place]
        return taught.scales[start : start + len(losses)].to(losses.dtype)

    def _score(self, ids: Ids) -> None:
        """Score the ids, each rank its share, with the loader seen last."""
        assert self._model is not None  # refused when the teacher was built
        assert self._loss is not None
        if not self._loaders:
            raise CourseError("the plan begins with a scoring pass: iterate over teacher(loader), which can fetch it")
        loader, _ = next(reversed(self._loaders.values()))
        # Without DistributedDataParallel, which synchronises buffers at each forward: shares may differ by a batch.
        model = self._model.module if isinstance(self._model, nn.parallel.DistributedDataParallel) else self._model
        device, size = model_device(model, None), self.feed.plan.batch_size
        batches = list_batches(self.workers.share(ids).tolist(), size)
        found = [torch.empty(0, device=device)]
        with evaluation(model, accelerators(model, device), mixed(self.feed.plan.seed, _SCORING)):
            loading = fetched(with_batches(loader, batches, self._generator), batches)
            for batch, wanted in zip(loading, batches, strict=True):
                found.append(per_example(self._loss(model, moved(batch, device)), len(wanted), None))
        self.feed.record(*self.workers.gathered(torch.cat(found), [ids]))


class Epoch:
    """One epoch's batches, fetched as the loader does; ends early where the plan does."""

    def __init__(self, teacher: Teacher, loader: Any) -> None:
        self._teacher, self._loader = teacher, loader
        self._length: int | None = None  # once begun: a loop asks for it to see whether a batch is the last

    def _end(self) -> int:
        """Return the pass that the epoch under way ends before."""
        ends, at = self._teacher.ends, self._teacher.feed.epoch
        return next((end for end in ends if end > at), at)

    def __len__(self) -> int:
        """Return the epoch's batches: those that were left of it when it was begun here."""
        return self._left() if self._length is None else self._length

    def _left(self) -> int:
        teacher = self._teacher
        rows = teacher._rows[teacher.feed.epoch : self._end()]
        return max(0, sum(row.steps for row in rows) * teacher._parts - teacher._place)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches; each must be recorded before the next."""
        teacher, end = self._teacher, self._end()
        self._length = self._left()
        if teacher.finished:
            warnings.warn(
                f"the plan is at its end after {len(teacher.ends)} epochs: there is nothing more to train",
                UserWarning,
                stacklevel=2,
            )
        while teacher.feed.epoch < end:
            epoch = teacher.feed.epoch
            shares, place = teacher._begun().shares, teacher._place
            teacher._generator.manual_seed(mixed(mixed(mixed(teacher.feed.plan.seed, _LOADER), epoch), place))
            for batch in fetched(self._loader, shares[place:]):
                teacher._given = place = place + 1
                yield batch
                if teacher.feed.epoch == epoch and teacher._place < place:
                    raise CourseError(
                        "the losses of the last batch were not recorded: call loss = teacher.record(losses) for "
                        "every batch, with one loss per example"
                    )


class Batches(Sampler[list[int]]):
    """This rank's batches of the pass under way, from the first whose losses are not recorded: for a DataLoader.

    ``handing_out``: whoever iterates records the losses in order, without ``teacher(loader)``.
    """

    fits_any_plan = True

    def __init__(self, teacher: Teacher, *, handing_out: bool) -> None:
        self._teacher, self._handing_out = teacher, handing_out
        self.batch_size = -(-teacher.feed.plan.batch_size // teacher._parts)
        self._exhausted = -1  # the pass whose batches were all given out

    def __len__(self) -> int:
        """Return the batches left of the pass."""
        return max(0, self._teacher.feed.row.steps * self._teacher._parts - self._teacher._place)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield each batch's ids."""
        teacher = self._teacher
        if teacher.finished:
            return
        shares, place, epoch = teacher._begun().shares, teacher._place, teacher.feed.epoch
        if self._handing_out and self._exhausted == epoch:
            raise CourseError(
                f"all {len(shares)} batches of pass {epoch} were given out and {place} were recorded: record every "
                "batch once before the loader is asked for the next pass, or iterate over teacher(loader)"
            )
        for at in range(place, len(shares)):
            if self._handing_out:
                teacher._given = at + 1
                self._exhausted = epoch if at + 1 == len(shares) else -1
            yield shares[at].tolist()


class _Pass(NamedTuple):
    """A pass as this rank trains it: the parts of its share of each batch, in order.

    Where a part would be empty it is one example that counts nothing.
    """

    shares: list[Ids]
    padding: list[bool]
    factors: list[Any]  # by what each loss of a share counts, float64; none where a batch's mean is taken as it is
    starts: list[int]  # of each share among the factors
    scales: torch.Tensor | None = None  # the factors on the device, once

    @classmethod
    def of(cls, feed: attent.Feed, workers: Workers, parts: int) -> _Pass:
        batches, weights = feed.batches(), feed.weights()
        if weights is None and workers.world == parts == 1:
            return cls(batches, [False] * len(batches), [], [])
        shares, padding, factors = [], [], []
        for at, ids in enumerate(batches):
            weighed = np.ones(len(ids)) if weights is None else weights[at]
            own, each = workers.share(ids), workers.share(weighed)
            for part in range(parts):
                mine = slice(part * len(own) // parts, (part + 1) * len(own) // parts)
                empty = len(own[mine]) == 0
                padding.append(empty)
                shares.append(ids[:1] if empty else own[mine])
                # Gradients are averaged over ranks and parts: each counts as many times its part of the batch's mean.
                factors.append(np.zeros(1) if empty else each[mine] * workers.world * parts / len(ids))
        starts = np.cumsum([0, *map(len, factors)]).tolist()
        return cls(shares, padding, factors, starts)


def _length(data: Any) -> int:
    """Return the number of examples. Raises PlanError for what has none."""
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, Mapping | torch.Tensor | tuple | str) or not isinstance(data, int | Sized):
        raise PlanError(
            f"data must be the loader, its map-style dataset or the number of examples, got {type(data).__qualname__}"
        )
    return data if isinstance(data, int) else len(data)
