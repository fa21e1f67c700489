"""Drawn inputs: whatever is read, by file, argument or call, gives a result or one of attent's own errors.

Every input is drawn by the seed, the target's name and its number, so a finding can be made again:
``python -m attent.tests.faults.inputs TARGET SEED NUMBER`` raises what it raised.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import attent
from attent import plugins
from attent.tests.faults.corpus import Corpus, Finding, Hang, in_memory
from attent.tests.faults.targets import FILES, TARGETS

PATIENCE = 120.0  # seconds for one input, on a machine however busy
MEMORY = 2**30  # bytes of all inputs, the program included


def once(target, seed, number, corpus):
    """Draw one input and give it; return whether it was taken. Raises what no user should see."""
    rng = random.Random(f"{target} {seed} {number}")
    try:
        TARGETS[target][0](rng, corpus)
    except attent.AttentError as error:
        str(error).encode("utf-8", "backslashreplace")
        return False
    return True


def run(count, seed, *, tell=print):
    """Give so many inputs; return by target how many were taken and how many refused. Raises the first finding."""
    here, done = Path.cwd(), {}
    with tempfile.TemporaryDirectory(dir=in_memory()) as name, _quickened(), _timed() as begin:
        corpus = Corpus(Path(name) / "corpus")
        os.chdir(name)
        try:
            for target, (_, share) in TARGETS.items():
                total = max(1, count * share // 100)
                taken = sum(_given(target, seed, number, corpus, begin) for number in range(total))
                done[target] = {"taken": taken, "refused": total - taken}
                tell(f"{target}: {total:,} inputs, {taken:,} taken, {total - taken:,} refused; {peak():.0f} MiB")
        finally:
            os.chdir(here)
    if peak() * 2**20 > MEMORY:
        raise Finding(f"{peak():.0f} MiB were used")
    return done


def _given(target, seed, number, corpus, begin):
    """Give one input and bring back what it damaged. Raises a finding with how to draw it again."""
    begin(PATIENCE)
    try:
        with warnings.catch_warnings(action="ignore"):
            return once(target, seed, number, corpus)
    except BaseException as error:
        error.add_note(f"input: {target!r} {seed} {number}")
        raise
    finally:
        begin(0)
        if target in FILES:
            corpus.restore(FILES[target])


def _at_once(handle):
    """Nothing of this is to survive a power cut."""


@contextlib.contextmanager
def _quickened():
    """Leave out what takes most of the time and is no part of the matter: what is installed, and the disk itself."""
    with contextlib.ExitStack() as stack:
        for owner, name in ((plugins, "listed"), (plugins, "gather"), (importlib.metadata, "version")):
            stack.enter_context(mock.patch.object(owner, name, functools.cache(getattr(owner, name))))
        stack.enter_context(mock.patch.object(os, "fsync", _at_once))
        yield


@contextlib.contextmanager
def _timed():
    """Give a function that has Hang raised after so many seconds, 0 for never."""

    def late(number, frame):
        raise Hang(f"an input took more than {PATIENCE:g} seconds")

    handler = signal.signal(signal.SIGALRM, late)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.signal(signal.SIGALRM, handler)


def peak():
    """Return the most memory that this process has held, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    target, seed, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        print("taken" if once(target, seed, number, Corpus(Path(place) / "corpus")) else "refused")
