"""The policy from Python, from text, from a table and on the command line; which ids it teaches."""

import subprocess
import sys

import numpy as np
import pytest
from attent_nearest import Nearest

import attent


def test_it_teaches_those_nearest_to_the_quantile():
    scores = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    assert Nearest(0.5).choose(scores, 3, attent.Noise(0, 0)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("given", [Nearest(0.6), "nearest(quantile=0.6)", {"name": "nearest", "quantile": 0.6}])
def test_a_plan_takes_it_as_value_text_and_table(given):
    plan = attent.Plan(epochs=2, batch_size=4, warm_up=1, select=given)
    assert plan.select == Nearest(0.6)
    assert plan.to_dict()["select"] == "nearest(quantile=0.6)"


def test_a_parameter_out_of_range_is_named():
    with pytest.raises(attent.PlanError, match=r"select cannot be taken: quantile must be in \[0, 1\], got 2"):
        attent.Plan(epochs=2, batch_size=4, select="nearest(quantile=2)")


def test_the_command_line_takes_the_same_text():
    words = ["plan", "--n", "100", "--epochs", "3", "--batch-size", "10", "--select", "nearest(quantile=0.6)"]
    code = "from attent.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nearest(quantile=0.6)" in done.stdout
