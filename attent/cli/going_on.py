"""Where an arm goes on from, in words: after a sudden stop that is its last checkpoint, not where it was."""

from __future__ import annotations

from pathlib import Path

from attent.cli.phases import unit
from attent.course_state import unpack_json
from attent.plan import Plan
from attent.run_files import read_array
from attent.trace import read_records

_ANEW = "no checkpoint yet: begins anew"


def goes_on_from(folder: Path, plan: Plan, n: int) -> str | None:
    """Return where a run folder's plan over n examples goes on from, None where it has not begun or cannot go on.

    Epochs count from 1, as in progress. Raises TraceError where the folder's files cannot be read.
    """
    if not (folder / "run.json").exists():
        return None
    path, recorded = folder / "checkpoint.safetensors", len(read_records(folder / "trace.jsonl"))
    if not path.exists():
        return None if recorded else _ANEW  # with epochs but no checkpoint teach refuses it
    position = unpack_json(read_array(path, "course/position"))
    epoch, step = position["epoch"], position["step"]
    if epoch == step == 0:
        return _ANEW
    one = unit(plan.to_dict())
    if epoch == plan.epochs:
        return f"all its {unit(plan.to_dict(), 2)} are done"
    place = f"step {step} of {plan.timeline(n)[epoch].steps}" if step else "its start"
    again = recorded - epoch
    told = f"goes on from its last checkpoint: {one} {epoch + 1} of {plan.epochs}, {place}"
    return told if again < 1 else f"{told}; {again} recorded since {'is' if again == 1 else 'are'} taught again"
