"""The examples of Trainer and SFTTrainer run, and change at most five lines of the script before."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import attent

EXAMPLES = Path(__file__).parents[3] / "docs/examples/trainers"

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def example(tmp_path, monkeypatch):
    def run(name: str, *arguments: object) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    return run


@pytest.mark.parametrize("name", ["trainer", "sft"])
def test_five_lines_change(name):
    before, after = ((EXAMPLES / f"{name}{part}.py").read_text().splitlines() for part in ("_before", ""))
    changed = [line for line in after if line.strip() and line not in before]
    assert len(changed) == 5
    assert len([line for line in before if line.strip() and line not in after]) <= 2


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_script_fits_a_screen(path):
    assert len(path.read_text().splitlines()) <= 40


@pytest.mark.parametrize("name", ["trainer", "trainer_before", "sft", "sft_before"])
def test_the_script_runs(name, example):
    example(f"{name}.py")


def folder_of(model, path, words):
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    splitter = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[PAD]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, model_max_length=64, **special)
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path


SIZE = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_minilm_on_banking77(example, tmp_path):
    asked = {"where is my card": "card_arrival", "what is my pin": "change_pin", "pay by card": "card_payment"}
    folder = folder_of(BertModel(BertConfig(**SIZE)), tmp_path / "model", set(" ".join(asked).split()))
    lines = ["text,category", *(f"{text} {i},{intent}" for i in range(25) for text, intent in asked.items())]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    files = [tmp_path / "rows.csv", tmp_path / "rows.csv"]
    example("finetune_minilm_banking77.py", "--model-folder", folder, "--data", *files, "--epochs", 2)
    trace = attent.Trace.read(tmp_path / "runs/minilm-banking77/attent")
    assert trace.ids(0).tolist() == list(range(75))
    assert trace.finished


def test_smollm2_on_gsm8k(example, tmp_path):
    words = ["Question", ":", "Answer", "how", "many", "are", "and", *"0123456789"]
    folder = folder_of(LlamaForCausalLM(LlamaConfig(**SIZE)), tmp_path / "model", words)
    rows = [{"question": f"how many are {i % 9} and {i % 7}", "answer": f"{i % 9} and {i % 7}"} for i in range(24)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sizes = ["--batch-size", 8, "--device-batch-size", 4, "--epochs", 2]
    example("finetune_smollm2_gsm8k.py", "--model-folder", folder, "--data", tmp_path / "rows.jsonl", *sizes)
    trace = attent.Trace.read(tmp_path / "runs/smollm2-gsm8k/attent")
    assert trace.ids(0).tolist() == list(range(24))
    assert trace.finished
