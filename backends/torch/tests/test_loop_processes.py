"""Loops of the user's own in two processes, which train what one trains, under DistributedDataParallel and accelerate."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import attent

_spec = importlib.util.spec_from_file_location("loop_task", Path(__file__).with_name("loop_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
assert_within = shared.assert_within
SCRIPT = Path(__file__).with_name("rank.py")


def ranks(kind, plan, folder, world):
    """Run so many processes of ``rank.py`` and return what each wrote."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), kind, plan, str(folder)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        for process in running:
            output = process.communicate(timeout=240)[0]
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize(
    ("kind", "plan"),
    [("ddp", "auto"), ("ddp", "infobatch"), ("ddp", "paper"), ("stopped", "auto"), ("accelerate", "auto")],
)
def test_two_processes_train_what_one_trains(kind, plan, tmp_path):
    if kind == "accelerate":
        pytest.importorskip("accelerate")
    (alone,) = ranks("ddp", plan, tmp_path / "one", 1)
    pair = ranks(kind, plan, tmp_path / "two", 2)
    assert [each["finished"] for each in pair] == [True, True]
    assert {len(each["seen"]) for each in pair} == {len(alone["seen"]), pair[0]["steps"]}
    # Each rank its share, and where a batch has one example the rank without one trains it for nothing.
    for whole, first, second in zip(alone["seen"], pair[0]["seen"], pair[1]["seen"], strict=True):
        assert whole == (first + second if len(whole) > 1 else first)
        assert len(second) - len(first) in (0, 1)
    assert pair[0]["taught"] == alone["taught"]
    for each in pair:
        assert_within(each["parameters"], alone["parameters"])
    folders = [attent.Trace.read(tmp_path / name / "run") for name in ("one", "two")]
    assert attent.first_difference(*folders) is None


def test_what_one_of_two_processes_is_given_wrongly_stops_both_at_once(tmp_path):
    told = [rank["error"] for rank in ranks("misled", "auto", tmp_path / "two", 2)]
    words = "LearnerError: groups must be one for each of the 21 examples, shape (21,), got shape (20,)"
    assert told == [f"WorkersError: rank 1 of 2 has stopped, and so have all: {words}", words]
