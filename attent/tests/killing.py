"""Runs a recipe in processes that are killed, one after another, at random moments, each going on from the last.

    python -m attent.tests.killing MODULE:FUNCTION FOLDER SEED '{"precision": "float64"}' KILLS

Prints how many processes were killed in the middle of the run, then lets the last one finish. Forks after the
imports, so that ten processes cost one start.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

import attent
from attent.run.files import read_arrays

KILLS = 10
PLAN = attent.Plan(epochs=16, batch_size=64, ratio=0.3, select="soft", source="fresh", warm_up=1, seed=5)


def learner(target, options):
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)(PLAN, **options)


def go_on(target, folder, options, pause):
    attent.teach(
        learner(target, options),
        PLAN,
        run=folder,
        resume=True,
        segment_steps=1,
        checkpoint_seconds=0.02,
        listeners=[lambda progress: time.sleep(pause)],
    )


def main():
    target, folder, seed, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    importlib.import_module(target.partition(":")[0])
    rng = np.random.default_rng(seed)
    killed = 0
    while killed < int(sys.argv[5]):
        child = os.fork()
        if child == 0:
            go_on(target, folder, options, pause=0.01)
            os._exit(0)
        time.sleep(rng.uniform(0.05, 0.3))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    print(killed, flush=True)
    child = os.fork()
    if child == 0:
        go_on(target, folder, options, pause=0.0)
        os._exit(0)
    os.waitpid(child, 0)


def check(target, folder, seed, options, kills=KILLS):
    """Kill so many processes of a run; return which arrays of its end differ from those of a run left alone.

    That one is made once in the folder. One thread: with more, BLAS may split a sum by how busy the machine is.
    """
    shutil.rmtree(folder / "killed", ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name, many in (("killed", kills), ("alone", 0)):
        if name == "alone" and (folder / name).exists():
            continue
        arguments = [target, str(folder / name), str(seed), json.dumps(options), str(many)]
        command = [sys.executable, "-m", "attent.tests.killing", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
        assert result.stdout.split() == [str(many)], result.stderr
    assert not list(folder.rglob("*.partial"))
    killed, alone = attent.Trace.read(folder / "killed"), attent.Trace.read(folder / "alone")
    assert attent.first_difference(killed, alone) is None
    assert [killed.ids(e).tolist() for e in range(PLAN.epochs)] == [alone.ids(e).tolist() for e in range(PLAN.epochs)]
    assert [r.loss for r in killed.records] == [r.loss for r in alone.records]
    mine, theirs = (read_arrays(folder / name / "checkpoint.safetensors")[0] for name in ("killed", "alone"))
    assert mine.keys() == theirs.keys()
    return [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()]


if __name__ == "__main__":
    main()
