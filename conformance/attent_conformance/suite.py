"""The list of all checks, and running it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from attent_conformance.checks import (
    agreement,
    another_process,
    arguments,
    drawn_training,
    feeds,
    leftovers,
    lockstep,
    non_finite,
    plugin,
    refusals,
    resume,
    scoring,
    selection,
    side_effects,
    sizes,
    state,
    taking_up,
    training,
    workers,
)
from attent_conformance.failures import CheckFailed, Skipped
from attent_conformance.needs import Check, Margins
from attent_conformance.subject import Subject

Status = Literal["pass", "fail", "skip"]
_MODULES = (
    plugin,
    selection,
    feeds,
    scoring,
    side_effects,
    arguments,
    agreement,
    training,
    drawn_training,
    sizes,
    state,
    taking_up,
    another_process,
    refusals,
    non_finite,
    leftovers,
    lockstep,
    resume,
    workers,
)

# By rule, or by check where it rests on more than its rule's others: the rules, or single checks, without which it
# would prove nothing but the same fault again.
RESTS_ON: dict[str, tuple[str, ...]] = {
    "S8": ("S7",),
    "S3": ("S2",),
    "S4": ("S6", "S8"),
    "F2": ("F1",),
    "F3": ("F1",),
    "F4": ("F1", "F3"),
    "F5": ("F1",),
    "F6": ("F1", "F3"),
    "F7": ("F1",),
    "F8": ("F1",),
    "P1": ("numbers_are_float64_one_per_example",),
    "P2": ("P1",),
    "P5": ("P1", "P2"),
    "A4": ("P1", "P2", "P5"),
    "A1": ("P1", "P2", "P5", "A4"),
    "A2": ("P1", "P2", "P5", "A4"),
    "P3": ("P1", "P2", "A1", "A2"),
    "P4": ("P3",),
    "A3": ("P4",),
    "every_setting_of_the_optimisers_agrees": ("A3",),
    "a_rate_of_zero_trains_nothing": ("A3",),
    "P6": ("P1", "P2"),
    "a_state_taken_up_leaves_the_settings": ("P6",),
    "a_state_of_each_optimiser_is_taken_up": ("A3", "P6"),
    "arguments_are_left_alone": ("P2", "P6"),
    "each_layout_is_read": ("P2", "P6"),
    "results_are_the_callers": ("P2", "P6"),
    "no_task_follows_what_is_not_finite": ("A3", "P6"),
    "costs_and_watches_stay": ("P6",),
    "an_order_is_not_told_by_its_ends": ("P2",),
    "results_of_many_calls_are_the_callers": ("P2", "P6"),
    "float64_evaluations_agree": ("A3", "P6"),
    "float32_evaluations_agree": ("A3", "P6"),
    "as_many_steps_as_batches": ("A3", "P6"),
    "a_batch_of_all_and_of_more_trains_alike": ("A3", "P6"),
    "any_batches_train_every_task": ("A3", "P6"),
    "any_weights_train_every_task": ("A3", "P6", "any_batches_train_every_task"),
    "large_losses_agree": ("A3", "P6"),
    "weights_of_any_size_train_alike": ("A3", "any_batches_train_every_task", "any_weights_train_every_task", "P6"),
    "a_finite_gradient_is_followed": ("A3", "weights_of_any_size_train_alike", "P6"),
    "large_batches_train_alike": ("A3", "any_batches_train_every_task", "any_weights_train_every_task", "P6"),
    "P7": ("P6",),
    "drawn_calls_agree": ("A3", "P4", "P6", "P7"),
    "P8": ("P3", "P4", "A3", "P6"),
    "P9": ("P1", "P2", "P6"),
    "L1": ("A3", "P6", "S3", "S4", "S8"),
    "L2": ("A2", "S3", "S4"),
    "R1": ("P3", "P6"),
    "R2": ("P3", "P6"),
    "W2": ("P4",),
    "W1": ("W2", "S3"),
    "W3": ("W2",),
    "W4": ("W2",),
    "W5": ("W1", "P6"),
}


def _matches(check: Check, rule: str) -> bool:
    return rule in (check.rule, check.rule[:1], check.name)


def _in_order() -> tuple[Check, ...]:
    """Return all checks such that each comes after those that it rests on."""
    every = [
        Check(function)
        for module in _MODULES
        for name, function in vars(module).items()
        if name.startswith("check_") and function.__module__ == module.__name__
    ]
    first = ["B", "S2", "S6", "S7", "S8", "S3", "S4", "F1", "numbers_are_float64_one_per_example"]
    ranks = {rule: rank for rank, rule in reversed(list(enumerate([*first, *RESTS_ON])))}

    def rank(check: Check) -> int:
        return ranks.get(check.name) or min(ranks[rule] for rule in ranks if _matches(check, rule))

    return tuple(sorted(every, key=rank))


CHECKS: tuple[Check, ...] = _in_order()


class Result(NamedTuple):
    """What a check gave: ``reason`` says why it failed or was skipped, ``margins`` what it measured."""

    check: Check
    status: Status
    reason: str
    margins: Margins
    seconds: float


def selected(rules: str | None = None) -> tuple[Check, ...]:
    """Return the checks of these rules, given as letters or numbers: ``"L,R2"``. All where None.

    Raises ValueError naming what no check answers to.

    Example:
        >>> [check.name for check in selected("S8,S2")]
        ['ties_go_to_the_lower_id', 'random_gives_the_golden_ids']
    """
    if rules is None:
        return CHECKS
    wanted = [rule.strip() for rule in rules.split(",") if rule.strip()]
    for rule in wanted:
        if not any(_matches(check, rule) for check in CHECKS):
            known = ", ".join(sorted({check.rule for check in CHECKS}))
            raise ValueError(f"no check for rule {rule!r}; known: {known}, or a letter of them")
    if not wanted:
        raise ValueError("rules must name at least one rule, such as L or P3")
    return tuple(check for check in CHECKS if any(_matches(check, rule) for rule in wanted))


def perform(check: Check, subject: Subject) -> Margins:
    """Run one check. Raises CheckFailed, also for any other exception, and Skipped where it does not apply.

    It is skipped too where what it rests on was examined and failed, so that one fault is told once.
    """
    lacking = subject.lacking(check.needs)
    if lacking is not None:
        raise Skipped(lacking)
    fault = _fault_under(check.name if check.name in RESTS_ON else check.rule, subject.failed)
    if fault is not None:
        raise Skipped(f"rests on {fault}, which failed")
    try:
        return _performed(check, subject)
    except CheckFailed:
        subject.failed |= {check.rule, check.name}
        raise


def _fault_under(rule: str, failed: set[str]) -> str | None:
    """Return the first that failed of what a rule rests on, directly or not."""
    bases = RESTS_ON.get(rule, ())
    direct = [base for base in bases if base in failed]
    return next(iter(direct or [found for base in bases if (found := _fault_under(base, failed))]), None)


def _performed(check: Check, subject: Subject) -> Margins:
    try:
        return check.function(subject) or {}
    except CheckFailed as failure:
        failure.reproduce = subject.command(check.name)
        raise
    except Exception as error:  # whatever a backend raises is a failure of the check, under its name
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "unknown place"
        got = f"{type(error).__module__}.{type(error).__qualname__}: {error!s:.500}"
        raised = CheckFailed(check.rule, got, "no exception", place)
        raised.reproduce = subject.command(check.name)
        raise raised from error


def result_of(check: Check, subject: Subject) -> Result:
    """Run one check and return what came of it; raises nothing but what stops a program."""
    started = time.perf_counter()

    def result(status: Status, reason: str, margins: Margins) -> Result:
        return Result(check, status, reason, margins, time.perf_counter() - started)

    try:
        return result("pass", "", perform(check, subject))
    except Skipped as skipped:
        return result("skip", str(skipped), {})
    except CheckFailed as failure:
        return result("fail", str(failure), {})


def examine(
    subject: Subject, rules: str | None = None, told: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Run the checks of these rules and return their results, telling each as it ends.

    Example:
        >>> from attent_conformance import Subject, examine
        >>> [result.status for result in examine(Subject.named("numpy"), "P5")]
        ['pass', 'pass']
    """
    subject.failed.clear()
    results = []
    for check in selected(rules):
        results.append(result_of(check, subject))
        told(results[-1])
    return results


def passed(results: list[Result]) -> bool:
    """Return whether at least one check ran and none failed. Skipped ones did not run."""
    return any(result.status == "pass" for result in results) and all(result.status != "fail" for result in results)
