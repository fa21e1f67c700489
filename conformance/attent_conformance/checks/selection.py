"""S: this installation's core selects the golden ids, bit for bit."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

import attent
from attent.choose.noise import Noise, gumbel, raw
from attent.choose.scaling import scale
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins
from attent_conformance.subject import Subject

Array = npt.NDArray[Any]


def check_hard_and_band_give_the_golden_ids(subject: Subject) -> Margins:
    """S3: hard and band selection give the golden ids."""
    return _replayed("S3", "hard", "band")


def check_soft_gives_the_golden_ids(subject: Subject) -> Margins:
    """S4: soft selection gives the golden ids at every temperature and scaling."""
    return _replayed("S4", "soft")


def check_scaling_gives_the_golden_numbers(subject: Subject) -> Margins:
    """S6: scaled scores are the golden numbers to the last bit."""
    return _replayed("S6", "scale")


def check_noise_gives_the_golden_numbers(subject: Subject) -> Margins:
    """S7: positional noise is the golden stream."""
    return _replayed("S7", "noise")


def check_random_gives_the_golden_ids(subject: Subject) -> Margins:
    """S8: random selection and Gumbel noise are golden to the last bit."""
    return _replayed("S8", "random", "gumbel")


def check_ties_go_to_the_lower_id(subject: Subject) -> None:
    """S2: of equal scores the lower ids are taken, and minus zero equals zero."""
    for scores, k, expected in (
        ([1.0, 2.0, 1.0, 2.0, 1.0], 3, [0, 1, 3]),
        ([0.0, -0.0, 0.0, -0.0], 2, [0, 1]),
        ([-0.0, 0.0, 5e-324], 2, [0, 2]),
    ):
        found = attent.hard(np.array(scores), k).tolist()
        if found != expected:
            raise CheckFailed("S2", f"ids {found}", f"ids {expected}", f"hard({scores}, k={k})")


@functools.cache
def _golden() -> dict[str, Any]:
    text = resources.files("attent_conformance.golden").joinpath("selections.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@functools.cache
def _scores(name: str) -> Array:
    """Return an input of the golden table; the large one is made by whole-number arithmetic."""
    if name == "large":
        big = np.arange(300_000, dtype=np.uint64)
        return ((big * np.uint64(11400714819323198485)) >> np.uint64(40)).astype(np.float64) / 2**22
    return np.array([float.fromhex(number) for number in _golden()[f"input/{name}"]])


def _replayed(rule: str, *kinds: str) -> Margins:
    """Compute every golden value of these kinds anew from its name. Raises CheckFailed at the first other one."""
    names = [name for name in _golden() if name.split("/")[0] in kinds]
    for name in names:
        kind, *parts = name.split("/")
        found, expected = _written(_REPLAY[kind](*parts)), _golden()[name]
        if found != expected:
            raise CheckFailed(rule, f"{found!s:.200}", f"{expected!s:.200}", f"golden value {name!r}")
    return {"golden values": float(len(names))}


def _written(value: Array) -> Any:
    """Return an array as the table holds it: whole while short, else its length and SHA-256."""
    if len(value) > 64:
        little = value.astype(value.dtype.newbyteorder("<"))
        return {"length": len(value), "sha256": hashlib.sha256(little.tobytes()).hexdigest()}
    return [float(v).hex() for v in value] if value.dtype == np.float64 else [int(v) for v in value]


def _setting(text: str) -> str:
    return text.partition("=")[2]


def _named_noise(seed: str, draw: str) -> Noise:
    return Noise(int(_setting(seed)), int(_setting(draw)))


def _bits(seed: str, draw: str, span: str) -> npt.NDArray[np.uint64]:
    start, _, stop = span.partition(":")
    return raw(_named_noise(seed, draw), int(start), int(stop))


def _soft(name: str, k: str, scaling: Any, temperature: str, seed: str, draw: str) -> Array:
    noise = _named_noise(seed, draw)
    return attent.soft(
        _scores(name), int(_setting(k)), noise, temperature=float(_setting(temperature)), scaling=scaling
    )


_REPLAY: dict[str, Callable[..., Array]] = {
    "hard": lambda name, k: attent.hard(_scores(name), int(_setting(k))),
    "band": lambda name, k, cap: attent.band(_scores(name), int(_setting(k)), cap=float(_setting(cap))),
    "random": lambda name, k, *key: attent.random(_scores(name), int(_setting(k)), _named_noise(*key)),
    "soft": _soft,
    "scale": lambda name, scaling: scale(_scores(name), scaling),
    "noise": _bits,
    "gumbel": lambda *key: gumbel(_bits(*key)),
}
