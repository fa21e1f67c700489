"""Eight skills on strings and numbers, of uneven difficulty and share, learnt at once by a byte GPT from scratch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import attent
from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent_torch import TorchLearner
from panel.answering import Pair, different, from_scratch

_ROOM = (10, 5)  # bytes: "more 12 34", and a word of four letters with its end
_WORD, _LETTERS, _FEW_LETTERS = 4, "abcdefghij", "abcde"
Skill = Callable[[np.random.Generator], tuple[str, str]]  # what draws a question and its answer


def _of_a_word(answer: Callable[[str], str], letters: str = _LETTERS) -> Skill:
    def drawn(draw: np.random.Generator) -> tuple[str, str]:
        word = "".join(letters[at] for at in draw.integers(len(letters), size=_WORD))
        return word, answer(word)

    return drawn


def _of_numbers(answer: Callable[..., int], many: int, digits: int) -> Skill:
    def drawn(draw: np.random.Generator) -> tuple[str, str]:
        numbers = draw.integers(10 ** (digits - 1), 10**digits, many).tolist()
        return " ".join(map(str, numbers)), str(answer(*numbers))

    return drawn


# Of each skill its share in per cent, and what it asks.
SKILLS: dict[str, tuple[int, Skill]] = {
    "copy": (20, _of_a_word(str)),
    "caps": (8, _of_a_word(str.upper)),
    "back": (15, _of_a_word(lambda word: word[::-1])),
    "sort": (10, _of_a_word(lambda word: "".join(sorted(word)))),
    "many": (5, _of_a_word(lambda word: str(word.count("a")), _FEW_LETTERS)),  # how many times there is an a
    "next": (12, _of_numbers(lambda number: number + 1, 1, 3)),
    "more": (10, _of_numbers(max, 2, 2)),
    "plus": (20, _of_numbers(lambda one, other: one + other, 2, 2)),
}


@attent.recipe(epochs=4, batch_size=8, metric_of="training")
def skills(
    plan: Plan,
    *,
    learning_rate: float = 2e-3,
    examples: int = 2400,
    held_out: int = 150,
    depth: int = 2,
    width: int = 64,
) -> TorchLearner:
    """Teach a byte GPT eight skills at once, from copying a word to adding numbers; the loss is the answer's alone.

    Metrics on ``held_out`` other questions of each skill, and costs: as `from_scratch` gives them. Groups: the skills,
    in the order of ``SKILLS``. The plan's seed draws the questions and the first weights.
    """
    sizes = [examples * share // 100 for share, _ in SKILLS.values()]
    if min(sizes) < 1 or held_out < 1:
        raise RecipeError(f"examples must be at least 20 and held_out at least 1, got {examples} and {held_out}")
    draw, named = np.random.default_rng(plan.seed), list(SKILLS)

    def one(group: int) -> Pair:
        question, answer = SKILLS[named[group]][1](draw)
        return f"{named[group]} {question}".encode(), answer.encode()

    train, test = different(sizes, held_out, one)
    return from_scratch(plan, train, test, _ROOM, learning_rate, depth, width)
