"""Digests of what the panel teaches: what they are compared with, and where nothing can be told."""

import importlib
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def digests(monkeypatch):
    """The module, with two runs in place of the panel's."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    module = importlib.import_module("panel_digests")
    found = {"known_digits": {"auto": ["a", "b"], "default": ["c"]}}
    told = [(name, preset, made) for name, presets in found.items() for preset, made in presets.items()]
    monkeypatch.setattr(module, "runs", lambda data: iter(told))
    return module


def written(digests, monkeypatch, path, *words):
    monkeypatch.setattr(sys, "argv", ["panel_digests.py", "--write", str(path), *words])
    digests.main()
    return json.loads(path.read_text())


def test_what_was_written_here_is_as_expected(digests, monkeypatch, tmp_path, capsys):
    kept = written(digests, monkeypatch, tmp_path / "before.json")
    assert kept["selections"] == {"known_digits": {"auto": ["a", "b"], "default": ["c"]}}
    assert kept["made_with"]["data"] == "packaged"
    digests.check(kept, "")
    assert capsys.readouterr().out == "every selection is as expected\n"


def test_a_selection_that_changed_is_named(digests, monkeypatch, tmp_path):
    kept = written(digests, monkeypatch, tmp_path / "before.json")
    kept["selections"]["known_digits"]["auto"][1] = "x"
    with pytest.raises(SystemExit, match="known_digits auto differs, draw 1: x expected, b found"):
        digests.check(kept, "")


def test_with_another_processor_torch_or_other_data_nothing_is_told(digests, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist_10k.npz").write_bytes(b"1")
    kept = written(digests, monkeypatch, tmp_path / "before.json")
    with pytest.raises(
        SystemExit, match="nothing can be told, the digests were made with data packaged, here [0-9a-f]{16}:"
    ):
        digests.check(kept, str(tmp_path / "data"))
    kept["made_with"]["processor"] = "x86_64 ABACUS"
    with pytest.raises(
        SystemExit, match="were made with processor x86_64 ABACUS, here .*: write them anew here, before"
    ):
        digests.check(kept, "")
