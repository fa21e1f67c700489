"""Processes killed at random moments end as the run that was left alone (rules R1 to R3)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import attent
from attent.tests import killing

RANKS, WORKER = (Path(__file__).parent / name for name in ("killed_ranks.py", "killed_worker.py"))
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_network_killed_ten_times_ends_bit_for_bit_as_if_it_had_not_been(tmp_path):
    differing = killing.check("attent_torch.recipes:vit_digits", tmp_path, 1, {"precision": "float64"})
    # The recipe draws nothing from the global generators, which each process starts elsewhere.
    assert [name for name in differing if not name.startswith("learner/random/")] == []


def test_two_processes_that_train_together_end_as_if_neither_had_been_killed(tmp_path):
    """And the one that is left ends by itself: nobody waits for the dead."""
    command = [sys.executable, str(RANKS), str(tmp_path), "1", "3"]
    result = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=1800)
    assert (result.returncode, result.stdout.split()) == (0, ["3"]), result.stderr


def loop(folder, *arguments):
    """Run the loop of killed_worker.py in a process of its own; return how it ended."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(WORKER), str(folder), *map(str, arguments)]
    return subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=1800)


@pytest.mark.parametrize("step", [1, 9])  # in the first pass, of nine steps; the first of the second, of four
def test_a_killed_loader_worker_is_a_clear_error_and_the_run_goes_on(tmp_path, step):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert loop(alone, 0).returncode == 0
    ended = loop(killed, 1, step)
    assert ended.returncode == 1
    assert "DataLoader worker" in ended.stderr
    ended = loop(killed, 1)
    assert ended.returncode == 0, ended.stderr
    kept = [torch.load(folder / "state.pt", weights_only=True)["model"] for folder in (alone, killed)]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    traces = [attent.Trace.read(folder / "run") for folder in (alone, killed)]
    assert attent.first_difference(*traces) is None
    assert [record.loss for record in traces[0].records] == [record.loss for record in traces[1].records]
