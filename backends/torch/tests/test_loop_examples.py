"""The examples of loops run, train what they say, and change at most five lines of the user's script."""

import difflib
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"


def changed(before, after):
    """How many lines of a script change: those that are replaced, added or removed."""
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    return sum(max(b - a, d - c) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal")


@pytest.mark.parametrize("name", ["torch_loop", "accelerate_loop"])
def test_an_example_changes_four_lines_of_at_most_forty(name):
    before = (EXAMPLES / f"{name}_before.py").read_text().splitlines()
    after = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert changed(before, after) == 4
    assert max(len(before), len(after)) <= 40


@pytest.mark.parametrize("name", ["torch_loop", "accelerate_loop"])
def test_an_example_trains_as_long_as_the_script_before_it(name, capsys):
    if name == "accelerate_loop":
        pytest.importorskip("accelerate")
    before = runpy.run_path(str(EXAMPLES / f"{name}_before.py"))
    after = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [*"01234", *"01234"]  # an epoch of evaluation each
    assert after["teacher"].finished
    assert after["teacher"].total_steps == 5 * len(before["loader"]) == 225
    assert after["scheduler"].get_last_lr() == before["scheduler"].get_last_lr() == [0.0]
    assert after["accuracy"] > 0.88
