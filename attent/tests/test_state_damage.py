"""States that trainers keep, of feeds and of courses: what is damaged or edited is told of, and nothing is changed."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attent
from attent import Trace, teach
from attent.run.files import read_plain
from attent.run.state import digest_of_state
from attent.tests.faults.targets import written_anew
from attent.tests.test_run import PLAN
from attent.tests.toy import Toy, drive

LONG = "a" * 5000


@pytest.mark.parametrize("path", [LONG, "a/" * 2500], ids=["one name", "many"])
def test_a_path_of_5000_characters_is_told_of_in_a_few(tmp_path, path):
    for call in (
        lambda: Trace.read(tmp_path / path),
        lambda: teach(Toy(), PLAN, run=tmp_path / path),
        lambda: teach(Toy(), PLAN, run=tmp_path / path, resume=True),
        lambda: attent.Feed(PLAN, 20, run=tmp_path / path),
        lambda: attent.Feed(PLAN, 20, run=tmp_path / path, resume=True),
    ):
        with pytest.raises(
            attent.TraceError, match=r"^cannot (read|write) .* characters\): File name too long$"
        ) as error:
            call()
        assert len(str(error.value)) < 400


def test_a_feed_is_refused_a_name_with_a_nul(tmp_path):
    with pytest.raises(attent.TraceError, match="cannot write .*embedded null"):
        attent.Feed(PLAN, 20, run=tmp_path / "a\0b")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "there is no "),
        (b'{"feed": "\xff"}', "is damaged: 'utf-8' codec can't decode byte 0xff"),
        (b"[]", "is damaged: Expected `object`, got `array`"),
        (b'{"a": ' * 2000, "is damaged: maximum recursion depth exceeded"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is damaged: Integer value out of range"),
    ],
    ids=["none", "not UTF-8", "a list", "nested", "digits"],
)
def test_a_trainers_state_that_cannot_be_read_is_told_of(tmp_path, data, words):
    if data is not None:
        (tmp_path / "state.json").write_bytes(data)
    with pytest.raises(attent.TraceError) as error:
        read_plain(tmp_path / "state.json")
    assert words in str(error.value)
    assert str(tmp_path / "state.json") in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: "[" * 2000, "its text cannot be read: "),
        (lambda told: "{}", "its text cannot be read: Object missing required field `format`"),
        (
            lambda told: json.dumps({**told, "course": {"scores": ["O", ""]}}),
            "its text cannot be read: Expected `str` matching",
        ),
        (lambda told: json.dumps({**told, "course": {"scores": ["<f8", "x"]}}), "its text cannot be read: "),
        (lambda told: json.dumps({**told, "format": "9" * 5000}), "has format 999"),
        (lambda told: json.dumps({**told, "losses": {"got": ["|b1", ""]}}), "holds losses of another pass"),
    ],
)
def test_a_feeds_state_that_was_edited_is_told_of(change, words):
    """Also where whoever edited it made the digest anew."""
    feed = attent.Feed(PLAN, 20)
    text = change(json.loads(feed.state()["feed"]))
    for state in (written_anew(text), {"feed": text, "digest": ""}, {"feed": "\ud800", "digest": ""}):
        with pytest.raises(attent.CourseError) as error:
            feed.load_state(state)
        if state["digest"]:
            assert words in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 99}, {"epoch": -1}, {"step": 99}, {"step": -1}, {"draw": -1}, {"trained": 1}, {"trained": -3}, {"step": 1},
        {"epoch": 6, "step": 1, "trained": 3},
    ],
)  # fmt: skip
def test_a_place_where_no_course_stands_is_told_of(change):
    state = attent.Course(PLAN, 20).state()
    position = {**json.loads(state["position"].tobytes()), **change}
    state["position"] = np.frombuffer(json.dumps(position).encode(), np.uint8)
    state["digest"] = digest_of_state(state)
    with pytest.raises(attent.CourseError, match="no course of 6 epochs stands at"):
        attent.Course(PLAN, 20).load_state(state)


@pytest.mark.parametrize("name", ["scores", "seen", "ids", "weights"])
def test_an_array_of_another_length_is_told_of(name):
    course = attent.Course(PLAN, 20)
    drive(course, Toy(), 3)
    state = {"ids": np.zeros(3, np.uint8), "weights": np.zeros(0), **course.state()}
    state[name] = np.concatenate([state[name], state[name][:1], np.zeros(1, state[name].dtype)])
    state["digest"] = digest_of_state(state)
    with pytest.raises(attent.CourseError, match=f"the state's {name} must have length "):
        attent.Course(PLAN, 20).load_state(state)
