"""Flipped bits and lost ends of every file and state: whatever reads it says what it said before, or names it.

A run goes on to the very end it would have had, or is refused.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from pathlib import Path

import numpy as np

import attent
from attent import Trace, teach
from attent.cli.report_command import show_report
from attent.run.folder import CHECKPOINTS
from attent.tests.cli_toy import command
from attent.tests.faults.corpus import PLAN, Careful, Corpus, Finding, N, in_memory
from attent.tests.faults.mutations import cut, flipped

NOT_READ = ("lock", "report.md", "judge.svg", "spent.json")  # for people, or empty


def run(count, seed, *, tell=print):
    """Flip so many bits, and cut a tenth as many files; return how many were told of. Raises the first finding."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as name:
        corpus = Corpus(Path(name))
        cases = [*_of_a_run(corpus), *_of_a_judgement(corpus), *_of_states(corpus)]
        told = {kind: 0 for kind, *_ in cases}
        done = dict(told)
        for number in range(count + count // 10):
            rng = random.Random(f"flip {seed} {number}")
            kind, where, data, put, look = rng.choice(cases)
            damaged = flipped(data, rng) if number < count else cut(data, rng)
            try:
                put(damaged)
                with warnings.catch_warnings(record=True, action="always") as warned:
                    found = look(number >= count)
            except attent.AttentError as error:
                if str(where) not in str(error):
                    raise Finding(f"flip {number} of {where} is told of without its name: {error}") from error
                told[kind] += 1
            else:
                wanted = kind if not warned else f"{kind}, after a warning"
                if found is not None and damaged != data:
                    raise Finding(f"flip {number} of {where} is silent ({wanted}): {found}")
                told[kind] += bool(warned)
            finally:
                put(data)
            done[kind] += 1
            corpus.restore("judged" if kind.startswith("judgement") else "run")
        for kind, many in done.items():
            tell(f"{kind}: {many:,} flips and cuts, {told[kind]:,} told of, the others changed nothing")
        return told


def _of_a_run(corpus):
    """Yield for each file of a run folder how it is damaged and what is looked at: None, or what differs."""
    whole, learner = Trace.read(corpus.run), Careful()
    end = teach(learner, PLAN, segment_steps=2)

    def read(shorter):
        return _differs(Trace.read(corpus.run), whole, shorter)

    def resume(shorter):
        again = Careful()
        found = teach(again, PLAN, run=corpus.run, resume=True, segment_steps=2, checkpoint_seconds=1e9)
        if _taught(found)[1:] != _taught(end)[1:] or again.guess.tobytes() != learner.guess.tobytes():
            return "other things are taught"
        return None

    for path in sorted(corpus.run.rglob("*")):
        if path.is_file() and path.name not in NOT_READ:
            if path.name not in CHECKPOINTS:
                yield "run, read", path, path.read_bytes(), path.write_bytes, read
            where = corpus.run if path.name in CHECKPOINTS else path  # the run that cannot go on is named then
            yield "run, resumed", where, path.read_bytes(), path.write_bytes, resume


def _differs(found, whole, shorter):
    """Return in words what differs. A trace that is cut is one that was stopped sooner (rule R3)."""
    if shorter and len(found.records) < len(whole.records):
        whole = Trace(found.header, whole.records[: len(found.records)], whole.selections)
        whole.selections = {draw: whole.selections[draw] for draw in found.selections}
    return None if _taught(found) == _taught(whole) else "other things are read"


def _taught(trace):
    """Return all that a trace says, but for seconds, which nobody can repeat."""
    records = [_but_seconds(record) for record in trace.records]
    kept = [trace.selections[draw] for draw in trace.selections]
    selections = [(one.ids.tolist(), None if one.scores is None else one.scores.tolist()) for one in kept]
    return trace.header, records, [trace.ids(record.epoch).tolist() for record in trace.records], selections


def _but_seconds(record):
    """Return an epoch's record as a tuple without its seconds."""
    return tuple(getattr(record, name) for name in record.__struct_fields__ if name != "seconds")


def _of_a_judgement(corpus):
    def report():
        lines = []
        show_report(corpus.judged, tell=lines.append)
        return lines

    said = report()
    arm = corpus.judged / "seed-0" / "default"
    whole = Trace.read(arm)

    def reported(shorter):
        return None if report() == said else "another report"

    def arm_read(shorter):
        return _differs(Trace.read(arm), whole, shorter)

    def goes_on(shorter):
        outcome = command("judge", "--resume", corpus.judged)
        if outcome.code == 2:
            raise attent.TraceError(outcome.err)
        again = Path(corpus.judged / "judge.json").read_bytes()
        return None if outcome.code == 0 and again == judged else f"{outcome}"

    assert command("judge", "--resume", corpus.judged).code == 0
    judged = (corpus.judged / "judge.json").read_bytes()
    for path in sorted(corpus.judged.rglob("*")):
        if not path.is_file() or path.name in NOT_READ:
            continue
        data = path.read_bytes()
        if path.name == "judge.json":
            yield "judgement, reported", path, data, path.write_bytes, reported
        elif path.name in ("settings.json", "check.json", "job.json"):
            yield "judgement, resumed", path, data, path.write_bytes, goes_on
        elif path.is_relative_to(arm):
            yield "judgement, read", path, data, path.write_bytes, arm_read


def _of_states(corpus):
    """Yield for a feed's and a course's states how each part is damaged, and what is looked at."""
    state, arrays = dict(corpus.feed), dict(corpus.course)

    def put_text(part, data):
        state[part] = data.decode("utf-8", "surrogateescape")

    def put_array(name, data):
        array = corpus.course[name]
        arrays[name] = _array_of(array, data)

    def load_feed(shorter):
        attent.Feed(PLAN, N).load_state(state)
        return "a feed takes it"

    def load_course(shorter):
        attent.Course(PLAN, N, segment_steps=2).load_state(arrays)
        return "a course takes it"

    for part, text in corpus.feed.items():
        yield "feed's state", "state", text.encode(), lambda data, part=part: put_text(part, data), load_feed
    for name, array in corpus.course.items():
        yield "course's state", "state", array.tobytes(), lambda data, name=name: put_array(name, data), load_course


def _array_of(array, data):
    """Return bytes as an array of the same dtype, as many as are whole."""
    size = array.dtype.itemsize
    return np.frombuffer(data[: len(data) // size * size], array.dtype).copy()
