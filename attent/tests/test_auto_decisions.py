"""What auto decides from two losses of each example: what is tried, goes on, ends, and how it is told."""

import numpy as np
import pytest

from attent.choose.auto import Stand, decide, told
from attent.choose.sights import signs

HARD = np.arange(70, 100)


def two_sights(fall, level=0.3):
    """Return two losses of 100 examples, of which the last 30 are hard and have fallen to ``fall``."""
    before = np.r_[np.full(70, level), np.full(30, 2.0)]
    return before, before * np.r_[np.full(70, 0.9), np.full(30, fall)]


@pytest.mark.parametrize(
    ("level", "how", "tries", "why"),
    [
        (0.1, "hard", 1, "the harder half holds 92 % of the loss: try the hardest"),
        (0.3, "soft", 2, "the harder half holds 81 % of the loss: try a choice that prefers the harder"),
        (0.9, "soft", 2, "the harder half holds 63 % of the loss: too alike, all in turn"),
    ],
)
def test_at_first_sight_how_alike_the_losses_are_decides_what_is_tried(level, how, tries, why):
    before, _ = two_sights(1.0, level)
    stand, reason = decide(np.full(100, np.nan), before)
    assert told(reason) == f"at first sight {why}"
    first = pytest.approx(before.mean(), rel=1e-15)
    assert stand == (Stand(how, tries, first, known=how == "hard") if "alike" not in why else Stand(first=first))


@pytest.mark.parametrize("few", [7, 20])
def test_what_a_model_that_knows_most_does_not_know_must_be_few(few):
    loss, nothing = np.r_[np.full(100 - few, 0.01), np.full(few, 2.0)], np.full(100, np.nan)
    stand, reason = decide(nothing, loss, opening=np.arange(100))
    if few < 17:
        assert (stand.how, stand.known, stand.over, reason["sign"]) == ("hard", True, False, "known")
        return
    assert stand == Stand(first=pytest.approx(loss.mean(), rel=1e-15), over=True, knew=True)
    assert reason == {"sign": "spread", "share": pytest.approx(34 / 40.8, rel=1e-12)}
    assert told(reason) == (
        "as it was given the model knew most, and the hardest 17 % held 83 % of the loss: too many are hard to be new, "
        "all in turn to the end"
    )
    assert decide(loss, loss * 0.5, None, stand).why == {"sign": "over"}
    # Only how the run begins tells that, before training has changed the model; and only of one that knew most.
    assert decide(nothing, loss, opening=np.arange(60)).why["sign"] == "known"
    unknown = np.linspace(1.0, 2.0, 100)
    assert decide(nothing, unknown, opening=np.arange(100)) == decide(nothing, unknown)


def test_what_a_model_that_knows_the_rest_must_learn_at_once():
    known = Stand("hard", 1, 1.0, known=True)
    assert decide(*two_sights(0.59), HARD, known).stand == Stand("hard", 0, 1.0)
    failed = decide(*two_sights(0.61), HARD, known)
    assert failed.stand == Stand(first=1.0, over=True)
    assert failed.why == {"sign": "not new", "fall": pytest.approx(0.61)}
    # Afterwards nothing is tried again, whatever is learnt; a loss that is learnt or below 0 is still told as such.
    assert decide(*two_sights(0.5), np.arange(30), failed.stand) == (failed.stand, {"sign": "over"})
    assert decide(*two_sights(0.01), np.arange(30), Stand(first=9.0, over=True)).why["sign"] == "learnt"
    # What seeing all in turn has shown to be learnt need not fall as far.
    assert decide(*two_sights(0.74), HARD, Stand("hard", 1, 1.0)).stand == Stand("hard", 0, 1.0)
    assert decide(*two_sights(0.76), HARD, Stand("hard", 1, 1.0)).why["sign"] == "failed"


@pytest.mark.parametrize("stand", [Stand("hard", 1, 1.0, known=True), Stand("soft", 2, 1.0)])
def test_what_one_look_is_enough_to_learn_by_heart_is_not_taught_again(stand):
    before = np.r_[np.full(120, 0.3), np.full(80, 2.0)]
    taught = np.arange(120, 200)
    apart = np.stack([np.arange(110, 160), np.r_[90:100, 160:200]])  # of the taught 40 each

    def sights(began, ended):
        fall = np.r_[np.full(120, 0.9), np.full(40, began), np.full(40, ended)]
        return before, before * fall

    def found(began, ended, **given):
        return decide(*sights(began, ended), taught, stand, quarters=given.get("quarters", apart))

    stopped = found(0.35, 0.35)
    assert stopped == (
        Stand(first=1.0, over=True, looked=True),
        {"sign": "by heart", "fall": pytest.approx(0.35, rel=1e-12)},
    )
    assert decide(*sights(0.5, 0.5), taught, stopped.stand) == (stopped.stand, {"sign": "over"})
    # Not where it falls less, where what was seen longer ago fell much further (so others teach it), ...
    assert found(0.51, 0.51).why["sign"] == "by heart"
    assert found(0.53, 0.53).stand.how == "hard"
    assert found(0.16, 0.35).stand.how == "hard"
    assert found(0.18, 0.35).why["sign"] == "by heart"
    knew = stand._replace(knew=True)  # it is quick at what is new
    assert decide(*sights(0.35, 0.35), taught, knew, quarters=apart).why["sign"] == "by heart"
    assert decide(*sights(0.37, 0.37), taught, knew, quarters=apart).stand.how == "hard"
    # ... for fewer than 30 of either quarter, or once it was told: then it is asked no more.
    assert found(0.35, 0.35, quarters=np.stack([np.arange(99, 149), np.r_[90:100, 160:200]])).stand.how == "hard"
    assert found(0.35, 0.35, quarters=np.stack([np.arange(110, 160), np.arange(139, 189)])).why["sign"] == "by heart"
    assert found(0.51, 0.53).stand.looked
    assert not found(0.35, 0.35, quarters=np.stack([np.arange(99, 149), np.r_[90:100, 160:200]])).stand.looked
    assert decide(*sights(0.35, 0.35), taught, stand._replace(looked=True), quarters=apart).stand.how == "hard"


@pytest.mark.parametrize(
    ("fall", "how", "tries", "why"),
    [
        (0.5, "hard", 1, "and its top is learnt (x 0.50, the rest x 0.64): try the hardest"),
        (0.6, "soft", 2, "and its top is learnt (x 0.60, the rest x 0.70): try a choice that prefers the harder"),
        (0.8, None, 0, "the hardest tenth is not learnt (x 0.80, the rest x 0.83): all in turn"),
    ],
)
def test_what_training_in_turn_has_shown_to_be_learnt_is_tried(fall, how, tries, why):
    stand, reason = decide(*two_sights(fall), np.arange(30), Stand(first=1.0))
    assert stand == Stand(how, tries, 1.0, looked=True)
    assert told(reason).endswith(why)


@pytest.mark.parametrize(("level", "how"), [(0.45, "soft"), (0.5, None)])
def test_in_turn_the_harder_half_must_hold_seven_tenths_for_another_try(level, how):
    stand, why = decide(*two_sights(0.7, level), np.arange(30), Stand(first=1.0))
    assert stand.how == how
    assert told(why).startswith(f"the harder half holds {71 if how else 69} % of the loss")


def test_a_soft_try_takes_two_passes_in_which_what_is_taught_must_fall():
    before, latest = two_sights(0.7)
    first = decide(before, latest, HARD, Stand("soft", 2, 1.0))
    assert first.stand == Stand("soft", 1, 1.0)
    second = decide(before, latest, HARD, first.stand)
    assert second.stand == Stand("soft", 0, 1.0)
    assert told(second.why) == "what is taught is learnt (x 0.70): go on"
    slow = two_sights(0.76)
    for tries in (2, 1):
        failed = decide(*slow, HARD, Stand("soft", tries, 1.0))
        assert failed.stand == Stand(first=1.0)
        assert told(failed.why) == "what was tried is not learnt fast (x 0.76): back to all in turn"
    proved = Stand("soft", 0, 1.0)
    assert decide(*slow, HARD, proved).stand == decide(*two_sights(0.84), HARD, proved).stand == proved
    still = decide(*two_sights(0.86), HARD, proved)
    assert still.stand == Stand(first=1.0)
    assert told(still.why) == "what is taught is hardly learnt any more (x 0.86): back to all in turn"


def test_a_soft_try_learnt_fast_becomes_a_try_of_the_hardest():
    stand, why = decide(*two_sights(0.5), HARD, Stand("soft", 2, 1.0))
    assert stand == Stand("hard", 1, 1.0)
    assert told(why) == "what was tried is learnt fast (x 0.50, its top x 0.50): try the hardest"
    assert decide(*two_sights(0.5), HARD, Stand("soft", 1, 1.0)).stand == Stand("soft", 0, 1.0)  # only at once


def test_what_is_learnt_ends_the_teaching():
    before, latest = two_sights(0.5)
    for first, how in ((latest.mean() / 0.1001, "hard"), (latest.mean() / 0.0999, None)):
        stand, why = decide(before, latest, HARD, Stand("hard", 0, first))
        assert stand == Stand(how, 0, first)
        assert (told(why) == "the mean loss is 0.10 of what it was at first sight: learnt, all in turn") == (
            how is None
        )


def test_signs_need_pairs_and_say_what_falls():
    before = np.full(40, np.nan)
    before[:20] = 1.0
    assert signs(before, np.ones(40)) is None
    assert decide(before, np.ones(40), None, Stand(first=1.0)).stand.how is None
    alike = np.linspace(1.0, 1.2, 100)
    assert decide(alike, alike * 0.9, None, Stand(first=1.0)).why["sign"] == "alike"
    nothing, none = np.zeros(100), np.full(100, np.nan)
    assert decide(none, nothing) == (Stand(), {"sign": "too few"})
    assert decide(nothing, np.ones(100), None, Stand(first=1.0)) == (
        Stand(first=1.0, looked=True),
        {"sign": "too few twice"},
    )
    assert decide(none, none) == (Stand(), {"sign": "no losses"})


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ({"sign": "too few"}, "too few losses above 0: all in turn"),
        ({"sign": "too few twice"}, "too few losses above 0 seen twice: all in turn"),
        ({"sign": "no losses"}, "no losses yet: all in turn"),
        ({"sign": "alike", "share": 0.6999}, "the harder half holds 69 % of the loss: too alike, all in turn"),
        ({"groups": 3}, "groups: 3"),
        ({"sign": "new", "margin": 0.25}, "sign: new, margin: 0.25"),
    ],
)
def test_reasons_are_told_in_words(why, words):
    assert told(why) == words
