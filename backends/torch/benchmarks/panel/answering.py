"""A byte GPT that learns from scratch to answer questions of several groups, judged by answers that are right to the byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answers import Dialogues, answer_losses, answered_exactly, dialogues, measured
from panel.gpt import ByteGPT
from panel.grouped import as_trained, summed_up
from panel.training import adamw, seeded

Pair = tuple[bytes, bytes]
_MOST_TRIES = 1000  # a draw, for a pair that was not there


def different(
    sizes: Sequence[int], held_out: int, one: Callable[[int], Pair]
) -> tuple[list[list[Pair]], list[list[Pair]]]:
    """Return pairs to teach, ``sizes`` of each group, and ``held_out`` of each to judge by, none asked twice.

    one: draws a pair of a group, given by number. Raises RecipeError where a group has not as many questions.

    Example:
        >>> from itertools import count
        >>> from panel.answering import different
        >>> numbers = count()
        >>> different([2, 1], 1, lambda group: (b"%d?" % (next(numbers) // 2), b"%d" % group))
        ([[(b'0?', b'0'), (b'1?', b'0')], [(b'2?', b'1')]], [[(b'2?', b'0')], [(b'3?', b'1')]])
    """
    train, test = [], []
    for group, size in enumerate(sizes):
        found: dict[bytes, bytes] = {}  # that keeps its order
        for _ in range((size + held_out) * _MOST_TRIES):
            question, answer = one(group)
            found.setdefault(question, answer)
            if len(found) == size + held_out:
                break
        else:
            raise RecipeError(
                f"group {group} must have {size + held_out} different questions, found {len(found)}: take fewer examples"
            )
        pairs = list(found.items())
        train.append(pairs[:size])
        test.append(pairs[size:])
    return train, test


def from_scratch(
    plan: Plan,
    train: list[list[Pair]],
    test: list[list[Pair]],
    room: tuple[int, int],
    learning_rate: float,
    depth: int,
    width: int,
) -> TorchLearner:
    """Return a learner of questions and answers, given by group, whose loss is an answer's mean over its bytes.

    room: bytes of the longest question and of the longest answer with its end. Metrics: the share of answers without a
    mistake and the loss in nats per byte, each group counting by its share of what is taught; that share of all groups
    evenly; and of each. Costs: bytes, of question and answer.
    """
    examples = sum(map(len, train))
    groups, test_groups = (np.repeat(np.arange(len(part)), [len(group) for group in part]) for part in (train, test))
    taught, judged = (_laid_out(part, room) for part in (train, test))
    weights = as_trained(test_groups, groups)
    with seeded(plan.seed):
        model = ByteGPT(sum(room), depth=depth, width=width, heads=width // 16)
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(examples))

    def evaluate(model: nn.Module) -> dict[str, float]:
        right, losses = (measured(model, judged, by).double().numpy() for by in (answered_exactly, answer_losses))
        return summed_up(right, losses, test_groups, test_groups, weights, even=True)

    return TorchLearner(
        model,
        taught,
        answer_losses,
        optimizer,
        scheduler,
        evaluate=evaluate,
        groups=groups,
        costs=(taught.text > 0).sum(1).numpy().astype(np.float64),
        seed=plan.seed,
    )


def _laid_out(part: list[list[Pair]], room: tuple[int, int]) -> Dialogues:
    pairs = [pair for group in part for pair in group]
    return dialogues(pairs, *room, len(pairs), None)
