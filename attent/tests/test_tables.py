"""Tables and text for people: what fits a terminal, and numbers of a few digits."""

from __future__ import annotations

import pytest

from attent.tables import Table, digits, width, wrapped

TABLE = Table(["arm", "cost", "seconds", "loss"], [["taught", "4.00", "12.3", "0.123"], ["full", "6.00", "-", "0.1"]],
              spare=["seconds", "loss"])  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "header"), [(80, "arm     cost  seconds   loss"), (20, "arm     cost   loss"), (15, "arm     cost")]
)
def test_columns_that_do_not_fit_are_left_out_the_first_spare_first(columns, header):
    lines = TABLE.text(columns).splitlines()
    assert lines[0] == header
    assert max(map(len, lines)) <= columns


def test_what_is_not_spare_stays_however_narrow():
    assert TABLE.text(5).splitlines() == ["arm     cost", "taught  4.00", "full    6.00"]


def test_markdown_has_every_column():
    assert TABLE.markdown().splitlines()[1:] == [
        "| --- | ---: | ---: | ---: |", "| taught | 4.00 | 12.3 | 0.123 |", "| full | 6.00 | - | 0.1 |",
    ]  # fmt: skip


@pytest.mark.parametrize(("columns", "expected"), [("100", 100), ("20", 40), (None, 80)])
def test_the_width_is_the_terminals_and_80_without_one(monkeypatch, columns, expected):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert width() == expected


def test_no_word_is_broken():
    lines = wrapped("a recipe reads package.module:function-of-mine, got some-thing", 20).splitlines()
    assert lines == ["a recipe reads", "package.module:function-of-mine,", "got some-thing"]


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (0.0, 3, "0"),
        (9.999, 3, "10.0"),
        (0.96, 4, "0.9600"),
        (-0.0181, 3, "-0.0181"),
        (123456.7, 3, "123,457"),
        (0.0000123456, 3, "1.23e-05"),
        (float("inf"), 3, "inf"),
    ],
)
def test_numbers_have_a_few_digits(value, count, text):
    assert digits(value, count) == text
