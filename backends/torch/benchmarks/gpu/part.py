"""One part of the check: a generator of rows, run in a process of its own that writes each row as it comes."""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import NamedTuple


class Setting(NamedTuple):
    """Where a part runs: a torch device, and whether sizes are cut down until a small machine's CPU does them."""

    device: str
    tiny: bool

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA one."""
        return self.device.startswith("cuda")


class Row(NamedTuple):
    """One line of the table. ``passed`` is None for what is only measured; ``numbers`` go to the JSON alone."""

    what: str
    result: str
    passed: bool | None = None
    numbers: dict[str, object] = {}  # noqa: RUF012 - never changed


class Skip(Exception):  # noqa: N818 - nothing went wrong
    """The part cannot run here; says why."""


def main() -> None:
    """Run ``module:function`` or ``module:function:word`` of this package.

    Writes a line of JSON for each row or text (how far it is), and one for how it ended.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    module, function, *words = given.target.split(":")
    started = time.monotonic()
    with given.rows.open("w", encoding="utf-8") as file:

        def write(kind: str, content: object) -> None:
            print(
                json.dumps({kind: content, "at_seconds": round(time.monotonic() - started, 2)}), file=file, flush=True
            )

        try:
            part = getattr(importlib.import_module(f"gpu.{module}"), function)
            for row in part(Setting(given.device, given.tiny), *words):
                write("reached", row) if isinstance(row, str) else write("row", row._asdict())
        except Skip as skipped:
            write("skipped", str(skipped))
        except Exception as error:
            write("error", f"{type(error).__name__}: {error}")
            raise  # the whole traceback goes to the part's log
        else:
            write("done", True)
