"""Does teaching pay on digits? Every arm over paired seeds, with the NumPy learner.

All arms of a seed start from the same weights. ``full`` is 12 epochs on all examples; the others cost as much
as 6. Nothing here is tuned: see docs/results.md for what that means.

    python bench_digits.py [--seeds 8] [--learning-rate 0.003]
"""

from __future__ import annotations

import argparse

import numpy as np

import attent
from attent.reference.recipes import vit_digits

FULL, SHORT = 12, 6


def arms(seed: int) -> dict[str, attent.Plan]:
    taught = {"epochs": FULL, "batch_size": 32, "seed": seed}
    return {
        "full": attent.Plan.full(epochs=FULL, batch_size=32, seed=seed),
        "short": attent.Plan.full(epochs=SHORT, batch_size=32, seed=seed),
        "auto": attent.Plan.auto(epochs=SHORT, batch_size=32, seed=seed),
        "random": attent.Plan.default(**taught, select="random"),
        "soft (default)": attent.Plan.default(**taught),
        "hard": attent.Plan.default(**taught, select="hard"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=None)
    options = parser.parse_args()
    chosen = {} if options.learning_rate is None else {"learning_rate": options.learning_rate}
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(options.seeds):
        for name, plan in arms(seed).items():
            learner = vit_digits(plan, **chosen)
            attent.teach(learner, plan)
            quality = learner.evaluate()
            cost = plan.cost(len(learner)).epochs
            found.setdefault(name, []).append((cost, quality["accuracy"], quality["loss"]))
    print(f"{options.seeds} seeds; means, and the test loss's paired difference from short with its standard error")
    short = np.array(found["short"])[:, 2]
    for name, rows in found.items():
        cost, accuracy, loss = np.mean(rows, axis=0)
        apart = np.array(rows)[:, 2] - short
        error = apart.std(ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")
        print(
            f"{name:15} cost {cost:5.2f} epochs  accuracy {accuracy:.4f}  test loss {loss:.4f}  "
            f"against short {apart.mean():+.4f} ± {error:.4f}"
        )


if __name__ == "__main__":
    main()
