"""What attent costs beside each trainer alone, where all examples are trained: one table.

A trainer's two sides, with attent and without, run in one process in turns of one step; the side that comes first
alternates. Measured is processor time, which other programs disturb less. A pair are the two sides' times of a pass,
from its first step to the next pass' first, so that what happens between passes is in it; the first pass, in which
frameworks compile, is not. A case is in ``backends/*/benchmarks/trainers``; what it needs must be installed.

    python backends/bench_trainers.py [PART OF A FILE'S NAME ...] [--pairs 20]
"""

from __future__ import annotations

import argparse
import math
import os
import runpy
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SETTINGS = {"keras_fit": [{"KERAS_BACKEND": name} for name in ("tensorflow", "jax", "torch")]}  # else none
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Side = Callable[[int, Callable[[], None]], object]


def paired(sides: tuple[Side, Side], steps: int, pairs: int) -> np.ndarray:
    """Return the processor seconds of both sides' passes, (pairs, 2).

    ``side(passes, step_taken)`` trains so many passes of ``steps`` steps and calls ``step_taken`` after each.
    """
    turns, taken = [threading.Semaphore(0), threading.Semaphore(0)], threading.Semaphore(0)

    def run(place: int) -> None:
        def step_taken() -> None:
            taken.release()
            turns[place].acquire()

        turns[place].acquire()
        try:
            sides[place](pairs + 2, step_taken)  # the first pass is not counted, the last is not ended
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    for place in (0, 1):
        threading.Thread(target=run, args=(place,), daemon=True).start()
    seconds = np.empty((steps * (pairs + 1), 2))
    for step in range(len(seconds)):
        for place in (0, 1) if step % 2 else (1, 0):
            start = time.process_time()
            turns[place].release()
            taken.acquire()
            seconds[step, place] = time.process_time() - start
    return seconds[steps:].reshape(pairs, steps, 2).sum(1)


def interval(numbers: np.ndarray) -> tuple[float, float]:
    """Return the interval that holds the median of such numbers in 95 % of the cases, whatever they are like.

    Its ends are two of the numbers, by the binomial distribution of how many lie below the median.
    """
    ordered, n = np.sort(numbers), len(numbers)
    below = np.cumsum([math.comb(n, i) / 2**n for i in range(n)])
    place = max(int((below <= 0.025).sum()), 1)
    return float(ordered[place - 1]), float(ordered[n - place])


def measure(file: str, pairs: int) -> None:
    """Print a file's rows of the table."""
    for name, (*sides, steps) in runpy.run_path(file)["cases"]().items():
        seconds = paired(tuple(sides), steps, pairs)
        ratios = seconds[:, 0] / seconds[:, 1]
        low, high = interval(ratios)
        step = 1000 * np.median(seconds[:, 1]) / steps
        print(f"| {name} | {np.median(ratios):.3f} | {low:.3f} to {high:.3f} | {step:.1f} ms |", flush=True)
    os._exit(0)  # the sides still wait for their turn


def main() -> None:
    """Print the table, each file's rows from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        measure(arguments.file, arguments.pairs)
        return
    print("| | with attent over without | 95 % interval | a step without |\n|---|---|---|---|", flush=True)
    for file in sorted(HERE.glob("*/benchmarks/trainers/*.py")):
        if arguments.parts and not any(part in str(file.relative_to(HERE)) for part in arguments.parts):
            continue
        for settings in SETTINGS.get(file.stem, [{}]):
            command = [sys.executable, __file__, "--file", str(file), "--pairs", str(arguments.pairs)]
            if subprocess.run(command, check=False, env=os.environ | ONE_THREAD | settings).returncode:
                print(f"| {file.stem} {' '.join(settings.values())} | failed | | |", flush=True)


if __name__ == "__main__":
    sys.path[:] = [
        path for path in sys.path if Path(path or ".").resolve() != HERE
    ]  # where folders are named as frameworks
    main()
