"""P9: calls leave nothing behind: no open files, threads or processes, and no memory that grows with them."""

from __future__ import annotations

import contextlib
import gc
import itertools
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attent.errors import LearnerError
from attent.learner import Evaluates, Learner
from attent_conformance.comparing import copied
from attent_conformance.draws import batches, generator, handed, some_ids, weights
from attent_conformance.failures import CheckFailed
from attent_conformance.pairs import Pair, pair
from attent_conformance.subject import Subject

_ROUNDS = 6  # of all calls, between two looks
_SPANS = 3  # what is left behind is more after each of them; what is kept once is not
_WARM = 2  # spans before the first look
# In each round: a call in three may leave something. Of what a framework makes for itself, one in each.
_LEAST = {"bytes of memory": 512.0, "objects": 1.0, "threads of the system": 1.0}
_RARELY = 1 / 3


def check_calls_leave_nothing_behind(subject: Subject) -> None:
    """P9: calls of all kinds, made again and again, leave no more files, threads, processes or memory than before."""
    one = pair(subject, "classes", subject.precision)
    calls = _calls(subject, one)
    if _grown(list(calls.values())) is None:
        return
    for what, call in calls.items():  # once more, one by one, to name it
        grown = _grown([call])
        if grown is not None:
            where = f"{what} of {one.where}, made {_ROUNDS} times between two looks; drawn with seed {subject.seed}"
            raise CheckFailed("P9", grown, "as many as before", where)


def _grown(calls: list[Callable[[], Any]]) -> str | None:
    """Return what there is more of after each span of calls, and how much; None where there is nothing."""
    with _watched():
        looks = []
        for span in range(_WARM + _SPANS + 1):
            for _ in range(_ROUNDS):
                for call in calls:
                    call()
            if span >= _WARM:  # what is made once, at the first calls, stays
                looks.append(_look())
    for name in looks[0]:
        counts = [look[name] for look in looks]
        more = [after - before for before, after in itertools.pairwise(counts)]
        # A framework's caches fill up, ever slower; what leaks goes on.
        if min(more) >= _ROUNDS * _LEAST.get(name, _RARELY) and more[-1] >= 0.75 * more[0]:
            return f"{' then '.join(map(str, counts))} {name}"
    return None


def _calls(subject: Subject, one: Pair) -> dict[str, Callable[[], Any]]:
    rng, learner = generator(subject.seed, "leftovers"), one.learner
    ids = some_ids(rng, one.case.ids, 90, repeats=False)
    drawn = handed(batches(rng, one.case.ids, 2))
    given = None if subject.lacking(("weights",)) else handed(weights(rng, drawn))
    state = copied(learner.state())

    def trained() -> None:
        learner.train(drawn, given)
        learner.load_state(state)

    calls = {
        "score()": lambda: learner.score(ids),
        "train() and load_state()": trained,
        "state()": learner.state,
        "refused calls": lambda: _refused(learner),
    }
    if isinstance(learner, Evaluates) and subject.evaluates:
        calls["evaluate()"] = learner.evaluate
    return calls


def _refused(learner: Learner) -> None:
    for call, wrong in ((learner.score, some_ids), (learner.train, [None]), (learner.load_state, {})):
        with contextlib.suppress(LearnerError, Exception):  # of another type: P7 says so
            call(wrong)  # type: ignore[arg-type]


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Count memory, and have temporary files made in a folder of their own."""
    before, tracing = tempfile.tempdir, tracemalloc.is_tracing()
    with tempfile.TemporaryDirectory() as place:
        tempfile.tempdir = place
        if not tracing:
            tracemalloc.start(1)
        try:
            yield
        finally:
            if not tracing:
                tracemalloc.stop()
            tempfile.tempdir = before


def _look() -> dict[str, int]:
    """Return how much there is of what calls could leave; what this system does not tell is left out."""
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0]
    found = {
        "threads": threading.active_count(),
        "temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }
    with contextlib.suppress(OSError):
        tasks = list(Path("/proc/self/task").iterdir())
        found["threads of the system"] = len(tasks)
        found["processes"] = sum(len((task / "children").read_text("utf-8").split()) for task in tasks)
    for place in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            found["open files"] = len(list(Path(place).iterdir()))
            break
    return {**found, "objects": len(gc.get_objects()), "bytes of memory": memory}
