"""One rank's part of what several do together, as a process or a thread: ``python -m attent_conformance.ranks``.

It is given a backend, its rank, a folder and the addresses of all, and writes what it did to FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import attent
from attent.learner import Learner
from attent.plan.plan import Plan
from attent.reference import SGD
from attent_conformance.failures import CheckFailed
from attent_conformance.subject import Subject, built
from attent_conformance.tasks import task

# 96 examples in batches of 19: the last has one, so that others have none; and with weights.
FULL = Plan(epochs=2, batch_size=19, ratio=1.0)
TAUGHT = Plan(epochs=4, batch_size=7, ratio=0.4, warm_up=1, source="fresh", select="soft(correction=10.0)", seed=5)
STOP = 2  # epochs after which a run of two ranks stops, to go on for one more and then by others
WAIT = 600  # seconds for all ranks together

Told = dict[str, Any]


def learner_of(make: Callable[..., Learner], first: float = 1.0) -> Learner:
    """Return a learner of "classes" by plain descent, which keeps what sums' order does as small as it is."""
    examples = task("classes")
    parameters = {name: first * array for name, array in examples.parameters.items()}
    return built(make, examples, parameters, dtype="float64", optimiser=SGD(0.9), learning_rate=0.05)


def told(learner: Learner, plan: Plan, **settings: Any) -> Told:
    """Teach, and return what was taught and the floating-point arrays of the last state; of an error its text."""
    started = time.monotonic()
    try:
        trace = attent.teach(learner, plan, **settings)
        state = learner.state()
    except Exception as error:
        named = f"{type(error).__module__}.{type(error).__qualname__}" if _foreign(error) else type(error).__name__
        return {"error": f"{named}: {error}", "seconds": time.monotonic() - started}
    return {
        "finished": trace.finished,
        "ids": [trace.ids(epoch).tolist() for epoch in range(len(trace.records))],
        "losses": [record.loss for record in trace.records],
        "steps": [record.steps for record in trace.records],
        "state": {name: array.ravel().tolist() for name, array in state.items() if array.dtype == np.float64},
    }


def _foreign(error: Exception) -> bool:
    return not isinstance(error, attent.AttentError)


def stopping(epochs: int) -> dict[str, Any]:
    """Return a listener and a ``stop`` that stop after so many epochs."""
    records: list[Any] = []
    return {
        "listeners": [lambda progress: records.append(progress.record)],
        "stop": lambda: sum(record is not None for record in records) == epochs,
    }


def work(make: Callable[..., attent.Workers], rank: int, world: int, folder: Path, leave: Callable[[], None]) -> Told:
    """Do one rank's part, and return what came of it."""
    last, results = rank == world - 1, {}
    learner = learner_of(make)  # one for all, where a framework would compile for each
    first = learner.state()

    def case(name: str, plan: Plan, **settings: Any) -> None:
        try:
            learner.load_state(first)
        except Exception as error:
            results[name] = {"error": f"{type(error).__name__}: {error}"}
        else:
            results[name] = told(learner, plan, **settings)

    def leaving(progress: Any) -> None:
        if last and progress.epoch == 1:
            leave()

    case("full", FULL)
    case("taught", TAUGHT, run=folder / "run")
    case("other plan", Plan(epochs=2, batch_size=8 + last, ratio=1.0))
    try:
        results["other parameters"] = told(learner_of(make, 1.0 + 0.5 * last), FULL)
    except Exception as error:  # where making it tells already
        results["other parameters"] = {"error": f"{type(error).__name__}: {error}"}
    # Two begin and stop, go on and stop again; others end it.
    for epochs in (STOP, 1) if world == 2 else (0,):
        goes = stopping(epochs) if epochs else {}
        case("elastic", TAUGHT, run=folder.parent / "elastic", resume=True, **goes)
    case("gone", TAUGHT, listeners=[leaving], segment_steps=1)
    return results


def all_ranks(subject: Subject, world: int, folder: Path) -> list[Told | None]:
    """Run so many ranks and return what each did, None for one that left. Raises CheckFailed where one fails."""
    folder.mkdir()
    return _processes(subject.backend.name, world, folder) if subject.backend else _threads(subject, world, folder)


def _processes(name: str, world: int, folder: Path) -> list[Told | None]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(world)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in free]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outputs = [folder / f"{rank}.out" for rank in range(world)]
    running = []
    for rank, output in enumerate(outputs):
        command = [sys.executable, "-m", "attent_conformance.ranks", name, str(rank), str(folder), *addresses]
        with output.open("w") as file:
            running.append(subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT))
    until = time.monotonic() + WAIT
    try:
        for rank, process in enumerate(running):
            try:
                status: int | str = process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                status = f"nothing within {WAIT} s"
            if status != (0 if rank < world - 1 else 1):
                said = " | ".join(outputs[rank].read_text("utf-8", "replace").strip().splitlines()[-4:])
                raise CheckFailed("W", f"status {status}", "a rank that ends", f"rank {rank} of {world}: {said:.800}")
    finally:
        for process in running:
            process.kill()
            process.wait()
    files = [folder / f"{rank}.json" for rank in range(world)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def _threads(subject: Subject, world: int, folder: Path) -> list[Told | None]:
    results: list[Told | None] = [None] * world
    raised: list[BaseException] = []
    assert subject.workers is not None  # the check needs it
    workers = subject.workers

    def one(rank: int) -> None:
        try:
            results[rank] = work(workers(rank, world, [str(folder)] * world), rank, world, folder, sys.exit)
        except SystemExit:
            pass  # it left
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    if raised:
        raise raised[0]
    return results


def same_ids(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> int | None:
    """Return the first epoch whose ids or number of steps differ, None where there is none."""
    pairs = zip(mine["ids"], mine["steps"], theirs["ids"], theirs["steps"], strict=False)
    for epoch, (ids, steps, other, others) in enumerate(pairs):
        if ids != other or steps != others:
            return epoch
    return None if len(mine["ids"]) == len(theirs["ids"]) else min(len(mine["ids"]), len(theirs["ids"]))


def distance(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the largest difference of two last states, over the largest number in them; infinite for other arrays."""
    one, two = mine["state"], theirs["state"]
    if {name: len(array) for name, array in one.items()} != {name: len(array) for name, array in two.items()}:
        return float("inf")
    found, expected = (np.concatenate([each[name] for name in sorted(each)]) for each in (one, two))
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return error if np.isfinite(error) else float("inf")


def main(name: str, rank: int, folder: Path, addresses: list[str]) -> None:
    """Do one rank's part as a process of its own."""
    subject = Subject.named(name)
    assert subject.workers is not None  # the check needs it
    make = subject.workers(rank, len(addresses), addresses)
    results = work(make, rank, len(addresses), folder, lambda: os._exit(1))
    (folder / f"{rank}.json").write_text(json.dumps(results))
    sys.stdout.flush()
    os._exit(0)  # one is gone: the framework would wait for it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
