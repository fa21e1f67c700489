"""The script for GPUs runs on a CPU with --tiny: its table, its JSON, and what becomes of parts that break."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "run_gpu.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    ended = run("--tiny", "--device", "cpu", "--only", "selecting", "--only", "tests", "--json", file)
    return ended, json.loads(file.read_text("utf-8"))


def test_the_json_holds_every_part_with_its_rows_in_order(ran):
    ended, found = ran
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (found["device"], found["tiny"]) == ("cpu", True)
    assert [(part["part"], part["status"]) for part in found["parts"]] == [("tests", "skipped"), ("selecting", "ok")]
    assert found["parts"][0]["reason"] == "no CUDA device"
    assert [row["what"] for row in found["parts"][1]["rows"]] == [
        "a step",
        "selecting 40 % of 10,000",
        "course, an epoch of 10,000",
        "selecting 40 % of 100,000",
        "course, an epoch of 100,000",
    ]
    assert found["parts"][1]["rows"][2]["numbers"]["steps"] == [40, 16, 40]  # 10,000 and 4,000 in batches of 256


def test_the_table_has_a_line_for_every_row_and_for_how_each_part_ended(ran):
    ended, found = ran
    table = ended.stdout.split("\n\n")[1].splitlines()[:-1]
    results = [row["result"] for part in found["parts"] for row in [*part["rows"], {"result": None}]]
    assert len(table) == len(results) == 7
    assert [line.endswith(result) for line, result in zip(table, results, strict=True) if result] == [True] * 5
    assert table[0].startswith("tests")
    assert table[0].endswith("; no CUDA device")
    assert table[1].startswith("selecting  a step")


def test_a_budget_that_is_spent_skips_what_is_left(tmp_path):
    file = tmp_path / "gpu.json"
    ended = run("--tiny", "--device", "cpu", "--only", "copies", "--budget-seconds", "5", "--json", file)
    [part] = json.loads(file.read_text("utf-8"))["parts"]
    assert ended.returncode == 0
    assert part["status"] == "skipped"
    assert part["reason"].endswith("of 5 seconds are left")


def test_a_part_that_breaks_is_a_row_that_says_so_and_a_status_of_1(tmp_path):
    file = tmp_path / "gpu.json"
    ended = run("--tiny", "--device", "nowhere", "--only", "copies", "--json", file)
    [part] = json.loads(file.read_text("utf-8"))["parts"]
    assert ended.returncode == 1
    assert part["status"] == "error"
    assert "nowhere" in part["reason"]
    assert "Traceback" in part["log"]


def test_without_a_gpu_only_tiny_runs():
    ended = run("--device", "cpu")
    assert ended.returncode == 2
    assert "give --tiny" in ended.stderr
