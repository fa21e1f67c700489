"""The parameters that training does not change: left out of a learner's state, and known again by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

_WORDS = 2**22  # looked at together
_STRIDE = 2 * 0x1E3779B97F4A7C15  # between the odd numbers that places are multiplied by


class Frozen:
    """The parameters that an optimiser does not hold, for as long as they are what they were at first.

    One that changes all the same, as an averaged copy of the model does, counts as trained from then on.

    Example:
        >>> import torch
        >>> from attent_torch.frozen import Frozen
        >>> model = torch.nn.Linear(1, 1)
        >>> list(Frozen(model, torch.optim.SGD([model.bias], 0.1)).unchanged())
        ['weight']
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._first = {name: checksum(parameter) for name, parameter in self._outside()}

    def unchanged(self) -> dict[str, int]:
        """Return the checksums, by name, of those that have not changed since this was made."""
        now = {name: checksum(parameter) for name, parameter in self._outside()}
        return {name: found for name, found in now.items() if self._first.get(name) == found}

    def checksums(self, names: Iterable[str]) -> dict[str, int]:
        """Return the checksums, by name, of parameters that are held or not."""
        parameters = self._parameters()
        return {name: checksum(parameters[name]) for name in names}

    def digest(self, checksums: Mapping[str, int]) -> str:
        """Return a SHA-256 over what the parameters of these names and checksums hold."""
        parameters = self._parameters()
        rows = [[bare(name), *_described(parameters[name]), found] for name, found in checksums.items()]
        return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()

    def _parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._model.named_parameters(remove_duplicate=False))

    def _outside(self) -> Iterator[tuple[str, nn.Parameter]]:
        held = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        for name, parameter in self._parameters().items():
            if id(parameter) not in held:
                yield name, parameter


def bare(name: str) -> str:
    """Return a parameter's name without what torch.compile and wrappers for several devices put before it.

    Example:
        >>> from attent_torch.frozen import bare
        >>> bare("module._orig_mod.head.weight"), bare("head._orig_mod.weight")
        ('head.weight', 'head.weight')
    """
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    return ".".join(parts[1:] if parts[0] == "module" and len(parts) > 1 else parts)


def checksum(tensor: torch.Tensor) -> int:
    """Return a number that changes with any bit of a tensor: computed where it lies, the same on every device.

    The sum of its 64-bit words modulo 2^64, each times an odd number of its place, the upper half mixed into the lower.

    Example:
        >>> import torch
        >>> from attent_torch.frozen import checksum
        >>> checksum(torch.tensor([1.0, 2.0])) != checksum(torch.tensor([2.0, 1.0]))
        True
    """
    if tensor.is_meta or tensor.layout is not torch.strided:
        return 0
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    whole = len(data) // 8 * 8
    rest = data[whole:].to(torch.int64)
    words = (data[:whole] if data.storage_offset() % 8 == 0 else data[:whole].clone()).view(torch.int64)
    total = (rest * (2 * torch.arange(len(rest), device=rest.device) + 1)).sum()
    for start in range(0, len(words), _WORDS):
        part = words[start : start + _WORDS]
        places = torch.arange(start, start + len(part), device=part.device)
        product = (part ^ (part >> 32)) * (places * _STRIDE + 1)
        total = total + (product ^ (product >> 32)).sum()
    return int(total)


def _described(tensor: torch.Tensor) -> list[Any]:
    return [str(tensor.dtype), list(tensor.shape)]
