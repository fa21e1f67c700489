"""P6: a state goes on in a process started anew, where sets of texts have another order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from attent.run.files import read_arrays, write_arrays
from attent_conformance.comparing import copied, require_close, require_same_state
from attent_conformance.failures import CheckFailed
from attent_conformance.needs import Margins, needs
from attent_conformance.pairs import ROUNDING, pair
from attent_conformance.subject import Subject, resolved
from attent_conformance.tasks import task

_TASK = "many"  # the smallest network
_SECONDS = 600


@needs("plugin")
def check_a_state_is_taken_up_by_another_process(subject: Subject) -> Margins:
    """P6: a process started anew, in which texts hash otherwise, takes up a state, gives it back and scores alike."""
    backend = subject.backend
    assert backend is not None  # or the check is skipped
    one = pair(subject, _TASK, subject.precision)
    state, scores = copied(one.learner.state()), one.learner.score(one.case.ids).copy()
    with tempfile.TemporaryDirectory() as place:
        told = {"name": backend.name, "reference": backend.reference, "device": subject.device, "dtype": one.dtype}
        Path(place, "told.json").write_text(json.dumps(told), "utf-8")
        write_arrays(Path(place, "here.safetensors"), state, {})
        other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        around = {**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ended = subprocess.run(
            [sys.executable, "-m", __name__, place], env=around, capture_output=True, timeout=_SECONDS, check=False
        )
        where = f"a process started anew, of the state of {one.where}"
        if ended.returncode:
            last = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise CheckFailed("P6", f"{last:.300}", "no exception", where)
        found = read_arrays(Path(place, "there.safetensors"))[0]
    numbers = found.pop("numbers of another process")
    require_same_state("P6", found, state, f"state() in {where}")
    error = require_close("P6", numbers, scores, one.case.ids, ROUNDING[one.dtype], f"score() in {where}")
    return {"error": error}


def _there(place: str) -> None:
    """Take up the state in a folder, and write beside it what the learner then gives."""
    told = json.loads(Path(place, "told.json").read_text("utf-8"))
    subject = Subject(told["name"], resolved(told["reference"], told["name"]), device=told["device"])
    learner = subject.learner(task(_TASK), dtype=told["dtype"])
    learner.load_state(read_arrays(Path(place, "here.safetensors"))[0])
    numbers = learner.score(task(_TASK).ids)
    found = {**learner.state(), "numbers of another process": numbers}
    write_arrays(Path(place, "there.safetensors"), found, {})


if __name__ == "__main__":
    _there(sys.argv[1])
