"""Write selections.json: inputs and the exact ids and noise that every machine must give.

Run ``python -m attent.tests.golden.make`` only when a rule of docs/spec.md changes, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

import attent
import attent.choose.scaling
from attent.choose.noise import Noise, gumbel, raw
from attent.choose.policy import asks
from attent.choose.scaling import scale
from attent.choose.shares import counts_of

PATH = Path(__file__).with_name("selections.json")


def inputs() -> dict[str, np.ndarray]:
    """Return the score arrays, from whole-number arithmetic alone so that they are the same everywhere."""
    i = np.arange(60, dtype=np.uint64)
    spread = ((i * np.uint64(2654435761)) % np.uint64(2**32)).astype(np.float64) / 2**30
    big = np.arange(300_000, dtype=np.uint64)
    large = ((big * np.uint64(11400714819323198485)) >> np.uint64(40)).astype(np.float64) / 2**22
    edges = [0.0, -0.0, 5e-324, -5e-324, 1e-308, 1.7e308, -1.7e308, 1.0, 1.0, 1.0000000000000002, -1.0, 0.0, -0.0]
    return {
        "spread": spread,
        "ties": np.floor(spread * 2) / 2,
        "edges": np.array(edges),
        "equal": np.full(17, 0.1),
        "one": np.array([0.3]),
        "large": large,
    }


def cases():
    """Yield (name, ids or numbers) for every selection, scaling and noise on every input."""
    for name, scores in inputs().items():
        n = len(scores)
        for k in sorted({1, (n + 4) // 5, n}):
            yield f"hard/{name}/k={k}", attent.hard(scores, k)
            yield f"band/{name}/k={k}/cap=0.8", attent.band(scores, k, cap=0.8)
            for seed, draw in ((0, 0), (7, 3), (2**64 - 1, 2**33)):
                noise = Noise(seed, draw)
                yield f"random/{name}/k={k}/seed={seed}/draw={draw}", attent.random(scores, k, noise)
            for scaling in attent.choose.scaling.SCALINGS:
                for temperature in (0.1, 1.0, 5.0):
                    ids = attent.soft(scores, k, Noise(7, 3), temperature=temperature, scaling=scaling)
                    yield f"soft/{name}/k={k}/{scaling}/temperature={temperature}/seed=7/draw=3", ids
        for scaling in attent.choose.scaling.SCALINGS:
            yield f"scale/{name}/{scaling}", scale(scores, scaling)
    for seed, draw in ((0, 0), (7, 3), (2**64 - 1, 2**33)):
        bits = raw(Noise(seed, draw), 5, 25)
        yield f"noise/seed={seed}/draw={draw}/5:25", bits
        yield f"gumbel/seed={seed}/draw={draw}/5:25", gumbel(bits)
    yield "gumbel/seed=1/draw=0/0:300000", gumbel(raw(Noise(1, 0), 0, 300_000))


def group_cases():
    """Yield (name, ids or whole counts) for every share of groups and for what fills it."""
    scores = inputs()["spread"]
    i = np.arange(len(scores))
    groups = (i * i % 7 + i // 20).astype(np.int64)
    given = {"turns": i % 3, "losses": scores, "before": scores[::-1].copy(), "progress": 0.25}
    for k in (7, 20, 41):
        for share in ("even", "size", 0.3, (5, 1, 0.5, 2, 0, 3, 1, 1, 2), "loss", "speed"):
            for inner in (attent.Hard(), attent.Soft(), attent.Random(), attent.InTurn()):
                policy = attent.ByGroup(inner, share, to=None if k < 41 else 0.5)
                if share == (5, 1, 0.5, 2, 0, 3, 1, 1, 2) and k == 41:
                    continue  # its groups have fewer at first
                asked = {name: given[name] for name in asks(policy) if name in given}
                found = policy.choose(scores, k, Noise(7, 3), groups=groups, **asked)
                yield f"by_group/spread/k={k}/{policy}/seed=7/draw=3", found.ids
        weighed = attent.ByGroup(attent.Soft(), "even", correction=3)
        yield (
            f"by_group/spread/k={k}/{weighed}/seed=7/draw=3",
            weighed.choose(scores, k, Noise(7, 3), groups=groups).ids,
        )
        tempered = attent.Tempered(0.7, to=0)
        yield (
            f"tempered/spread/k={k}/{tempered}/seed=7/draw=3",
            tempered.choose(scores, k, Noise(7, 3), groups=groups, turns=given["turns"], progress=0.25).ids,
        )
        balanced = attent.Balanced()
        yield (
            f"balanced/spread/k={k}/seed=7/draw=3",
            balanced.choose(scores, k, Noise(7, 3), groups=groups, turns=given["turns"]).ids,
        )
        yield f"per_cost/spread/k={k}", attent.PerCost().choose(scores, k, Noise(7, 3), costs=1.0 + i % 5).ids
    for weights, sizes, k in (([1, 1, 1], [9, 2, 9], 9), ([900, 99, 1], [900, 99, 1], 100), ([5, 0, 2], [9, 9, 9], 12)):
        yield f"counts/{weights}/{sizes}/k={k}", np.array(counts_of(weights, sizes, k))


def written(value: np.ndarray):
    """Return an array as JSON: itself while short (floats in hexadecimal, exact), a SHA-256 of its bytes otherwise."""
    if len(value) > 64:
        little = value.astype(value.dtype.newbyteorder("<"))
        return {"length": len(value), "sha256": hashlib.sha256(little.tobytes()).hexdigest()}
    return [float(v).hex() for v in value] if value.dtype == np.float64 else [int(v) for v in value]


def table():
    """Return all golden values by name."""
    scores = {f"input/{name}": written(array) for name, array in inputs().items()}
    return {**scores, **{name: written(value) for name, value in (*cases(), *group_cases())}}


if __name__ == "__main__":
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in table().items())
    PATH.write_text("{\n" + lines + "\n}\n")
