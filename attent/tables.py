"""Tables as plain text, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTHING = "-"


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table whose first ``left`` columns are flush left and the others flush right.

    Example:
        >>> from attent.tables import aligned
        >>> print(aligned(["arm", "steps"], [["taught", "28"], ["full", "40"]]))
        arm     steps
        taught     28
        full       40
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = (
        [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)


def quality(value: float | None) -> str:
    """Return a loss or a metric with four digits; a value that is not finite in words."""
    return "not finite" if value is None else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share as whole percent.

    Example:
        >>> from attent.tables import percent
        >>> percent(0.483), percent(-0.001)
        ('48 %', '0 %')
    """
    return f"{round(100 * share)} %"
