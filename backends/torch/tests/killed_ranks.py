"""Two processes that train together, killed at random moments, each time going on from what they kept.

    python killed_ranks.py FOLDER SEED KILLS

One of the two is killed, or both. The other must end by itself, and soon, once it is in the group: gloo's own meeting
has no end where a fellow dies in it, whatever the group's timeout, so there it is killed, as a launcher such as torchrun
does. Each keeps its state after every step, the last two of them, and goes on from the last that both have.
"""

import faulthandler
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import attent
from attent_torch import Teacher

sys.path.insert(0, str(Path(__file__).parent))
from rank import examples, learnt, loss_of, network

PLAN = attent.Plan.default(epochs=10, batch_size=5, seed=3)
WORLD = 2
TIMEOUT = timedelta(seconds=60)  # of the group: how long one waits for a fellow that never came
MEETING = 20.0  # seconds for gloo's meeting, once a fellow was killed
PATIENCE = 300.0  # seconds for the one that is left, on a machine however busy


def kept(folder, rank):
    """Return the steps of which a rank's state is there whole."""
    return {int(path.stem.split("-")[1]) for path in folder.glob(f"state{rank}-*.pt")}


def keep(folder, rank, step, state):
    """Keep a state, whole or not at all, and the one before it."""
    path = folder / f"state{rank}-{step}.pt"
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)
    for old in kept(folder, rank) - {step, step - 1}:
        (folder / f"state{rank}-{old}.pt").unlink()


def train(folder, rank, pause):
    """Train from the last state that all ranks have to the end; leave what was learnt in FOLDER/RANK.pt."""
    last = max(set.intersection(*(kept(folder, one) for one in range(WORLD))), default=None)
    dist.barrier()  # nobody forgets a state that another goes on from
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    loader = DataLoader(examples(), batch_size=5, sampler=DistributedSampler(examples()))
    teacher = Teacher(PLAN, loader, model=model, loss=loss_of, run=folder / "run", resume=last is not None)
    seen = []
    if last is not None:
        state = torch.load(folder / f"state{rank}-{last}.pt", weights_only=True)
        teacher.load_state_dict(state["teacher"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        seen = state["seen"]

    def now():
        return {
            "teacher": teacher.state_dict(),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "seen": seen,
        }

    if last is None:
        keep(folder, rank, 0, now())
        dist.barrier()
    while not teacher.finished:
        for x, y, ids in teacher(loader):
            loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen = [*seen, ids.tolist()]
            time.sleep(pause * (3 if (len(seen) + rank) % 4 == 0 else 1))  # one waits for the other in turn
            keep(folder, rank, len(seen), now())
    torch.save({"seen": seen, "parameters": learnt(model)}, folder / f"{rank}.pt")
    dist.barrier()


def met(folder, attempt, rank):
    """Return the file that says that a rank is in the group."""
    return folder / f"met{attempt}-{rank}"


def start(folder, attempt, pause):
    """Fork all ranks; return their process ids."""
    started = []
    for rank in range(WORLD):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                os.dup2(os.open(folder / f"log{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                faulthandler.register(signal.SIGUSR1)
                os.environ["GLOO_SOCKET_IFNAME"] = "lo"
                meeting = f"file://{folder / f'meeting{attempt}'}"
                dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD, timeout=TIMEOUT)
                met(folder, attempt, rank).touch()
                train(folder, rank, pause)
                code = 0
            except BaseException as error:
                print(type(error).__name__, error, file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        started.append(process)
    return started


def wait(process, inside=None):
    """Return how a process ended. Raises where it does not, soon: it hangs.

    ``inside``: the file that says that it is in the group; without it, it is soon killed.
    """
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status
        if inside is not None and time.monotonic() > began + MEETING and not inside.exists():
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    os.kill(process, signal.SIGUSR1)  # it tells where it stands
    time.sleep(1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise SystemExit(f"a process whose fellow was killed hung for {PATIENCE:g} s beyond its group's {TIMEOUT}")


def run(folder, rng, kills):
    """Run to the end, with so many kills on the way; return what each rank saw and learnt, and what was taught."""
    folder.mkdir(parents=True)
    attempt = killed = 0
    while killed < kills:
        attempt += 1
        before = kept(folder, 0)
        processes = start(folder, attempt, pause=0.05)
        end = time.monotonic() + PATIENCE
        late = rng.random() < 0.8  # the others are killed while they start
        while late and kept(folder, 0) == before and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        victims = rng.choice(([0], [1], [0, 1]))
        for victim in victims:
            os.kill(processes[victim], signal.SIGKILL)
        ends = [wait(process, met(folder, attempt, rank)) for rank, process in enumerate(processes)]
        if all(os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 for status in ends):
            raise SystemExit(f"the run was over after {killed} of {kills} kills: it is too short")
        if any(
            os.WIFEXITED(ends[one]) and os.WEXITSTATUS(ends[one]) == 0 for one in range(WORLD) if one not in victims
        ):
            raise SystemExit("a process ended well though its fellow was killed")
        killed += len(victims)
    for process in start(folder, attempt + 1, pause=0):
        if wait(process):
            raise SystemExit((folder / "log0").read_text() + (folder / "log1").read_text())
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    trace = attent.Trace.read(folder / "run")
    return ranks, [trace.ids(epoch).tolist() for epoch in range(PLAN.epochs)], [one.loss for one in trace.records]


def main(folder, seed, kills):
    """Compare a run that was killed so many times with one that was not."""
    if not (folder / "alone.pt").exists():
        torch.save(run(folder / "alone", random.Random(0), 0), folder / "alone.pt")
    alone = torch.load(folder / "alone.pt", weights_only=True)
    killed = run(folder / f"killed{seed}", random.Random(seed), kills)
    for what, mine, theirs in zip(("steps and parameters", "ids taught", "losses"), killed, alone, strict=True):
        if mine != theirs:
            raise SystemExit(f"{what} differ from those of a run left alone")
    print(kills)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
