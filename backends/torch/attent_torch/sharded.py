"""Models whose parameters lie in parts on several ranks (``fully_shard``, FSDP2): put together, and parted again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Return whether a parameter of the model lies in parts on several ranks.

    Example:
        >>> import torch
        >>> from attent_torch.sharded import is_sharded
        >>> is_sharded(torch.nn.Linear(1, 1))
        False
    """
    return any(map(_parted, model.parameters()))


def whole(tree: Any) -> Any:
    """Return a tree of dicts, lists and tensors with those in parts put together. All ranks must call it."""
    if type(tree) is dict:
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole(value) for value in tree]
    return tree.full_tensor() if _parted(tree) else tree


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a tensor that lies in parts, and any other as it is."""
    if not _parted(tensor):
        return tensor
    part: torch.Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part


def like(tensor: Any, other: Any) -> Any:
    """Return a whole tensor in parts like ``other``, if that is in parts and of its shape."""
    if not _parted(other) or not isinstance(tensor, torch.Tensor) or tensor.shape != other.shape:
        return tensor
    distribute: Any = sys.modules["torch.distributed.tensor"].distribute_tensor
    return distribute(tensor.to(other.device), other.device_mesh, other.placements)


def moments_like(saved: Mapping[str, Any], parameters: list[torch.Tensor]) -> dict[str, Any]:
    """Return an optimiser's state with each parameter's moments in parts as the parameter is."""
    state = {
        index: {name: like(value, parameters[index]) for name, value in values.items()}
        for index, values in saved["state"].items()
    }
    return {**saved, "state": state}


def _parted(value: Any) -> bool:
    # Who has a DTensor has imported its module, which costs others a second.
    module: Any = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
