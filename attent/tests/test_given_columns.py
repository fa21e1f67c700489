"""Groups and costs as users have them: labels of any kind, columns by name, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import attent
from attent.columns import costs_from, groups_from


@pytest.mark.parametrize(
    ("given", "groups", "names"),
    [
        ([3, 0, 3], [3, 0, 3], None),
        (np.array([3, 0, 3], np.uint8), [3, 0, 3], None),
        (["en", "de", "en"], [1, 0, 1], ("de", "en")),
        (np.array(["en", "de", "aa"], object), [2, 1, 0], ("aa", "de", "en")),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        ([b"en", b"de", b"\xff"], [2, 1, 0], ("\\xff", "de", "en")),
        ("language", [1, 0, 1], ("de", "en")),
    ],
)
def test_labels_become_groups(given, groups, names):
    found, called = groups_from(given, 3, {"language": ["en", "de", "en"]})
    assert (found.dtype, found.tolist()) == (np.int64, groups)
    assert called == names


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2], "groups must be one for each of the 3 examples, shape (3,), got shape (2,)"),
        ([[1], [2], [3]], "groups must be one for each of the 3 examples, shape (3,), got shape (3, 1)"),
        ([0, -2, 1], "groups must be at least 0, got -2 for example 1"),
        ([0.5, 1, 2], "groups must be whole numbers or texts, got float64"),
        ([None, "en", "de"], "groups must be whole numbers or texts, got object"),
        (["en", float("nan"), "de"], "groups must not be texts and others, got nan for example 1"),
        (["en", "de", 2], "groups must not be texts and others, got 2 for example 2"),
        ("lang", "groups names the column 'lang', the data have: language"),
    ],
)
def test_groups_that_are_none_are_refused(given, words):
    with pytest.raises(attent.LearnerError) as caught:
        groups_from(given, 3, {"language": ["en", "de", "en"]})
    assert str(caught.value) == words


def test_a_name_without_columns_is_refused():
    with pytest.raises(attent.LearnerError) as caught:
        groups_from("language", 3, np.zeros(3))
    assert str(caught.value) == (
        "groups names the column 'language', and the data, a ndarray, have no columns: give an array of one value per "
        "example"
    )
    with pytest.raises(attent.LearnerError, match="costs names the column 'length', and there are no data here: give"):
        attent.Feed(attent.Plan.full(epochs=1, batch_size=1), 3, costs="length")


@pytest.mark.parametrize("given", [[1, 2, 3], np.array([1, 2, 3], np.float32), "tokens"])
def test_numbers_become_costs(given):
    found = costs_from(given, 3, {"tokens": [1, 2, 3]})
    assert (found.dtype, found.tolist()) == (np.float64, [1, 2, 3])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2], "costs must be one for each of the 3 examples, shape (3,), got shape (2,)"),
        ([1, 0, 2], "costs must be above 0 and finite, got 0.0 for example 1"),
        ([1, 2, float("nan")], "costs must be above 0 and finite, got nan for example 2"),
        (["a", "b", "c"], "costs must be numbers, got <U1"),
    ],
)
def test_costs_that_are_none_are_refused(given, words):
    with pytest.raises(attent.LearnerError) as caught:
        costs_from(given, 3)
    assert str(caught.value) == words


def test_a_feed_takes_labels():
    plan = attent.Plan.balanced(epochs=3, batch_size=4)
    labels = ["a"] * 20 + ["b"] * 4
    feed = attent.Feed(plan, 24, groups=labels, costs=[2] * 24)
    while not feed.finished:
        feed.record(np.ones(sum(map(len, feed.batches()))), np.concatenate(feed.batches()))
    first = feed.trace().ids(1)
    assert ((first < 20).sum(), (first >= 20).sum()) == (4, 4)


def test_a_feed_tells_by_the_names_of_groups_that_are_texts():
    plan = attent.Plan.balanced(epochs=3, batch_size=4, select=attent.ByGroup())
    for labels, why in (
        (["b"] * 20 + ["a"] * 4, {"group a": 4, "group b": 4}),
        ([7] * 20 + [2] * 4, {"group 2": 4, "group 7": 4}),
    ):
        feed = attent.Feed(plan, 24, groups=labels)
        while not feed.finished:
            feed.record(np.ones(sum(map(len, feed.batches()))), np.concatenate(feed.batches()))
        assert feed.trace().selection(1).why == why
