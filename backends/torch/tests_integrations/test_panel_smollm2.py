"""The panel's fine-tuning of a language model on GSM8K, with a tiny one: what it teaches, measures and refuses."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import attent
from attent.errors import RecipeError

WORDS = ["[PAD]", "[EOS]", "[UNK]", "Question", ":", "Answer", "how", "many", "are", "and", "is", "####", "so"]
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of a name that peft asks transformers for
SMALL = {"examples": 16, "held_out": 6, "question_tokens": 12, "answer_tokens": 10, "rank": 2, "device": "cpu"}


def plan(seed=0, epochs=1):
    return attent.Plan.full(epochs=epochs, batch_size=4, seed=seed)


@pytest.fixture
def smollm2(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("panel.smollm2")


@pytest.fixture
def folders(tmp_path):
    """A folder with a tiny model, and one with 60 problems, of which each sixth has a longer answer."""
    vocabulary = {word: number for number, word in enumerate([*WORDS, *map(str, range(20))])}
    splitter = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=splitter, **special).save_pretrained(tmp_path / "model")
    LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), **SIZE)).save_pretrained(tmp_path / "model")
    rows = [
        {"question": f"how many are {i % 9} and {i % 7} so {i % 20}", "answer": f"is {'so ' * (i % 6)}\n#### {i % 11}"}
        for i in range(60)
    ]
    (tmp_path / "gsm8k_train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"data": str(tmp_path), "model_folder": str(tmp_path / "model")}


def test_a_seed_decides_the_run_and_only_adapters_are_trained(smollm2, folders):
    one, two, other = (smollm2.smollm2_gsm8k(plan(seed), **folders, **SMALL) for seed in (0, 0, 1))
    ids = np.arange(16)
    assert one.score(ids).tolist() == two.score(ids).tolist() != other.score(ids).tolist()
    assert all("lora" in name for name, value in one.model.named_parameters() if value.requires_grad)
    before = one.evaluate()
    traces = [attent.teach(learner, plan(epochs=3)) for learner in (one, two)]
    assert attent.first_difference(*traces) is None
    found = one.evaluate()
    assert list(found) == ["loss", "token_accuracy", "result"]
    assert found["loss"] < before["loss"]
    assert 0 <= found["result"] <= 1


def test_costs_are_tokens_and_padding_changes_no_loss(smollm2, folders):
    learner = smollm2.smollm2_gsm8k(plan(), **folders, **SMALL)
    drawn = np.random.default_rng(0).permutation(54)[:16]  # of 60 problems the last six are held out
    assert learner.costs().tolist() == (14 + drawn % 6).tolist()
    together = learner.score(np.arange(16))
    alone = [float(learner.score(np.array([place]))[0]) for place in range(16)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_the_result_is_what_comes_after_its_mark(smollm2, folders):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folders["model_folder"])
    pairs = smollm2._tokenized([(b"how many", b"is so so\n#### 7"), (b"how many", b"so " * 30)], tokenizer, 12, 10)
    assert len(pairs) == 1  # the second answer is too long
    text, results = smollm2._laid_out(pairs, 12, 10)
    told = tokenizer.convert_ids_to_tokens(text.text[0, 12:][results.answered[0]].tolist())
    assert told == ["7", "[EOS]"]
    assert text.answered[0].tolist() == [True] * 6 + [False] * 4


def test_what_it_needs_is_said_at_once(smollm2, folders):
    with pytest.raises(RecipeError, match=r"model_folder must be a folder with SmolLM2-135M-Instruct, got .*smollm2'"):
        smollm2.smollm2_gsm8k(plan(), data=folders["data"], **SMALL)
    with pytest.raises(RecipeError, match=re.escape("examples must be in [1, 54], got 55")):
        smollm2.smollm2_gsm8k(plan(), **folders, **{**SMALL, "examples": 55})
