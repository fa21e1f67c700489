"""Selecting k = n/5 of n = 10**7 scores: attent against the published expressions, sides alternating in one process.

The published soft expression is softmax of the losses, its logarithm plus Gumbel noise, ``torch.topk``,
``tolist``; the hard one is ``torch.topk``, ``tolist``. Printed are the median of the paired ratios (published
seconds over attent's: above 1, attent is faster), its quartiles, and attent's peak memory in arrays of n float64.

    python bench_selection.py [--n 10000000] [--repeats 7]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch

import attent


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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
    options = parser.parse_args()
    n, k = options.n, options.n // 5
    scores = np.random.default_rng(0).exponential(size=n)
    losses = torch.from_numpy(scores.astype(np.float32))
    noise = attent.Noise(seed=0, draw=0)

    def published_soft() -> list[int]:
        q = torch.softmax(losses, 0)
        gumbel = -torch.log(-torch.log(torch.rand(n)))
        return torch.topk((torch.log(q) + gumbel) / 1.0, k).indices.tolist()

    def published_hard() -> list[int]:
        return torch.topk(losses, k).indices.tolist()

    sides: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("soft, scaling none", published_soft, lambda: attent.soft(scores, k, noise)),
        ("soft, scaling std", published_soft, lambda: attent.soft(scores, k, noise, scaling="std")),
        ("hard", published_hard, lambda: attent.hard(scores, k)),
    ]
    print(
        f"n = {n}, k = {k}, torch threads {torch.get_num_threads()}, numpy {np.__version__}, torch {torch.__version__}"
    )
    for name, published, ours in sides:
        published(), ours()
        ratios, mine = [], []
        for _ in range(options.repeats):
            theirs = seconds(published)
            mine.append(seconds(ours))
            ratios.append(theirs / mine[-1])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(
            f"{name}: {middle:.1f} times faster than the published expression (quartiles {low:.1f} to {high:.1f}); "
            f"peak {peak_arrays(ours, n):.2f} float64 arrays beyond the scores"
        )


if __name__ == "__main__":
    main()
