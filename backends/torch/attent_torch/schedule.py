"""The schedule of a learning rate: stepped after every optimiser step, and watched for one that counts epochs."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
)

from attent.errors import LearnerError

_ADVICE = (
    "A scheduler is stepped after every optimiser step, not every epoch: "
    "build it for plan.total_steps(len(data)) steps in all"
)
_DEAD = 1e-6  # of the highest learning rate
# A cosine to 0 spends 0.06 % of its steps so low, a fourth power 3 %.
_DEAD_STEPS, _DEAD_SHARE = 10, 0.05


def check_epochs(scheduler: LRScheduler, epochs: int) -> None:
    """Raise LearnerError for a schedule stepped once an epoch that declares another length than so many epochs.

    Example:
        >>> import torch
        >>> from attent_torch.schedule import check_epochs
        >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
        >>> check_epochs(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5), 5)
    """
    end = end_of(scheduler)
    if end is not None and not (0 if end.final else -1) <= end.left - epochs <= 1:
        told = "too long" if end.left > epochs else "too short"
        raise LearnerError(
            f"the scheduler is {told}: its {end.part}, {max(0, end.left)} steps are left, and it is stepped after each "
            f"of {epochs} epochs: build it for these, or step it after every optimiser step"
        )


def check_total(scheduler: LRScheduler, steps: int, epochs: int) -> None:
    """Raise LearnerError unless a schedule was built for a run of so many optimiser steps.

    Refused are one that declares another length (by more than a hundredth), one whose milestones, or whose factor,
    count epochs, and one that has fallen below a millionth long before the end. ``epochs`` is how many the run has. A
    LambdaLR of a function is taken as it is.

    Example:
        >>> import attent, torch
        >>> from attent_torch.schedule import check_total
        >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
        >>> check_total(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 52), 52, 4)
        >>> try:
        ...     check_total(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100), 52, 4)
        ... except attent.AttentError as error:
        ...     print(str(error)[:66])
        the scheduler is too long: its CosineAnnealingLR has T_max=100, 10
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
    end = end_of(scheduler)
    allowed = max(1, 0.01 * steps)
    if end is not None and not (0 if end.final else -allowed) <= end.left - steps <= allowed:
        told = "too long" if end.left > steps else "too short"
        raise LearnerError(
            f"the scheduler is {told}: its {end.part}, {max(0, end.left)} steps are left, and the run takes {steps}. "
            f"{_ADVICE}"
        )
    whole = steps + max(0, steps_of(scheduler))
    for part, length in _parts(scheduler, whole):
        # Of one in a row only what lasts most of the run can be mistaken for a schedule of epochs.
        told = _counts_epochs(part, length, epochs) if 2 * length > whole else None
        if told is not None:
            raise LearnerError(
                f"the scheduler seems to count epochs: {told}, and the run takes {steps} steps. {_ADVICE}"
            )


def _parts(scheduler: LRScheduler, steps: int) -> list[tuple[LRScheduler, int]]:
    """Return the parts of a schedule of so many steps, and how many steps each lasts."""
    parts = getattr(scheduler, "_schedulers", [scheduler])
    if not isinstance(scheduler, SequentialLR):
        return [(part, steps) for part in parts]
    ends = [*scheduler._milestones, steps]
    return [(part, end - start) for part, start, end in zip(parts, [0, *ends], ends, strict=False)]


def _counts_epochs(scheduler: LRScheduler, steps: int, epochs: int) -> str | None:
    """Return in words why a schedule of milestones or powers was not built for steps, None where it was."""
    if isinstance(scheduler, MultiStepLR) and scheduler.milestones:
        places = sorted(scheduler.milestones.elements())
        if places[-1] <= epochs < steps or places[-1] >= steps:
            return f"its MultiStepLR has milestones {places}"
    if isinstance(scheduler, StepLR):
        decays = steps // scheduler.step_size
        if (scheduler.step_size <= epochs and decays > epochs and scheduler.gamma**decays < 1e-3) or (
            scheduler.gamma**decays < _DEAD
        ):
            return (
                f"its StepLR has step_size={scheduler.step_size} and so multiplies by {scheduler.gamma} {decays} times"
            )
        if not decays:
            return f"its StepLR has step_size={scheduler.step_size} and so never decays"
    if isinstance(scheduler, ExponentialLR) and scheduler.gamma**steps < _DEAD:
        return f"its ExponentialLR multiplies by {scheduler.gamma} at every step"
    return None


class Schedule:
    """Steps a scheduler, and says once if it was not built for steps.

    A learner does not know how long a run will be, so a schedule that ends too early shows when its end is
    reached, and a learning rate that has died when it has been dead for a while.
    """

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler
        self._highest, self._steps, self._dead, self._told = 0.0, 0, 0, False

    def check(self, steps: int) -> None:
        """Warn if the schedule ends before so many further steps; raise LearnerError if it cannot go on then."""
        end = end_of(self.scheduler)
        if end is None or steps <= end.left:
            return
        told = (
            f"the scheduler is too short: its {end.part}, {max(0, end.left)} steps are left, and {steps} are to be "
            f"taken at once. {_ADVICE}"
        )
        if end.final:
            raise LearnerError(told)
        self._warn(told)

    def step(self) -> None:
        """Take the schedule's step, after the optimiser's."""
        self._watch()
        self.scheduler.step()

    def _watch(self) -> None:
        rates = [group["lr"] for group in self.scheduler.optimizer.param_groups]
        if any(isinstance(rate, torch.Tensor) for rate in rates):
            return  # to read it would wait for the device
        self._steps += 1
        self._highest = max(self._highest, *rates)
        if max(rates) < _DEAD * self._highest:
            self._dead += 1
            if self._dead >= _DEAD_STEPS and self._dead > _DEAD_SHARE * self._steps:
                self._warn(
                    "the learning rate has been below a millionth of its highest for "
                    f"{self._dead} of {self._steps} steps. {_ADVICE}"
                )

    def _warn(self, told: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(told, UserWarning, stacklevel=2)


def steps_of(scheduler: LRScheduler) -> int:
    """Return how many steps a schedule took; a chain, which does not tell, by its first part."""
    return int(scheduler._schedulers[0].last_epoch if isinstance(scheduler, ChainedScheduler) else scheduler.last_epoch)


class End(NamedTuple):
    """Where a schedule ends: which part has which length, how many steps are left, and whether none can follow."""

    part: str
    left: int
    final: bool


def end_of(scheduler: LRScheduler) -> End | None:
    """Return the end of a schedule, None where it has none; of one in a row its last part's, of a chain the first.

    Example:
        >>> import torch
        >>> from attent_torch.schedule import end_of
        >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
        >>> end_of(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6))
        End(part='CosineAnnealingLR has T_max=6', left=6, final=False)
    """
    if isinstance(scheduler, ChainedScheduler):
        ends = [end for part in scheduler._schedulers if (end := end_of(part)) is not None]
        return min(ends, key=lambda end: end.left, default=None)
    if isinstance(scheduler, SequentialLR):
        last = scheduler._schedulers[-1]
        end = end_of(last)
        if end is None or not scheduler._milestones:
            return end
        # Before its turn the last part stands where it will not start: it begins anew at its milestone.
        length = end.left + last.last_epoch
        return end._replace(left=scheduler._milestones[-1] + length - scheduler.last_epoch)
    for kind, name in ((OneCycleLR, "total_steps"), (CosineAnnealingLR, "T_max"), (PolynomialLR, "total_iters")):
        if isinstance(scheduler, kind):
            length = getattr(scheduler, name)
            final = kind is OneCycleLR
            return End(f"{kind.__name__} has {name}={length}", length - scheduler.last_epoch, final)
    if isinstance(scheduler, LambdaLR):  # Hugging Face's are partial functions that tell their length
        lengths = {getattr(each, "keywords", {}).get("num_training_steps") for each in scheduler.lr_lambdas}
        if len(lengths) == 1 and isinstance(length := lengths.pop(), int):
            return End(f"LambdaLR has num_training_steps={length}", length - scheduler.last_epoch, final=False)
    return None
