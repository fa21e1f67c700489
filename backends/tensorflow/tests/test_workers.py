"""``attent.teach`` on 1 and 2 tasks of a MultiWorkerMirroredStrategy's cluster; and what stops them."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import attent
from attent_tensorflow import workers

SCRIPT = Path(__file__).with_name("task_taught.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every task of two, and then of one, wrote; None for one that was killed."""
    folder = tmp_path_factory.mktemp("taught")
    return {world: tasks(folder / str(world), world) for world in (2, 1)}


def tasks(folder, world):
    folder.mkdir()
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(world)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in free]}
    configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}}) for rank in range(world)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env={**environment, "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for config in configs
    ]
    try:
        for rank, process in enumerate(running):
            output = process.communicate(timeout=300)[0]
            assert process.returncode == (-9 if rank else 0), output
    finally:
        for process in running:
            process.kill()
    return json.loads((folder / "0.json").read_text())


@pytest.mark.parametrize("name", ["auto", "weighted", "clipped", "keras"])
def test_two_tasks_teach_what_one_does(found, name):
    alone, pair = found[1][name], found[2][name]
    assert "error" not in pair, pair
    assert pair["finished"]
    assert pair["ids"] == alone["ids"]
    assert pair["steps"] == alone["steps"]
    close(pair["parameters"], alone["parameters"])


def test_a_run_of_two_tasks_goes_on_in_one(found):
    assert len(found[2]["elastic"]["ids"]) == 2
    assert found[1]["elastic"]["finished"]
    assert found[1]["elastic"]["ids"] == found[1]["auto"]["ids"]
    close(found[1]["elastic"]["parameters"], found[1]["auto"]["parameters"])


def test_moving_statistics_are_those_of_task_0(found):
    assert "error" not in found[2]["norm"], found[2]["norm"]  # the learners were compared after each lesson
    assert found[2]["norm"]["finished"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other data", "WorkersError: rank 1 of 2 has other data or parameters than the others"),
        ("other parameters", "WorkersError: rank 1 of 2 has other data or parameters than the others"),
        ("other plan", "WorkersError: rank 1 of 2 disagrees with the others on where the run stands"),
        ("scoped", "LearnerError: the model's variables belong to a CollectiveAllReduceStrategy of 2 replicas"),
        ("died", "WorkersError: another task than 0 of 2 is gone, or did not answer within 60 s"),
    ],
)
def test_what_stops_all(found, name, said):
    assert found[2][name]["error"].startswith(said)
    assert found[2][name]["seconds"] < 60


def close(mine, theirs):
    """Parameters differ by the order of sums at most: 1e-12 of the largest of them."""
    mine, theirs = np.array(mine), np.array(theirs)
    assert np.abs(mine - theirs).max() <= 1e-12 * np.abs(theirs).max()


def test_another_strategy_is_refused(task):
    with pytest.raises(
        attent.AttentError, match=r"must be a tf\.distribute\.MultiWorkerMirroredStrategy, got Mirrored"
    ):
        workers(task.learner(), tf.distribute.MirroredStrategy(["CPU:0"]))
