"""Golden vectors: the same ids and noise to the last bit, whatever instructions the processor offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from attent.tests.golden import make

GOLDEN = json.loads(make.PATH.read_text())


def test_every_golden_value_is_met():
    found = make.table()
    assert found.keys() == GOLDEN.keys()
    assert len(GOLDEN) > 250
    assert [name for name in GOLDEN if found[name] != GOLDEN[name]] == []


def levels():
    """Return NPY_DISABLE_CPU_FEATURES values that take away one level of instructions after another."""
    core = np._core._multiarray_umath
    present = [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]]
    return [" ".join(present[at:]) for at in range(len(present))]


@pytest.mark.parametrize("disabled", levels())
def test_golden_values_do_not_depend_on_the_processor(disabled):
    script = (
        "import json; from attent.tests.golden import make; golden = json.loads(make.PATH.read_text());"
        "found = make.table(); print([name for name in golden if found[name] != golden[name]])"
    )
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr
