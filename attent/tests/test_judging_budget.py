"""A judgement within a budget of time: how many seeds, which lengths, and what is kept."""

from __future__ import annotations

import pytest

import attent
from attent.judging.judge import seconds_of
from attent.judging.report import report_text, told
from attent.tests.judging_toy import HARD, SAVED, SEED_SECONDS, judged, timed


def test_a_budget_for_less_than_a_seed_gives_up_lengths(monkeypatch):
    found, _ = timed(monkeypatch, budget_seconds=SEED_SECONDS - 50)
    assert found.left_out == ["full-0.5"]
    assert found.notes[0] == "The budget is too small for the whole curve: full-0.5 was left out."
    assert found.seeds == [0]
    assert found.saving("hard").value == pytest.approx(SAVED)  # the curve is straight
    assert "single seed" in found.verdict


def test_a_budget_too_small_keeps_what_there_is(monkeypatch):
    found, spent = timed(monkeypatch, budget_seconds=400)
    assert spent <= 430
    assert found.seeds == []
    assert [job.arm for job in found.jobs] == ["full"]
    assert found.verdict == (
        "Nothing can be concluded: there is no seed of which every arm has finished. "
        "The budget of 400 s is too small: give more, or less to run."
    )
    assert "The budget ended in seed 0, arm hard." in found.notes


def test_a_budget_that_ends_in_the_tuning(monkeypatch):
    found, _ = timed(monkeypatch, budget_seconds=400, tuned=False)
    assert found.verdict.startswith("Nothing can be concluded: the tuning has not finished. The budget of 400 s")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" .5 m ", 30), ("2min", 120)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1m", "10 minutes", "m"])
def test_no_times(text):
    with pytest.raises(attent.PlanError, match="budget must be a time above 0 such as 90s, 10m or 1.5h, got"):
        seconds_of(text)


def test_losers_stay_in_the_table():
    found = judged(
        arms=["again:full", *HARD, "soft:default,select=soft(temperature=inf)"], seeds=5, against=["full", "shorts"]
    )
    text = told(found)
    assert max(map(len, text.splitlines())) <= 80
    table = text.partition("\n\n")[0].splitlines()
    first_words = [line.split()[0] for line in table[1:]]
    assert first_words == ["full-0.333", "full-0.5", "short", "full", "again", "hard", "soft"]
    assert found.alike == {"again": "full", "short-again": "full"}
    assert found.curves["skill"].arms == ["full-0.333", "full-0.5", "short", "full"]
    assert "again: the same training as full, run once." in text
    assert "short: all examples at the cost of soft." in text
    for name in ("hard", "soft", "again"):
        assert f"| {name} |" in report_text(found)
