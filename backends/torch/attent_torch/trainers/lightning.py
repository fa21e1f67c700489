"""Lightning, taught: the module, the loader and the trainer stay, and a callback chooses what each batch holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, GradientAccumulationScheduler, LearningRateFinder
from torch.utils.data import DataLoader

from attent.errors import CourseError, LearnerError, PlanError
from attent.plan.plan import Plan
from attent_torch.schedule import check_epochs, check_total
from attent_torch.trainers.loops import Teacher
from attent_torch.trainers.skipping import Skipping
from attent_torch.trainers.workers import Workers

_UNSET = (-1, 1000)  # Trainer's max_epochs where none was given


class Teaching(Callback):
    """Chooses what a Lightning Trainer trains: ``Trainer(callbacks=[Teaching(plan)])``, and `record` in training_step.

    The loader keeps its workers, collate_fn and the rest; which examples come when, how many batches an epoch has and
    ``trainer.estimated_stepping_batches`` are the plan's. A batch of the plan is the examples of an optimiser step: the
    loader's batches over ``accumulate_grad_batches`` and all processes. An epoch of Lightning is as much training as
    the plan spends on one: most plans' passes, some of `Plan.auto`'s. The state is kept in Lightning's checkpoints,
    from which ``fit(ckpt_path=...)`` goes on exactly.

    Args:
        plan: what is taught when. ``Trainer(max_epochs=...)`` is left out, or as many.
        run: folder to write the run to; None: in memory.
        resume: go on with the run in that folder; so does ``fit(ckpt_path=...)``, but under FSDP and DeepSpeed.
        loss: ``loss(module, batch)`` gives one loss per example; only for a plan that has scoring passes.
        settings: further ones of `attent.Feed`. ``groups`` and ``costs`` may also name a column, or an attribute such
            as ``targets``, of the loader's dataset.

    Raises PlanError, LearnerError, CourseError or TraceError from ``fit``, before the first step.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> import attent
        >>> from attent_torch.trainers.lightning import Teaching
        >>> teaching = Teaching(attent.Plan.auto(epochs=5, batch_size=32))
        >>> trainer = Trainer(max_epochs=5, callbacks=[teaching], logger=False, accelerator="cpu")
        >>> teaching.state_key
        'attent'
    """

    def __init__(
        self,
        plan: Plan,
        *,
        run: Any = None,
        resume: bool = False,
        loss: Callable[[Any, Any], torch.Tensor] | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(plan, Plan):
            raise PlanError(f"Teaching takes a plan, got {type(plan).__qualname__}")
        if not lightning.__version__.startswith("2.6."):
            raise LearnerError(f"Teaching is for lightning 2.6, and {lightning.__version__} is installed")
        self.plan, self.run, self.resume, self.loss, self.settings = plan, run, resume, loss, settings
        self.teacher: Teacher | None = None
        self._trainer: Trainer | None = None
        self._state: dict[str, Any] | None = None  # of a checkpoint
        self._skipping: Skipping | None = None

    @property
    def state_key(self) -> str:
        """The state's name in checkpoints."""
        return "attent"

    def state_dict(self) -> dict[str, Any]:
        """Return the state in texts, which ``weights_only`` reads; every rank must call it, as Lightning does."""
        return {} if self.teacher is None else self.teacher.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self._state = state_dict
        if self.teacher is not None:
            self.teacher.load_state_dict(state_dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of the trainer's loader."""
        if stage != "fit":
            return
        _check(trainer)
        if trainer is not self._trainer:
            self._trainer, self.teacher, self._state = trainer, None, None
        loop = trainer.fit_loop
        self._own = loop._data_source, loop.epoch_loop.max_steps
        # Its length changes from epoch to epoch, and Lightning asks for it when it asks for the loader.
        loop._data_source, trainer.reload_dataloaders_every_n_epochs = _Source(self, loop._data_source, pl_module), 1
        self._begun = False

    def open(self, loader: Any, module: LightningModule) -> Any:
        """Return the loader in place of the script's, and tell the trainer how long the run is."""
        trainer = self._trainer
        assert trainer is not None
        if not isinstance(loader, DataLoader):
            raise CourseError(f"a taught trainer takes one DataLoader, got {type(loader).__qualname__}")
        if self.teacher is None:
            run = None if trainer.fast_dev_run else self.run
            self.teacher = Teacher(
                self.plan, loader, model=module, loss=None if self.loss is None else self._scored, run=run,
                resume=run is not None and (self.resume or self._state is not None),
                accumulate=trainer.accumulate_grad_batches, versions={"lightning": lightning.__version__},
                **self.settings,
            )  # fmt: skip
            if self._state is not None:
                self.teacher.load_state_dict(self._state)
        self.teacher(loader)  # refuses one whose order is not the plan's to choose
        steps, loop = self.teacher.steps, trainer.fit_loop
        if trainer.fast_dev_run:
            return _Epochs(self, loader)
        if loop.max_epochs not in (*_UNSET, self.plan.full_epochs, len(steps)):
            raise PlanError(
                f"the trainer has max_epochs={loop.max_epochs} and the plan spends {self.plan.full_epochs} epochs: "
                "give both the same number"
            )
        interval, within = trainer.val_check_interval, min(steps) * trainer.accumulate_grad_batches
        if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > within:
            raise PlanError(
                f"the trainer has val_check_interval={interval}, and the plan's shortest epoch has {within} batches: "
                "set check_val_every_n_epoch=None, so that batches are counted over epochs, or a fraction of an epoch"
            )
        loop.max_epochs, most = len(steps), self._own[1]
        total = sum(steps)
        loop.epoch_loop.max_steps = total if most == -1 else min(total, most)
        return _Epochs(self, loader)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the schedules, which were built just now, before anything is trained."""
        loop = trainer.fit_loop
        if self.teacher is None:
            loop._data_source.dataloader()
        if pl_module.automatic_optimization and any(isinstance(each, torch.optim.LBFGS) for each in trainer.optimizers):
            raise PlanError(
                "LBFGS calls training_step several times a step, so that a batch has several losses of each example: "
                "take another optimiser"
            )
        self._begun = True
        loop._combined_loader = None  # where a schedule asked for the number of steps it was of no epoch yet
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau or trainer.fast_dev_run:
                continue
            if config.interval == "step":
                check_total(config.scheduler, loop.max_steps // config.frequency, loop.max_epochs)
            else:
                check_epochs(config.scheduler, loop.max_epochs // config.frequency)
        loop.epoch_loop.max_steps = self._own[1]  # with one, Lightning does not go on right at an epoch's end

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep what a step may write that is left out."""
        if self._skipping is not None and batch_idx % trainer.accumulate_grad_batches == 0:
            self._skipping.forward()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Leave a step out that is not finite, where the plan asks for it."""
        if self._skipping is None or self.teacher is None:
            return
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        self.teacher.stepped(self._skipping.leaves_out(optimizer, self.teacher.step_losses, scaled=scaled))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a checkpoint that holds no state of the plan; after one of an epoch's end begin the next epoch."""
        if trainer.ckpt_path is not None and self._state is None:
            raise CourseError(f"{trainer.ckpt_path} is no checkpoint of a taught run: begin without ckpt_path")
        self._skipping = None
        if self.plan.non_finite != "error" and pl_module.automatic_optimization and not trainer.fast_dev_run:
            self._skipping = Skipping(pl_module, Workers.here())
        if self.teacher is not None:
            scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
            if len(trainer.optimizers) == 1 and (scaled or not pl_module.automatic_optimization):
                self.teacher.count(trainer.optimizers[0])
            self.teacher.sees_steps = self._skipping is not None or self.teacher.counted
        loop = trainer.fit_loop.epoch_loop
        if loop.restarted_on_train_batch_end and loop.batch_progress.is_last_batch:
            # Lightning sees that the epoch was over only where the next one is no longer.
            loop.batch_progress.increment_completed()
            loop._batches_that_stepped += 1
            loop.restarting = False
            loop.reset_restart_stage()

    def length(self) -> int:
        """Return the batches of the epoch under way; before training of the longest."""
        assert self.teacher is not None
        assert self._trainer is not None
        steps = self.teacher.steps
        longest = steps[min(self._trainer.current_epoch, len(steps) - 1)] if self._begun else max(steps)
        return longest * self._trainer.accumulate_grad_batches

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Refuse a training_step that did not give its losses, before it changes anything."""
        if pl_module.automatic_optimization:
            self._check_recorded(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Refuse what on_before_backward could not."""
        self._check_recorded(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse an epoch that ended early, though training goes on: its pass would be mixed with the next."""
        teacher, most = self.teacher, self._own[1]
        if teacher is not None and teacher.finished and not trainer.fast_dev_run:
            teacher.state_dict()  # refuses weights that are not finite, also where nothing is kept
        ending = trainer.should_stop or trainer.fast_dev_run or (most != -1 and trainer.global_step >= most)
        if teacher is not None and not ending and teacher.feed.epoch < teacher.ends[trainer.current_epoch]:
            raise CourseError(
                f"the epoch ended within pass {teacher.feed.epoch} of the plan, all of whose batches are needed: "
                "on_train_batch_start must not return -1; trainer.should_stop ends training at any step"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the trainer its own loader back."""
        if isinstance(trainer.fit_loop._data_source, _Source):
            trainer.fit_loop._data_source, trainer.fit_loop.epoch_loop.max_steps = self._own
            trainer.reload_dataloaders_every_n_epochs = 0

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the trainer its own loader back, so that ``fit`` can be called again."""
        self.teardown(trainer, pl_module, "fit")

    def _check_recorded(self, module: LightningModule) -> None:
        if self.teacher is not None and self.teacher.waiting:
            raise CourseError(
                f"{type(module).__name__}.training_step gave no losses of its examples: let it call "
                "loss = record(self, losses) with one loss per example, computed with reduction='none', "
                "from attent_torch.trainers.lightning"
            )

    def _scored(self, module: Any, batch: Any) -> torch.Tensor:
        assert self._trainer is not None
        assert self.loss is not None
        with self._trainer.precision_plugin.forward_context():
            return self.loss(module, batch)


def record(module: LightningModule, losses: torch.Tensor) -> torch.Tensor:
    """Return the mean of a batch's losses, for training_step to return; where `Teaching` teaches, it is told them.

    losses: floating-point tensor, shape (B,), one per example in the batch's order. The mean is weighted where the plan
    weighs. In validation, or under a trainer that has no `Teaching`, it is the plain mean and nothing is recorded.

    Raises LearnerError for another shape, CourseError where a batch's losses are recorded twice.

    Example:
        >>> import torch
        >>> from lightning.pytorch import LightningModule
        >>> from attent_torch.trainers.lightning import record
        >>> record(LightningModule(), torch.tensor([1.0, 2.0]))
        tensor(1.5000)
    """
    trainer = module._trainer
    if trainer is not None and trainer.training:
        for callback in trainer.callbacks:
            if isinstance(callback, Teaching) and callback.teacher is not None:
                return callback.teacher.record(losses)
    return losses.mean()


class _Source:
    """Where Lightning asks for the loader: asked once, so that ids stay and workers persist."""

    def __init__(self, teaching: Teaching, own: Any, module: LightningModule) -> None:
        self._teaching, self._own, self._module = teaching, own, module
        self._opened: Any = None

    def dataloader(self) -> Any:
        if self._opened is None:
            self._opened = self._teaching.open(self._own.dataloader(), self._module)
        return self._opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class _Epochs:
    """What Lightning iterates: an epoch each time, from where the teacher stands. All else is the script's loader."""

    def __init__(self, teaching: Teaching, loader: Any) -> None:
        self._teaching, self._loader = teaching, loader

    def __len__(self) -> int:
        return self._teaching.length()

    def __iter__(self) -> Iterator[Any]:
        assert self._teaching.teacher is not None
        return iter(self._teaching.teacher(self._loader))

    def state_dict(self) -> dict[str, Any]:
        return {}  # the callback has it; that there is one tells Lightning that the loader can go on in mid-epoch

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _check(trainer: Trainer) -> None:
    """Raise PlanError for a trainer that would train other batches than the plan's."""
    if trainer.fast_dev_run:
        return
    for each in trainer.callbacks:
        if isinstance(each, LearningRateFinder | BatchSizeFinder):
            raise PlanError(
                f"{type(each).__name__} trains for a while and takes it back, which a plan cannot: run it with a "
                "trainer without Teaching"
            )
        if isinstance(each, GradientAccumulationScheduler):
            raise PlanError(
                "GradientAccumulationScheduler changes how many examples a step has, and the plan lays them out: set "
                "accumulate_grad_batches instead"
            )
    if trainer.limit_train_batches != 1.0 or trainer.overfit_batches:
        raise PlanError(
            f"the trainer has limit_train_batches={trainer.limit_train_batches} and "
            f"overfit_batches={trainer.overfit_batches}, which cut passes off: leave them out, or give a smaller "
            "data set or plan"
        )
    if trainer.reload_dataloaders_every_n_epochs:
        raise PlanError(
            "the trainer has reload_dataloaders_every_n_epochs, and a plan needs the same examples under the same ids "
            "all along: leave it out"
        )
