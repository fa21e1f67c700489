"""What scoring costs on two workers against one: ``torchrun --nproc-per-node 2 bench_workers.py``.

Both sides alternate in one run. Seconds are of wall time and of each process' processor time, whose larger one counts:
on a machine that others use too, only the latter means anything.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.distributed as dist

from attent_torch import TorchLearner, cross_entropy, workers

N, REPEATS = 4096, 5
torch.set_num_threads(1)


def learner() -> TorchLearner:
    """Return a learner of a small transformer, the same on every rank."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
    model = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.Linear(16 * 64, 10))
    data = torch.randn(N, 16, 64), torch.randint(10, (N,))
    return TorchLearner(model, data, cross_entropy, torch.optim.SGD(model.parameters(), 0.1))


def main() -> None:
    """Measure, and print on rank 0."""
    dist.init_process_group("gloo")
    alone, ids = learner(), np.arange(N)
    together = workers(learner())
    found = []
    for _ in range(REPEATS + 1):
        for score in (alone.score, together.score):
            dist.barrier()
            started, busy = time.perf_counter(), time.process_time()
            scores = score(ids)
            found.append((time.perf_counter() - started, time.process_time() - busy))
        if not np.allclose(scores, alone.score(ids), rtol=1e-5):
            raise SystemExit("scores differ")
    spent = torch.tensor(found, dtype=torch.float64).view(REPEATS + 1, 2, 2)[1:]  # the first warms up
    dist.all_reduce(spent, dist.ReduceOp.MAX)
    wall, processor = spent.median(0).values.T.tolist()
    if dist.get_rank() == 0:
        for name, (one, two) in (("wall", wall), ("processor", processor)):
            print(
                f"{name:9} one {one:.3f} s, {dist.get_world_size()} workers {two:.3f} s: {one / two:.2f} times as fast"
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
