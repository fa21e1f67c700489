"""Tiny models of real architectures, and data whose first token is the example's id, so that a forward shows it."""

from __future__ import annotations

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_OFFLINE": "1"}

import numpy as np
import pytest
import torch
from torch import nn

from attent.cli.report_command import show_difference, show_report

N, LENGTH, CLASSES = 43, 12, 5

torch.set_num_threads(1)


class Plain(nn.Module):
    """A classifier as users write them: no loss arguments, the mean loss of the micro-batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(64, 16), nn.Linear(16, CLASSES)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.head(self.embed(input_ids).mean(1))
        loss = nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Tiny:
    """Builds equal models and data as often as asked."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.tokens = random.integers(0, 64, (N, LENGTH))
        self.tokens[:, 0] = np.arange(N)
        self.classes = random.integers(0, CLASSES, N)

    def rows(self, kind: str, n: int = N) -> dict[str, list]:
        labels = self.tokens if kind == "llama" else self.classes
        return {"input_ids": self.tokens[:n].tolist(), "labels": labels[:n].tolist()}

    def model(self, kind: str, dtype: torch.dtype = torch.float64, dropout: float = 0.0, **changes) -> nn.Module:
        from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        size = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        size |= {"num_attention_heads": 2, "max_position_embeddings": 64}
        if kind == "llama":
            config = LlamaConfig(**size, num_key_value_heads=2, attention_dropout=dropout, pad_token_id=0, **changes)
            return LlamaForCausalLM(config).to(dtype)
        if kind == "plain":
            return Plain().to(dtype)
        rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        return BertForSequenceClassification(BertConfig(**size, **rates, num_labels=CLASSES, **changes)).to(dtype)


class Seen:
    """What a model's training forwards were given: the ids by micro-batch."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.batches = model, []
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if torch.is_grad_enabled():
            self.batches.append(kwargs["input_ids"][:, 0].tolist())


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture
def seen() -> type[Seen]:
    return Seen


def parameters(model: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten().double() for each in model.parameters()])


@pytest.fixture
def flat():
    return parameters


@pytest.fixture
def read_back(tmp_path):
    """Check 4 passes of a run in the folder "run", and of one in "again" that replays its scores: the same, and shown."""

    def check(trace, again):
        assert [again.ids(row).tolist() for row in range(4)] == [trace.ids(row).tolist() for row in range(4)]
        assert sum(record.examples_scored for record in again.records) == 0
        told = []
        show_report(tmp_path / "run", tell=told.append)
        assert "examples, finished" in told[0]
        assert not show_difference(tmp_path / "run", tmp_path / "again", tell=told.append)
        assert told[-1] == "the same 4 epochs"

    return check
