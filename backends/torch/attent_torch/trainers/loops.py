"""Plain PyTorch loops, also under DistributedDataParallel and accelerate: five lines change, the loop stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Sampler

import attent
from attent.errors import CourseError, LearnerError, PlanError
from attent.learner import Ids, Numbers
from attent.plan.timeline import epoch_ends, smallest_batch
from attent.run.feed import epoch_beyond_end
from attent_torch.batch_norm import refuse_alone
from attent_torch.data import column
from attent_torch.devices import accelerators, model_device, moved, numbers_on
from attent_torch.evaluation import evaluation
from attent_torch.generators import mixed
from attent_torch.losses import per_example
from attent_torch.steps import not_finite
from attent_torch.taken import Taken
from attent_torch.trainers.loaders import (
    accumulated,
    check_loader,
    fetched,
    length_of,
    list_batches,
    with_batches,
)
from attent_torch.trainers.passes import Pass
from attent_torch.trainers.skipping import Weights
from attent_torch.trainers.stepping import Stepping
from attent_torch.trainers.workers import Workers, refuse_watching

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
        model: what the loop trains. It is then refused at its first forward where BatchNorm cannot train the smallest
            batch of the run, and ``state_dict`` refuses weights that are no longer finite. None: it is not looked at.
        loss: ``loss(model, batch)`` gives one loss per example; with ``model``, for a plan that has scoring passes.
        optimizer: what takes the loop's steps: those that it does not take, as a GradScaler or the loop leaves them
            out, are then counted in the passes' records, and nobody waits for it. None: those that ``finite`` says.
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
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        accumulate: int | None = None,
        run: Any = None,
        resume: bool = False,
        **settings: Any,
    ) -> None:
        self.workers = Workers.here()
        with self.workers.telling():
            versions = {"torch": str(torch.__version__), **(settings.pop("versions", None) or {})}
            n, write = length_of(data), self.workers.rank == 0
            if self.workers.world > 1:
                refuse_watching(plan)
            for name in ("groups", "costs"):
                if name in settings:
                    settings[name] = column(name, settings[name], data)
            self.feed = attent.Feed(plan, n, run=run, resume=resume, versions=versions, write=write, **settings)
            self._rows = plan.timeline(n)
            if (model is None or loss is None) and any(row.score for row in self._rows):
                raise PlanError(
                    "the plan has scoring passes: give model=... and loss=..., a function of (model, batch) that "
                    "returns one loss per example; or a plan that scores by the losses of training, as Plan.auto and "
                    "Plan.default do"
                )
            self._parts = accumulated(data) or 1 if accumulate is None else accumulate
            if not isinstance(self._parts, int) or isinstance(self._parts, bool) or self._parts < 1:
                raise PlanError(f"accumulate must be a whole number of at least 1, got {accumulate!r}")
            if isinstance(data, DataLoader):
                check_loader(data, n, plan.batch_size, self.workers.world, self._parts)
            # accelerate takes a step for each process unless it splits the batches itself.
            times = self.workers.world if getattr(scheduler, "split_batches", None) is False else 1
            self._stepping = None
            if scheduler is not None:
                self._stepping = Stepping(scheduler, self.total_steps, plan.epochs, times=times, anew=not resume)
            self._model, self._loss = model, loss
            self._weights = None if model is None else Weights(model, self.workers)
            if model is not None:
                smallest, row = smallest_batch(self._rows)
                if smallest // (self.workers.world * self._parts) <= 1:
                    refuse_alone(model, row, smallest)
        self._taken: Taken | None = None
        if optimizer is not None:
            self.count(optimizer)
        self.sees_steps = True  # else it is not known which steps are left out
        self.ends = epoch_ends(self._rows, plan.full_epochs)  # the pass before which each epoch ends
        self.batch_sampler = Batches(self, handing_out=True)
        self._loaders: dict[int, tuple[Any, Any]] = {}  # by the id of a loader: itself, and the one in its place
        self._generator = torch.Generator()  # of the workers' seeds, so that a loader draws nothing from the global one
        self._clear()

    @property
    def finished(self) -> bool:
        """Whether the plan is at its end."""
        self._settle()
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

    @property
    def counted(self) -> bool:
        """Whether the steps that an optimiser takes are counted."""
        return self._taken is not None

    @property
    def step_losses(self) -> list[torch.Tensor]:
        """The losses recorded of the optimiser step under way, or last taken: a tensor for each of its batches."""
        return self._last

    def trace(self) -> attent.Trace:
        """Return what was taught so far."""
        if self.workers.world == 1:
            self._settle()
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
        if self._stepping is not None:
            self._stepping.check(self._steps + place // self._parts)
        share = taught.shares[place]
        if isinstance(losses, torch.Tensor) and losses.ndim == 0:
            raise LearnerError(
                "teacher.record takes one loss per example, got their mean: compute it with reduction='none'. Of a "
                "model that returns only a mean, as Hugging Face's .loss, take the logits and compute the loss from "
                "them, over tokens with attent_torch.token_mean"
            )
        losses = per_example(losses, len(share), None)
        own = losses.detach().clone()  # a view would keep a batch's logits alive
        self._last = [*self._last, own][-self._parts :]
        if self._taken is not None and not self._kept:
            self._taken.since()  # steps taken outside of the loop, as to make an optimiser's state, are none of it
        self._kept.append(own[:0] if taught.padding[place] else own)
        result = losses @ self._scale(taught, place, losses) if taught.factors else losses.mean()
        if self.feed.plan.non_finite == "error" and self._taken is None:
            self._settle()  # else its last step may be left out, which is told by `finite`
        return result

    def finite(self, optimizer: torch.optim.Optimizer) -> bool:
        """Say whether the losses last recorded and the optimiser's gradients are finite: after backward, before a step.

        ``if teacher.finite(optimizer): optimizer.step()`` is what a plan with ``non_finite="drop"`` or ``"last"`` asks
        of a loop; steps left out are counted in the pass's record. Called once for each step. All ranks are told the
        same, so each must call it. What the forward pass wrote to buffers, as BatchNorm does, is not put back.
        A GradScaler looks at gradients itself, and must see those that overflowed: with one give ``Teacher`` the
        optimiser in place of this.
        """
        if not self._last:
            raise CourseError("no losses are recorded: call teacher.finite after teacher.record and backward")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        left_out = self.workers.any(not_finite([*self._last, *gradients]))
        self.stepped(left_out)
        return not left_out

    def stepped(self, left_out: bool) -> None:
        """Take note that a step is taken, or left out as a loss or its gradient is not finite: what `finite` does."""
        if self.feed.plan.non_finite != "error" and self._taken is None:
            self._skipped += left_out
            self._settle()

    def count(self, optimizer: Optimizer) -> None:
        """Count the steps that this optimiser takes from now on: the others were left out."""
        optimizer = getattr(optimizer, "optimizer", optimizer)  # in accelerate's
        if not hasattr(optimizer, "register_step_post_hook"):
            raise LearnerError(
                f"optimizer is a {type(optimizer).__name__}, and the steps of one torch.optim.Optimizer are counted: "
                "of several give one that takes a step for each step of the plan"
            )
        self._taken = Taken(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return texts to keep in a checkpoint, as ``torch.save`` and ``torch.load(weights_only=True)`` take them.

        Right after a step, in mid-pass too; between batches that are accumulated it is that before the step. Under a
        process group every rank must call it.
        """
        self._hand_over()
        if self._weights is not None:
            self._weights.check(f"in pass {self.feed.epoch}")
        return self.feed.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one after the last recorded. Raises as `attent.Feed.load_state`."""
        self.feed.load_state(state)
        if self._taken is not None:
            self._taken.since()
        if self._stepping is not None:
            self._stepping.restored()
        self._clear()

    def _clear(self) -> None:
        self._taught: Pass | None = None
        self._kept: list[torch.Tensor] = []  # losses of this rank, batch by batch, that the feed does not have yet
        self._done = self.feed.done * self._parts  # batches of the pass whose losses the feed has
        self._given = 0  # batches of the pass that were given out
        self._last: list[torch.Tensor] = []  # losses of the step under way
        self._skipped = 0  # steps left out that the feed was not told of yet
        self._beyond = 0  # epochs asked for beyond the plan's end

    @property
    def _place(self) -> int:
        """Batches of the loader, in the pass, whose losses are recorded."""
        return self._done + len(self._kept)

    def _begun(self) -> Pass:
        """Return the pass under way; one that has not begun begins, with a scoring pass where the plan has one."""
        self._settle()
        if self._taught is None:
            ids = self.feed.to_score()
            if ids is not None:
                self._score(ids)
            self._taught = Pass.of(self.feed, self.workers, self._parts)
            if self._stepping is not None:
                self._steps = sum(row.steps for row in self._rows[: self.feed.epoch])  # before the pass
                self._stepping.begin(self._steps + self.feed.done)
        return self._taught

    def _settle(self) -> None:
        """Give the feed the losses of a pass that is complete."""
        if self._taught is not None and self._place == len(self._taught.shares):
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the feed the losses that were kept on the device, of whole steps."""
        steps = len(self._kept) // self._parts
        if not steps:
            return
        done, epoch, count = self.feed.done, self.feed.epoch, steps * self._parts
        batches = self.feed.batches()[done : done + steps]
        losses, ids = self.workers.gathered(torch.cat(self._kept[:count]), batches)
        left_out = self._skipped if self._taken is None else max(0, steps - int(self._taken.since()))
        self._check_left_out(losses, ids, batches, left_out)
        self.feed.record(losses, ids, left_out, scaled=self._taken is not None)
        self._kept, self._skipped = self._kept[count:], 0
        if self.feed.epoch != epoch:
            last = self._last  # its step is still to be taken
            self._clear()
            self._last = last
        else:
            self._done = self.feed.done * self._parts

    def _check_left_out(self, losses: Numbers, ids: Ids, batches: list[Ids], left_out: int) -> None:
        bad = ids[~np.isfinite(losses)]
        steps = sum(bool(np.isin(batch, bad).any()) for batch in batches) if len(bad) else 0
        if steps > left_out and self.feed.plan.non_finite != "error" and self.sees_steps:
            raise LearnerError(
                f"{steps} of {len(batches)} steps in pass {self.feed.epoch} had a loss that is not finite, and "
                f"{left_out} were left out: let the loop take none for which teacher.finite(optimizer) is False, or, "
                "where a GradScaler or the loop itself leaves them out, give Teacher(..., optimizer=optimizer)"
            )

    def _scale(self, taught: Pass, place: int, losses: torch.Tensor) -> torch.Tensor:
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
            teacher._beyond = epoch_beyond_end(len(teacher.ends), teacher._beyond)
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
            teacher._settle()


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
