"""What a learner must remember to go on exactly: gathering it, and checking it before taking it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from attent.errors import LearnerError
from attent_torch.generators import HostState, check_host, device_states, host_state, restore_devices, restore_host
from attent_torch.moments import check_moments, kind
from attent_torch.steps import Steps


def gathered(model: nn.Module, steps: Steps, devices: Sequence[torch.device], count: int) -> dict[str, Any]:
    """Return the tree of everything that training changes; ``count`` is the number of steps taken."""
    host = host_state()
    return {
        "model": dict(model.state_dict()),
        "optimizer": steps.optimizer.state_dict(),
        "scheduler": None if steps.scheduler is None else steps.scheduler.state_dict(),
        "scaler": None if steps.scaler is None else steps.scaler.state_dict(),
        "classes": _classes(steps),
        "random": {
            "python": [host.python[0], np.array(host.python[1], np.uint32), host.python[2]],
            "numpy": host.numpy,
            "cpu": host.torch,
            **device_states(devices),
        },
        "steps": count,
    }


def taken_up(tree: Any, model: nn.Module, steps: Steps, devices: Sequence[torch.device]) -> int:
    """Put ``tree`` into the model and the rest, and return the number of steps taken.

    Raises LearnerError naming what does not fit; nothing is changed then.
    """
    try:
        _check(tree, model, steps)
    except (TypeError, KeyError, AttributeError) as error:
        raise LearnerError(f"this is no state of a TorchLearner: {type(error).__name__}: {error}") from error
    current = model.state_dict()  # carries the versions that modules look for
    for name in current:
        current[name] = tree["model"][name]
    model.load_state_dict(current)
    steps.optimizer.load_state_dict(tree["optimizer"])
    _restore_dtypes(steps, tree["optimizer"]["state"])
    if steps.scheduler is not None:
        steps.scheduler.load_state_dict(tree["scheduler"])
    if steps.scaler is not None:
        steps.scaler.load_state_dict(tree["scaler"])
    steps.clear()
    restore_host(_host(tree["random"]))
    restore_devices(tree["random"], devices)
    return int(tree["steps"])


def _check(tree: Any, model: nn.Module, steps: Steps) -> None:
    expected = {"model", "optimizer", "scheduler", "scaler", "classes", "random", "steps"}
    if not isinstance(tree, dict) or set(tree) != expected:
        raise LearnerError(f"this is no state of a TorchLearner: it must hold {', '.join(sorted(expected))}")
    count = tree["steps"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise LearnerError(f"'steps' must be a whole number of at least 0 in the state, got {count!r}")
    _check_tensors("model", tree["model"], model.state_dict())
    try:
        check_host(_host(tree["random"]))
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise LearnerError(f"the state's generators under 'random' cannot be taken up: {error}") from error
    for part, name in _classes(steps).items():
        saved = tree["classes"].get(part)
        if saved != name:
            raise LearnerError(f"the state's {part} is {saved or 'none'}, this learner's is {name or 'none'}")
    current, saved = steps.optimizer.state_dict(), tree["optimizer"]
    sizes, saved_sizes = ([len(g["params"]) for g in d["param_groups"]] for d in (current, saved))
    if sizes != saved_sizes:
        raise LearnerError(
            f"the state's optimizer has parameter groups of {saved_sizes} tensors, this learner's of {sizes}"
        )
    check_moments(steps.optimizer, saved)


def _host(random: dict[str, Any]) -> HostState:
    version, words, gauss = random["python"]
    for name, numbers in (("python/1", words), ("numpy/state/key", random["numpy"]["state"].get("key", words))):
        if numbers.dtype not in (np.uint32, np.uint64):  # their owners would take other numbers for words too
            raise TypeError(f"'random/{name}' must be unsigned integers, got {numbers.dtype}")
    return HostState((version, tuple(words.tolist()), gauss), random["numpy"], random["cpu"])


def _check_tensors(part: str, saved: dict[str, Any], current: dict[str, Any]) -> None:
    missing, unknown = sorted(set(current) - set(saved)), sorted(set(saved) - set(current))
    if missing or unknown:
        raise LearnerError(
            f"the state does not fit '{part}': it lacks {_listed(missing)} and has {_listed(unknown)} too many"
        )
    for name, value in current.items():
        ours, theirs = kind(value), kind(saved[name])
        if ours != theirs:
            raise LearnerError(f"'{part}/{name}' is {theirs} in the state, but {ours} in this learner")


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (" ..." if len(names) > 8 else "") or "nothing"


def _classes(steps: Steps) -> dict[str, str | None]:
    parts = {"optimizer": steps.optimizer, "scheduler": steps.scheduler, "scaler": steps.scaler}
    return {part: None if value is None else type(value).__qualname__ for part, value in parts.items()}


def _restore_dtypes(steps: Steps, saved: dict[int, dict[str, Any]]) -> None:
    """Put back moments whose dtype is not their parameter's: Optimizer.load_state_dict rounds them to it."""
    parameters = [p for group in steps.optimizer.param_groups for p in group["params"]]
    for index, values in saved.items():
        state = steps.optimizer.state[parameters[index]]
        for key, value in values.items():
            loaded = state.get(key)
            if isinstance(value, torch.Tensor) and isinstance(loaded, torch.Tensor) and loaded.dtype != value.dtype:
                state[key] = value.to(loaded.device)
