"""One process of several that ``attent.teach`` teaches together: ``python rank_taught.py FOLDER``, with RANK and
WORLD_SIZE in the environment.

Teaches a small network on 21 examples in batches of 5, so that shares differ and some are empty, and writes what it
trained and its parameters, or the error, to FOLDER/RANK.json.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

import attent
from attent_torch import TorchLearner, cross_entropy, workers

N = 21
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=5),
    "weighted": attent.Plan(epochs=4, batch_size=5, ratio=0.5, select="soft(correction=10.0)", source="fresh"),
}
torch.set_num_threads(1)


def examples(seed=0):
    draw = torch.Generator().manual_seed(seed or 0)
    x = torch.randn(N, 4, dtype=torch.float64, generator=draw)
    if seed is None:
        x[8] = torch.nan
    return x, torch.randint(3, (N,), generator=draw)


class Network(torch.nn.Module):
    """Has a part that is never used, and one that some examples alone use."""

    def __init__(self, seed=1, dropout=0.0, norm=False, rare=True):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last, self.unused = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3), torch.nn.Linear(2, 2)
        self.rare, self.rarely = torch.nn.Parameter(torch.full((3,), 0.1)), rare
        self.dropout, self.norm = torch.nn.Dropout(dropout), torch.nn.BatchNorm1d(6) if norm else torch.nn.Identity()
        self.double()

    def forward(self, x):
        logits = self.last(self.dropout(torch.tanh(self.norm(self.first(x)))))
        chosen = x[:, 0] > 0.5
        if self.rarely and not chosen.any():  # fully_shard wants the same parameters used on all ranks
            return logits
        return torch.where(chosen[:, None], logits * self.rare, logits)


class Watched:
    """Writes down the ids of every batch that is trained."""

    def __init__(self, learner):
        self.learner, self.seen = learner, []
        train = learner.train

        def watched(batches, weights=None):
            counts = [True] * len(batches) if weights is None else [bool(w.any()) for w in weights]
            self.seen += [ids.tolist() if count else [] for ids, count in zip(batches, counts, strict=True)]
            return train(batches, weights)

        learner.train = watched


def learner_of(kind, **settings):
    seed, data = settings.pop("seed", 1), settings.pop("data", 0)
    network = {name: settings.pop(name) for name in ("dropout", "norm") if name in settings}
    model = Network(seed, rare=kind != "fsdp", **network)
    if kind == "ddp" and dist.is_initialized() and dist.get_world_size() > 1:
        model = DistributedDataParallel(model, find_unused_parameters=True)
    if kind == "fsdp":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        fully_shard(model.first, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9, weight_decay=0.01)
    return TorchLearner(model, examples(data), cross_entropy, optimizer, score_batch_size=4, **settings)


def parameters(learner):
    state = learner.state()
    return np.concatenate([state[name].ravel() for name in sorted(state) if name.startswith("model/")]).tolist()


def told(plan, learner, **settings):
    """Teach, and return what was trained, by step, and the last parameters; of an error its text."""
    watched = Watched(learner)
    started = time.monotonic()
    try:
        trace = attent.teach(workers(learner), plan, **settings)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.monotonic() - started}
    ids = [trace.ids(epoch).tolist() for epoch in range(len(trace.records))]
    return {"seen": watched.seen, "parameters": parameters(learner), "ids": ids, "finished": trace.finished}


def stopping(epochs):
    """Return a listener and a ``stop`` that stop after so many epochs."""
    records = []
    return {
        "listeners": [lambda progress: records.append(progress.record)],
        "stop": lambda: sum(record is not None for record in records) == epochs,
    }


def main(folder):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    results = {}
    for name, plan in PLANS.items():
        for model in ("plain", "ddp", "fsdp"):
            results[f"{name} {model}"] = told(plan, learner_of(model), run=folder / f"{name}-{model}")
    results["clipped"] = told(PLANS["auto"], learner_of("plain", clip_norm=0.2, accumulate=3))
    results["clipped ddp"] = told(PLANS["auto"], learner_of("ddp", clip_norm=0.2, accumulate=3))
    dropping = attent.Plan(epochs=3, batch_size=5, ratio=0.8, select="hard", non_finite="last", seed=3)
    for model in ("plain", "ddp", "fsdp"):  # example 8 has no finite loss: some rank's alone
        results[f"not finite {model}"] = told(dropping, learner_of(model, data=None), checkpoint_seconds=0)
    results["dropout"] = told(PLANS["auto"], learner_of("plain", dropout=0.5), run=folder / "dropout")
    told(PLANS["auto"], learner_of("plain", dropout=0.5), run=folder / "again", **stopping(2))
    results["dropout again"] = told(
        PLANS["auto"], learner_of("plain", dropout=0.5, seed=9), run=folder / "again", resume=True
    )
    normed = attent.Plan(epochs=3, batch_size=10, ratio=0.8, source="fresh", seed=4)  # shares of two and more
    if world < 3:
        every = {"checkpoint_seconds": 0}  # the learners are compared whenever a checkpoint is due
        results["norm"] = told(normed, learner_of("plain", norm=True), **every)
        results["norm ddp"] = told(normed, learner_of("ddp", norm=True), **every)
    for model in ("plain", "fsdp"):  # a run of two stops, one goes on, four end it
        run = folder.parent / f"elastic-{model}"
        goes = stopping({2: 2, 1: 4, 4: 99}[world])
        results[f"elastic {model}"] = told(PLANS["auto"], learner_of(model), run=run, resume=True, **goes)
    if world > 1:
        results["other data"] = told(PLANS["auto"], learner_of("plain", data=int(rank == 1)))
        results["other parameters"] = told(PLANS["auto"], learner_of("plain", seed=1 + (rank == 1)))
        results["other plan"] = told(PLANS["auto" if rank != 1 else "weighted"], learner_of("plain"))
        results["accumulated in parts"] = refused(lambda: workers(learner_of("fsdp", accumulate=2)))
        results["alone"] = refused(lambda: attent.teach(learner_of("ddp"), PLANS["auto"]))
        results["alone in parts"] = refused(lambda: attent.teach(learner_of("fsdp"), PLANS["auto"]))

        def dies(progress):
            if rank == world - 1 and progress.epoch == 1:
                os.kill(os.getpid(), 9)

        kind = "ddp" if world == 2 else "plain"
        results["died"] = told(PLANS["weighted"], learner_of(kind), listeners=[dies], segment_steps=1)
    (folder / f"{rank}.json").write_text(json.dumps(results))
    os._exit(0)  # the group is broken: nothing of it can be closed


def refused(call):
    try:
        call()
    except attent.AttentError as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
