"""What the panel teaches: texts and images from a folder of real data, or from what Python and attent ship."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from attent.data import digits, library_text
from attent.errors import RecipeError
from attent.learner import Ids

Bytes = npt.NDArray[np.uint8]
_HELD_OUT_SHARE = 10
_LIBRARY_BYTES = 800_000


class Questions(NamedTuple):
    """Customers' questions and the intent of each, int64 (n,), numbered by name."""

    texts: list[str]
    intents: Ids


def play(folder: str) -> tuple[Bytes, Bytes]:
    """Return Shakespeare's text to train on and its last tenth, held out; Python's library where there is none."""
    path = path_in(folder, "tinyshakespeare.txt")
    if path is None:
        return code()
    text = np.frombuffer(path.read_bytes(), np.uint8)
    cut = len(text) - len(text) // _HELD_OUT_SHARE
    return text[:cut], text[cut:]


def code() -> tuple[Bytes, Bytes]:
    """Return the text of modules of Python's library to train on, and of others, held out."""
    text = library_text(_LIBRARY_BYTES)
    return text.train, text.held_out


def problems(folder: str) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Return GSM8K's questions with their answers to train on, and the last tenth, held out.

    Where there are none: each two neighbouring paragraphs of Python's language reference, as ``help()`` has it.
    """
    path = path_in(folder, "gsm8k_train.jsonl")
    if path is None:
        paragraphs = [part.encode() for topic in topics.values() for part in topic.split("\n\n") if len(part) >= 40]
        pairs = list(zip(paragraphs[::2], paragraphs[1::2], strict=False))
    else:
        with path.open(encoding="utf-8") as lines:
            records = map(json.loads, lines)
            pairs = [(record["question"].encode(), record["answer"].encode()) for record in records]
    cut = len(pairs) - len(pairs) // _HELD_OUT_SHARE
    return pairs[:cut], pairs[cut:]


def problem_text(pairs: list[tuple[bytes, bytes]]) -> Bytes:
    """Return questions and answers as one text."""
    return np.frombuffer(b"".join(b"%b\n%b\n\n" % pair for pair in pairs), np.uint8)


def questions(folder: str) -> tuple[Questions, Questions]:
    """Return Banking77's questions to train on, and its test questions. Raises RecipeError where they are missing."""
    files = [path_in(folder, f"banking77_{part}.csv") for part in ("train", "test")]
    if None in files:
        raise RecipeError(
            "data must be a folder with banking77_train.csv and banking77_test.csv; there is no substitute"
        )
    parts = []
    for path in (path for path in files if path is not None):
        with path.open(encoding="utf-8", newline="") as lines:
            parts.append(list(csv.DictReader(lines)))
    names = sorted({row["category"] for part in parts for row in part})
    number = {name: place for place, name in enumerate(names)}
    train, test = (
        Questions([row["text"] for row in part], np.array([number[row["category"]] for row in part])) for part in parts
    )
    return train, test


def phrases(folder: str) -> tuple[list[str], Ids]:
    """Return SST-2's phrases to train on, each once, and whether each blames, 0, or praises, 1: int64 (n,).

    Raises RecipeError where they are missing.
    """
    path = path_in(folder, "sst2_train.tsv")
    if path is None:
        raise RecipeError("data must be a folder with sst2_train.tsv; there is no substitute")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = {row["sentence"].strip(): int(row["label"]) for row in rows}
    return list(found), np.array(list(found.values()), np.int64)


def images(folder: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return CIFAR images and their classes to train on, and held-out ones; digits where there are none.

    Images are float32 (n, 3, 32, 32) in [0, 1], classes int64 (n,).
    """
    path = path_in(folder, "cifar10_12k.npz")
    if path is None:
        shipped = digits()
        x_train, x_test = (_enlarged(part) for part in (shipped.x_train, shipped.x_test))
        classes = [shipped.y_train, shipped.y_test]
    else:
        with np.load(path) as arrays:
            parts = [torch.from_numpy(arrays[name]) for name in ("x_train", "x_test")]
            classes = [arrays[name] for name in ("y_train", "y_test")]
        x_train, x_test = (part.permute(0, 3, 1, 2).float() / 255 for part in parts)
    y_train, y_test = (torch.from_numpy(part.astype(np.int64)) for part in classes)
    return x_train, y_train, x_test, y_test


def windows(text: Bytes, length: int, count: int, seed: int | None) -> torch.Tensor:
    """Return ``count`` windows that share at most one byte, int64 (count, length + 1); the last byte is a target only.

    Drawn without replacement by ``seed``; evenly spaced where it is None. Raises RecipeError if there is too
    little text.
    """
    there = (len(text) - 1) // length
    if not 1 <= count <= there:
        raise RecipeError(
            f"this text has {there} windows of {length} bytes, got a wish for {count}; take fewer or shorter"
        )
    numbers = (
        np.arange(count) * there // count if seed is None else np.random.default_rng(seed).permutation(there)[:count]
    )
    places = numbers[:, None] * length + np.arange(length + 1)
    return torch.from_numpy(text[places].astype(np.int64))


def _enlarged(ink: Bytes) -> torch.Tensor:
    """Return (n, 8, 8) images as smooth grey ones of (n, 3, 32, 32)."""
    small = torch.from_numpy(ink).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return large.expand(-1, 3, -1, -1).contiguous()


def path_in(folder: str, file: str) -> Path | None:
    """Return the file's path, None if it is not there. Raises RecipeError for a folder that does not exist."""
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise RecipeError(f"data must be a folder, or empty for packaged data; there is no folder {folder!r}")
    path = Path(folder, file)
    return path if path.is_file() else None
