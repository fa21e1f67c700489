"""A model in evaluation mode, with everything put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from attent_torch.generators import (
    device_states,
    host_state,
    restore_devices,
    restore_host,
    seed_device,
    seed_host,
)


@contextmanager
def evaluation(model: nn.Module, devices: Sequence[torch.device], key: int) -> Iterator[None]:
    """Run a block in evaluation mode without gradients; leave model and generators as found (rule P1).

    Put back are each module's own train/eval flag, buffers, and the global generators of Python, NumPy,
    torch and ``devices``. Inside, the generators start from ``key``: a loss that draws random numbers
    draws the same ones at every call.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = _buffers(model)
    host, accelerator = host_state(), device_states(devices)
    model.eval()
    seed_host(key)
    for device in devices:
        seed_device(device, key)
    try:
        with torch.no_grad():  # not inference_mode: a cache that a module fills here could never be trained with
            yield
    finally:
        # train() first, for modules that override it, then each flag, for those that were frozen one by one.
        model.train(flags[0][1])
        for module, flag in flags:
            module.training = flag
        _restore(buffers)
        restore_host(host)
        restore_devices(accelerator, devices)


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Run a block with the parameters that an optimiser is judged by, where it trains others; then put those back.

    As schedule-free optimisers do, which have ``eval()`` and ``train()``. Parameters come back to the bit.
    """
    if not swaps(optimizer):
        yield
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in parameters]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def swaps(optimizer: Any) -> bool:
    """Say whether an optimiser trains other parameters than it is judged by."""
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))


_Buffer = tuple[nn.Module, str, torch.Tensor, int, torch.Tensor]


def _buffers(model: nn.Module) -> list[_Buffer]:
    return [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()  # inference tensors count no versions
    ]


def _restore(buffers: list[_Buffer]) -> None:
    with torch.no_grad():
        for module, name, buffer, version, value in buffers:
            module._buffers[name] = buffer
            if buffer._version != version:
                buffer.copy_(value)
