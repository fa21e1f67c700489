"""Recipes small enough for tests of the command line, and the command line called without a process."""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import attent
from attent import Trace

N = 60
RECIPE = "attent.tests.cli_toy:tiny"


class Softmax:
    """Softmax regression with momentum and a falling learning rate, all of which a resumed run must get right."""

    def __init__(self, plan, width=4, rate=0.5, pause=0.0, n=N):
        numbers = np.random.default_rng(7)
        inputs = numbers.normal(size=(n + 40, width))
        targets = (inputs @ numbers.normal(size=(width, 3)) + numbers.normal(size=(n + 40, 3))).argmax(1)
        self.inputs, self.held_inputs = inputs[:n], inputs[n:]
        self.targets, self.held_targets = targets[:n], targets[n:]
        self.weights = np.random.default_rng(plan.seed).normal(size=(width, 3)) / 10
        self.speed = np.zeros_like(self.weights)
        self.rate, self.pause, self.steps, self.planned = rate, pause, 0, plan.total_steps(n)

    def __len__(self):
        return len(self.inputs)

    def probabilities(self, inputs):
        scores = inputs @ self.weights
        powers = np.exp(scores - scores.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def score(self, ids):
        return -np.log(self.probabilities(self.inputs[ids])[np.arange(len(ids)), self.targets[ids]])

    def train(self, batches, weights=None):
        losses = []
        for ids in batches:
            time.sleep(self.pause)
            losses.append(self.score(ids))
            error = self.probabilities(self.inputs[ids]) - np.eye(3)[self.targets[ids]]
            self.speed = 0.9 * self.speed + self.inputs[ids].T @ error / len(ids)
            self.weights = self.weights - self.rate * (1 - self.steps / self.planned) * self.speed
            self.steps += 1
        return np.concatenate(losses)

    def state(self):
        return {"weights": self.weights.copy(), "speed": self.speed.copy(), "steps": np.array(self.steps)}

    def load_state(self, state):
        self.weights, self.speed = state["weights"].copy(), state["speed"].copy()
        self.steps = int(state["steps"])


class Judged(Softmax):
    """The same, judging itself."""

    def evaluate(self):
        chosen = self.probabilities(self.held_inputs)
        losses = -np.log(chosen[np.arange(len(chosen)), self.held_targets])
        return {"accuracy": float((chosen.argmax(1) == self.held_targets).mean()), "loss": float(losses.mean())}


@attent.recipe(epochs=6, batch_size=8)
def tiny(plan, *, width: int = 4, rate: float = 0.5, pause: float = 0.0, tags: tuple[str, ...] = ()):
    """The softmax regression that judges itself."""
    return Judged(plan, width, rate, pause)


@attent.recipe(epochs=3, batch_size=8, ratio=0.25, select="hard", warm_up=1, cool_down=0, seed=5)
def silent(plan):
    """The one that does not judge itself."""
    return Softmax(plan)


@attent.recipe(epochs=2, batch_size=8)
def no_learner(plan):
    """Return something else."""
    return {}


@attent.recipe(epochs=4, batch_size=8)
def fails(plan):
    """Raise in the middle of training, in a way nobody foresaw."""
    learner = Judged(plan)
    train = learner.train

    def broken(batches, weights=None):
        if learner.steps >= 10:
            raise ZeroDivisionError("the model broke")
        return train(batches, weights)

    learner.train = broken
    return learner


class Captured(io.StringIO):
    """What a command writes."""


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments):
    """Run ``attent`` with these arguments in this process."""
    from attent.cli.app import app

    out, err, code = Captured(), Captured(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([str(argument) for argument in arguments], prog_name="attent")
        except SystemExit as end:
            code = end.code or 0
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(*arguments):
    """Run a command that must be refused, and return its one line of complaint."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("attent: ")
    return lines[0].removeprefix("attent: ")


ALL = ("--against", "full,short,random")


DEFAULT = ("--preset", "default")


FOLDERS = {"taught": "taught", "full": "full", "short": "short-taught", "random": "random-taught"}


def result(folder):
    """Return the judgement that a folder keeps."""
    return json.loads(Path(folder, "judge.json").read_text())


def trace(folder, arm, seed=0):
    """Return the trace of an arm."""
    return Trace.read(f"{folder}/seed-{seed}/{FOLDERS.get(arm, arm)}")


def rows_of(table):
    """Return the arms' table of an output as a dict of cells by arm and column."""
    lines = table[table.index("arm ") :].split("\n\n")[0].splitlines()
    header = lines[0].replace("95 %", "95%").replace("by time", "by-time").split()
    rows = (line.replace(" %", "%").replace("<= ", "<=").replace(">= ", ">=").split() for line in lines[1:])
    return {row[0]: dict(zip(header, row, strict=False)) for row in rows}
