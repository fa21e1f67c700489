"""Devices: where a model is, bringing batches of any structure there, and the precision of the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from attent.errors import LearnerError
from attent.learner import Numbers


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Return ``structure`` with ``function`` applied to what has a method ``to``: tensors, and what moves itself.

    Tuples, lists and mappings are gone through; a mapping that is no dict comes back as a dict. Anything else
    is passed on as it is.

    Example:
        >>> import torch
        >>> from attent_torch.devices import mapped
        >>> mapped(torch.numel, {"x": torch.ones(3), "name": "a"})
        {'x': 3, 'name': 'a'}
    """
    if hasattr(structure, "to"):
        return function(structure)
    if isinstance(structure, Mapping):
        return {key: mapped(function, value) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(mapped(function, value) for value in structure))
    if isinstance(structure, (tuple, list)):
        return type(structure)(mapped(function, value) for value in structure)
    return structure


def moved(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` with its tensors on ``device``; other objects with a method ``to`` move themselves.

    Copies to CUDA start from pinned memory and do not wait.
    """

    def move(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor):
            return tensor.to(device)
        if device.type == "cuda" and tensor.device.type == "cpu":
            pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
            return pinned.to(device, non_blocking=True)
        # Not without waiting: a copy to the host that is not waited for is read before it arrives.
        return tensor.to(device)

    return mapped(move, batch)


def numbers_on(device: torch.device, parts: Sequence[Numbers]) -> torch.Tensor:
    """Return float64 arrays as one tensor on ``device``, brought there in one transfer."""
    values = torch.from_numpy(np.concatenate([np.empty(0), *parts]))
    there: torch.Tensor = moved(values.float() if device.type == "mps" else values, device)  # mps has no float64
    return there


def casting(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Return the region of automatic mixed precision in ``dtype``; None and float32 cast nothing."""
    if dtype in (None, torch.float32):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def model_device(model: nn.Module, wanted: torch.device | str | None) -> torch.device:
    """Return the device that batches go to: ``wanted``, by default that of the model's first parameter.

    Raises LearnerError where ``wanted`` is not where the model is.
    """
    found = [tensor.device for tensor in _tensors(model)]
    if wanted is None:
        return found[0] if found else torch.device("cpu")
    device = _indexed(torch.device(wanted))
    if found and device not in found:
        raise LearnerError(
            f"device is {device}, but the model's parameters are on {found[0]}; "
            "call model.to(device) before building the optimizer"
        )
    return device


def accelerators(model: nn.Module, device: torch.device) -> list[torch.device]:
    """Return the devices other than the CPU on which the model can draw random numbers, without repeats."""
    found = dict.fromkeys([device, *(tensor.device for tensor in _tensors(model))])
    return [d for d in found if d.type not in ("cpu", "meta")]


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _indexed(device: torch.device) -> torch.device:
    """Return ``cuda`` as ``cuda:0`` or whichever is current: tensors always name their index."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
