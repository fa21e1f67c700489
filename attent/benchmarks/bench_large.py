"""What the core itself costs at large n: selections, passes of a course, workers that share the scores.

    python bench_large.py select [--n 100000000] [--folder /tmp]   soft, k = n/5, of a memory-mapped file
    python bench_large.py course [--n 10000000] [--plan auto]      a course whose learner costs nothing
    python bench_large.py workers [--n 1000000] [--world 1000]     what workers send each other

``select`` writes n scores to a file, chooses from it in a process of its own whose memory beyond the file is measured
(anonymous memory, /proc), and says CPU time an example against 10**6; up to 10**8 it compares with memory. It removes
the file. ``course`` measures CPU seconds and the peak of traced memory of each pass, in two runs. ``workers`` simulates
them by threads.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np

import attent
from attent.choose import sharded
from attent.run.records import digest_of

NOISE = attent.Noise(seed=0, draw=0)
STEP = 1 << 24


def scores_of(n: int, path: Path) -> None:
    """Write n scores, the same for every n as far as they go."""
    with path.open("wb") as file:
        for start in range(0, n, STEP):
            rng = np.random.default_rng(start)
            rng.exponential(size=STEP)[: min(STEP, n - start)].tofile(file)


def own_mebibytes() -> float:
    """Return the anonymous memory of this process: what it holds beyond mapped files (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024


def chosen(path: Path, scaling: str) -> None:
    """Choose from a file, and print CPU seconds, the peak of memory beyond the file, and a digest of the ids."""
    scores = np.memmap(path, np.float64, "r")
    attent.soft(np.zeros(1 << 21), 5, NOISE)  # loads what is to be loaded
    before, peak, done = own_mebibytes(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], own_mebibytes())

    watching = threading.Thread(target=watch)
    watching.start()
    start = time.process_time()
    ids = attent.soft(scores, len(scores) // 5, NOISE, scaling=scaling)
    spent = time.process_time() - start
    done.set()
    watching.join()
    print(spent, max(peak[0], own_mebibytes()) - before, digest_of(ids))


def select(n: int, folder: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as held:
        per_example = {}
        for size in (10**6, n):
            path = Path(held) / f"{size}.f64"
            scores_of(size, path)
            for scaling in ("none", "std"):
                command = [sys.executable, __file__, "chosen", "--path", str(path), "--scaling", scaling]
                runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                        for _ in range(1 if size > 10**8 else 3)]  # fmt: skip
                spent, memory = min(float(run[0]) for run in runs), max(float(run[1]) for run in runs)
                per_example[size, scaling] = spent / size
                print(
                    f"n = {size}, k = n/5, scaling {scaling}: {1e9 * spent / size:.1f} ns of CPU an example "
                    f"({per_example[size, scaling] / per_example[10**6, scaling]:.2f} of that at 10**6), "
                    f"{memory:.0f} MiB beyond the file, of which ids {8 * (size // 5) / 2**20:.0f}",
                    flush=True,
                )
                if size <= 10**8:
                    ids = attent.soft(np.fromfile(path), size // 5, NOISE, scaling=scaling)
                    assert {run[2] for run in runs} == {digest_of(ids)}
                    print("  the ids are those of memory", flush=True)
            path.unlink()


def course(n: int, name: str, batch_size: int) -> None:
    plans = {"auto": attent.Plan.auto(epochs=3, batch_size=batch_size),
             "default": attent.Plan.default(epochs=4, batch_size=batch_size)}  # fmt: skip
    losses = np.random.default_rng(0).exponential(size=n) ** 2
    for measured in ("CPU seconds", "bytes an example"):
        if measured != "CPU seconds":
            tracemalloc.start()
        under_way, spent = attent.Course(plans[name], n), 0.0
        while True:
            start = time.process_time()
            lesson = under_way.next()
            spent += time.process_time() - start
            if isinstance(lesson, attent.Done):
                break
            ids = lesson.ids if isinstance(lesson, attent.Score) else np.concatenate(lesson.batches)
            numbers = losses[ids] * 0.75**under_way.epoch
            start = time.process_time()
            record = under_way.record(numbers)
            spent += time.process_time() - start
            if record is not None:
                how = record.selection.how if record.selection is not None else None
                number = spent if measured == "CPU seconds" else tracemalloc.get_traced_memory()[1] / n
                print(f"pass {record.epoch}, {how or record.phase}, {record.k}: {number:.2f} {measured}", flush=True)
                spent = 0.0
                if measured != "CPU seconds":
                    tracemalloc.reset_peak()


def workers(n: int, world: int) -> None:
    scores = np.random.default_rng(0).exponential(size=n)
    parts, barrier, given = np.array_split(scores, world), threading.Barrier(world), [np.zeros(0, np.int64)] * world
    sent, found = [0, 0], [np.zeros(0, np.int64)] * world
    total = [given[0]]

    def work(rank: int) -> None:
        def allreduce(array: np.ndarray) -> np.ndarray:
            given[rank] = array
            if barrier.wait() == 0:
                total[0] = np.sum(given, axis=0)
                sent[:] = sent[0] + array.nbytes, sent[1] + 1
            barrier.wait()
            return total[0].copy()

        found[rank] = sharded.soft(parts[rank], n // 5, NOISE, sharded.Shard(rank, world, allreduce))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.concatenate(found), attent.soft(scores, n // 5, NOISE))
    print(f"n = {n}, {world} workers: each gives {sent[0]} bytes in {sent[1]} sums; the ids are those of one worker")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["select", "course", "workers", "chosen"])
    parser.add_argument("--n", type=lambda text: int(float(text)))
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--plan", choices=["auto", "default"], default="auto")
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--world", type=int, default=1000)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--scaling", default="none")
    options = parser.parse_args()
    if options.what == "select":
        select(options.n or 10**8, options.folder)
    elif options.what == "course":
        course(options.n or 10**7, options.plan, options.batch_size)
    elif options.what == "workers":
        workers(options.n or 10**6, options.world)
    else:
        chosen(options.path, options.scaling)


if __name__ == "__main__":
    main()
