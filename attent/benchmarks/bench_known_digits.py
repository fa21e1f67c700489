"""Does teaching pay where a model knows most of its data? Every arm over paired seeds, with the NumPy learner.

A model that has learnt digits 0 to 6 goes on with those and a few of 7 to 9. All arms of a seed start from the same
weights. ``auto`` and ``balanced`` cost as much as the shortest ``full``; the longer ones show what more would bring.
``balanced`` knows the classes, which auto does not: a first epoch on all, then passes on a third, filled evenly.

    python bench_known_digits.py [--seeds 5] [--first-seed 0] [--set learning_rate=0.002]
"""

from __future__ import annotations

import argparse
import ast
import time

import numpy as np

import attent
from attent.learner import Numbers
from attent.reference.recipes import known_digits

CURVE = (3, 4, 5, 6, 8)  # epochs of full training
EPOCHS, BATCH = CURVE[0], 16
ARMS = (*(f"full {epochs}" for epochs in CURVE), "auto", "balanced")


def plan_of(arm: str, seed: int) -> attent.Plan:
    if arm.startswith("full"):
        return attent.Plan.full(epochs=int(arm.split()[1]), batch_size=BATCH, seed=seed)
    make = attent.Plan.auto if arm == "auto" else attent.Plan.balanced
    return make(epochs=EPOCHS, batch_size=BATCH, seed=seed)


def half_width(differences: Numbers) -> float:
    """Return half the width of the 95 % interval of a mean by Student's t (its quantile by Fisher's expansion)."""
    free, z = len(differences) - 1, 1.959964
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    t = sum(term / free**power for power, term in enumerate(terms))
    return float(t * differences.std(ddof=1) / len(differences) ** 0.5)


def told(arm: Numbers, other: Numbers) -> str:
    apart = arm - other
    width = half_width(apart)
    return f"{apart.mean():+.4f} ({apart.mean() - width:+.4f} to {apart.mean() + width:+.4f})"


def reached_at(arm: Numbers, curve: Numbers) -> str:
    """Return the epochs at which full training, (points, seeds), reaches an arm's mean, with a 95 % interval.

    Straight lines between the points; a value at either end of the curve is a bound. Seeds are resampled.
    """
    draws = np.random.default_rng(0).integers(0, len(arm), (10_000, len(arm)))
    every = np.vstack([np.arange(len(arm)), draws])
    means = np.maximum.accumulate(curve[:, every].mean(axis=2), axis=0)
    epochs = [np.interp(mean, points, CURVE) for mean, points in zip(arm[every].mean(axis=1), means.T, strict=True)]
    low, high = np.quantile(epochs[1:], (0.025, 0.975))
    return f"{epochs[0]:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    if given.seeds < 3:
        parser.error("--seeds must be at least 3: fewer give no interval")
    options = {name: ast.literal_eval(value) for name, _, value in (one.partition("=") for one in given.set)}
    began = time.perf_counter()
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        known_digits(plan_of("auto", seed), **options)  # pre-trains; arms reuse it
        for arm in ARMS:
            plan = plan_of(arm, seed)
            learner = known_digits(plan, **options)
            start = time.process_time()
            trace = attent.teach(learner, plan)
            seconds = time.process_time() - start
            trained = sum(record.examples_trained for record in trace.records)
            found[arm].append({"cost": trained / len(learner), "seconds": seconds, **learner.evaluate()})
    metrics = list(found["auto"][0])
    values = {arm: {name: np.array([row[name] for row in rows]) for name in metrics} for arm, rows in found.items()}
    print(f"{given.seeds} seeds from {given.first_seed} on, {len(learner)} examples; means; seconds of the process")
    print(f"{'arm':10}" + "".join(f"{name:>16}" for name in metrics))
    for arm, by in values.items():
        print(f"{arm:10}" + "".join(f"{by[name].mean():16.4f}" for name in metrics))
    short = f"full {EPOCHS}"
    for name in metrics[2:]:
        print(f"{name}, paired differences with 95 % intervals:")
        for arm, other in (("auto", short), ("balanced", short), ("auto", "balanced")):
            print(f"  {arm:8} against {other:8} {told(values[arm][name], values[other][name])}")
    curve = np.array([values[f"full {epochs}"]["accuracy"] for epochs in CURVE])
    for arm in ("auto", "balanced"):
        at = reached_at(values[arm]["accuracy"], curve)
        print(f"{arm} reaches in {EPOCHS} epochs the accuracy that full training reaches in {at}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
