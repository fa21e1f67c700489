"""What a learner was built with against what a state was made with: told, or kept in its place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from attent.errors import LearnerError

# What the optimisers of torch are built with; other numbers in a group may be what training has made of it.
_SETTINGS = (
    "lr", "initial_lr", "betas", "eps", "weight_decay", "momentum", "dampening", "nesterov", "amsgrad", "alpha", "rho",
    "centered", "lr_decay", "momentum_decay", "lambd", "t0", "etas", "step_sizes", "maximize",
)  # fmt: skip
_SCHEDULED = ("lr", "betas", "momentum")  # where there is a schedule it sets these
_OF_SCHEDULES = ("max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr")
_PLACES = ("last_epoch", "T_cur", "T_i", "base_lrs", "verbose")  # of a schedule under way

Groups = list[dict[str, Any]]


def warn_of_differences(
    optimizer: Optimizer, scheduler: LRScheduler | None, saved: Groups, schedule: Mapping[str, Any] | None
) -> None:
    """Warn where a state was made with another setting than the learner has: the state's is taken up.

    ``saved``: the parameter groups of the state's optimiser; ``schedule``: its schedule's state.
    """
    told = list(_differences(optimizer, scheduler, saved, schedule))
    if told:
        warnings.warn(
            f"the run goes on with the settings of its state, not with those that this learner was built with: "
            f"{'; '.join(told[:5])}{'; ...' if len(told) > 5 else ''}. To go on with the learner's own, build it with "
            "own_settings=True",
            UserWarning,
            stacklevel=5,
        )


def _differences(
    optimizer: Optimizer, scheduler: LRScheduler | None, saved: Groups, schedule: Mapping[str, Any] | None
) -> Iterator[str]:
    for at, (own, theirs) in enumerate(zip(optimizer.param_groups, saved, strict=True)):
        place = f" of group {at}" if len(saved) > 1 else ""
        for name in _SETTINGS:
            if name not in own or name not in theirs or (scheduler is not None and name in _SCHEDULED):
                continue
            if _plain(own[name]) != _plain(theirs[name]):
                yield f"{name}{place} was {_plain(theirs[name])!r}, is {_plain(own[name])!r}"
    if scheduler is not None and schedule is not None:
        yield from _schedule_differences(scheduler.state_dict(), schedule)


def _schedule_differences(own: Mapping[str, Any], saved: Mapping[str, Any]) -> Iterator[str]:
    for name in own:
        if name == "_schedulers" and name in saved:
            for each, theirs in zip(own[name], saved[name], strict=False):
                yield from _schedule_differences(each, theirs)
        elif name not in saved or name.startswith("_") or name in (*_PLACES, "lr_lambdas"):
            continue
        elif _plain(own[name]) != _plain(saved[name]):
            yield f"the scheduler's {name} was {_plain(saved[name])!r}, is {_plain(own[name])!r}"


def kept_settings(optimizer: Optimizer) -> Groups:
    """Return the settings of each parameter group as they are now."""
    wanted = (*_SETTINGS, *_OF_SCHEDULES)
    return [{name: group[name] for name in wanted if name in group} for group in optimizer.param_groups]


def put_settings(optimizer: Optimizer, settings: Groups) -> None:
    """Give each parameter group settings that ``kept_settings`` returned."""
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        for name in (*_SETTINGS, *_OF_SCHEDULES):
            group.pop(name, None)
        group.update(own)


def move_schedule(scheduler: LRScheduler, steps: int) -> None:
    """Take a schedule on to where so many steps have been taken. Raises LearnerError if it is beyond."""
    if scheduler.last_epoch > steps:
        raise LearnerError(
            f"the learner's own schedule stands at step {scheduler.last_epoch}, the state at {steps}: build learner "
            "and schedule anew to go on with own_settings=True"
        )
    scheduler.optimizer._opt_called = True  # type: ignore[attr-defined] # else it warns of its order
    for _ in range(steps - scheduler.last_epoch):
        scheduler.step()


def _plain(value: Any) -> Any:
    """Return a setting such that == compares it: tensors as numbers, lists as tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
