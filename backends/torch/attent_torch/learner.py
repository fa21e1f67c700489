"""The learner for PyTorch: any module, any per-example loss, any optimiser, any map-style dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from attent.columns import check_watch_is_callable, costs_from, groups_from, watched_from
from attent.errors import LearnerError
from attent.extra import Extra
from attent.learner import Ids, Numbers, State, check_batches, check_ids
from attent_torch.batch_norm import unable_alone
from attent_torch.buffers import Buffers
from attent_torch.checkpoint import Parts, gathered, taken_up
from attent_torch.data import column, sources
from attent_torch.devices import accelerators, casting, model_device, moved, numbers_on
from attent_torch.evaluation import averaged, evaluation, swaps
from attent_torch.frozen import Frozen
from attent_torch.generators import mixed
from attent_torch.losses import LossRecord, per_example
from attent_torch.requests import Request, split
from attent_torch.schedule import check_total
from attent_torch.settings import check_alone, check_loss, check_optimizer, check_settings
from attent_torch.sharded import is_sharded
from attent_torch.state import pack, unpack
from attent_torch.steps import Steps

if TYPE_CHECKING:
    from attent_torch.ranks import Ranks

Loss = Callable[[nn.Module, Any], torch.Tensor | Mapping[str, torch.Tensor]]
# Children of the data seed, so that scoring, training and the model's own draws while scoring never share numbers.
_SCORING, _TRAINING, _MODEL = range(3)


class TorchLearner:
    """Teaches a PyTorch model; implements `attent.Learner`, and `attent.Evaluates` if given ``evaluate``.

    Args:
        model: Any module. Trained with the train/eval flags that it has; one whose own flag says eval, as
            pre-trained models come, is switched to training as a whole. For several processes see
            `attent_torch.workers`.
        data: What ids index. Tensors or arrays in memory (one, a tuple, a dict, a TensorDataset or a Subset
            of it), whose batches have the same structure; or any map-style dataset, whose items ``collate_fn``
            joins (PyTorch's default_collate where None). Items drawn at random are functions of (seed, step,
            id), in scoring of (seed, id), if they draw from the global generators; see `attent_torch.data`.
        loss: ``loss(model, batch)``: each example's loss, a floating-point tensor (B,), or a dict of them by
            task. The deviation of an example, and what is trained, is the sum of the tasks' losses times
            ``task_weights`` (1 each where None).
        optimizer: Over the model's parameters; one whose ``step`` needs no closure.
        scheduler: Stepped after every optimiser step, not after every epoch: whatever it counts (``T_max``,
            ``step_size``, milestones) are steps, ``plan.total_steps(len(data))`` in all. ``attent.teach`` refuses
            one of another length, or that counts epochs, before the first step.
        score_data: The same examples without augmentation, for scoring only.
        evaluate: ``evaluate(model)`` returns quality on held-out data by metric name, the main one first. Run
            in evaluation mode without gradients; changes nothing. watch: likewise, ``watch(model)`` returns one number
            for each example that must not be forgotten, lower is better, shape (m,); only then an `attent.Watches`.
        groups: The group of each example, whole numbers from 0 or texts, or the name of a column of the data; only then
            is the learner an `attent.Groups`, for policies by group. costs: likewise what each example costs.
        device: Where batches go; where the model is, unless given.
        autocast: dtype of automatic mixed precision in training, with loss scaling for float16.
        score_autocast: The same for scoring; ``autocast`` where None, float32 for no casting.
        accumulate: Parts that a batch is split into; gradients add up to those of the whole batch.
        clip_norm: Largest Euclidean norm of a step's gradient.
        score_batch_size: Examples per forward in scoring; affects memory and speed only. None: as many as a forward
            has in training, once ``attent.teach`` has said how many; 128 before.
        num_workers: Processes that fetch items; kept between calls. Tensors in memory need none.
        seed: Of random items. The plan's, usually.
        extra: What else goes on exactly, by name: objects with ``state_dict`` and ``load_state_dict``, such as an
            averaged model, a schedule of your own, a counter; or pairs of functions (get, set) of such a state.
        own_settings: Go on from a state with the learning rate, the optimiser's other settings and the schedule that
            this learner is built with. Otherwise those of the state are taken up, with a warning if they differ.

    Losses stay on the device and come to the host once per call. Raises LearnerError for settings, ids,
    weights, losses or states that do not fit, naming what and how.

    Example:
        >>> import numpy as np, torch
        >>> from attent_torch import TorchLearner, cross_entropy
        >>> data = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
        >>> model = torch.nn.Linear(1, 2)
        >>> learner = TorchLearner(model, data, cross_entropy, torch.optim.SGD(model.parameters(), 0.5))
        >>> both = np.array([0, 1])
        >>> before = learner.score(both).sum()
        >>> learner.train([both] * 20).shape, bool(learner.score(both).sum() < before)
        ((40,), True)
    """

    new_groups: tuple[int, ...] = ()  # those of `groups` that are new to a model that goes on
    relevance: Numbers | None = None  # of each example to a target: float64 (n,), higher is nearer
    evaluate: Callable[[], dict[str, float]]
    watch: Callable[[], Numbers]
    groups: Callable[[], Ids]
    costs: Callable[[], Numbers]

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: Loss,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        *,
        task_weights: Mapping[str, float] | None = None,
        score_data: Any = None,
        evaluate: Callable[[nn.Module], Mapping[str, Any]] | None = None,
        watch: Callable[[nn.Module], Any] | None = None,
        groups: Any = None,
        costs: Any = None,
        device: torch.device | str | None = None,
        autocast: torch.dtype | None = None,
        score_autocast: torch.dtype | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        score_batch_size: int | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        seed: int = 0,
        extra: Mapping[str, Any] | None = None,
        own_settings: bool = False,
    ) -> None:
        check_settings(
            {"accumulate": accumulate, "score_batch_size": 1 if score_batch_size is None else score_batch_size},
            {"num_workers": num_workers, "seed": seed},
            {"autocast": autocast, "score_autocast": score_autocast},
            clip_norm,
        )
        check_loss(loss)
        check_watch_is_callable(watch)
        beside = Extra(extra)
        check_optimizer(model, optimizer, scheduler)
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        # DistributedDataParallel exchanges buffers at each forward: scored is the module in it, which waits for nobody.
        self._bare: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
        self._ranks: Ranks | None = None
        self.device = model_device(model, device)
        self._loss, self._task_weights = loss, task_weights
        self._autocast, self._score_autocast = autocast, autocast if score_autocast is None else score_autocast
        self._accumulate, self._seed = accumulate, seed
        self._score_batch_size, self._told_batch_size = score_batch_size, 128
        scaler = torch.amp.GradScaler(self.device.type) if autocast is torch.float16 else None
        self._buffers = Buffers(self._bare)
        self._steps, self._count = Steps(optimizer, scheduler, scaler, clip_norm, self._buffers), 0
        self._accelerators = accelerators(model, self.device)
        self._parts = Parts(self._bare, self._steps, Frozen(self._bare, optimizer), beside, self._accelerators)
        self._own_settings = own_settings
        self._source, self._score_source = sources(data, score_data, collate_fn, num_workers, self.device)
        self._n = len(self._source)
        if evaluate is not None:
            self._evaluate = evaluate
            self.evaluate = self._judged  # only then is the learner an attent.Evaluates
        if watch is not None:
            self._watch = watch
            self.watch = self._watched
        if groups is not None:
            found, self.group_names = groups_from(column("groups", groups, data), self._n)
            self.groups = found.copy
        if costs is not None:
            self.costs = costs_from(column("costs", costs, data), self._n).copy

    def __len__(self) -> int:
        """Return the number of training examples."""
        return self._n

    @property
    def steps(self) -> int:
        """The number of optimiser steps taken."""
        return self._count

    @property
    def skipped(self) -> int:
        """The number of these that changed nothing, as a loss or the gradient was not finite."""
        return self._steps.skipped

    @property
    def scales_losses(self) -> bool:
        """Whether losses are scaled, so that steps are skipped to find the scale: under any plan."""
        return self._steps.scaler is not None

    @property
    def score_batch_size(self) -> int:
        """Examples per forward in scoring."""
        return self._told_batch_size if self._score_batch_size is None else self._score_batch_size

    def check_batches(self, largest: int, smallest: int) -> None:
        """Raise LearnerError where BatchNorm cannot train the smallest batch, or a part; score by the largest."""
        self._told_batch_size = -(-largest // self._accumulate)
        part = smallest // min(self._accumulate, smallest)
        names = unable_alone(self._bare, lambda: self.score(np.zeros(1, np.int64))) if part == 1 else []
        if names:
            of = f" in the parts of accumulate={self._accumulate}" if smallest > 1 else ""
            raise LearnerError(
                f"BatchNorm ({names[0]!r}) cannot train on one example{of}, of which each channel has one value. "
                "Choose another batch_size or ratio, so that the last batch has more, or a norm that does not look "
                "across examples"
            )

    def score(self, ids: Ids) -> Numbers:
        """Return each example's loss in evaluation mode: float64, shape (len(ids),). Changes nothing.

        Parameters, buffers, each module's train/eval flag and the global generators of Python, NumPy and
        torch stay as they were.
        """
        self._check_place()
        check_ids("ids", ids, self._n)
        key, size = mixed(self._seed, _SCORING), self.score_batch_size
        requests = [Request(ids[start : start + size], key) for start in range(0, len(ids), size)]
        record = LossRecord(len(ids))
        # One autocast region for the whole pass: it casts each weight once.
        with (
            averaged(self.optimizer),
            evaluation(self._bare, self._accelerators, mixed(self._seed, _MODEL)),
            casting(self.device, self._score_autocast),
        ):
            for request, batch in zip(requests, self._score_source.batches(requests), strict=True):
                record.add(self._losses(self._bare, batch, len(request.ids)))
        return record.fetch()

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per batch on ``mean_i(w_i * loss_i)``; return the losses from before each step.

        The losses are unweighted, float64, concatenated over the batches. Ids and weights of the whole call, and
        whether the schedule is long enough for it, are checked before the first step. A step with a loss or a gradient
        that is not finite changes no parameter, moment or buffer; the schedule goes on (rule P8). An optimiser with
        ``fused=True`` sees to it on the device; with others the host waits for each gradient.
        """
        self._check_place()
        check_batches(batches, weights, self._n)
        scale = None if weights is None else numbers_on(self.device, weights)
        self._steps.check(len(batches))
        if not self.model.training:
            self.model.train()
        if swaps(self.optimizer):
            self.optimizer.train()  # type: ignore[attr-defined] # of a schedule-free one
        key = mixed(self._seed, _TRAINING)
        parts = [split(ids, self._accumulate, mixed(key, self._count + step)) for step, ids in enumerate(batches)]
        fetched = self._source.batches([request for batch in parts for request in batch])
        record = LossRecord(sum(map(len, batches)))
        start = 0
        self._steps.clear()
        self._buffers.begin()
        for ids, requests in zip(batches, parts, strict=True):
            self._buffers.keep()
            if self._ranks is not None and self._ranks.world > 1:
                self._ranks.seed(mixed(key, self._count), self._accelerators)
            for request in requests:
                span = slice(start, start + len(request.ids))
                start = span.stop
                with self._averaging(request is requests[-1]):
                    with casting(self.device, self._autocast):
                        losses = self._losses(self.model, next(fetched), len(request.ids))
                    record.add(losses)
                    self._steps.backward(losses, None if scale is None else scale[span], len(ids))
            self._steps.update(record.last(len(ids)))
            self._count += 1
        if self._ranks is not None:
            self._ranks.share(self.model.buffers())
        return record.fetch()

    def join(self, ranks: Ranks) -> None:
        """Train from now on with the learners of other ranks, each on its share; see `attent_torch.workers`."""
        own = isinstance(self.model, DistributedDataParallel) or is_sharded(self.model)
        if type(self.model).__name__ == "FullyShardedDataParallel":
            raise LearnerError(
                "FullyShardedDataParallel, FSDP's older wrapper, is not taught on several ranks: use "
                "torch.distributed.fsdp.fully_shard(model) in its place"
            )
        if is_sharded(self.model) and self._accumulate > 1:
            raise LearnerError(
                f"accumulate must be 1 where the model lies in parts on several ranks, got {self._accumulate}: each "
                "must go forward equally often, and shares may differ by an example"
            )
        self._ranks = ranks
        self._steps.average, self._steps.agree = None if own else ranks.average, ranks.largest

    def _averaging(self, last: bool) -> AbstractContextManager[Any]:
        """Return where a part of a batch goes backward: only the last one's gradients are averaged over the ranks."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()

    def _check_place(self) -> None:
        if self._ranks is None:
            check_alone(self.model)

    def check_schedule(self, steps: int, epochs: int) -> None:
        """Raise LearnerError unless the scheduler, if there is one, fits a run of so many further steps."""
        self._check_place()
        if self.scheduler is not None:
            check_total(self.scheduler, steps, epochs)

    def state(self) -> State:
        """Return everything needed to go on exactly, as named arrays that later training does not change.

        Held are the model's ``state_dict``, buffers beside it that training changes, optimiser, schedule and loss
        scale, ``extra``, the states of the global generators of Python, NumPy, torch and the model's devices, and the
        number of steps. Parameters that the optimiser does not hold are left out while they are as they were at first:
        a digest of them is kept. Raises LearnerError naming a value that is neither tensor, array, number nor text.
        """
        return pack(gathered(self._parts, self._count))

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state that ``state()`` returned, the global generators included.

        Warns where the state was made with another learning rate or setting than this learner has, which the state's
        then replaces; see ``own_settings``. Raises LearnerError naming what does not fit (a name, shape, dtype, another
        kind of optimiser, or other parameters where the state left them out); nothing is changed then.
        """
        self._count = taken_up(unpack(state), self._parts, self._own_settings)

    def _judged(self) -> dict[str, float]:
        with averaged(self.optimizer), evaluation(self._bare, self._accelerators, mixed(self._seed, _MODEL)):
            found = self._evaluate(self._bare)
        try:
            return {name: float(value) for name, value in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise LearnerError(f"evaluate must return numbers by metric name, got {found!r:.200}") from error

    def _watched(self) -> Numbers:
        with averaged(self.optimizer), evaluation(self._bare, self._accelerators, mixed(self._seed, _MODEL)):
            found = self._watch(self._bare)
        if isinstance(found, torch.Tensor):  # NumPy has no bfloat16
            found = (found.double() if found.is_floating_point() else found).cpu()
        return watched_from(found)

    def _losses(self, model: nn.Module, batch: Any, count: int) -> torch.Tensor:
        return per_example(self._loss(model, moved(batch, self.device)), count, self._task_weights)
