"""Ctrl-C and SIGTERM: a run stops where it can go on from, and goes on as if it had not been stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from attent import Trace, first_difference
from attent.run.files import read_arrays
from attent.run.interrupts import stop_signals
from attent.tests.cli_toy import RECIPE, command
from attent.tests.toy import edit

PROGRAM = [sys.executable, "-c", "from attent.cli import main; main()"]
PATIENCE = 60.0


def start(*arguments):
    """Start a run that takes its time, in a process of its own."""
    return subprocess.Popen([*PROGRAM, "teach", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    """Wait until the condition holds, as long as the process lives."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def lines(path):
    """Return how many whole lines a file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    options = ("--preset", "default", "--epochs", "5", "--seed", "2", "--segment-steps", "2", "--set", "rate=0.25")
    process = start(RECIPE, *options, "--run", "my run", "--set", "pause=0.03")
    wait_for(lambda: lines(tmp_path / "my run/seed-2/taught/trace.jsonl") >= 2, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Nothing can be concluded: there is no seed of which every arm has finished." in " ".join(out.split())
    assert "\nstopping after this step, with a checkpoint; once more to stop at once\n" in err
    stopped = Trace.read("my run/seed-2/taught")
    assert not stopped.finished
    assert err.splitlines()[-1] == "Stopped. Go on with: attent teach --resume 'my run'"
    assert "epochs so far" in command("report", "my run").out
    edit(tmp_path / "my run/settings.json", '"pause": 0.03', '"pause": 0.0')  # the rest need not take its time

    assert command("teach", "--resume", "my run").code == 0
    assert command("teach", RECIPE, *options, "--run", "whole").code == 0
    for arm in ("taught", "full", "short-taught"):
        resumed, whole = Trace.read(f"my run/seed-2/{arm}"), Trace.read(f"whole/seed-2/{arm}")
        assert first_difference(resumed, whole) is None
        assert [record.loss for record in resumed.records] == [record.loss for record in whole.records]
        ends = [
            read_arrays(tmp_path / run / "seed-2" / arm / "checkpoint.safetensors")[0] for run in ("my run", "whole")
        ]
        assert ends[0].keys() == ends[1].keys()
        for name in ends[0]:
            assert np.array_equal(ends[0][name], ends[1][name]), name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_stops_at_once(tmp_path, monkeypatch, number, code):
    monkeypatch.chdir(tmp_path)
    process = start(RECIPE, "--run", "mine", "--set", "pause=5")  # a step takes 5 s
    wait_for((tmp_path / "mine/seed-0/taught/run.json").exists, process)
    process.send_signal(number)
    assert process.stderr is not None
    while "stopping after this step" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    begun = time.monotonic()
    _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < 4
    assert process.returncode == code
    assert err.splitlines() == [
        "attent: stopped at once",
        "What has finished is kept in mine.",
        "The folder is mine. Go on with: attent teach --resume mine",
    ]


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_forked_worker_outlives_ctrl_c_but_not_sigterm():
    with stop_signals() as stop:
        worker = os.fork()
        if worker == 0:
            time.sleep(PATIENCE)
            os._exit(0)
        try:
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGINT)
            time.sleep(0.1)
            assert os.waitpid(worker, os.WNOHANG) == (0, 0)
        finally:
            os.kill(worker, signal.SIGTERM)
        _, status = os.waitpid(worker, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert not stop()


def test_outside_the_main_thread_nothing_is_taken():
    asked = []

    def run():
        with stop_signals() as stop:
            asked.append(stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert asked == [False]


def test_a_stop_between_two_arms_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import attent.tests.cli_toy as toy

    def judge_and_signal(self):
        if self.steps > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 1.0}

    monkeypatch.setattr(toy.Judged, "evaluate", judge_and_signal)
    outcome = command("teach", RECIPE, "--run", "mine")
    assert outcome.code == 143
    assert outcome.err.endswith("Stopped. Go on with: attent teach --resume mine\n")
    assert [job["arm"] for job in json.loads((tmp_path / "mine/judge.json").read_text())["jobs"]] == ["taught"]
