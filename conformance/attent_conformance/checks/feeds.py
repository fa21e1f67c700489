"""F: a feed gives each pass's batches and takes their losses back, whatever the order. Cases are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import attent
from attent.errors import AttentError
from attent.learner import Ids
from attent_conformance.failures import CheckFailed
from attent_conformance.subject import Subject

_CASES = 12


class _Case(NamedTuple):
    """A drawn run: a plan over n examples, and the generator of its losses and orders."""

    plan: attent.Plan
    n: int
    draw: np.random.Generator

    def __str__(self) -> str:
        return f"n={self.n}, {self.plan!r}"

    def losses(self, epoch: int) -> npt.NDArray[np.float64]:
        """Return the loss that every example has in a pass, all of them apart."""
        return np.random.default_rng((self.plan.seed, epoch)).permutation(self.n) / self.n + 1.0


def check_a_pass_is_known_when_it_begins(subject: Subject) -> None:
    """F1: a pass's batches are those of a course, of training examples alone, each once, and stay until it ends."""
    for case in _cases():
        feed = _made(subject, case)
        for epoch, expected in _passes(case):
            _scored(feed, case, epoch)
            found = _lists(feed.batches())
            _require("F1", found == expected, f"batches {found}", f"batches {expected}", case, epoch)
            again = _lists(feed.batches())
            _require("F1", again == expected, f"then {again}", f"the same batches {expected}", case, epoch)
            ids = np.concatenate(feed.batches())
            feed.record(case.losses(epoch)[ids], ids)


def check_the_next_pass_waits_for_every_loss(subject: Subject) -> None:
    """F2: no pass ends, and none begins, before each of its losses is recorded; then its record is returned."""
    for case in _cases():
        feed = _made(subject, case)
        for epoch in range(case.plan.epochs):
            _scored(feed, case, epoch)
            begun = _lists(feed.batches())
            order = case.draw.permutation(np.concatenate(feed.batches())).tolist()
            for place, one in enumerate(order):
                stands = (feed.epoch, feed.finished, _lists(feed.batches()))
                _require("F2", stands == (epoch, False, begun), f"{stands}", f"pass {epoch} as begun", case, epoch)
                record = feed.record(case.losses(epoch)[[one]], np.array([one]))
                ended = record is not None and record.epoch == epoch
                last = place + 1 == len(order)
                got = f"{record!r} after {place + 1} of {len(order)} losses"
                _require("F2", ended if last else record is None, got, "a record after the last", case, epoch)
        _require("F2", feed.finished and not feed.batches(), "more batches", "none after the last pass", case, None)


def check_losses_are_credited_to_their_ids(subject: Subject) -> None:
    """F3: in whatever order and parts losses are recorded, what follows is what their ids make of it."""
    for case in _cases():
        feed = _made(subject, case)
        for epoch, expected in _passes(case):
            _scored(feed, case, epoch)
            found = _lists(feed.batches())
            _require("F3", found == expected, f"batches {found}", f"batches {expected}", case, epoch)
            order = case.draw.permutation(np.concatenate([np.array(batch) for batch in expected]))
            losses = case.losses(epoch).astype([np.float64, np.float32][epoch % 2])
            for part in np.array_split(order, case.draw.integers(1, len(order) + 1)):
                feed.record(losses[part], part)


def check_what_was_not_asked_for_is_refused(subject: Subject) -> None:
    """F4: ids not of the pass, recorded already or no whole numbers, and losses of another form, change nothing."""
    for case in _cases():
        feed = _made(subject, case)
        epochs = list(_passes(case))
        for epoch, expected in epochs:
            _scored(feed, case, epoch)
            first, others = expected[0][0], sorted(set(range(case.n)) - {i for batch in expected for i in batch})
            wrong: list[tuple[Any, Any]] = [
                ([1.0], [case.n]), ([1.0], [-1]), ([1.0], [0.0]), ([1.0, 1.0], [first, first]), (1.0, [first]),
                ([1.0, 2.0], [first]), ([[1.0]], [first]), ([1], [first]), ([1j], [first]), ([np.nan], [first]),
                *(([1.0, 1.0], [first, one]) for one in others[:1]),
            ]  # fmt: skip
            for losses, ids in wrong:
                _refuses(feed, losses, ids, case, epoch)
            for place, batch in enumerate(expected):
                feed.record(case.losses(epoch)[batch], batch)
                if place + 1 < len(expected):
                    _refuses(feed, [1.0], [batch[-1]], case, epoch)
            following = epochs[epoch + 1][1] if epoch + 1 < len(epochs) else []
            _scored(feed, case, epoch + 1)
            found = _lists(feed.batches())
            _require("F4", found == following, f"batches {found}", f"batches {following}", case, epoch + 1)


def check_scores_are_asked_for_before_a_pass(subject: Subject) -> None:
    """F5: exactly the examples that a course scores are asked for, and a pass's batches only once they are scored."""
    for case in _cases():
        feed = _made(subject, case)
        course = attent.Course(case.plan, case.n, segment_steps=case.n)
        while not isinstance(lesson := course.next(), attent.Done):
            epoch, asked = course.epoch, feed.to_score()
            wanted = lesson.ids.tolist() if isinstance(lesson, attent.Score) else None
            got = None if asked is None else asked.tolist()
            _require("F5", got == wanted, f"ids {got} to score", f"ids {wanted}", case, epoch)
            if isinstance(lesson, attent.Score):
                try:
                    given = _lists(feed.batches())
                except AttentError:
                    given = None
                _require("F5", given is None, f"batches {given}", "an error before the scores", case, epoch)
                ids = lesson.ids
            else:
                ids = np.concatenate(lesson.batches)
            course.record(case.losses(epoch)[ids])
            feed.record(case.losses(epoch)[ids], ids)


def check_a_state_goes_on_in_mid_pass(subject: Subject) -> None:
    """F6: a state, through JSON, goes on from any moment in a new feed; a damaged or another one changes nothing."""
    for case in _cases():
        feed = _made(subject, case)
        for epoch, expected in _passes(case):
            _scored(feed, case, epoch)
            order = list(case.draw.permutation(len(expected)))
            for place in order:
                found = _lists(feed.batches())
                _require("F6", found == expected, f"after a state {found}", f"batches {expected}", case, epoch)
                feed.record(case.losses(epoch)[expected[place]], expected[place])
                state, again = json.loads(json.dumps(feed.state())), _made(subject, case)
                _damaged(again, state, case, epoch)
                again.load_state(state)
                at = (again.epoch, again.done)
                _require("F6", at == (feed.epoch, feed.done), f"at {at}", f"{(feed.epoch, feed.done)}", case, epoch)
                feed = again
        _require("F6", feed.finished, "an unfinished run", "a finished one", case, None)


def check_steps_are_those_of_the_plan(subject: Subject) -> None:
    """F7: a run has the steps that it declares; ``done`` counts the batches recorded from a pass's start on."""
    for case in _cases():
        feed, steps = _made(subject, case), 0
        for epoch, expected in _passes(case):
            _scored(feed, case, epoch)
            order = list(case.draw.permutation(len(expected)))
            for count, place in enumerate(order):
                whole = next(i for i in range(len(order) + 1) if i not in order[:count])
                _require("F7", feed.done == whole, f"done {feed.done}", f"{whole} batches done", case, epoch)
                feed.record(case.losses(epoch)[expected[place]], expected[place])
            steps += len(expected)
        _require("F7", feed.total_steps == steps, f"{feed.total_steps} steps", f"{steps} steps", case, None)


def check_the_trace_tells_what_was_given(subject: Subject) -> None:
    """F8: the trace has one record for each pass, with the ids, steps and mean loss of what was given."""
    for case in _cases():
        feed = _made(subject, case)
        given, means = [], []
        for epoch, _ in _passes(case):
            _scored(feed, case, epoch)
            ids = np.concatenate(feed.batches())
            given.append((sorted(ids.tolist()), len(feed.batches())))
            means.append(case.losses(epoch)[ids].mean())
            feed.record(case.losses(epoch)[ids], ids)
        trace = feed.trace()
        told = [(trace.ids(epoch).tolist(), record.steps) for epoch, record in enumerate(trace.records)]
        _require("F8", told == given, f"a trace of {told}", f"one of {given}", case, None)
        losses = [record.loss for record in trace.records]
        _require("F8", np.allclose(losses, means, 1e-12, 0), f"losses {losses}", f"losses {means}", case, None)


def _cases() -> Iterator[_Case]:
    """Yield drawn runs: sizes, batch sizes, and each kind of selection and source that a feed tells apart."""
    for number in range(_CASES):
        draw = np.random.default_rng(number)
        n, batch_size = int(draw.integers(2, 24)), int(draw.integers(1, 9))
        epochs, ratio = int(draw.integers(2, 5)), float(draw.uniform(0.2, 0.6))
        common: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": int(draw.integers(2**32))}
        plan = [
            attent.Plan.auto(**common),
            attent.Plan.infobatch(**common),
            attent.Plan(**common, warm_up=1, ratio=ratio, select=attent.Hard()),
            attent.Plan(**common, ratio=ratio, select=attent.Soft(), source=attent.Fresh()),
            attent.Plan(**common, warm_up=1, ratio=ratio, source=attent.Reuse(refresh=0.3)),
            attent.Plan.full(**common),
        ][number % 6]
        yield _Case(plan, n, draw)


def _made(subject: Subject, case: _Case) -> Any:
    return subject.feed(case.plan, case.n)


def _passes(case: _Case) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield each pass's index and batches, by a course that is told the losses in its own order."""
    course = attent.Course(case.plan, case.n, segment_steps=case.n)
    while not isinstance(lesson := course.next(), attent.Done):
        epoch, losses = course.epoch, case.losses(course.epoch)
        if isinstance(lesson, attent.Score):
            course.record(losses[lesson.ids])
            continue
        yield epoch, _lists(lesson.batches)
        course.record(losses[np.concatenate(lesson.batches)])


def _scored(feed: Any, case: _Case, epoch: int) -> None:
    """Give a feed the scores that it asks for."""
    ids = feed.to_score()
    if ids is not None:
        feed.record(case.losses(epoch)[ids], ids)


def _lists(batches: list[Ids]) -> list[list[int]]:
    return [np.asarray(ids).tolist() for ids in batches]


def _refuses(feed: Any, losses: Any, ids: Any, case: _Case, epoch: int) -> None:
    """Raise CheckFailed unless a feed refuses to record these, under an error of attent's, and stays as it was."""
    before = feed.state()
    try:
        feed.record(losses, ids)
    except AttentError:
        changed = feed.state() != before
        _require("F4", not changed, "another state after the error", "the same", case, epoch)
        return
    _require("F4", False, f"record({losses}, {ids}) taken", "an attent error", case, epoch)


def _damaged(feed: Any, state: dict[str, Any], case: _Case, epoch: int) -> None:
    """Raise CheckFailed unless a feed refuses a state of which one character is another, and stays as it was."""
    before = feed.state()
    name = str(case.draw.choice([name for name, value in state.items() if isinstance(value, str) and value]))
    at = int(case.draw.integers(len(state[name])))
    other = "7" if state[name][at] != "7" else "8"
    try:
        feed.load_state({**state, name: state[name][:at] + other + state[name][at + 1 :]})
    except AttentError:
        _require("F6", feed.state() == before, "another state after the error", "the same", case, epoch)
        return
    _require("F6", False, f"a state with another character {at} of {name!r} taken", "an attent error", case, epoch)


def _require(rule: str, holds: bool, got: str, expected: str, case: _Case, epoch: int | None) -> None:
    if not holds:
        where = f"{case}" if epoch is None else f"pass {epoch} of {case}"
        raise CheckFailed(rule, f"{got:.400}", f"{expected:.400}", where)
