"""One process of several that train together: ``python rank.py KIND FOLDER``, with RANK and WORLD_SIZE in the environment.

Trains a small network on 21 examples in batches of 5, so that shares differ and one of them is empty, and writes what
it trained, step by step, and its parameters to FOLDER/RANK.json.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import attent
from attent_torch import Teacher, cross_entropy

N = 21
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=5),
    "default": attent.Plan.default(epochs=4, batch_size=5),
    "infobatch": attent.Plan.infobatch(epochs=4, batch_size=5),
    "paper": attent.Plan.paper(epochs=3, batch_size=5),
}
torch.set_num_threads(1)


def examples():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(N, 4, dtype=torch.float64, generator=draw)
    return TensorDataset(x, torch.randint(3, (N,), generator=draw), torch.arange(N))


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()


def learnt(model):
    return [value.tolist() for value in model.parameters()]


def loss_of(model, batch):
    return cross_entropy(model, batch[:2])


def ddp(plan, folder, stop_after=None, state=None):
    """Train by DistributedDataParallel; return ids by step, the model, and the teacher's state where it stopped."""
    data, world = examples(), dist.get_world_size()
    model = DistributedDataParallel(network()) if world > 1 else network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    sampler = DistributedSampler(data) if world > 1 else None
    loader = DataLoader(data, batch_size=5, sampler=sampler, shuffle=sampler is None)
    teacher = Teacher(plan, loader, model=model, loss=loss_of, run=folder / "run", resume=state is not None)
    if state is not None:
        teacher.load_state_dict(state["teacher"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    seen = []
    for _ in range(plan.full_epochs):
        for x, y, ids in teacher(loader) if not teacher.finished else ():
            loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(ids.tolist())
            if len(seen) == stop_after:
                kept = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "teacher": teacher.state_dict(),
                }
                torch.save(kept, folder / f"state{dist.get_rank()}.pt")
                return seen, model, teacher
    return seen, model, teacher


def accelerated(plan, folder):
    """Train by accelerate's loop; the prepared loader pads and looks ahead."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    data, model = examples(), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    loader = DataLoader(data, batch_size=5, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    teacher = Teacher(plan, loader, model=model, loss=loss_of, run=folder / "run")
    seen = []
    for _ in range(plan.full_epochs):
        for x, y, ids in teacher(loader):
            loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            seen.append(ids.tolist())
    return seen, model, teacher


def misled(plan, rank):
    """Return what a rank's own Teacher, or the others', was refused for: rank 1 has too few groups."""
    try:
        Teacher(plan, examples(), groups=[0, 1] * 10 + ([0] if rank != 1 else []))
    except attent.AttentError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def main(kind, name, folder):
    rank, plan = int(os.environ["RANK"]), PLANS[name]
    if kind == "misled":
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
        (folder / f"{rank}.json").write_text(json.dumps(misled(plan, rank)))
        os._exit(0)
    if kind == "accelerate":
        seen, model, teacher = accelerated(plan, folder)
    else:
        dist.init_process_group("gloo")
        if kind == "stopped":
            first, _, teacher = ddp(plan, folder, stop_after=7)
            del teacher
            state = torch.load(folder / f"state{rank}.pt", weights_only=True)
            rest, model, teacher = ddp(plan, folder, state=state)
            seen = first + rest
        else:
            seen, model, teacher = ddp(plan, folder)
    taught = None
    if rank == 0:  # who writes
        trace = teacher.trace()
        taught = [trace.ids(epoch).tolist() for epoch in range(plan.epochs)]
    steps = teacher.total_steps
    told = {"seen": seen, "parameters": learnt(model), "taught": taught, "finished": teacher.finished, "steps": steps}
    (folder / f"{rank}.json").write_text(json.dumps(told))
    # DistributedDataParallel keeps gloo's threads alive beyond destroy_process_group. One that still lets go of a
    # tensor while the interpreter ends takes this process with it: "terminate called without an active exception".
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
