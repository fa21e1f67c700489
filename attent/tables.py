"""Tables and text for people: columns that fit the terminal, words that are not broken, numbers of a few digits."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NOTHING = "-"
_NARROWEST = 40


def width() -> int:
    """Return the columns of the terminal that standard output is, at least 40; 80 where it is none."""
    return max(_NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def wrapped(text: str, columns: int | None = None) -> str:
    """Return a text in lines of so many columns (None: the terminal's); a word that is longer stays whole.

    Example:
        >>> from attent.tables import wrapped
        >>> print(wrapped("teach a recipe of your own: package.module:function", 20))
        teach a recipe of
        your own:
        package.module:function
    """
    columns = width() if columns is None else columns
    return textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)


class Table(NamedTuple):
    """A table: its header and rows of text, and how it may be shown.

    ``left``: columns flush left, the others are flush right. ``spare``: columns that may be left out where a terminal
    is too narrow, the first of them first.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    spare: Sequence[str] = ()

    def fitted(self, columns: int | None = None) -> Table:
        """Return the table without the spare columns that do not fit a terminal so wide (None: the one there is).

        Example:
            >>> from attent.tables import Table
            >>> table = Table(["arm", "steps", "seconds"], [["taught", "28", "1.5"]], spare=["seconds"])
            >>> table.fitted(16).header
            ['arm', 'steps']
        """
        columns = width() if columns is None else columns
        kept = list(range(len(self.header)))
        spare = list(self.spare)
        while True:
            lines = [[line[at] for at in kept] for line in (self.header, *self.rows)]
            shown = aligned(lines[0], lines[1:], left=self.left)
            if not spare or max(map(len, shown.splitlines())) <= columns:
                return Table(lines[0], lines[1:], self.left)
            kept.remove(list(self.header).index(spare.pop(0)))

    def text(self, columns: int | None = None) -> str:
        """Return the table as plain text that fits into so many columns (None: the terminal's), as far as it can.

        Example:
            >>> from attent.tables import Table
            >>> table = Table(["arm", "steps", "seconds"], [["taught", "28", "1.5"]], spare=["seconds"])
            >>> print(table.text(16))
            arm     steps
            taught     28
        """
        shown = self.fitted(columns)
        return aligned(shown.header, shown.rows, left=self.left)

    def has(self, mark: str) -> bool:
        """Return whether any cell holds a mark.

        Example:
            >>> from attent.tables import Table
            >>> Table(["arm", "loss"], [["taught", "1.5*"]]).has("*")
            True
        """
        return any(mark in cell for row in self.rows for cell in row)

    def markdown(self) -> str:
        """Return the whole table as Markdown."""
        lines = [list(self.header), ["---", *["---:"] * (len(self.header) - 1)], *map(list, self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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


def digits(value: float, count: int = 3) -> str:
    """Return a number with so many digits that count, and all of those before its point.

    Example:
        >>> from attent.tables import digits
        >>> digits(0.00123456), digits(12.345), digits(12345.6), digits(0.96123, 4)
        ('0.00123', '12.3', '12,346', '0.9612')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    after = count - 1 - math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    return f"{value:,.{after}f}" if 0 <= after <= 6 else f"{value:,.0f}" if after < 0 else f"{value:.{count - 1}e}"


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
