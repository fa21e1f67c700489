"""What drawn inputs are given to, by name: each target draws one by a generator, and reads or calls with it."""

from __future__ import annotations

import json
import warnings

import numpy as np

import attent
from attent.cli import judging_command
from attent.cli.given import from_file
from attent.cli.report_command import show_difference, show_report
from attent.judging.arms import read_policies
from attent.judging.jobs import goes_on_from
from attent.run.feed_state import written
from attent.run.files import read_arrays, read_selection, sealed, write_arrays
from attent.run.folder import CHECKPOINT, EARLIER
from attent.run.state import digest_of_state
from attent.tests import cli_toy
from attent.tests.faults.corpus import PLAN, Careful, Finding, Hang, N
from attent.tests.faults.mutations import (
    DIGITS,
    as_json,
    drawn,
    mutated_bytes,
    mutated_text,
    mutated_value,
)

KINDS = (bool, np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64)
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
        given.append(rng.choice((cli_toy.RECIPE, "vit-digits", "attent.tests.faults.corpus:Corpus")))
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
