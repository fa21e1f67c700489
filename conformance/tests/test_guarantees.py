"""docs/guarantees.md is exact: a row for each rule, all of its checks and no others, and tests that are there."""

import re
from pathlib import Path

import pytest

from attent_conformance import CHECKS

ROOT = Path(__file__).parents[2]
ROWS = {
    cells[0]: cells[1:]
    for line in (ROOT / "docs/guarantees.md").read_text("utf-8").splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 4
    and re.fullmatch(r"[A-Z]\d+", cells[0])
}


def test_every_rule_of_the_specification_has_a_row():
    rules = re.findall(r"^- \*\*([A-Z]\d+)\*\*", (ROOT / "docs/spec.md").read_text("utf-8"), re.MULTILINE)
    assert list(ROWS) == rules


@pytest.mark.parametrize("rule", ROWS)
def test_a_row_names_the_rules_checks(rule):
    expected = ", ".join(f"`{check.name}`" for check in CHECKS if check.rule == rule) or "–"  # noqa: RUF001
    assert ROWS[rule][1] == expected


def test_no_check_is_left_out():
    assert {check.rule for check in CHECKS} <= set(ROWS)


@pytest.mark.parametrize("rule", ROWS)
def test_the_tests_of_a_row_are_there(rule):
    missing = [name for name in re.findall(r"`([^`]+)`", ROWS[rule][2]) if not (ROOT / name).is_file()]
    assert missing == []
