"""Processes killed at random moments: NumPy, PyTorch, and two processes of PyTorch that train together."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from attent.tests import killing
from attent.tests.faults.corpus import Finding

AT_ONCE = 10  # kills of one run
RANKS = Path(__file__).parents[3] / "backends" / "torch" / "tests" / "killed_ranks.py"


def run(kills, seed, *, tell=print):
    """Kill so many processes; return how many of what. Raises AssertionError or Finding where a run ends otherwise."""
    done = {}
    torch = importlib.util.find_spec("torch") is not None and RANKS.exists()
    parts = {"numpy": 40, "torch": 40, "two processes of torch": 20} if torch else {"numpy": 100}
    for what, share in parts.items():
        left = max(1, kills * share // 100)
        with tempfile.TemporaryDirectory() as folder:
            while left > 0:
                many = min(AT_ONCE, left)
                place = seed * 1000 + left
                _ranks(Path(folder), place, many) if what.startswith("two") else _one(what, Path(folder), place, many)
                done[what] = done.get(what, 0) + many
                left -= many
        tell(f"{what}: {done[what]} kills, every run ended as one left alone, to the bit")
    return done


def _one(what, folder, seed, many):
    target = {"numpy": "attent.reference.recipes:vit_digits", "torch": "attent_torch.recipes:vit_digits"}[what]
    differing = killing.check(target, folder, seed, {"precision": "float64"}, many)
    # The recipe draws nothing from the global generators, which each process starts elsewhere.
    differing = [name for name in differing if not name.startswith("learner/random/")]
    if differing:
        raise Finding(f"{what}, seed {seed}: {', '.join(differing)} differ")


def _ranks(folder, seed, many):
    command = [sys.executable, str(RANKS), str(folder), str(seed), str(many)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    if result.returncode:
        raise Finding(f"two processes, seed {seed}: {result.stdout[-2000:]}{result.stderr[-4000:]}")
