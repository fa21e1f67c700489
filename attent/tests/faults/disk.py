"""A disk that fills up, at every write in turn: the run ends with one error, what was written stays, and it goes on.

The disk is a small file system in memory where this process may mount one. Elsewhere, and for writes in the middle of
a file, the system's calls are made to fail as a full disk makes them.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import attent
from attent import Trace, teach
from attent.run import files
from attent.tests.faults.corpus import PLAN, Careful, Finding, in_memory

SETTINGS = {"checkpoint_seconds": 0, "segment_steps": 2}
NUMBERS = {errno.ENOSPC: "No space left on device", errno.EIO: "Input/output error", errno.EROFS: "Read-only"}


def run(count, seed, *, tell=print):
    """Let so many runs meet a disk that fails somewhere; return how many were stopped. Raises the first finding."""
    learner = Careful()
    whole = teach(learner, PLAN, segment_steps=2)
    stopped = 0
    with tempfile.TemporaryDirectory(dir=in_memory()) as name:
        folder = Path(name) / "run"
        for number in range(count):
            rng = random.Random(f"disk {seed} {number}")
            shutil.rmtree(folder, ignore_errors=True)
            stopped += _stopped_and_gone_on(folder, rng, whole, learner)
        tell(f"a disk that fails in a write: {count:,} runs, {stopped:,} stopped, all went on")
        full = _full(Path(name) / "small", whole, learner)
        tell(
            f"a disk that is full: {full} runs stopped, all went on" if full else "no small disk could be mounted here"
        )
    return stopped


def _stopped_and_gone_on(folder, rng, whole, learner):
    left, number = rng.randrange(150), rng.choice(list(NUMBERS))
    kept = {name: getattr(os, name) for name in ("fsync", "replace", "link")}
    write = files.save_file

    def fail(call, half):
        def called(*arguments):
            nonlocal left
            left -= 1
            if left < 0:  # and so does every later one: the disk stays full
                half(*arguments)
                raise OSError(number, os.strerror(number))
            return call(*arguments)

        return called

    def half_written(arrays, path, told):
        write(arrays, path, told)
        os.truncate(path, Path(path).stat().st_size * rng.randrange(100) // 100)

    for name, call in kept.items():
        setattr(os, name, fail(call, lambda *arguments: None))
    files.save_file = fail(write, half_written)
    try:
        teach(Careful(), PLAN, run=folder, **SETTINGS)
        failed = False
    except attent.TraceError as error:
        failed = True
        if NUMBERS[number] not in str(error) or str(folder) not in str(error):
            raise Finding(f"a failing disk is told of otherwise: {error}") from error
        if (number == errno.ENOSPC) != ("make room and go on with resume=True" in str(error)):
            raise Finding(f"a full disk is told of without what to do, or another with it: {error}") from error
    finally:
        for name, call in kept.items():
            setattr(os, name, call)
        files.save_file = write
    _goes_on(folder, whole, learner)
    return failed


def _goes_on(folder, whole, learner):
    again = Careful()
    if (folder / "run.json").exists():
        kept = Trace.read(folder).records
        if [record.loss for record in kept] != [record.loss for record in whole.records[: len(kept)]]:
            raise Finding("what was recorded before the disk failed was lost")
    found = teach(again, PLAN, run=folder, resume=True, segment_steps=2)
    if attent.first_difference(found, whole) is not None or again.guess.tobytes() != learner.guess.tobytes():
        raise Finding("a run whose disk failed went on to another end")
    if list(folder.rglob("*.partial")):
        raise Finding("a run whose disk failed left files behind")


def _full(place, whole, learner):
    """Fill disks of several sizes by a run; return how many were full before its end, 0 where none can be mounted."""
    full = 0
    for size in range(12, 48, 4):  # kB
        place.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True)
        if mounted.returncode:
            return 0
        try:
            try:
                teach(Careful(), PLAN, run=place / "run", **SETTINGS)
            except attent.TraceError as error:
                full += 1
                if "make room and go on with resume=True" not in str(error):
                    raise Finding(f"a full disk is told of otherwise: {error}") from error
            subprocess.run(["mount", "-o", "remount,size=10m", place], check=True)
            _goes_on(place / "run", whole, learner)
        finally:
            subprocess.run(["umount", place], check=True)
    return full
