"""Windows over streams: stable ids, exact going on, and memory for one window."""

from __future__ import annotations

import itertools
import json
import weakref

import numpy as np
import pytest

import attent
from attent.run.window import Window


class Squares:
    """A stream without an end and without a state of its own; counts what is read."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        for number in itertools.count():
            self.read += 1
            yield number**2


class Skipping(Squares):
    """Passes over examples without reading them, as ``tf.data`` does."""

    def skip(self, count):
        rest = Squares()
        return (number for number in itertools.islice(iter(rest), count, None))


class Stateful(Squares):
    """Keeps its place, as iterable datasets of Hugging Face do."""

    place = 0

    def __iter__(self):
        for number in itertools.count(self.place):
            self.read += 1
            self.place = number + 1
            yield number**2

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


class Grain(Squares):
    """Its iterator keeps the place, as grain's do."""

    def __iter__(self):
        stream = self

        class Places:
            place = 0

            def __iter__(self):
                return self

            def __next__(self):
                stream.read += 1
                self.place += 1
                return (self.place - 1) ** 2

            def get_state(self):
                return self.place

            def set_state(self, place):
                self.place = place

        return Places()


@pytest.mark.parametrize(("stream", "reads"), [(Squares, 12), (Skipping, 0), (Stateful, 3), (Grain, 3)])
def test_a_window_goes_on_where_it_was(stream, reads):
    window = Window(stream(), 3)
    seen = []
    for _ in range(4):
        seen.append((window.first, [window[i] for i in range(3)]))
        window.advance()
    assert seen == [(0, [0, 1, 4]), (3, [9, 16, 25]), (6, [36, 49, 64]), (9, [81, 100, 121])]
    window = Window(stream(), 3)
    for _ in range(3):
        window.advance()
    state = json.loads(json.dumps(window.state()))
    again = stream()
    other = Window(again, 3)
    before = again.read
    other.load_state(state)
    assert (other.first, [other[i] for i in range(3)]) == seen[3]
    assert again.read - before == reads
    assert other.state() == window.state()
    assert (other.advance(), other.first, other[0]) == (3, 12, 144)


def test_the_last_window_is_smaller_and_then_there_is_none():
    window = Window(range(5), 3)
    assert (len(window), window.advance(), window[1], len(window)) == (3, 2, 4, 2)
    state = window.state()
    assert (window.advance(), len(window), window.advance(), window.first) == (0, 0, 0, 5)
    window.load_state(state)
    assert (window.first, window[1], window.advance()) == (3, 4, 0)


def test_one_window_is_held():
    class Example:
        pass

    alive = weakref.WeakSet()

    class Endless:
        def __iter__(self):
            while True:
                assert len(alive) <= 3
                example = Example()
                alive.add(example)
                yield example
                del example

    window = Window(Endless(), 3)
    for _ in range(4):
        assert window.advance() == 3
    assert len(alive) == 3


def test_hugging_face_streams_go_on_exactly():
    datasets = pytest.importorskip("datasets")

    def stream():
        return datasets.Dataset.from_dict({"number": list(range(20))}).to_iterable_dataset(num_shards=2)

    window = Window(stream(), 4)
    window.advance()
    window.advance()
    other = Window(stream(), 4)
    other.load_state(window.state())
    for _ in range(3):
        assert [other[i]["number"] for i in range(len(other))] == [window[i]["number"] for i in range(len(window))]
        assert other.first == window.first
        window.advance(), other.advance()


def test_a_run_over_windows_teaches_what_its_parts_teach():
    plan = attent.Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5, select=attent.Hard())
    window, taught = Window([3, 1, 2, 0, 5, 9, 7, 8], 4), []
    while len(window):
        feed = attent.Feed(plan, len(window))
        while not feed.finished:
            for ids in feed.batches():
                feed.record(np.array([float(window[i]) for i in ids.tolist()]), ids)
        taught.append((feed.trace().ids(1) + window.first).tolist())
        window.advance()
    assert taught == [[0, 2], [5, 7]]


def test_what_cannot_be_begun_anew_is_refused():
    for stream in (iter([1, 2]), (i for i in range(3)), 7):
        with pytest.raises(attent.CourseError, match="a window needs a stream that can be begun anew, got"):
            Window(stream, 2)
    with pytest.raises(attent.PlanError, match="n must be"):
        Window([1], 0)


@pytest.mark.parametrize("stream", [Squares, Skipping, Stateful, Grain])
def test_a_stream_that_gives_less_leaves_the_window_where_it_was(stream):
    window = Window(stream(), 3)
    window.advance()
    with pytest.raises(attent.CourseError, match="the stream gives 3 examples from 0 on where it gave 4"):
        window.load_state({**Window(stream(), 3).state(), "held": 4})
    assert (window.first, window[0], window.advance(), window[0]) == (3, 9, 3, 36)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: {**state, "n": 4}, "the state is of a window of 4 examples, this one has 3"),
        (lambda state: {**state, "first": 7}, "the stream gives 1 examples from 7 on where it gave 3"),
        (lambda state: {"n": 3}, "not a window's state"),
        (lambda state: None, "not a window's state"),
    ],
)
def test_a_state_that_is_none_changes_nothing(change, words):
    window = Window(range(8), 3)
    window.advance()
    before = window.state()
    with pytest.raises(attent.CourseError, match=words):
        window.load_state(change(before))
    assert (window.state(), window[0], window.advance()) == (before, 3, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"first": "x"}, {"first": -1}, {"first": 2**70}, {"first": None}, {"held": "x"}, {"held": 1.5}, {"n": "2"},
        {"n": 10**5000}, {"stream": {"place": 3}}, {"stream": 0},
    ],
)  # fmt: skip
def test_a_state_that_was_edited_is_told_of_and_changes_nothing(change):
    window = Window("abcde", 2)
    window.advance()
    before = window.state()
    for state in ({**before, **change}, None, [], "x", {}):
        with pytest.raises(attent.CourseError):
            window.load_state(state)
    assert (window.state(), window[0]) == (before, "c")
