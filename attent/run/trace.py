"""Traces: what was taught and what it cost, read back and compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from attent import __version__, checks
from attent.choose.policy import asks, ranks
from attent.errors import TraceError
from attent.learner import Ids, Numbers
from attent.plan.plan import Plan, Unit
from attent.run.files import FORMAT, WAY_OUT, read_bytes, read_json, read_selection, unsealed
from attent.run.records import EpochRecord, Selected, digest_of


class _Fields(msgspec.Struct, frozen=True):
    """What is read of a plan's fields without making the plan: nothing that a file names is imported."""

    epochs: Annotated[int, msgspec.Meta(ge=1)]
    batch_size: int
    seed: int
    ratio: float | str
    interval: int | str
    select: str
    source: str
    warm_up: int
    cool_down: int
    cycle: int | None


class Header(msgspec.Struct, frozen=True):
    """What a run is of: format, attent's version, n, the plan and its rounds, versions of what it ran on.

    ``fingerprint`` is of the data, where a trainer told one.
    """

    format: int
    attent: str
    n: Annotated[int, msgspec.Meta(ge=1)]
    plan: dict[str, Any]
    rounds: list[list[Any]]
    unit: Unit = "epoch"
    versions: dict[str, str] = {}
    recipe: str | None = None
    fingerprint: str | None = None


class Taught(NamedTuple):
    """The ids of one selection, ascending, and the scores it was made from where they were kept."""

    ids: Ids
    scores: Numbers | None


class Trace:
    """A run's record: ``header``, one ``EpochRecord`` per finished epoch, and the ids of each selection.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.default(epochs=3, batch_size=64)
        >>> trace = attent.teach(vit_digits(plan), plan)
        >>> [(record.phase, record.k) for record in trace.records]
        [('warm-up', 1437), ('taught', 575), ('cool-down', 1437)]
        >>> len(trace.ids(1))
        575
    """

    def __init__(self, header: Header, records: list[EpochRecord], selections: Mapping[int, Taught]) -> None:
        self.header, self.records, self.selections = header, records, selections

    def __repr__(self) -> str:
        """Return how far the run is."""
        epochs, n = self.header.plan["epochs"], self.header.n
        unit = "passes" if self.header.unit == "pass" else "epochs"
        return f"<Trace: {len(self.records)} of {epochs} {unit}, {n} examples, {len(self.selections)} selections>"

    @classmethod
    def read(cls, folder: str | Path) -> Trace:
        """Return the trace of a run folder, also while the run goes on. Raises TraceError naming file and line."""
        folder = Path(folder)
        header = read_header(folder)
        records = read_records(folder / "trace.jsonl")
        draws = [record.selection.draw for record in records if record.selection is not None]
        return cls(header, records, _Selections(folder, draws, header.n))

    @classmethod
    def of_scores(cls, scores: Numbers, draws: int = 1) -> Trace:
        """Return a trace that holds nothing but scores known beforehand, for a plan with ``source=Replay()``.

        A plan that teaches one selection of the highest throughout is a static filter. scores: one number per example,
        shape (n,); they are copied. draws: how many selections the plan makes, all by these scores. Raises TraceError
        for what are not such numbers.

        Example:
            >>> import numpy as np, attent
            >>> from attent.reference.recipes import vit_digits
            >>> plan = attent.Plan(epochs=3, batch_size=1, ratio=0.002, interval=3, source=attent.Replay())
            >>> known = attent.Trace.of_scores(np.arange(1437.0))
            >>> attent.teach(vit_digits(plan), plan, replay=known).ids(2).tolist()
            [1434, 1435, 1436]
        """
        rule = "scores must be one number per example, shape (n,)"
        try:
            given = np.asarray(scores)
        except (TypeError, ValueError, RuntimeError) as error:  # lists of other lengths, a tensor elsewhere
            raise TraceError(f"{rule}: {error}") from None
        if given.ndim != 1 or not len(given) or given.dtype.kind not in "iuf":
            raise TraceError(f"{rule}, got {given.dtype} of shape {given.shape}")
        draws = checks.whole("draws", draws, 1, error=TraceError)
        held = given.astype(np.float64)
        held.flags.writeable = False  # all selections hold the same
        once = Plan(epochs=1, batch_size=len(held), ratio=1.0)
        header = Header(format=FORMAT, attent=__version__, n=len(held), plan=once.to_dict(), rounds=[])
        return cls(header, [], dict.fromkeys(range(draws), Taught(np.empty(0, np.int64), held)))

    @property
    def finished(self) -> bool:
        """Whether every epoch of the plan has been recorded."""
        return len(self.records) == int(self.header.plan["epochs"])

    def ids(self, epoch: int) -> Ids:
        """Return the ids taught in an epoch, ascending: int64."""
        if not 0 <= epoch < len(self.records):
            raise TraceError(f"epoch must be in [0, {len(self.records)}), the epochs recorded, got {epoch}")
        draw = self.records[epoch].draw
        if draw is None:
            return np.arange(self.header.n)
        ids, made = self.selections[draw].ids, self.selection(epoch)
        if made is not None and digest_of(ids) != made.digest:
            raise TraceError(f"the ids kept for draw {draw} are not those recorded in epoch {made_in(self, draw)}")
        return ids

    def selection(self, epoch: int) -> Selected | None:
        """Return the record of the selection taught in an epoch, None where all examples were."""
        draw = self.records[epoch].draw
        made = (record.selection for record in self.records if record.selection is not None)
        return next((one for one in made if one.draw == draw), None)


def replayed(trace: Trace, plan: Plan, n: int) -> dict[int, Numbers]:
    """Return the scores by draw that a plan over n examples replays from a trace.

    Raises TraceError if the trace is over another number of examples, made fewer selections, ranked only a pool of
    them, kept no scores, or had none because it chose at random.
    """
    source = str(trace.header.plan.get("source"))
    if source.startswith(("pool", "proxy(share")):
        raise TraceError(f"replay is of a run with source {source}, which ranked only a part of the examples each time")
    if trace.header.n != n:
        raise TraceError(f"replay is of a run over {trace.header.n} examples, this one has {n}")
    needed = sum(row.select for row in plan.timeline(n))
    if len(trace.selections) < needed:
        raise TraceError(f"replay made {len(trace.selections)} selections, the plan makes {needed}")
    if str(trace.header.plan.get("select")).startswith("per_cost") and "costs" in asks(plan.select):
        raise TraceError(
            f"replay is of a run with {trace.header.plan['select']}, which kept scores per cost: {plan.select!r} would "
            "divide them by the costs again. Replay it by the policy within, its inner"
        )
    found = {}
    for draw in range(needed):
        scores = trace.selections[draw].scores
        if scores is None:
            raise TraceError(f"replay kept no scores of draw {draw}: teach it with keep_scores=True")
        if ranks(plan.select) and np.isnan(scores).all():
            raise TraceError(
                f"replay holds no scores of draw {draw}: its run had seen none, as one that chooses at random and does "
                "not score. Replay a run whose selection ranks scores"
            )
        found[draw] = scores
    return found


def made_in(trace: Trace, draw: int) -> int:
    """Return the epoch in which a draw was made."""
    return next(r.epoch for r in trace.records if r.selection is not None and r.selection.draw == draw)


class _Selections(Mapping[int, Taught]):
    """The selections of a run folder, read when asked for."""

    def __init__(self, folder: Path, draws: list[int], n: int) -> None:
        self._folder, self._draws, self._n = folder, draws, n

    def __getitem__(self, draw: int) -> Taught:
        if draw not in self._draws:
            raise KeyError(draw)
        return Taught(*read_selection(self._folder, draw, self._n))

    def __iter__(self) -> Iterator[int]:
        return iter(self._draws)

    def __len__(self) -> int:
        return len(self._draws)


def read_header(folder: Path) -> Header:
    """Return the header of a run folder. Raises TraceError if there is none, or it is damaged or of another format."""
    header = read_json(folder / "run.json", Header)
    if header is None:
        raise TraceError(f"no run in {folder}: it has no run.json")
    try:
        msgspec.convert(header.plan, _Fields)
    except msgspec.ValidationError as error:
        raise TraceError(f"{folder / 'run.json'} cannot be read: in its plan: {error}. {WAY_OUT}") from None
    return header


def read_records(path: Path, first: int | None = None) -> list[EpochRecord]:
    """Return the first so many epochs of a JSONL trace (None: all), fewer where it has fewer.

    A last line without its end, left by a sudden stop, is passed over. Raises TraceError naming a line that is damaged.
    """
    *lines, rest = (read_bytes(path) or b"").split(b"\n")
    records: list[EpochRecord] = []
    draws = 0
    for number, line in enumerate(lines[:first], 1):
        record = unsealed(line, EpochRecord, f"{path} line {number}")
        if record.epoch != number - 1:
            raise TraceError(f"{path} line {number} is epoch {record.epoch}, expected {number - 1}")
        made = record.selection
        if made is not None and made.draw != draws:
            raise TraceError(f"{path} line {number} made draw {made.draw}, expected {draws}: draws count from 0")
        draws += made is not None
        if record.draw is not None and not 0 <= record.draw < draws:
            raise TraceError(f"{path} line {number} taught draw {record.draw}; draws made until then: {draws}")
        records.append(record)
    if first is None and rest and _whole(rest[:-1]):
        raise TraceError(f"{path} line {len(lines) + 1} is damaged: it must end in a newline, got {rest[-1:]!r}")
    return records


def _whole(line: bytes) -> bool:
    """Whether a line is an epoch's, whole: what follows it then is no line that was being written."""
    try:
        unsealed(line, EpochRecord, "")
    except TraceError:
        return False
    return True


class Difference(NamedTuple):
    """Where two traces first part: the epoch, what differs in words, and the ids taught in only one of them."""

    epoch: int
    what: str
    only_first: Ids
    only_second: Ids
    first_scores: Numbers | None = None  # of only_first, then only_second, in the first trace
    second_scores: Numbers | None = None

    def __str__(self) -> str:
        """Return the difference in a few lines, at most five ids of each side with their scores."""
        lines = [f"epoch {self.epoch}: {self.what}"]
        count = len(self.only_first)
        for name, ids, at in (("first", self.only_first, 0), ("second", self.only_second, count)):
            for place, example in enumerate(ids[:5].tolist(), at):
                scores = (("first", self.first_scores), ("second", self.second_scores))
                told = ", ".join(f"{float(s[place])!r} in the {side}" for side, s in scores if s is not None)
                lines.append(f"  only in the {name}: id {example}{'; score ' + told if told else ''}")
            if len(ids) > 5:
                lines.append(f"  and {len(ids) - 5} more only in the {name}")
        return "\n".join(lines)


_NO_IDS = np.empty(0, np.int64)


def first_difference(first: Trace, second: Trace) -> Difference | None:
    """Return where two traces first teach something else, or None if they teach the same throughout.

    Compares examples, batches (seed and batch size) and, epoch by epoch, ids, steps and largest weights;
    not losses or seconds, which differ between machines.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.default(epochs=2, batch_size=64, warm_up=0)
        >>> one, two = (attent.teach(vit_digits(plan), plan) for _ in range(2))
        >>> print(attent.first_difference(one, two))
        None
    """
    for name, mine, theirs in (
        ("n", first.header.n, second.header.n),
        ("seed", first.header.plan["seed"], second.header.plan["seed"]),
        ("batch_size", first.header.plan["batch_size"], second.header.plan["batch_size"]),
    ):
        if mine != theirs:
            return Difference(0, f"{name} is {mine} in the first and {theirs} in the second", _NO_IDS, _NO_IDS)
    for a, b in zip(first.records, second.records, strict=False):
        found = _epoch_difference(first, second, a, b)
        if found is not None:
            return found
    if len(first.records) != len(second.records):
        counts = f"the first has {len(first.records)} epochs, the second {len(second.records)}"
        return Difference(min(len(first.records), len(second.records)), counts, _NO_IDS, _NO_IDS)
    return None


def _alike(one: float | None, two: float | None) -> bool:
    """Whether two weights are equal but for rounding, which differs between machines as losses do."""
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=1e-6)


def _epoch_difference(first: Trace, second: Trace, a: EpochRecord, b: EpochRecord) -> Difference | None:
    one, two = first.selection(a.epoch), second.selection(b.epoch)
    if (one and one.digest) == (two and two.digest):
        if a.steps != b.steps:
            steps = f"the same examples in {a.steps} steps in the first and {b.steps} in the second"
            return Difference(a.epoch, steps, _NO_IDS, _NO_IDS)
        weights = [chosen.weight_max if chosen else None for chosen in (one, two)]
        if not _alike(*weights):
            told = f"the largest weight is {weights[0]} in the first and {weights[1]} in the second"
            return Difference(a.epoch, told, _NO_IDS, _NO_IDS)
        return None
    ids_a, ids_b = first.ids(a.epoch), second.ids(b.epoch)
    only_a, only_b = np.setdiff1d(ids_a, ids_b), np.setdiff1d(ids_b, ids_a)
    what = f"the first teaches {len(ids_a)} examples, the second {len(ids_b)}, {len(only_a) + len(only_b)} differ"
    either = np.concatenate([only_a, only_b])
    scores = [
        trace.selections[record.draw].scores if record.draw is not None else None
        for trace, record in ((first, a), (second, b))
    ]
    of_ids = [None if s is None else s[either] for s in scores]
    return Difference(a.epoch, what, only_a, only_b, *of_ids)
