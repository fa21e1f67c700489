"""Selecting k = n/5 of n = 10**7 scores: attent against the published expressions, sides alternating in one process.

The published soft expression is softmax of the losses, its logarithm plus Gumbel noise, ``torch.topk``,
``tolist``; the hard one is ``torch.topk``, ``tolist``. Printed are the median of the paired ratios (published
seconds over attent's: above 1, attent is faster) by wall time and by CPU time, its quartiles, and attent's peak memory in
arrays of n float64. On a machine that does other work CPU time is the one to go by.

    python bench_selection.py [--n 10000000] [--repeats 7] [--published float64]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch

import attent


def seconds(call: Callable[[], object]) -> np.ndarray:
    """Return wall and CPU seconds."""
    start = np.array([time.perf_counter(), time.process_time()])
    call()
    return np.array([time.perf_counter(), time.process_time()]) - start


def peak_arrays(call: Callable[[], object], n: int) -> float:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (8 * n)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10**7)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--published", choices=["float32", "float64"], default="float64", help="its losses")
    options = parser.parse_args()
    n, k = options.n, options.n // 5
    scores = np.random.default_rng(0).exponential(size=n)
    losses = torch.from_numpy(scores.astype(options.published))
    noise = attent.Noise(seed=0, draw=0)

    def published_soft() -> list[int]:
        q = torch.softmax(losses, 0)
        gumbel = -torch.log(-torch.log(torch.rand(n, dtype=losses.dtype)))
        return torch.topk((torch.log(q) + gumbel) / 1.0, k).indices.tolist()

    def published_hard() -> list[int]:
        return torch.topk(losses, k).indices.tolist()

    sides: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("soft, scaling none", published_soft, lambda: attent.soft(scores, k, noise)),
        ("soft, scaling std", published_soft, lambda: attent.soft(scores, k, noise, scaling="std")),
        ("soft, scaling rank", published_soft, lambda: attent.soft(scores, k, noise, scaling="rank")),
        ("hard", published_hard, lambda: attent.hard(scores, k)),
    ]
    print(
        f"n = {n}, k = {k}, torch threads {torch.get_num_threads()}, numpy {np.__version__}, torch {torch.__version__}"
    )
    for name, published, ours in sides:
        published(), ours()
        ratios = np.array([seconds(published) / seconds(ours) for _ in range(options.repeats)])
        told = [
            f"{np.median(each):.1f} times by {clock} time ({np.quantile(each, 0.25):.1f} to {np.quantile(each, 0.75):.1f})"
            for clock, each in zip(("wall", "CPU"), ratios.T, strict=True)
        ]
        print(
            f"{name}: faster than the published expression {', '.join(told)}; "
            f"peak {peak_arrays(ours, n):.2f} float64 arrays beyond the scores",
            flush=True,
        )


if __name__ == "__main__":
    main()
