"""A learner small enough to reason about: one number per example, learned one step at a time."""

from __future__ import annotations

import json

import numpy as np

import attent
from attent.run.files import write_json


def edit(path, was, now):
    """Change the text of a JSON file of attent's, as if attent had written it so: with the checksum it then has."""
    text = path.read_text()
    assert was in text
    write_json(path, json.loads(text.replace(was, now)))


class Toy:
    """Example i has target data[i]; its guess moves towards it whenever it is trained, and a little otherwise."""

    def __init__(self, n=20, rate=0.5, seed=0):
        self.data = np.random.default_rng(seed).normal(size=n) * 3
        self.guess = np.zeros(n)
        self.rate = rate
        self.trained = []
        self.weights = []
        self.scored = 0

    def __len__(self):
        return len(self.data)

    def score(self, ids):
        self.scored += len(ids)
        return (self.data[ids] - self.guess[ids]) ** 2

    def train(self, batches, weights=None):
        losses = []
        for place, ids in enumerate(batches):
            losses.append((self.data[ids] - self.guess[ids]) ** 2)
            weight = 1.0 if weights is None else weights[place]
            self.guess[ids] += self.rate * weight * (self.data[ids] - self.guess[ids])
            self.guess += 0.01 * (self.data[ids] - self.guess[ids]).mean()
            self.trained.append(ids.tolist())
            self.weights.append(None if weights is None else weights[place].tolist())
        return np.concatenate(losses)

    def state(self):
        return {"guess": self.guess.copy()}

    def load_state(self, state):
        self.guess = state["guess"].copy()


def drive(course, learner, lessons=None):
    """Take a course on by so many lessons, or to its end; return the records of the epochs that ended."""
    records = []
    while lessons is None or lessons > 0:
        lesson = course.next()
        if isinstance(lesson, attent.Done):
            break
        if isinstance(lesson, attent.Score):
            course.record(learner.score(lesson.ids))
        else:
            record = course.record(learner.train(lesson.batches, lesson.weights))
            if record is not None:
                records.append(record)
        lessons = None if lessons is None else lessons - 1
    return records
