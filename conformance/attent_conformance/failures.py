"""What a check says when it does not pass: a failure, an ambiguous task, or a visible skip."""

from __future__ import annotations


class CheckFailed(AssertionError):  # noqa: N818 - what is broken is the backend
    """A rule is broken. Says what was got, what was expected, and where.

    Args:
        rule: number of the rule in docs/spec.md.
        got: what the subject did.
        expected: what the rule asks for.
        where: the first place it shows: task, round, ids with their scores.

    Example:
        >>> print(CheckFailed("P2", "float32", "float64", "score() of task classes"))
        P2: got float32, expected float64
          where: score() of task classes
    """

    def __init__(self, rule: str, got: str, expected: str, where: str) -> None:
        super().__init__(rule, got, expected, where)
        self.rule, self.got, self.expected, self.where = rule, got, expected, where
        self.reproduce: str | None = None  # the command, set by what runs the check

    def __str__(self) -> str:
        """Return the failure in a few lines."""
        lines = [f"{self.rule}: got {self.got}, expected {self.expected}", f"  where: {self.where}"]
        if self.reproduce is not None:
            lines.append(f"  reproduce: {self.reproduce}")
        return "\n".join(lines)


class Ambiguous(CheckFailed):
    """The gap at a cut is no larger than the scores' error: the run proves nothing, and counts as failed."""


class Skipped(Exception):  # noqa: N818 - nothing went wrong
    """The check does not apply to this subject; the reason is shown."""
