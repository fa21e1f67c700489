"""The global random generators that data and models draw from: Python's, NumPy's and torch's.

attent draws nothing from them. They are saved, seeded and put back here because datasets and modules
that others wrote do.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

_MASK = 2**64 - 1
_numpy: Any = np.random  # the legacy functions: they are what datasets draw from


def mixed(key: int, number: int) -> int:
    """Return the 64-bit key of child ``number`` of ``key``: the output of SplitMix64 (Steele et al. 2014).

    Example:
        >>> from attent_torch.generators import mixed
        >>> mixed(0, 0) == 0xE220A8397B1DCDAF
        True
    """
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class HostState(NamedTuple):
    """The states of the three generators that live on the host."""

    python: tuple[Any, ...]
    numpy: dict[str, Any]
    torch: torch.Tensor

    def equals(self, other: HostState) -> bool:
        """Say whether both would draw the same numbers."""
        return torch.equal(self.torch, other.torch) and self.python == other.python and _equal(self.numpy, other.numpy)


def host_state() -> HostState:
    """Return the present states of the host's generators."""
    return HostState(random.getstate(), _numpy.get_state(legacy=False), torch.get_rng_state())


def restore_host(state: HostState) -> None:
    """Put the host's generators into ``state``."""
    random.setstate(state.python)
    _numpy.set_state(state.numpy)
    torch.set_rng_state(state.torch)


def check_host(state: HostState) -> None:
    """Raise what the generators raise at a state that is none of theirs, without touching them."""
    random.Random().setstate(state.python)
    own = getattr(np.random, state.numpy["bit_generator"])()
    for name, words in own.state["state"].items():  # of more words than it has NumPy takes the first
        if np.shape(state.numpy["state"][name]) != np.shape(words):
            raise ValueError(f"'random/numpy/state/{name}' must have shape {np.shape(words)}")
    np.random.RandomState(own).set_state(state.numpy)
    torch.Generator().set_state(state.torch)


def seed_host(key: int) -> None:
    """Seed the host's generators from a 64-bit key."""
    random.seed(key)
    generator = _numpy.get_bit_generator()
    if isinstance(generator, np.random.MT19937):
        _numpy.seed(key & 0xFFFFFFFF)
    else:  # someone has called np.random.set_bit_generator
        _numpy.set_state(type(generator)(key).state | {"has_gauss": 0, "gauss": 0.0})
    # Not torch.manual_seed: that also seeds every accelerator.
    torch.default_generator.manual_seed(key)


@dataclass
class Kept:
    """Whether the generators were drawn from; known when `host_kept` has ended."""

    drawn: bool = False


@contextmanager
def host_kept() -> Iterator[Kept]:
    """Put the host's generators back at the end, and tell whether the block drew from them."""
    kept, before = Kept(), host_state()
    try:
        yield kept
    finally:
        kept.drawn = not before.equals(host_state())
        if kept.drawn:
            restore_host(before)


def device_states(devices: Iterable[torch.device]) -> dict[str, torch.Tensor]:
    """Return the generator state of each accelerator, by name such as ``cuda:0``: uint8 tensors on the host."""
    return {str(device): _module(device).get_rng_state(*_which(device)) for device in devices}


def restore_devices(states: Mapping[str, torch.Tensor], devices: Iterable[torch.device]) -> None:
    """Put the generator of each of ``devices`` that has a state into it; a run may go on with fewer devices."""
    for device in devices:
        if str(device) in states:
            _module(device).set_rng_state(states[str(device)], *_which(device))


def seed_device(device: torch.device, key: int) -> None:
    """Seed one accelerator's generator from a 64-bit key."""
    if device.index is None:
        _module(device).manual_seed(key)
    else:
        with _module(device).device(device):
            _module(device).manual_seed(key)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a == b)


def _module(device: torch.device) -> Any:
    return getattr(torch, device.type)


def _which(device: torch.device) -> tuple[torch.device, ...]:
    # torch.mps has one device, and its functions take none.
    return () if device.index is None else (device,)
