"""A byte GPT on a mixture of sources, of which one is what it is meant for, and how near each example is to that one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.data import windows
from panel.gpt import ByteGPT, next_byte_losses
from panel.sources import sources
from panel.text import window_losses
from panel.training import adamw, seeded

WEIGHTS = {"code": 30, "play": 25, "reference": 15, "phrases": 12, "questions": 9, "problems": 9}
_SAMPLE_SHARE = 5  # of what is held out of the target
_BUCKETS = 1 << 16  # of hashed trigrams


@attent.recipe(epochs=8, batch_size=8, metric_of="target")
def mixture(
    plan: Plan,
    *,
    learning_rate: float = 4e-3,
    data: str = "",
    target: str = "",
    examples: int = 1000,
    held_out: int = 400,
    held_out_of_others: int = 120,
    sample: int = 100,
    window_bytes: int = 64,
    depth: int = 2,
    width: int = 48,
) -> TorchLearner:
    """Pre-train a byte GPT on windows of several sources; what counts is the loss on one of them, the target.

    ``target``: the last source there is, where nothing is said: GSM8K's problems, a tenth of the mixture. Metrics:
    loss on held-out text of the target, in nats per byte, and of each source. Groups: the sources. Relevance: by
    ``sample`` windows of the target, which are neither taught nor judged by.
    """
    texts = sources(data)
    target = target or list(texts)[-1]
    if target not in texts:
        raise RecipeError(f"target must be one of {', '.join(texts)}, got {target!r}")
    counts = _shared_out([WEIGHTS[name] for name in texts], examples)
    taught = [
        windows(text, window_bytes, many, plan.seed) for (text, _), many in zip(texts.values(), counts, strict=True)
    ]
    train, groups = torch.cat(taught), np.repeat(np.arange(len(counts)), counts)
    judged = {name: held for name, (_, held) in texts.items()}
    judged[target], apart = np.split(judged[target], [len(judged[target]) * (_SAMPLE_SHARE - 1) // _SAMPLE_SHARE])
    many = {name: held_out if name == target else held_out_of_others for name in texts}
    tests = {name: windows(text, window_bytes, many[name], None) for name, text in judged.items()}
    with seeded(plan.seed):
        model = ByteGPT(window_bytes, depth=depth, width=width, heads=width // 16)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples))

    def evaluate(model: nn.Module) -> dict[str, torch.Tensor]:
        losses = {name: window_losses(model, test).mean() for name, test in tests.items()}
        return {"loss": losses[target], **{f"loss:{group}": loss for group, loss in enumerate(losses.values())}}

    learner = TorchLearner(
        model, train, next_byte_losses, optimizer, scheduler, evaluate=evaluate, groups=groups, seed=plan.seed
    )
    learner.relevance = nearness(train.numpy(), windows(apart, window_bytes, sample, None).numpy())
    return learner


def nearness(examples: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how near rows of bytes (n, T) are to those of a target (m, T): float64 (n,), from -log 2, higher is nearer.

    The mean over a row's trigrams, hashed, of the logarithm of how much likelier each is in half the target and half
    all examples than in all: a bag of n-grams as of DSIR, Xie et al. 2023, arXiv 2302.03169. Halves, since of a few
    windows of the target what is rare is not seen.
    """
    buckets = _trigrams(examples)
    own, there = (np.bincount(each.ravel(), minlength=_BUCKETS) / each.size for each in (buckets, _trigrams(target)))
    likelier = np.divide(there, own, out=np.zeros(_BUCKETS), where=own > 0)
    return np.log((1 + likelier) / 2)[buckets].mean(1)


def _trigrams(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bucket of each three bytes: (n, T - 2)."""
    words = (rows[:, :-2] << 16) + (rows[:, 1:-1] << 8) + rows[:, 2:]
    return (words * 2_654_435_761 >> 12) % _BUCKETS


def _shared_out(weights: list[int], total: int) -> list[int]:
    """Return whole numbers that go as the weights and sum to ``total``; what rounding leaves goes to the first."""
    counts = [total * weight // sum(weights) for weight in weights]
    counts[0] += total - sum(counts)
    if min(counts) < 1:
        raise RecipeError(f"examples must be enough for {len(weights)} sources, got {total}")
    return counts
