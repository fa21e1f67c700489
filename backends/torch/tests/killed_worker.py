"""A loop of one's own with a worker for its data, which is killed before a step: ``killed_worker.py FOLDER WORKERS STEP``.

It goes on from the state that it kept last. Without a step nothing is killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import attent
from attent_torch import Teacher

PLAN = attent.Plan.default(epochs=4, batch_size=5)


def main(folder, workers, kill_at):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    x, y = torch.randn(41, 4, dtype=torch.float64), torch.randint(3, (41,))
    ahead = (
        {"prefetch_factor": 1} if workers else {}
    )  # else a worker may have fetched all of a pass before it is killed
    data = TensorDataset(x, y, torch.arange(41))
    loader = DataLoader(data, batch_size=5, shuffle=True, num_workers=workers, **ahead)
    kept = folder / "state.pt"
    teacher = Teacher(PLAN, loader, model=model, loss=None, run=folder / "run", resume=kept.exists())
    parts = {"model": model, "optimizer": optimizer, "teacher": teacher}
    if kept.exists():
        for name, state in torch.load(kept, weights_only=True).items():
            parts[name].load_state_dict(state)
    steps = 0
    while not teacher.finished:
        for inputs, targets, _ in teacher(loader):
            if steps == kill_at:
                (worker,) = torch.multiprocessing.active_children()
                os.kill(worker.pid, signal.SIGKILL)
            loss = teacher.record(F.cross_entropy(model(inputs), targets, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            torch.save({name: part.state_dict() for name, part in parts.items()}, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
