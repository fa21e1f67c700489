"""What a learner must remember to go on exactly: gathering it, and checking it before taking it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from attent.errors import LearnerError
from attent.extra import Extra
from attent_torch.frozen import Frozen, bare
from attent_torch.generators import HostState, check_host, device_states, host_state, restore_devices, restore_host
from attent_torch.moments import check_moments, kind
from attent_torch.own_settings import kept_settings, move_schedule, put_settings, warn_of_differences
from attent_torch.sharded import like, moments_like, whole
from attent_torch.steps import Steps


class Parts(NamedTuple):
    """What a learner is made of: what its state is taken from, and put into."""

    model: nn.Module
    steps: Steps
    frozen: Frozen
    extra: Extra
    devices: Sequence[torch.device]


def gathered(parts: Parts, count: int) -> dict[str, Any]:
    """Return the tree of everything that training changes; ``count`` is the number of steps taken."""
    model, steps, frozen, extra, devices = parts
    host, held = host_state(), model.state_dict()
    still = {name: found for name, found in frozen.unchanged().items() if name in held}
    return {
        "model": whole({name: value for name, value in held.items() if name not in still}),
        "frozen": {"count": len(still), "digest": frozen.digest(still)},
        "buffers": {name: buffer for name, buffer in steps.buffers.changing().items() if name not in held},
        "extra": extra.states(),
        "optimizer": whole(steps.optimizer.state_dict()),
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


def taken_up(tree: Any, parts: Parts, own_settings: bool) -> int:
    """Put ``tree`` into the model and the rest, and return the number of steps taken.

    ``own_settings``: the optimiser keeps its learning rate and other settings, and the schedule is taken on from where
    it stands. Raises LearnerError naming what does not fit; nothing is changed then.
    """
    model, steps, _, extra, devices = parts
    try:
        tree = {"frozen": None, "buffers": {}, "extra": {}, **tree}  # not there in states of earlier versions
        saved = _check(tree, parts, own_settings)
    except (TypeError, KeyError, AttributeError) as error:
        raise LearnerError(f"this is no state of a TorchLearner: {type(error).__name__}: {error}") from error
    extra.load(tree["extra"])
    current = model.state_dict()  # carries the versions that modules look for
    current.update({name: like(value, current[name]) for name, value in saved.items()})
    model.load_state_dict(current)
    steps.buffers.take_up(tree["buffers"])
    settings = kept_settings(steps.optimizer)
    parameters = [p for group in steps.optimizer.param_groups for p in group["params"]]
    optimizer = moments_like(tree["optimizer"], parameters)
    steps.optimizer.load_state_dict(optimizer)
    _restore_dtypes(steps, optimizer["state"])
    if own_settings:
        put_settings(steps.optimizer, settings)
        if steps.scheduler is not None:
            move_schedule(steps.scheduler, int(tree["steps"]))
    elif steps.scheduler is not None:
        steps.scheduler.load_state_dict(tree["scheduler"])
    if steps.scaler is not None:
        steps.scaler.load_state_dict(tree["scaler"])
    steps.clear()
    restore_host(_host(tree["random"]))
    restore_devices(tree["random"], devices)
    return int(tree["steps"])


def _check(tree: Any, parts: Parts, own_settings: bool) -> dict[str, Any]:
    """Return the model's tensors by the names that they have here."""
    model, steps, frozen, extra, _ = parts
    expected = {
        "model", "frozen", "buffers", "extra", "optimizer", "scheduler", "scaler", "classes", "random", "steps",
    }  # fmt: skip
    if not isinstance(tree, dict) or set(tree) != expected:
        raise LearnerError(f"this is no state of a TorchLearner: it must hold {', '.join(sorted(expected))}")
    count = tree["steps"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise LearnerError(f"'steps' must be a whole number of at least 0 in the state, got {count!r}")
    current = model.state_dict()
    saved = _renamed(tree["model"], current)
    left_out = [name for name, _ in model.named_parameters(remove_duplicate=False) if name not in saved]
    told = tree["frozen"] or {"count": 0, "digest": None}
    if len(left_out) == told["count"]:
        current = {name: value for name, value in current.items() if name not in left_out}
    _check_tensors("model", saved, current)
    if left_out and told["digest"] != frozen.digest(frozen.checksums(left_out)):
        raise LearnerError(
            f"the state leaves out {len(left_out)} parameters that training does not change ({_listed(left_out)}), and "
            "those of this learner are others: build it from the very model that the run began with"
        )
    _check_tensors("buffers", tree["buffers"], {name: steps.buffers.all().get(name) for name in tree["buffers"]})
    extra.check_names(tree["extra"])
    try:
        check_host(_host(tree["random"]))
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise LearnerError(f"the state's generators under 'random' cannot be taken up: {error}") from error
    for part, name in _classes(steps).items():
        other = tree["classes"].get(part)
        if other != name and not (own_settings and part == "scheduler"):
            raise LearnerError(f"the state's {part} is {other or 'none'}, this learner's is {name or 'none'}")
    moments = tree["optimizer"]
    sizes, saved_sizes = (
        [len(g["params"]) for g in d["param_groups"]] for d in (steps.optimizer.state_dict(), moments)
    )
    if sizes != saved_sizes:
        raise LearnerError(
            f"the state's optimizer has parameter groups of {saved_sizes} tensors, this learner's of {sizes}"
        )
    check_moments(steps.optimizer, moments)
    if not own_settings:
        warn_of_differences(steps.optimizer, steps.scheduler, moments["param_groups"], tree["scheduler"])
    elif steps.scheduler is not None and steps.scheduler.last_epoch > count:
        move_schedule(steps.scheduler, count)  # which refuses
    return saved


def _renamed(saved: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors by the names of ``current``, which may be those of the model compiled, or wrapped."""
    names = {bare(name): name for name in current}
    if len(names) < len(current) or set(saved) <= set(current):
        return saved
    return {names.get(bare(name), name): value for name, value in saved.items()}


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
