"""What faults are made in: whole files and states of a small run, a judgement, a course and a feed."""

from __future__ import annotations

from pathlib import Path

import attent
from attent.learner import checked_state
from attent.tests import cli_toy
from attent.tests.toy import Toy, drive

PLAN = attent.Plan(epochs=6, batch_size=3, ratio=0.5, select="soft", warm_up=1, cool_down=1)
N = 20


class Hang(Exception):
    """An input took too long."""


class Finding(Exception):
    """A command ended in a way that no user should see."""


class Careful(Toy):
    """A learner that refuses a state that is not its own, as rule P7 asks."""

    def load_state(self, state):
        super().load_state(checked_state(state, self.state()))


class Corpus:
    """Whole files and states, from which inputs are drawn; a copy of the folders to damage."""

    def __init__(self, folder):
        self.folder = folder
        self.run, self.judged = folder / "run", folder / "judged"
        asked = []
        attent.teach(
            Careful(), PLAN, run=self.run, stop=lambda: asked.append(0) or len(asked) == 9, segment_steps=2,
            checkpoint_seconds=0,
        )  # fmt: skip
        done = cli_toy.command("judge", cli_toy.RECIPE, "--tune", "rate=0.25,0.5", "--seeds", "2", "--epochs", "3", "--arms",
                               "default,auto", "--run", self.judged)  # fmt: skip
        assert done.code == 0, done
        self.whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        course, learner = attent.Course(PLAN, N, segment_steps=2), Toy()
        drive(course, learner, 9)
        self.course = course.state()
        feed = attent.Feed(PLAN, N)
        for _ in range(2):
            for ids in feed.batches():
                feed.record(1.0 + ids, ids)
        feed.record(1.0 + feed.batches()[0], feed.batches()[0])
        self.feed = feed.state()

    def restore(self, name):
        """Bring back one of the folders, or a file of one."""
        place = self.folder / name
        for path in place.rglob("*") if place.is_dir() else ():
            if path.is_file() and path not in self.whole:
                path.unlink()
        for path, data in self.whole.items():
            if path.is_relative_to(place) and (not path.exists() or path.read_bytes() != data):
                path.write_bytes(data)


def in_memory():
    """Return a folder that lies in memory, None where there is none."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
