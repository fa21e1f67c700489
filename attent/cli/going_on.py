"""Where an arm goes on from, in words: after a sudden stop that is its last checkpoint, not where it was."""

from __future__ import annotations

from pathlib import Path

from attent.cli.phases import unit
from attent.plan.plan import Plan
from attent.run.files import read_array
from attent.run.folder import CHECKPOINT
from attent.run.state import unpack_position
from attent.run.trace import read_records

_ANEW = "no checkpoint yet: begins anew"


def goes_on_from(folder: Path, plan: Plan, n: int) -> str | None:
    """Return where a run folder's plan over n examples goes on from, None where it has not begun or cannot go on.

    Epochs count from 1, as in progress. Raises TraceError or CourseError where the folder's files cannot be read.
    """
    if not (folder / "run.json").exists():
        return None
    path, recorded = folder / CHECKPOINT, len(read_records(folder / "trace.jsonl"))
    if not path.exists():
        return None if recorded else _ANEW  # with epochs but no checkpoint teach refuses it
    position = unpack_position(read_array(path, "course/position"))
    epoch, step, fields = position.epoch, position.step, plan.to_dict()
    if epoch == step == 0:
        return _ANEW
    if epoch >= plan.epochs:  # what lies beyond the last teach refuses
        return f"all its {unit(fields, 2)} are done"
    place = f"step {step} of {plan.timeline(n)[epoch].steps}" if step else "its start"
    again = recorded - epoch
    told = f"goes on from its last checkpoint: {unit(fields)} {epoch + 1} of {plan.epochs}, {place}"
    return told if again < 1 else f"{told}; {again} recorded since {'is' if again == 1 else 'are'} taught again"
