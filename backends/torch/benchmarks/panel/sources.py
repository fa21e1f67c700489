"""Texts of several sources, each to train on and held out: what Python ships, and what a folder has besides."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np

from panel.data import Bytes, code, path_in, play, problem_text, problems

NAMES = ("code", "play", "reference", "phrases", "questions", "problems")
_TABLES = {"phrases": ("sst2_train.tsv", "\t", "sentence"), "questions": ("banking77_train.csv", ",", "text")}
_HELD_OUT_SHARE = 10

Text = tuple[Bytes, Bytes]


@cache
def sources(folder: str) -> dict[str, Text]:
    """Return the sources by name that are there, in the order of ``NAMES``, each to train on and its end, held out.

    Python's library and its language reference are always there; in the folder, Shakespeare, the phrases of SST-2, the
    questions of Banking77 and the problems of GSM8K.
    """
    found = {"code": code(), "reference": _joined(problems(""))}
    if path_in(folder, "tinyshakespeare.txt") is not None:
        found["play"] = play(folder)
    if path_in(folder, "gsm8k_train.jsonl") is not None:
        found["problems"] = _joined(problems(folder))
    for name, (file, delimiter, column) in _TABLES.items():
        path = path_in(folder, file)
        if path is not None:
            with path.open(encoding="utf-8", newline="") as lines:
                quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
                rows = csv.DictReader(lines, delimiter=delimiter, quoting=quoting)
                found[name] = _mixed([row[column].strip() for row in rows])
    return {name: found[name] for name in NAMES if name in found}


def _joined(parts: tuple[list[tuple[bytes, bytes]], ...]) -> Text:
    train, held_out = map(problem_text, parts)
    return train, held_out


def _mixed(lines: list[str]) -> Text:
    """Return lines as text, in an order of chance, since files may be sorted."""
    order = np.random.default_rng(0).permutation(len(lines))
    text = np.frombuffer("\n".join(lines[at] for at in order).encode(), np.uint8)
    cut = len(text) - len(text) // _HELD_OUT_SHARE
    return text[:cut], text[cut:]
