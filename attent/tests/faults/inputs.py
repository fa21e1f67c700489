"""Drawn inputs: whatever is read, by file, argument or call, gives a result or one of attent's own errors.

Every input is drawn by the seed, the target's name and its number, so a finding can be made again:
``python -m attent.tests.faults.inputs TARGET SEED NUMBER`` raises what it raised.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

import attent
from attent import plugins
from attent.cli import judging_command
from attent.cli.given import from_file
from attent.cli.report_command import show_difference, show_report
from attent.judging.arms import read_policies
from attent.judging.jobs import goes_on_from
from attent.learner import checked_state
from attent.run.feed_state import written
from attent.run.files import read_arrays, read_selection, sealed, write_arrays
from attent.run.folder import CHECKPOINT, EARLIER
from attent.run.state import digest_of_state
from attent.tests import cli_toy
from attent.tests.faults.mutations import (
    DIGITS,
    as_json,
    drawn,
    mutated_bytes,
    mutated_text,
    mutated_value,
)
from attent.tests.toy import Toy, drive

PATIENCE = 120.0  # seconds for one input, on a machine however busy
MEMORY = 2**30  # bytes of all inputs, the program included
PLAN = attent.Plan(epochs=6, batch_size=3, ratio=0.5, select="soft", warm_up=1, cool_down=1)
N = 20
KINDS = (bool, np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64)


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


PLAN_FIELDS = {
    "epochs": 6, "batch_size": 8, "ratio": 0.4, "interval": 1, "select": "soft(temperature=0.3)",
    "source": "reuse(bonus=0.1)", "warm_up": 1, "cool_down": 1, "cycle": None, "reselect": False,
    "non_finite": "error", "seed": 5,
}  # fmt: skip
TEXTS = [
    "soft(temperature=0.3)", "in_turn(ties=soft(temperature=0.3))", "band(0.2, 0.8)", "auto", "balanced", "hard",
    "infobatch(prune=0.5)", "random", "attent.choose.policies:Soft(temperature=0.5)", "reuse(bonus=0.1, refresh=0.2)",
    "fresh", "pool(share=0.5)", "proxy(share=0.7)", "cosine(0.2, 0.8)", "linear(1, 5)", "step(0.1, 0.5, 0.9)", "0.4",
]  # fmt: skip
NUMBERS = ["1", "0", "-1", "0.4", "1e308", "-1e308", "1e400", "nan", "inf", "-inf", "none", "", " ", DIGITS, "x", "٣"]
FLAGS = [
    "--epochs", "--batch-size", "--ratio", "--interval", "--select", "--source", "--warm-up", "--cool-down", "--cycle",
    "--cycles", "--seed", "--non-finite", "--preset", "--forward-share", "--n", "--set", "--config", "--backend",
    "--reselect", "--no-reselect", "--debug", "--run", "--arms", "--arm", "--against", "--lengths", "--tune", "--tuned",
    "--batch-sizes", "--seeds", "--budget", "--checkpoint-seconds", "--segment-steps", "--resume", "--help",
]  # fmt: skip


def _use(plan):
    plan.to_dict()
    if plan.epochs <= 2000:
        plan.timeline(N)
        plan.cost(N, 0.3)
        attent.Plan.from_dict(plan.to_dict())


def plans(rng, corpus):
    fields = mutated_value(PLAN_FIELDS, rng)
    if isinstance(fields.get("epochs"), int) and fields["epochs"] > 10_000 and rng.random() < 0.99:
        fields["epochs"] = 50  # a million epochs are allowed, and take a second
    make = rng.choice([attent.Plan.from_dict, *(_preset(name) for name in ("auto", "default", "official", "balanced"))])
    _use(make(fields))


def _preset(name):
    return lambda fields: attent.Plan.from_dict(fields) and getattr(attent.Plan, name)(**fields)


def texts(rng, corpus):
    text = mutated_text(rng.choice(TEXTS), rng)
    field = rng.choice(("select", "source", "ratio", "interval"))
    _use(attent.Plan(epochs=6, batch_size=8, warm_up=2, **{field: text}))


def arms(rng, corpus):
    text = rng.choice(("mine:default,ratio=0.2,select=hard", "a:auto", "b:full,seed=3", "c:official,cycles=2"))
    read_policies([mutated_text(text, rng)] if rng.random() < 0.7 else mutated_value({"a": PLAN_FIELDS}, rng))


CONFIG = """
[plan]
epochs = 5
ratio = "cosine(0.2, 0.8)"
select = {name = "soft", temperature = 0.3}
[recipe]
width = 4
tags = ["a", "b"]
[run]
forward_share = 0.4
against = "full"
"""
JUDGE = """
[judge]
arms = ["default", "mine"]
lengths = [0.5, 1]
[tune]
rate = [0.1, 0.2]
[arms.mine]
preset = "default"
ratio = 0.2
"""


def configs(rng, corpus):
    command, text = rng.choice((("teach", CONFIG), ("judge", JUDGE)))
    path = corpus.folder / "config.toml"
    path.write_bytes(mutated_bytes(text.encode(), rng))
    from_file(path, command)


def arguments(rng, corpus):
    """Command lines. What would train is stopped where it would begin."""
    command = rng.choice(("plan", "plan", "teach", "judge", "report", "diff", "backends", "x"))
    given = [command]
    if command in ("plan", "teach", "judge") and rng.random() < 0.8:
        given.append(rng.choice((cli_toy.RECIPE, "vit-digits", "attent.tests.faults.inputs:Corpus")))
    if command in ("report", "diff"):
        given += [str(rng.choice((corpus.run, corpus.judged, corpus.judged / "seed-0"))) for _ in range(2)]
    for _ in range(rng.randrange(4)):
        flag = rng.choice(FLAGS)
        given.append(flag)
        if rng.random() < 0.9:
            given.append(rng.choice([*NUMBERS, *TEXTS, "width=3", "a=b=c", "rate=0.1,0.2", as_json(drawn(rng))[:6000]]))
    if rng.random() < 0.5:
        place = rng.randrange(len(given))
        given[place] = mutated_text(given[place], rng)
    taught, judging_command.judge = judging_command.judge, _not_taught
    try:
        _command(given)
    finally:
        judging_command.judge = taught


def _not_taught(*arguments, **settings):
    raise attent.RecipeError("all was taken, and would be taught now")


def _command(given):
    outcome = cli_toy.command(*given)
    if outcome.code not in (0, 1, 2, 130) or "Traceback" in outcome.err:
        raise Finding(f"{[one[:200] for one in given]} ended with {outcome.code}: {outcome.err[-2000:]}")
    if outcome.code == 2 and not outcome.err.strip():
        raise Finding(f"{[one[:200] for one in given]} ended with 2 and no message")
    if outcome.code == 2:
        raise attent.AttentError(outcome.err)


def _damaged_json(path, rng):
    """Put a drawn JSON file in a file's place: its bytes changed, or its content and then the checksum too."""
    data = path.read_bytes()
    if rng.random() < 0.4:
        path.write_bytes(mutated_bytes(data, rng))
        return
    path.write_bytes(_resealed(mutated_value(json.loads(data), rng)) + b"\n")


def _resealed(value):
    try:
        return sealed(value)
    except (ValueError, TypeError, RecursionError, OverflowError):  # of what JSON cannot hold
        return as_json(value).encode()


def _read(folder):
    """Do with a run folder all that only reads."""
    trace = attent.Trace.read(folder)
    for record in trace.records:
        if record.draw is not None:
            trace.ids(record.epoch)
    repr(trace), trace.finished
    for draw in trace.selections:
        trace.selections[draw]
    show_report(folder, tell=lambda text: None)


def headers(rng, corpus):
    _damaged_json(corpus.run / "run.json", rng)
    _read_or_go_on(rng, corpus)


def traces(rng, corpus):
    path = corpus.run / "trace.jsonl"
    lines = path.read_bytes().splitlines()
    if rng.random() < 0.4:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        place = rng.randrange(len(lines))
        lines[place] = _resealed(mutated_value(json.loads(lines[place]), rng))
        path.write_bytes(b"\n".join(lines) + b"\n")
    _read_or_go_on(rng, corpus)


def _read_or_go_on(rng, corpus):
    kind = rng.randrange(8)
    if kind == 0:
        attent.teach(Careful(), PLAN, run=corpus.run, resume=True, checkpoint_seconds=1e9)
    elif kind == 1:
        goes_on_from(corpus.run, PLAN, N)
    elif kind == 2:
        show_difference(corpus.run, corpus.judged / "seed-0" / "default", tell=lambda text: None)
    else:
        _read(corpus.run)


def _damaged_arrays(path, rng):
    data = path.read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(mutated_bytes(data, rng))
        return
    if rng.random() < 0.3:  # the header, whose length comes first
        length = int.from_bytes(data[:8], "little")
        head = as_json(mutated_value(json.loads(data[8 : 8 + length]), rng)).encode()
        path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])
        return
    arrays, told = read_arrays(path)
    told = {
        **told,
        **({rng.choice(["n", "draw", "attent", "a"]): as_json(drawn(rng))[:50]} if rng.random() < 0.3 else {}),
    }
    told = {name: text.encode("utf-8", "replace").decode() for name, text in told.items()}
    arrays = _mutated_arrays(arrays, rng)
    course = {name.removeprefix("course/"): array for name, array in arrays.items() if name.startswith("course/")}
    if "digest" in course and rng.random() < 0.7:
        arrays["course/digest"] = digest_of_state(course)
    write_arrays(path, arrays, told)


def _mutated_arrays(arrays, rng):
    """Return arrays of which one is of another dtype, shape or content, or gone, renamed or added."""
    arrays = dict(arrays)
    name = rng.choice(sorted(arrays))
    array, kind = arrays[name], rng.randrange(7)
    if kind == 0:
        arrays[name] = array.astype(rng.choice(KINDS))
    elif kind == 1:
        arrays[name] = array.reshape(-1)[: rng.randrange(array.size + 1)]
    elif kind == 2:
        arrays[name] = np.concatenate([array.reshape(-1)] * rng.randrange(2, 5))
    elif kind == 3:
        arrays[name] = array.reshape(rng.choice(((1, -1), (-1, 1), (-1,))))
    elif kind == 4:
        del arrays[name]
    elif kind == 5:
        arrays[rng.choice(("ids", "scores", "course/ids", "course/weights", "course/x", "learner/x", ""))] = array
    elif array.dtype == np.uint8 and array.tobytes().startswith(b"{"):
        text = as_json(mutated_value(json.loads(array.tobytes()), rng))
        arrays[name] = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    elif array.size:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            changed = array.copy().reshape(-1)
            changed[rng.randrange(array.size)] = np.array(rng.choice((0, 1, -1, 255, 1e308, np.nan, np.inf))).astype(
                array.dtype
            )
            arrays[name] = changed.reshape(array.shape)
    return arrays


def selections(rng, corpus):
    draw = rng.randrange(3)
    _damaged_arrays(corpus.run / "selections" / f"{draw:06d}.safetensors", rng)
    if rng.random() < 0.1:
        attent.teach(Careful(), PLAN, run=corpus.run, resume=True, checkpoint_seconds=1e9)
    else:
        read_selection(corpus.run, draw, N)


def checkpoints(rng, corpus):
    for name in (CHECKPOINT, EARLIER):
        if name == CHECKPOINT or rng.random() < 0.3:
            _damaged_arrays(corpus.run / name, rng)
    if rng.random() < 0.5:
        goes_on_from(corpus.run, PLAN, N)
    else:
        attent.teach(Careful(), PLAN, run=corpus.run, resume=True, checkpoint_seconds=1e9)


def judgements(rng, corpus):
    _damaged_json(corpus.judged / "judge.json", rng)
    show_report(corpus.judged, tell=lambda text: None)


def judging(rng, corpus):
    """What a judgement's folder keeps beside it: all of it is read where the judgement goes on."""
    names = ("settings.json", "check.json", "tuning/1/job.json", "seed-0/default/job.json", "seed-1/full/job.json", "seed-0/full/run.json",
             "seed-0/default/trace.jsonl")  # fmt: skip
    name = rng.choice(names)
    if name.endswith("jsonl"):
        path = corpus.judged / name
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        _damaged_json(corpus.judged / name, rng)
    _command(["judge", "--resume", str(corpus.judged)])


def course_states(rng, corpus):
    state = _mutated_arrays(corpus.course, rng)
    if rng.random() < 0.2:
        state[rng.choice(sorted(state) or ["position"])] = drawn(rng)
    elif rng.random() < 0.7:
        state["digest"] = digest_of_state(state)
    course = attent.Course(PLAN, N, segment_steps=2)
    course.load_state(state)
    _drive(course)


def _drive(course):
    """Go on with a state that was taken: to its end, and no further than a plan of six epochs can take."""
    for _ in range(100):
        lesson = course.next()
        if isinstance(lesson, attent.Done):
            return
        course.record(1.0 + (lesson.ids if isinstance(lesson, attent.Score) else np.concatenate(lesson.batches)))
    raise Hang("a course that does not end")


def feed_states(rng, corpus):
    state, kind = dict(corpus.feed), rng.randrange(4)
    if kind == 0:
        state = mutated_value(state, rng)
    elif kind == 1:
        state["feed"] = mutated_text(state["feed"], rng)
    elif kind == 2:
        state = written_anew(as_json(mutated_value(json.loads(state["feed"]), rng)))
    else:
        losses = {"losses": np.ones(10), "got": np.ones(10, bool)}
        course = _mutated_arrays(corpus.course, rng)
        if rng.random() < 0.7:
            course["digest"] = digest_of_state(course)
        state = written(course, _mutated_arrays(losses, rng) if rng.random() < 0.5 else {}, None)
    feed = attent.Feed(PLAN, N)
    feed.load_state(state)
    for _ in range(20):
        if feed.finished:
            return
        for ids in feed.batches():
            feed.record(1.0 + ids, ids)


def written_anew(text):
    """Return a feed's state of this text, with the digest it then has."""
    import hashlib

    return {"feed": text, "digest": hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()}


def given(rng, corpus):
    """What a call is given: paths, names, numbers."""
    value, call = drawn(rng), rng.randrange(7)
    if call == 0:
        attent.Trace.read(value if isinstance(value, str) else as_json(value)[:6000])
    elif call == 1:
        attent.Feed(PLAN, value if not isinstance(value, int) or value < 10**6 else N, fingerprint=drawn(rng))
    elif call == 2:
        attent.teach(Careful(), PLAN, checkpoint_seconds=value, segment_steps=drawn(rng), recipe=drawn(rng))
    elif call == 3:
        PLAN.cost(N, value)
    elif call == 4:
        attent.Feed(PLAN, N).record(value, drawn(rng))
    elif call == 5:
        attent.Feed(PLAN, N).load_state(value)
    else:
        attent.judge(
            cli_toy.tiny, forward_share=value, seeds=drawn(rng), epochs=drawn(rng), batch_size=drawn(rng), teach=3
        )


TARGETS = {
    "plans": (plans, 14), "texts": (texts, 12), "arms": (arms, 18), "configs": (configs, 22), "arguments": (arguments, 3),
    "headers": (headers, 6), "traces": (traces, 7), "selections": (selections, 5), "checkpoints": (checkpoints, 1),
    "judgements": (judgements, 4), "judging": (judging, 1), "course states": (course_states, 3),
    "feed states": (feed_states, 3), "given": (given, 2),
}  # fmt: skip
FILES = {"judging": "judged", "judgements": "judged/judge.json"} | dict.fromkeys(
    ("headers", "traces", "selections", "checkpoints"), "run"
)  # by target: what its inputs damage
# by name: the call, and its share of all inputs in hundredths


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


def in_memory():
    """Return a folder that lies in memory, None where there is none."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    target, seed, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        print("taken" if once(target, seed, number, Corpus(Path(place) / "corpus")) else "refused")
