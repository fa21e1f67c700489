"""What can be told of a Trainer before it trains: whether its version, arguments and data go with a plan."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments
from transformers.utils import logging
from transformers.utils.versions import version

from attent.errors import LearnerError, PlanError
from attent.plan.plan import Plan
from attent_torch.trainers.transformers_lengths import GROUPED
from attent_torch.trainers.transformers_losses import losses_of, shifts
from attent_torch.trainers.workers import refuse_watching

logger = logging.get_logger("transformers.attent")
VERSIONS = ("5.6", "6")
# What `Teaching` overrides, and the arguments it reads or changes. All but the first two are private to Trainer.
HOOKS = {
    "training_step": ("model", "inputs"),
    "save_model": ("output_dir", "_internal_call"),
    "get_train_dataloader": (),
    "set_initial_training_values": ("args", "dataloader"),
    "_init_training_state": ("resume_from_checkpoint",),
    "_run_epoch": ("steps_in_epoch", "num_update_steps_per_epoch"),
}


def check_version() -> None:
    """Raise LearnerError for a version of transformers whose Trainer is not known to be driven rightly."""
    have = version.parse(transformers.__version__)
    known = version.parse(VERSIONS[0]) <= have < version.parse(VERSIONS[1])
    missing = [
        f"{name}({', '.join(needed)})"
        for name, needed in HOOKS.items()
        if not hasattr(Trainer, name) or set(needed) - set(inspect.signature(getattr(Trainer, name)).parameters)
    ]
    if not known or missing:
        why = (
            f"its Trainer has no {missing[0]}" if missing else f"known are {VERSIONS[0]} up to, not with, {VERSIONS[1]}"
        )
        raise LearnerError(
            f"transformers {transformers.__version__} cannot be taught: {why}. Install one that can: "
            f'pip install "transformers>={VERSIONS[0]},<{VERSIONS[1]}", or a later attent-torch'
        )


def check_data(data: Any) -> None:
    """Raise LearnerError unless examples can be asked for by their ids, 0 to len(data) - 1."""
    if data is None:
        raise LearnerError("train_dataset is missing: it is what a plan teaches")
    if isinstance(data, Mapping):
        kind = "splits" if type(data).__name__ == "DatasetDict" else "columns or splits"
        raise LearnerError(
            f"train_dataset is a {type(data).__name__} of {kind} {', '.join(map(str, data))}: give one split "
            "(train_dataset=splits['train']), or datasets.Dataset.from_dict(columns)"
        )
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise LearnerError(
            f"train_dataset is a {type(data).__name__}, which is read in its own order: a plan asks for examples by "
            "number. Give a data set with a length and items, for instance datasets.Dataset.from_list(list(stream))"
        )
    if len(data) == 0:
        raise LearnerError("train_dataset is empty: there is nothing for a plan to teach")


def check_arguments(trainer: Any, plan: Any) -> None:
    """Raise PlanError where the plan and the trainer's arguments contradict each other."""
    args = trainer.args
    if not isinstance(plan, Plan):
        raise PlanError(f"plan must be an attent.Plan, got {plan!r}: plan=attent.Plan.auto(epochs=3, batch_size=32)")
    if args.world_size > 1:
        refuse_watching(plan)
    sizes = (args.train_batch_size, args.gradient_accumulation_steps, args.world_size)
    if plan.batch_size != np.prod(sizes):
        raise PlanError(
            f"the plan's batch_size is {plan.batch_size}, an optimiser step of the trainer takes {np.prod(sizes)} "
            f"examples: {sizes[0]} on each device, accumulated over {sizes[1]} micro-batches, in {sizes[2]} processes. "
            "A plan's batch is the examples of an optimiser step: make the two equal"
        )
    for name, wanted, why in (
        ("dataloader_drop_last", False, "leaves out examples that the plan teaches"),
        ("auto_find_batch_size", False, "changes the batches that the plan lays out"),
        ("ignore_data_skip", False, "trains examples of a pass again that were trained before the checkpoint"),
        ("packing", False, "joins examples into one, and the plan chooses single examples"),
        ("padding_free", False, "joins a batch's examples into one, and the plan ranks single examples"),
        ("use_liger_kernel", False, "returns no logits, from which the loss of each example is told"),
        ("shuffle_dataset", False, "renumbers the examples, so that groups and costs given by number are of others"),
    ):
        got = getattr(args, name, wanted)
        if got is not None and got != wanted:
            raise PlanError(f"{name}={got!r} {why}: set {name}={wanted!r}")
    if args.train_sampling_strategy not in ("random", GROUPED):
        raise PlanError(
            f"train_sampling_strategy={args.train_sampling_strategy!r} orders the examples, and the plan does: set "
            f"train_sampling_strategy='random', or {GROUPED!r} for batches of similar length"
        )
    config = getattr(trainer.accelerator, "parallelism_config", None)
    for name, used in (
        ("FSDP", trainer.is_fsdp_enabled),
        ("DeepSpeed", trainer.is_deepspeed_enabled),
        ("a parallelism_config", config is not None and config.total_size > config.dp_replicate_size),
    ):
        if used:
            raise PlanError(
                f"the trainer divides the model or its examples by {name}, under which it is not known that what is "
                "ranked is what is trained: leave it out, and train in several processes by DistributedDataParallel "
                "(torchrun alone); for a model that needs to be sharded take attent.teach with attent_torch.workers "
                "and fully_shard, or attent_torch.Teacher in a loop of your own"
            )
    owner = next(each for each in type(trainer).__mro__ if "_get_train_sampler" in vars(each))
    if owner is not Trainer:
        raise PlanError(
            f"{owner.__name__} has a sampler of its own (_get_train_sampler), and the plan chooses and orders the "
            "examples: remove it, or train without a plan"
        )


def check_steps(args: TrainingArguments, plan: Plan, steps: int) -> int:
    """Return the steps to train: the plan's, or fewer by the arguments. Raises PlanError where they say more."""
    if args.max_steps > steps:
        raise PlanError(
            f"max_steps is {args.max_steps}, the plan takes {steps} steps: leave it out, or lengthen the plan"
        )
    asked, usual = args.num_train_epochs, TrainingArguments.num_train_epochs
    if args.max_steps <= 0 and asked not in (usual, plan.full_epochs):
        logger.warning(f"num_train_epochs={asked:g} is not used: the plan's length is of {plan.full_epochs} epochs")
    return args.max_steps if args.max_steps > 0 else steps


def check_losses(trainer: Any, losses: torch.Tensor, outputs: Any, inputs: Mapping[str, Any]) -> None:
    """Raise LearnerError where a model's own loss is not the mean of what would be ranked."""
    own = outputs.get("loss") if isinstance(outputs, Mapping) else None
    if trainer.per_example_loss is not None or own is None:
        return
    counts = losses_of(outputs, inputs, shifts(trainer.model))[1].sum()
    mean = losses.sum() / counts
    if counts and not torch.isclose(mean, own.to(mean.dtype), rtol=0.02, atol=1e-3):
        raise LearnerError(
            f"the model's loss on the first examples is {own.item():.4g}, the cross-entropy of its logits is "
            f"{mean.item():.4g}: a loss of another kind, or an auxiliary one beside it. Give per_example_loss, a "
            "function of the model's outputs and inputs that returns one loss per example, shape (B,)"
        )


def mend_scale(trainer: Any, loss_of: Callable[[int], torch.Tensor]) -> None:
    """Have Trainer divide a mean loss by the accumulation where it wrongly takes it to be divided already.

    Trainer goes by the model's signature, and by whether there is a ``compute_loss_func``. But many models, such as
    BERT, take ``num_items_in_batch`` and do not use it (huggingface/transformers issue 47688), and so do many losses of
    a user's: their gradient is as many times too large as micro-batches are accumulated. ``loss_of(items)`` gives the
    loss of some examples for a ``num_items_in_batch``.
    """
    if getattr(trainer, "loss_is_scaled_for_ga", None) is not None:
        return
    if not trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None:
        return
    few, many = loss_of(1000), loss_of(1_000_000)
    if few == 0 or not torch.isclose(many, few, rtol=0.1, atol=0.0):
        return
    if hasattr(trainer, "loss_is_scaled_for_ga"):
        trainer.loss_is_scaled_for_ga = False
    elif trainer.compute_loss_func is not None:
        raise LearnerError(
            "compute_loss_func returns a mean, whatever num_items_in_batch is: over micro-batches Trainer would "
            "add the means up. Return the sum divided by num_items_in_batch"
        )
    trainer.model_accepts_loss_kwargs = False
    trainer.args.average_tokens_across_devices = False  # which would multiply it by the processes
    if trainer.args.gradient_accumulation_steps == 1:
        return
    own = trainer.compute_loss_func is None and "compute_loss" not in vars(type(trainer))
    logger.warning(
        f"{type(trainer.model).__name__ if own else 'The loss of ' + type(trainer).__name__} does not use "
        "num_items_in_batch: its mean loss is divided by gradient_accumulation_steps, which Trainer leaves out "
        "(huggingface/transformers issue 47688)"
    )


def fingerprint(data: Any) -> str | None:
    """Return a digest of 16 of a `datasets.Dataset`'s rows as they are stored, None for other data.

    Others may draw their items at random, so that nothing stored can be told from them.
    """
    if not hasattr(data, "with_format") or not hasattr(data, "column_names"):
        return None
    places = np.unique(np.linspace(0, len(data) - 1, 16).astype(int)).tolist()
    rows = data.with_format("arrow")[places].to_pydict()
    return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()
