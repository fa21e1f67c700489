"""The buffers that training changes, such as BatchNorm's statistics: put back where a step is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

Named = dict[str, torch.Tensor]


class Buffers:
    """Keeps a copy of each buffer that training changes, from before the step under way.

    Which they are is seen at the first step of each call, for which all are copied: by their content, since
    BatchNorm's statistics count no versions.

    Example:
        >>> import torch
        >>> from attent_torch.buffers import Buffers
        >>> norm = torch.nn.BatchNorm1d(1)
        >>> buffers = Buffers(norm)
        >>> buffers.begin()
        >>> buffers.keep()
        >>> _ = norm(torch.tensor([[0.0], [torch.nan]]))
        >>> buffers.settle()
        >>> buffers.put_back(torch.ones(()))
        >>> norm.running_mean.tolist()
        [0.0]
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.first: Named = {}  # of those that training was seen to change, the values before it did
        self._kept: dict[str, _Kept] = {}
        self._settled = False

    def begin(self) -> None:
        """Look at all buffers anew."""
        self._settled = False

    def keep(self) -> None:
        """Copy what the step that comes next may change."""
        if not self._settled:
            self._kept = {
                name: _Kept(module, own, buffer, buffer.detach().clone()) for name, module, own, buffer in self._every()
            }
            return
        for name, (module, own, was, value) in self._kept.items():
            buffer = module._buffers[own]
            if buffer is not None and buffer is not was:
                self._kept[name] = _Kept(module, own, buffer, buffer.detach().clone())
            elif buffer is not None:
                value.copy_(buffer)

    def settle(self) -> None:
        """Notice, after a call's first step, which buffers it changed: the others are copied no more."""
        if self._settled:
            return
        self._settled = True
        differ = [_differs(kept.module._buffers[kept.own], kept) for kept in self._kept.values()]
        if not differ:
            return
        home = differ[0].device
        changed = torch.stack([each.to(home) for each in differ]).tolist()  # one wait for all
        self._kept = {name: kept for (name, kept), new in zip(self._kept.items(), changed, strict=True) if new}
        for name, kept in self._kept.items():
            self.first.setdefault(name, kept.value.clone())

    def put_back(self, found: torch.Tensor) -> None:
        """Give the buffers the values from before the step where ``found``, one number, is not 0.

        Nothing waits for the device: it decides there.
        """
        with torch.no_grad():
            for module, own, _, value in self._kept.values():
                now = module._buffers[own]
                if now is None or now.shape != value.shape:
                    module._buffers[own] = value.clone() if bool(found) else now
                else:
                    now.copy_(torch.where(found.reshape(()).to(now.device) > 0, value, now))

    def changing(self) -> Named:
        """Return the buffers that training was seen to change, by name."""
        return {name: buffer for name, _, _, buffer in self._every() if name in self.first}

    def all(self) -> Named:
        """Return all buffers, by name."""
        return {name: buffer for name, _, _, buffer in self._every()}

    def take_up(self, saved: Named) -> None:
        """Give buffers the values saved of them; those that had not changed then, the ones that they had at first."""
        with torch.no_grad():
            for name, buffer in self.all().items():
                if name in saved:
                    self.first.setdefault(name, buffer.clone())
                    buffer.copy_(saved[name])
                elif name in self.first:
                    buffer.copy_(self.first[name])

    def _every(self) -> Iterator[tuple[str, nn.Module, str, torch.Tensor]]:
        for prefix, module in self._model.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and not buffer.is_inference():  # such a tensor cannot be written
                    yield (f"{prefix}.{name}" if prefix else name), module, name, buffer


class _Kept(NamedTuple):
    module: nn.Module
    own: str  # its name there
    buffer: torch.Tensor
    value: torch.Tensor  # from before the step


def _differs(now: torch.Tensor | None, kept: _Kept) -> torch.Tensor:
    if now is not kept.buffer or now.shape != kept.value.shape:
        return torch.ones((), dtype=torch.bool, device=kept.value.device)
    return (now != kept.value).any()
