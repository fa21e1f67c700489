"""``attent teach`` ended by SIGTERM or Ctrl-C at a random moment: a checkpoint, the exit code, and the same end later."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attent import Trace
from attent.run.files import read_arrays
from attent.run.folder import CHECKPOINT
from attent.tests.cli_toy import RECIPE
from attent.tests.faults.corpus import Finding

PROGRAM = [sys.executable, "-c", "from attent.cli import main; main()"]
OPTIONS = ("--preset", "default", "--epochs", "6", "--segment-steps", "1", "--against", "none")
SLOW = ("--set", "pause=0.02")
PATIENCE = 120.0


def run(count, seed, *, tell=print):
    """Stop so many runs by a signal; return how many. Raises Finding where one ends otherwise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _attent(folder, "teach", RECIPE, *OPTIONS, *SLOW, "--run", "whole", wanted=0)
        whole = _end(folder / "whole")
        for number in range(count):
            rng = random.Random(f"signal {seed} {number}")
            which = rng.choice((signal.SIGTERM, signal.SIGTERM, signal.SIGINT))
            _stopped(folder, f"run{number}", which, rng)
            if _end(folder / f"run{number}") != whole:
                raise Finding(f"a run stopped by {which.name} ended otherwise")
    tell(f"signals: {count} runs stopped by SIGTERM or SIGINT left a checkpoint, told it by their code, and went on")
    return count


def _attent(folder, *arguments, wanted):
    done = subprocess.run([*PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode != wanted:
        raise Finding(f"attent {arguments} ended with {done.returncode}: {done.stderr}")


def _stopped(folder, name, which, rng):
    arguments = ("teach", RECIPE, *OPTIONS, *SLOW, "--checkpoint-seconds", "1000", "--run", name)
    process = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    header, end = folder / name / "seed-0/taught/run.json", time.monotonic() + PATIENCE
    while not header.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.5))
    process.send_signal(which)
    _, told = process.communicate(timeout=PATIENCE)
    if process.returncode != 128 + which or b"Go on with: attent teach --resume" not in told:
        raise Finding(f"after {which.name} the program ended with {process.returncode}: {told.decode()}")
    if not (folder / name / "seed-0/taught" / CHECKPOINT).exists():
        raise Finding(f"{which.name} left no checkpoint")
    _attent(folder, "teach", "--resume", name, wanted=0)


def _end(folder):
    """Return what a run taught and learnt."""
    run = folder / "seed-0/taught"
    trace = Trace.read(run)
    arrays, _ = read_arrays(run / CHECKPOINT)
    learnt = {name: array.tobytes() for name, array in arrays.items() if name.startswith("learner/")}
    return [trace.ids(epoch).tolist() for epoch in range(len(trace.records))], learnt
