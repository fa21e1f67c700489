"""Hugging Face's Trainer, taught: the plan says which examples are trained when, all else is Trainer's own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import DistributedType
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from attent.errors import CourseError, LearnerError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent.plan.timeline import smallest_batch
from attent.run.feed import Feed
from attent.run.files import read_plain, write_whole
from attent_torch.batch_norm import refuse_alone
from attent_torch.data import column
from attent_torch.devices import accelerators
from attent_torch.evaluation import evaluation
from attent_torch.schedule import check_total
from attent_torch.taken import Taken
from attent_torch.trainers.skipping import Skipping, Weights
from attent_torch.trainers.transformers_checks import (
    check_arguments,
    check_data,
    check_losses,
    check_steps,
    check_version,
    fingerprint,
    mend_scale,
)
from attent_torch.trainers.transformers_lengths import bucketed, lengths_of
from attent_torch.trainers.transformers_losses import causal_loss, losses_of, shifts
from attent_torch.trainers.transformers_shares import SHARE, Collate, Share, Shared, Shares
from attent_torch.trainers.workers import Workers

STATE = "attent.json"
_LOADER = (
    "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers", "in_order",
)  # fmt: skip


class Teaching:
    """What teaches a Trainer, as the first base of a class: ``class Mine(Teaching, Seq2SeqTrainer)``.

    A plan's batch is the examples of one optimiser step: per_device_train_batch_size * gradient_accumulation_steps *
    processes. A pass of the plan is an epoch of Trainer. Steps, schedule and epochs are the plan's;
    ``num_train_epochs`` is not used, a smaller ``max_steps`` is. What is trained is the trainer's own loss. What is
    ranked is each example's part in it, from the same forward: for tokens the sum over its tokens, since each token
    weighs the same in training.

    Args:
        *args: Trainer's own arguments, with ``**kwargs``.
        plan: Which examples are trained when.
        attent_run: Folder for the run's trace, which ``attent report`` reads. The state to go on from is in Trainer's
            checkpoints.
        per_example_loss: ``per_example_loss(outputs, inputs)`` returns what is ranked, (B,), where the model's outputs
            have no logits, or another number is wanted; inputs are the model's keyword arguments, labels included.
        groups: The group of each example, for a policy that goes by groups, as ``auto`` does where they are given: a
            column of train_dataset, or an array.
        costs: What each example costs, such as its tokens: a column of train_dataset, or an array. Where batches are
            of similar length (``train_sampling_strategy="group_by_length"``, or a plan with ``bucket``), its length.
        feed_options: More arguments of `attent.Feed`, for plans that need them: ``watch``, ``reference``, ``replay``.
        **kwargs: Trainer's own.

    Raises:
        PlanError, LearnerError: before training, where plan, arguments, data or model do not go together.
    """

    def __init__(
        self,
        *args: Any,
        plan: Plan,
        attent_run: str | Path | None = None,
        per_example_loss: Callable[[Any, Any], torch.Tensor] | None = None,
        groups: Any = None,
        costs: Any = None,
        feed_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_version()
        super().__init__(*args, **kwargs)
        self.attent_run, self.per_example_loss = attent_run, per_example_loss
        given = {name: held for name, held in (("groups", groups), ("costs", costs)) if held is not None}
        self.feed_options = {**given, **(feed_options or {})}
        self.feed: Feed | None = None
        self._share: Share | None = None  # in training
        self._clear()
        check_data(self.train_dataset)
        check_arguments(self, plan)
        self.plan = bucketed(plan, self.args.train_sampling_strategy, len(self.train_dataset))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train by the plan, from its start or a checkpoint, and return what Trainer's ``train`` does."""
        with Workers.here().telling():
            self._open(bool(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _open(self, resumed: bool) -> None:
        """Check what is given, and make the feed of a run."""
        check_data(self.train_dataset)
        check_arguments(self, self.plan)
        self.feed = None  # one of before gives its run folder free
        self._clear()
        known = {
            name: column(name, held, self.train_dataset) if name in ("groups", "costs") else held
            for name, held in self.feed_options.items()
        }
        if self.plan.bucket is not None and "costs" not in known:
            named = getattr(self.processing_class, "model_input_names", ["input_ids"])[0]
            known["costs"] = lengths_of(self.train_dataset, self.args.length_column_name, named)
        self.feed = Feed(
            self.plan,
            len(self.train_dataset),
            run=self.attent_run,
            resume=resumed and self.attent_run is not None,
            versions={"torch": str(torch.__version__), "transformers": transformers.__version__},
            fingerprint=fingerprint(self.train_dataset),
            write=self.is_world_process_zero(),
            **known,
        )
        smallest, row = smallest_batch(self.plan.timeline(self.feed.n))
        if smallest // (self.args.gradient_accumulation_steps * self.args.world_size) <= 1:
            refuse_alone(self.model, row, smallest)

    def _clear(self) -> None:
        self._trained: list[tuple[Ids, torch.Tensor]] = []  # not recorded yet; the losses are still on the device
        self._step: list[torch.Tensor] = []  # losses of the step under way
        self._skipped = 0  # steps left out, not recorded yet
        self._weights: Weights | None = None  # once training begins
        self._skipping: Skipping | None = None
        self._taken: Taken | None = None  # where a loss scaler leaves steps out

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of this process' shares of the pass under way."""
        args, strategy = self.args, self.args.train_sampling_strategy
        args.train_sampling_strategy = "random"  # the sampler is replaced: to group by length takes a look at all data
        try:
            own = super().get_train_dataloader()
        finally:
            args.train_sampling_strategy = strategy
        accumulate, processes = args.gradient_accumulation_steps, args.world_size
        shares = Shares(lambda: self.feed, args.train_batch_size, accumulate, processes, args.process_index)
        settings = {name: getattr(own, name) for name in _LOADER}
        loader = DataLoader(Shared(own.dataset), batch_sampler=shares, collate_fn=Collate(own.collate_fn), **settings)
        accelerator = self.accelerator  # is not asked to prepare the loader: it would deal the shares out again
        return prepare_data_loader(
            loader, accelerator.device, 1, 0, put_on_device=True, non_blocking=accelerator.non_blocking
        )

    def set_initial_training_values(self, args: Any, dataloader: Any) -> tuple[Any, ...]:
        """Return the plan's totals in place of the loader's."""
        size = super().set_initial_training_values(args, dataloader)[4]
        steps = check_steps(args, self.plan, self.feed.total_steps)
        few = Share(np.arange(min(2, self.feed.n)), None, 1.0)
        check_losses(self, *self._evaluated(few, dataloader))
        parts = args.gradient_accumulation_steps * args.world_size
        if parts > 1 and super().compute_loss.__func__ is Trainer.compute_loss:
            mend_scale(self, lambda items: self._own_loss(few, dataloader, items))
        if self.lr_scheduler is not None and not self._created_lr_scheduler:  # the user's
            check_total(self.lr_scheduler, steps, self.plan.epochs)
        taught = sum(row.k for row in self.plan.timeline(self.feed.n))
        return self.plan.epochs, self.feed.row.steps, self.feed.n, taught, size, len(dataloader), steps

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Return the pass, and how many micro-batches of it, the checkpoint's feed has done."""
        own = super()._init_training_state
        folder = inspect.signature(own).bind(*args, **kwargs).arguments["resume_from_checkpoint"]
        own(*args, **kwargs)
        if folder is not None:
            path = Path(folder, STATE)
            if not path.is_file():
                raise CourseError(f"{folder} has no {STATE}: it is no checkpoint of a taught run. Begin without it")
            self.feed.load_state(read_plain(path))
        return self.feed.epoch, self.feed.done * self.args.gradient_accumulation_steps

    def _run_epoch(self, **given: Any) -> None:
        """Train one pass, with the steps that it has."""
        loader, epoch = given["train_dataloader"], self.feed.epoch
        while (ids := self.feed.to_score()) is not None:
            self._score(ids, loader)
        steps = len(self.feed.batches())
        if self._weights is None:
            self._begin()
        super()._run_epoch(**{**given, "steps_in_epoch": len(loader), "num_update_steps_per_epoch": steps})
        self._record(ended=self.feed.epoch + 1 == self.plan.epochs)
        if self.feed.epoch == epoch and not self.control.should_training_stop:
            if self.control.should_epoch_stop:
                raise CourseError(
                    f"a callback ended the epoch after {self.feed.done} of the {steps} steps of pass {epoch}, all of "
                    "which the plan needs: it may end training at any step, by control.should_training_stop"
                )
            raise CourseError(f"Trainer took {self.feed.done} of the {steps} steps of pass {epoch}")

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as Trainer does; in a checkpoint, the feed's state beside it."""
        checkpoint = _internal_call and self.is_in_train and output_dir is not None
        if checkpoint:
            self._record()
            self._weights.check(f"at step {self.state.global_step}")
        super().save_model(output_dir, _internal_call)
        if checkpoint and self.args.should_save:
            kept = json.dumps(self.feed.state())
            write_whole(Path(output_dir, STATE), lambda path: path.write_text(kept) and None)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Take Trainer's own step, and keep each example's loss from its forward."""
        share = self._share = inputs.pop(SHARE)
        if self._skipping is not None and not self._step:
            self._skipping.forward()
        self._inputs, self._each, self._weighed = dict(inputs), None, False
        hook = model.register_forward_hook(self._listen)
        own = self.compute_loss

        def weighed(model: Any, inputs: Any, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
            loss = own(model, inputs, *args, num_items_in_batch=num_items_in_batch, **kwargs)
            return loss if self._weighed else self._weigh(loss, num_items_in_batch, whole=share.weights is None)

        self.compute_loss = weighed  # around that of a subclass too, which need not call ours
        try:
            alone = self.per_example_loss is None and self.args.n_gpu <= 1 and not self.args.torch_compile
            with causal_loss(self.model, alone) as self._causal:
                loss = super().training_step(model, inputs, *args, **kwargs)
            self._step.append(self._each.detach())
            if not share.stand_in:
                self._trained.append((share.ids, self._each.detach()))
        finally:
            hook.remove()
            del self.compute_loss
            self._share = self._inputs = self._each = None
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return Trainer's own loss; weighed where the plan weighs examples or a step's shares are uneven."""
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._share is None:  # evaluation
            return result
        loss, *outputs = result if return_outputs else (result,)
        loss = self._weigh(loss, num_items_in_batch)
        return (loss, *outputs) if return_outputs else loss

    def _weigh(self, loss: torch.Tensor, num_items_in_batch: Any, whole: bool = True) -> torch.Tensor:
        """Return a loss as it counts in its step; ``whole``: it can be weighed, or need not be."""
        if self._each is None or not whole:
            raise LearnerError(
                f"compute_loss of {type(self).__name__} must call the model, and super().compute_loss() where the "
                "plan weighs examples: attent takes and weighs losses there"
            )
        scaled = getattr(self, "loss_is_scaled_for_ga", None)
        if scaled is None:
            counted = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            scaled = counted or self.compute_loss_func is not None
        self._weighed = True
        return self._share.weigh(loss, self._each, mean=not scaled)

    def _listen(self, module: Any, args: Any, outputs: Any) -> None:
        """Take each example's loss from the first forward that is trained."""
        share = self._share
        if self._each is not None or not torch.is_grad_enabled():
            return
        self._each, wanted = self._causal.each, share.stand_in or share.weights is not None
        if self._each is None:
            with torch.set_grad_enabled(wanted):
                self._each = self._losses(outputs, self._inputs, len(share.ids))

    def _losses(self, outputs: Any, inputs: Mapping[str, Any], count: int) -> torch.Tensor:
        if self.per_example_loss is None:
            return losses_of(outputs, inputs, shifts(self.model), getattr(self.args, "loss_type", "nll"))[0]
        each = self.per_example_loss(outputs, inputs)
        if not isinstance(each, torch.Tensor) or each.shape != (count,):
            got = tuple(each.shape) if isinstance(each, torch.Tensor) else type(each).__name__
            raise LearnerError(f"per_example_loss must return one number per example, shape ({count},), got {got}")
        return each

    def _evaluated(self, share: Share, loader: Any) -> tuple[torch.Tensor, Any, dict[str, Any]]:
        """Return losses, outputs and inputs of some examples in evaluation mode; model and generators stay as found."""
        with evaluation(self.model, accelerators(self.model, self.accelerator.device), key=0):
            inputs = self._fetched(share, loader)
            outputs = self.model(**inputs)
            return self._losses(outputs, inputs, len(share.ids)), outputs, inputs

    def _own_loss(self, share: Share, loader: Any, items: int) -> torch.Tensor:
        """Return what compute_loss, a subclass' too, makes of some examples in evaluation mode."""
        with evaluation(self.model, accelerators(self.model, self.accelerator.device), key=0):
            inputs = self._fetched(share, loader)
            return self.compute_loss(
                self.model, inputs, num_items_in_batch=torch.tensor(items, device=self.args.device)
            )

    def _fetched(self, share: Share, loader: Any) -> Any:
        batch = loader.collate_fn(loader.dataset.__getitems__(share))
        inputs = self._prepare_inputs(send_to_device(batch, self.accelerator.device))
        inputs.pop(SHARE)
        return inputs

    def _score(self, ids: Ids, loader: Any) -> None:
        """Record the scores that the feed asks for; each process computes its part of them."""
        mine = ids[self.args.process_index :: self.args.world_size]
        parts = np.array_split(mine, max(1, -(-len(mine) // self.args.eval_batch_size)))
        scores = [self._evaluated(Share(part, None, 1.0), loader)[0] for part in parts if len(part)]
        self._trained += list(zip([part for part in parts if len(part)], scores, strict=True))
        self._record()

    def _begin(self) -> None:
        """Look at the model as it is when training begins, and have steps left out where the plan asks for it."""
        workers = Workers.here()
        self._weights = Weights(self.model, workers)
        if self.plan.non_finite != "error" and self.accelerator.distributed_type != DistributedType.DEEPSPEED:
            self._skipping = Skipping(self.model, workers)
        if self.accelerator.scaler is not None:
            self._taken = Taken(self._optimizer())
        self.remove_callback(_BeforeStep)
        self.add_callback(_BeforeStep(self._before_step))

    def _before_step(self) -> None:
        step, self._step = self._step, []
        scaled = self._taken is not None
        left_out = False
        if self._skipping is not None:
            left_out = self._skipping.leaves_out(self._optimizer(), step, scaled=scaled)
        self._skipped += 1 if scaled else left_out  # a scaler takes its step after this, or not

    def _optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)  # in accelerate's

    def _record(self, ended: bool = False) -> None:
        """Record the losses since the last time, of all processes; ``ended``: they may be the run's last."""
        trained, self._trained = self._trained, []
        if not trained:
            return
        losses = torch.cat([each for _, each in trained])
        ids = torch.as_tensor(np.concatenate([ids for ids, _ in trained]), device=losses.device)
        if self.args.world_size > 1:
            gather, pad = self.accelerator.gather, self.accelerator.pad_across_processes
            ids, losses = gather(pad(ids, pad_index=-1)), gather(pad(losses))
        ids, losses = ids.cpu().numpy(), losses.cpu().numpy()
        if ended and (self.plan.non_finite != "error" or np.isfinite(losses).all()):
            self._weights.check(f"after pass {self.feed.epoch}")  # such a run has not finished
        skipped, self._skipped = self._skipped - (0 if self._taken is None else int(self._taken.since())), 0
        self.feed.record(losses[ids >= 0], ids[ids >= 0], skipped, scaled=self._taken is not None)


class _BeforeStep(TrainerCallback):
    """Calls back when a step's gradients are there."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self._call()


class TaughtTrainer(Teaching, Trainer):
    """`transformers.Trainer` that trains by a plan: two more arguments, ``plan`` and ``attent_run``; see `Teaching`."""
