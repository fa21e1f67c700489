"""R: a run stopped anywhere and resumed from its folder is the run that was not."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import attent
from attent.learner import Ids, Learner, Numbers, State
from attent.plan.plan import Plan
from attent_conformance.comparing import copied, different_array
from attent_conformance.draws import generator
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins
from attent_conformance.pairs import reborn
from attent_conformance.subject import Subject
from attent_conformance.tasks import task

_SEGMENT = 4  # steps of a lesson: stops fall into the middle of the warm-up, and of rounds


class _Lesson(NamedTuple):
    what: str
    batches: list[Ids]
    numbers: Numbers


class _Run(NamedTuple):
    lessons: list[_Lesson]
    state: State
    stops: list[int]


def check_a_resumed_run_teaches_the_same_ids(subject: Subject) -> Margins:
    """R1: stopped at drawn places, mid-epoch too, and resumed from its folder, a run trains the same batches."""
    margins = {}
    for dtype in subject.precisions:
        whole, resumed = _runs(subject, dtype)
        for one, two in itertools.zip_longest(whole.lessons, resumed.lessons):
            mine, theirs = ([ids.tolist() for ids in run.batches] if run is not None else None for run in (one, two))
            if mine != theirs:
                where = f"task 'classes', {dtype}, {(one or two).what}, {_stops(subject, resumed)}"
                raise CheckFailed("R1", f"batches {theirs}", f"{mine}", where)
        margins[f"{dtype}: lessons"] = float(len(whole.lessons))
    return margins


def check_a_resumed_run_ends_with_the_same_parameters(subject: Subject) -> Margins:
    """R2: losses and the last state of a resumed run are the uninterrupted one's, on the CPU bit for bit."""
    margins = {}
    for dtype in subject.precisions:
        whole, resumed = _runs(subject, dtype)
        tolerance = 0.0 if subject.exact else 1e-9 if dtype == "float64" else 1e-4
        worst = 0.0
        for one, two in zip(whole.lessons, resumed.lessons, strict=False):
            error = float(np.abs(one.numbers - two.numbers).max()) if one.numbers.shape == two.numbers.shape else np.inf
            worst = max(worst, error)
            if not error <= tolerance:
                at = int(np.abs(one.numbers - two.numbers).argmax()) if np.isfinite(error) else 0
                raise CheckFailed(
                    "R2",
                    f"loss {float(two.numbers[at])!r}",
                    f"{float(one.numbers[at])!r}, as without a stop",
                    f"task 'classes', {dtype}, {two.what}, number {at} of it, {_stops(subject, resumed)}",
                )
        name = different_array(whole.state, resumed.state)
        if subject.exact and name is not None:
            where = f"end of the resumed run, {dtype}, {_stops(subject, resumed)}"
            raise CheckFailed("R2", f"another state()[{name!r}]", "states equal bit for bit", where)
        margins[f"{dtype}: largest difference"] = worst
    return margins


def _stops(subject: Subject, run: _Run) -> str:
    return f"stopped after lessons {run.stops}; drawn with seed {subject.seed}"


def _runs(subject: Subject, dtype: str) -> tuple[_Run, _Run]:
    """Return a run without a stop, and one with three, which two used learners take on in turn."""

    def made() -> tuple[_Run, _Run]:
        second = subject.kept(("second", dtype), lambda: subject.learner(task("classes"), dtype=dtype))
        learners = [_Told(reborn(subject, "classes", dtype)), _Told(second)]
        first = copied(learners[0].state())
        whole = _run(learners[:1], [])
        for one in learners:
            one.load_state(copied(first))
        rng = generator(subject.seed, "stops", dtype)
        stops = sorted(int(stop) for stop in rng.choice(np.arange(1, len(whole.lessons) - 1), 3, replace=False))
        return whole, _run(learners, stops)

    return subject.kept(("runs", dtype), made)


def _run(learners: list[_Told], stops: list[int]) -> _Run:
    """Teach until the end, stopping after so many lessons each time; another learner then goes on from the folder."""
    plan = Plan(epochs=6, batch_size=8, ratio=0.4, warm_up=1, cool_down=1, seed=3)
    lessons: list[_Lesson] = []
    turns = itertools.cycle(learners)
    with tempfile.TemporaryDirectory() as place:
        for stop in [*stops, None]:
            learner = next(turns)
            learner.lessons = lessons
            attent.teach(
                learner,
                plan,
                run=Path(place) / "run",
                resume=True,
                stop=lambda stop=stop: stop is not None and len(lessons) >= stop,
                segment_steps=_SEGMENT,
            )
    return _Run(lessons, copied(learner.state()), stops)


class _Told:
    """A learner that tells what it was asked, and is the one it wraps in all else."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self.lessons: list[_Lesson] = []
        self.state, self.load_state = learner.state, learner.load_state

    def __len__(self) -> int:
        return len(self._learner)

    def score(self, ids: Ids) -> Numbers:
        numbers = self._learner.score(ids)
        self.lessons.append(_Lesson(f"lesson {len(self.lessons)}, scoring", [ids], numbers.copy()))
        return numbers

    def train(self, batches: list[Ids], weights: list[Numbers] | None = None) -> Numbers:
        numbers = self._learner.train(batches, weights)
        self.lessons.append(_Lesson(f"lesson {len(self.lessons)}, training", list(batches), numbers.copy()))
        return numbers
