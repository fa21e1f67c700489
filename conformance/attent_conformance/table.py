"""Results as lines of text."""

from __future__ import annotations

from attent_conformance.suite import Result

_MARKS = {"pass": "pass", "fail": "FAIL", "skip": "skip"}


def line(result: Result) -> str:
    """Return one line for a result: rule, check, status, seconds, margins or reason.

    A failure's text follows on lines of its own.
    """
    head = f"{result.check.rule:<3} {result.check.name:<48} {_MARKS[result.status]} {result.seconds:6.2f} s"
    if result.status == "fail":
        return head + "\n" + "\n".join(f"      {part}" for part in result.reason.splitlines())
    told = result.reason or ", ".join(f"{name} {_number(value)}" for name, value in result.margins.items())
    return f"{head}  {told}".rstrip()


def summary(results: list[Result]) -> str:
    """Return the count of each status, and the seconds of all."""
    counts = {status: sum(result.status == status for result in results) for status in _MARKS}
    seconds = sum(result.seconds for result in results)
    told = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped in {seconds:.1f} s"
    return told if counts["pass"] + counts["fail"] else f"{told}: no check ran, so nothing is proved"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.1e}"
