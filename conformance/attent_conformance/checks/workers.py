"""W: any number of workers teaches what one does, and all stop together."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.ranks import FULL, STOP, TAUGHT, Told, all_ranks, distance, learner_of, same_ids, told
from attent_conformance.subject import Subject

_TOLERANCE = 1e-11  # of the largest parameter: what another order of sums leaves in float64
_SECONDS = 300.0


class _Runs(NamedTuple):
    alone: dict[str, Told]
    ranks: dict[int, list[Told | None]]


@needs("float64", "workers")
def check_a_step_of_workers_is_the_step_of_one(subject: Subject) -> Margins:
    """W2: gradients of uneven shares, and of none, average to the batch's; parameters are those of one process."""
    worst = 0.0
    for where, alone, found in _each(subject, "W2", "full"):
        worst = max(worst, _require_near("W2", where, found, alone))
    return {"error": worst}


@needs("float64", "workers")
def check_workers_choose_the_ids_of_one(subject: Subject) -> Margins:
    """W1: every worker teaches the ids of one process, in as many steps, from scores and losses gathered by id."""
    worst = 0.0
    for where, alone, found in _each(subject, "W1", "taught"):
        _require_ids("W1", where, found, alone)
        worst = max(worst, _require_near("W1", where, found, alone))
    return {"error": worst}


@needs("float64", "workers")
def check_disagreement_names_the_worker(subject: Subject) -> Margins:
    """W3: where the last worker has another plan, or other parameters, all stop, and the error names it."""
    runs = _runs(subject)
    for world, ranks in runs.ranks.items():
        for case in ("other plan", "other parameters"):
            for rank, result in enumerate(ranks):
                if result is None:
                    continue
                error = result[case].get("error", "no error")
                if not error.startswith("WorkersError") or not _names(error, world - 1):
                    where = f"rank {rank} of {world}; rank {world - 1} has {case.replace('plan', 'a plan')}"
                    raise CheckFailed("W3", f"{error:.300}", f"a WorkersError that names {world - 1}", where)
    return {"worlds": float(len(runs.ranks))}


@needs("float64", "workers")
def check_no_worker_waits_for_one_that_is_gone(subject: Subject) -> Margins:
    """W4: where a worker leaves in the middle of a run, all others stop with an error."""
    slowest = 0.0
    for world, ranks in _runs(subject).ranks.items():
        for rank, result in enumerate(ranks[:-1]):
            gone = (result or {}).get("gone", {})
            error, seconds = gone.get("error", "no error"), gone.get("seconds", 0.0)
            where = f"rank {rank} of {world}, when rank {world - 1} is gone"
            if not error.startswith("WorkersError"):
                raise CheckFailed("W4", f"{error:.300}", "a WorkersError", where)
            if seconds > _SECONDS:
                raise CheckFailed("W4", f"an error after {seconds:.0f} s", f"within {_SECONDS:.0f} s", where)
            slowest = max(slowest, seconds)
    return {"seconds": slowest}


@needs("float64", "workers")
def check_another_number_of_workers_goes_on(subject: Subject) -> Margins:
    """W5: a run of two workers, stopped, goes on in one process and on more workers as if it had not been stopped."""
    runs, worst = _runs(subject), 0.0
    stopped = runs.ranks[2][0]
    if stopped is not None and len(stopped["elastic"].get("ids", [])) != STOP + 1:
        got = stopped["elastic"].get("error", f"{len(stopped['elastic'].get('ids', []))} epochs")
        raise CheckFailed("W5", f"{got:.300}", f"a run that stops after {STOP + 1} epochs", "rank 0 of 2")
    gone_on = [("one process", runs.alone["elastic"])]
    for world, ranks in runs.ranks.items():
        if world > 2:
            gone_on += [(f"rank {at} of {world}", each["elastic"]) for at, each in enumerate(ranks) if each is not None]
    for who, result in gone_on:
        where = f"a run of 2 ranks stopped after {STOP} epochs and after one more, gone on by {who}"
        _require_run("W5", where, result)
        _require_ids("W5", where, result, runs.alone["taught"])
        worst = max(worst, _require_near("W5", where, result, runs.alone["taught"]))
    return {"error": worst}


def _each(subject: Subject, rule: str, case: str) -> list[tuple[str, Told, Told]]:
    runs, found = _runs(subject), []
    _require_run(rule, "one process, without workers", runs.alone[case])
    for world, ranks in runs.ranks.items():
        for rank, result in enumerate(ranks):
            if result is not None:
                where = f"task 'classes', rank {rank} of {world}"
                _require_run(rule, where, result[case])
                found.append((where, runs.alone[case], result[case]))
    return found


def _require_run(rule: str, where: str, result: Told) -> None:
    if not result.get("finished"):
        raise CheckFailed(rule, f"{result.get('error', 'a run that stopped'):.300}", "a run to its end", where)


def _require_near(rule: str, where: str, found: Told, alone: Told) -> float:
    """Return how far the parameters are from those of one process."""
    error = distance(found, alone)
    if not error <= _TOLERANCE:
        raise CheckFailed(rule, f"parameters {error:.1e} apart", f"at most {_TOLERANCE:.0e} from one's", where)
    return error


def _require_ids(rule: str, where: str, found: Told, expected: Told) -> None:
    epoch = same_ids(found, expected)
    if epoch is not None:
        raise CheckFailed(rule, f"other ids in epoch {epoch}", "the ids of one process", where)


def _names(error: str, rank: int) -> bool:
    return f"rank {rank} of" in error or f"process {rank} of" in error


def _runs(subject: Subject) -> _Runs:
    return subject.kept("workers", lambda: _made(subject))


def _made(subject: Subject) -> _Runs:
    # All that workers do is done in one start for each number of them: a framework takes seconds to start.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranks = {2: all_ranks(subject, 2, folder / "2")}
        copied = folder / "elastic-alone"
        if (folder / "elastic").exists():
            _copy(folder / "elastic", copied)
        if not subject.quick:
            ranks[4] = all_ranks(subject, 4, folder / "4")
        alone = {
            "full": told(learner_of(subject.reference), FULL),
            "taught": told(learner_of(subject.reference), TAUGHT),
            "elastic": told(learner_of(subject.reference), TAUGHT, run=copied, resume=True),
        }
    return _Runs(alone, ranks)


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name != "lock":
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
