"""``attent.teach`` on 1, 2 and 4 processes over gloo: plain modules, DistributedDataParallel, FSDP2; and what stops them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import attent
from attent_torch import TorchLearner, cross_entropy, workers

SCRIPT = Path(__file__).with_name("rank_taught.py")
WORLDS = (2, 1, 4)  # in this order: a run of two stops, one goes on, four end it


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every rank of each number of processes wrote, None for one that was killed."""
    folder = tmp_path_factory.mktemp("taught")
    return {world: ranks(folder / str(world), world) for world in WORLDS}


def ranks(folder, world):
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env={**environment, "RANK": str(rank)},
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


def of_ranks(found, world, name):
    return [told[name] for told in found[world] if told is not None]


CASES = [f"{case} {model}" for case in ("auto", "weighted", "not finite") for model in ("plain", "ddp", "fsdp")]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", [*CASES, "clipped", "clipped ddp"])
def test_several_processes_teach_what_one_does(found, name, world):
    (alone,) = of_ranks(found, 1, name)
    several = of_ranks(found, world, name)
    assert len(several) == world - 1  # the last was killed, later
    for each in several:
        assert "error" not in each, each
        assert each["finished"]
        assert each["ids"] == alone["ids"]
        assert len(each["seen"]) == len(alone["seen"])
        close(each["parameters"], alone["parameters"])
    for whole, *shares in zip(alone["seen"], *(each["seen"] for each in several), strict=True):
        rank_shares = [whole[r * len(whole) // world : (r + 1) * len(whole) // world] for r in range(world - 1)]
        assert shares == rank_shares


@pytest.mark.parametrize("model", ["plain", "fsdp"])
def test_a_run_goes_on_with_another_number_of_processes(found, model):
    (alone,) = of_ranks(found, 1, f"auto {model}")
    lengths = [len(of_ranks(found, world, f"elastic {model}")[0]["ids"]) for world in WORLDS]
    assert lengths == [2, 6, 9]
    for each in of_ranks(found, 4, f"elastic {model}"):
        assert each["finished"]
        assert each["ids"] == alone["ids"]
        close(each["parameters"], alone["parameters"])


@pytest.mark.parametrize("world", [1, 2, 4])
def test_dropout_goes_on_as_it_would_have(found, world):
    whole, resumed = (of_ranks(found, world, name)[0] for name in ("dropout", "dropout again"))
    assert resumed["parameters"] == whole["parameters"]
    assert resumed["ids"] == whole["ids"]
    if world > 1:
        assert whole["parameters"] != of_ranks(found, 1, "dropout")[0]["parameters"]


def test_running_statistics_are_those_of_rank_0(found):
    for name in ("norm", "norm ddp"):
        (told,) = of_ranks(found, 2, name)
        assert "error" not in told, told  # the learners were compared after each epoch
        assert told["finished"]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other data", "rank 1 of {} has other data or parameters than the others"),
        ("other parameters", "rank 1 of {} has other data or parameters than the others"),
        ("other plan", "rank 1 of {} disagrees with the others on where the run stands"),
    ],
)
def test_disagreement_stops_all_and_names_the_rank(found, name, said, world):
    for each in of_ranks(found, world, name):
        assert each["error"].startswith(f"WorkersError: {said.format(world)}")


@pytest.mark.parametrize("world", [2, 4])
def test_a_rank_that_is_killed_stops_the_others(found, world):
    for each in of_ranks(found, world, "died"):
        assert each["error"].startswith("WorkersError: another rank than")
        assert f"of {world} is gone, or did not answer within the process group's timeout" in each["error"]
        assert each["seconds"] < 60  # the group's timeout


@pytest.mark.parametrize("world", [2, 4])
def test_models_of_several_processes_are_refused_alone(found, world):
    for kind, name in (("alone", "DistributedDataParallel"), ("alone in parts", "FSDPNetwork")):
        for told in of_ranks(found, world, kind):
            assert told.startswith(f"LearnerError: the model is a {name} over {world} processes, and a learner alone")
            assert "attent_torch.workers(learner)" in told
    for told in of_ranks(found, world, "accumulated in parts"):
        assert told.startswith(
            "LearnerError: accumulate must be 1 where the model lies in parts on several ranks, got 2"
        )


def close(mine, theirs):
    """Parameters differ by the order of sums at most: 1e-12 of the largest of them."""
    mine, theirs = np.array(mine), np.array(theirs)
    assert np.abs(mine - theirs).max() <= 1e-12 * np.abs(theirs).max()


# In this process


def learner():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2).double()
    data = torch.eye(2, dtype=torch.float64).repeat(6, 1), torch.tensor([0, 1]).repeat(6)
    return TorchLearner(model, data, cross_entropy, torch.optim.SGD(model.parameters(), 0.1))


def test_without_a_process_group_it_is_the_learner_alone():
    plan = attent.Plan.default(epochs=4, batch_size=5)
    one, other = learner(), learner()
    assert attent.first_difference(attent.teach(one, plan), attent.teach(workers(other), plan)) is None
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_process_group_that_was_forgotten_is_asked_for(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(attent.WorkersError, match="WORLD_SIZE is 2, but there is no process group: call torch.distr"):
        workers(learner())


def test_only_learners_of_torch_are_taken():
    with pytest.raises(attent.AttentError, match="workers takes a TorchLearner, got int"):
        workers(3)
