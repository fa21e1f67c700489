"""``attent.teach`` on 1, 2 and 4 processes under jax.distributed, over gloo on the CPU; and what stops them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("process_taught.py")
WORLDS = (2, 1, 4)  # in this order: a run of two stops, one goes on, four end it


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every process of each number of them wrote, None for one that was killed."""
    folder = tmp_path_factory.mktemp("taught")
    return {world: processes(folder / str(world), world) for world in WORLDS}


def processes(folder, world):
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(rank), str(world), port],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        for rank, process in enumerate(running):
            output = process.communicate(timeout=300)[0]
            killed = world > 1 and rank == world - 1
            assert process.returncode == (-9 if killed else 0), output
    finally:
        for process in running:
            process.kill()
    files = [folder / f"{rank}.json" for rank in range(world)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def of(found, world, name):
    return [told[name] for told in found[world] if told is not None]


def close(mine, theirs):
    """Parameters differ by the order of sums at most: 1e-12 of the largest of them."""
    mine, theirs = np.array(mine), np.array(theirs)
    assert np.abs(mine - theirs).max() <= 1e-12 * np.abs(theirs).max()


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", ["auto rows", "auto parts", "auto host", "auto function", "weighted rows"])
def test_several_processes_teach_what_one_does(found, name, world):
    (alone,) = of(found, 1, name)
    several = of(found, world, name)
    assert len(several) == world - 1  # the last was killed, later
    for each in several:
        assert "error" not in each, each
        assert each["finished"]
        assert each["ids"] == alone["ids"]
        assert each["steps"] == alone["steps"]
        close(each["parameters"], alone["parameters"])


def test_a_run_goes_on_with_another_number_of_processes(found):
    (alone,) = of(found, 1, "auto parts")
    assert [len(of(found, world, "elastic")[0]["ids"]) for world in WORLDS] == [2, 6, 9]
    for each in of(found, 4, "elastic"):
        assert each["finished"]
        assert each["ids"] == alone["ids"]
        close(each["parameters"], alone["parameters"])


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other data rows", "process 1 of {} has other data than the others"),
        ("other data host", "process 1 of {} has other data than the others"),
        ("other data function", "process 1 of {} has other data than the others"),
        ("other parameters", "process 1 of {} has other parameters than the others"),
        ("other plan", "rank 1 of {} disagrees with the others on where the run stands"),
    ],
)
def test_disagreement_stops_all_and_names_the_process(found, name, said, world):
    for each in of(found, world, name):
        assert each["error"].startswith(f"WorkersError: {said.format(world)}")


@pytest.mark.parametrize("world", [2, 4])
def test_a_process_that_is_killed_stops_the_others(found, world):
    for each in of(found, world, "died"):
        assert each["error"].startswith("WorkersError: another process than")
        assert each["seconds"] < 60


@pytest.mark.parametrize("world", [2, 4])
def test_a_learner_that_lies_on_one_process_is_refused(found, world):
    for each in of(found, world, "alone"):
        assert each["error"].startswith(
            f"LearnerError: the learner lies on 1 of {world} processes: give batch_sharding"
        )
