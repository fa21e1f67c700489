"""What the panel's workloads are taught, as digests: whether a change of the code changed any selection.

    python panel_digests.py --write before.json [--data FOLDER]  # on the state before
    python panel_digests.py --check before.json [--data FOLDER]  # on the change

Every workload is taught with four presets, on few examples for few epochs: some minutes on one thread. The losses
behind a selection are float32, so another processor or another torch rounds them otherwise and chooses otherwise, with
no change of the code. No such file is kept in the repository, therefore: it would tell nothing to anybody else. What is
exact everywhere, float64 and ids, the golden runs of the conformance suite hold. A file says what it was made with, and
is compared with nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from run_panel import MAKES_ITS_DATA, WORKLOADS

import attent

SEED, BATCH_SIZE = 7, 16
_READERS = ("small_reader", "small_reader_tail", "small_reader_wrong", "new_intents", "alike")
# They need packages beyond torch, or data that none has.
LEFT_OUT = ("language_update", "locales", "banking77", "sst2", "smollm2_gsm8k", *_READERS)
FEW: dict[str, Any] = {"examples": 600}
PRETRAINED: dict[str, Any] = {"held_out": 50, "pretraining_windows": 2000, "pretraining_epochs": 2}
FEWER: dict[str, dict[str, Any]] = {
    "panel.text:byte_gpt": {"examples": 300},
    "panel.mixture:mixture": {"examples": 300},
    "panel.text:continued_gpt": {"examples": 300, **PRETRAINED},
    "panel.lora:lora_llama": {"examples": 200, **PRETRAINED},
    "panel.multimodal:masked_autoencoder": {"examples": 200},
}
LEAST_EPOCHS = 5  # with fewer, a preset other than auto makes less than three selections
PRESETS: dict[str, Callable[..., attent.Plan]] = {
    "auto": attent.Plan.auto,
    "default": attent.Plan.default,
    "official": lambda **fields: attent.Plan.official(cycles=3, **fields),
    "infobatch": attent.Plan.infobatch,
}

Digests = dict[str, dict[str, list[str]]]


def digests(workload: str, preset: str, data: str) -> list[str]:
    """Return the digest of every selection of a run, draw by draw."""
    name, options, epochs, _ = WORKLOADS[workload]
    module, _, function = name.partition(":")
    recipe = getattr(importlib.import_module(module), function)
    asked = [word.split("=") for option, word in itertools.pairwise(options) if option == "--set"]
    settings: dict[str, Any] = {key: float(value) for key, value in asked if key != "examples"}
    if workload not in MAKES_ITS_DATA:
        settings["data"] = data
    epochs = epochs if preset == "auto" else max(epochs, LEAST_EPOCHS)
    plan = PRESETS[preset](epochs=epochs, batch_size=BATCH_SIZE, seed=SEED)
    learner = recipe(plan, **settings, **FEWER.get(name, FEW))
    made = [record.selection for record in attent.teach(learner, plan).records]
    return [selection.digest for selection in made if selection is not None]


def runs(data: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield workload, preset and digests of every run, as it ends."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ATTENT_PANEL_CACHE"] = cache  # weights kept by other code must not stand in for this code's
        for workload in (name for name in WORKLOADS if name not in LEFT_OUT):
            for preset in PRESETS:
                found = digests(workload, preset, data)
                print(f"{workload} {preset}: {len(found)} selections", flush=True)
                yield workload, preset, found


def made_with(data: str) -> dict[str, str]:
    """Return what selections depend on beside the code: packages, the processor, and the data's names and sizes.

    data: the folder, "" for the packaged ones.
    """
    files = sorted(f"{path.name} {path.stat().st_size}" for path in Path(data).iterdir()) if data else []
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "data": hashlib.sha256("\n".join(files).encode()).hexdigest()[:16] if data else "packaged",
    }


def difference(expected: list[str], found: list[str]) -> str | None:
    """Return where the selections of two runs first differ, None where they do not."""
    for draw, (before, now) in enumerate(zip(expected, found, strict=False)):
        if before != now:
            return f"draw {draw}: {before} expected, {now} found"
    if len(expected) != len(found):
        return f"draw {min(len(expected), len(found))}: {len(expected)} draws expected, {len(found)} found"
    return None


def check(kept: dict[str, Any], data: str) -> None:
    """Run everything anew. Exits with 1 at the first selection that differs, naming it, or where nothing can be told."""
    was, now = kept["made_with"], made_with(data)
    others = [f"{name} {was.get(name)}, here {now[name]}" for name in now if was.get(name) != now[name]]
    if others:
        sys.exit(f"nothing can be told, the digests were made with {'; '.join(others)}: write them anew here, before the "
                 "change")  # fmt: skip
    expected: Digests = kept["selections"]
    for workload in expected.keys() - WORKLOADS.keys():
        sys.exit(f"{workload} is expected, and no workload any more")
    for workload, preset, found in runs(data):
        differs = difference(expected.get(workload, {}).get(preset, []), found)
        if differs:
            sys.exit(f"{workload} {preset} differs, {differs}")
    print("every selection is as expected")


def main() -> None:
    """Write the digests, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--write", type=Path, metavar="FILE")
    task.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument("--data", default="")
    given = parser.parse_args()
    data = str(Path(given.data).resolve()) if given.data else ""
    if given.check:
        check(json.loads(given.check.read_text()), data)
        return
    table: Digests = {}
    for workload, preset, found in runs(data):
        table.setdefault(workload, {})[preset] = found
    given.write.write_text(json.dumps({"made_with": made_with(data), "selections": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
