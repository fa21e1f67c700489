"""Timings on a GPU: teaching beside a loop written by hand, scoring beside training, and what selecting costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

import attent
from attent.learner import Numbers
from gpu.models import Work, llama, vit
from gpu.part import Row, Setting

_PRECISIONS = (("bfloat16", torch.bfloat16), ("float32", None))


def vit_steps(setting: Setting) -> Iterator[Row]:
    """Time ViT-S."""
    return _steps(vit(setting), setting)


def llama_steps(setting: Setting) -> Iterator[Row]:
    """Time the Llama with LoRA."""
    return _steps(llama(setting), setting)


def _steps(work: Work, setting: Setting) -> Iterator[Row]:
    """Time ``teach`` at ratio 1 against the loop written by hand in bfloat16, then scoring against training in both."""
    yield Row("model", f"{work.told}, batches of {work.batch_size}")
    rounds = 2 if setting.tiny else 5
    n = len(work.data[0])
    plan = attent.Plan.full(epochs=1, batch_size=work.batch_size)
    steps = plan.total_steps(n)
    cast = _PRECISIONS[0][1]
    learner = work.learner(autocast=cast)
    hand = _by_hand(work, cast)
    ours, theirs = _alternating(lambda: attent.teach(learner, plan), hand, rounds, setting)
    ratios = np.array(ours) / np.array(theirs)
    told = (
        f"{np.median(ratios):.3f} (rounds {', '.join(f'{ratio:.3f}' for ratio in ratios)}); "
        f"{1e3 * np.median(theirs) / steps:.2f} ms a step by hand, bfloat16"
    )
    yield Row("teach / by hand", told, None, {"teach": ours, "hand": theirs, "steps": steps})
    every = np.arange(n)
    batches = [every[at : at + work.batch_size] for at in range(0, n, work.batch_size)]
    for name, cast in _PRECISIONS:
        learner = work.learner(autocast=cast)
        scoring, training = _alternating(
            partial(learner.score, every), partial(learner.train, batches),
            2 if setting.tiny else 3, setting,
        )  # fmt: skip
        share = np.median(scoring) / np.median(training)
        told = f"{share:.3f}; training {1e3 * np.median(training) / steps:.2f} ms a step"
        yield Row(f"scoring / training, {name}", told, None, {"scoring": scoring, "training": training})


def _by_hand(work: Work, cast: torch.dtype | None) -> Callable[[], None]:
    """Return one epoch of the loop that a user would write."""
    optimizer = work.optimizer()
    device = work.data[0].device

    def loop() -> None:
        work.model.train()
        for ids in torch.randperm(len(work.data[0]), device=device).split(work.batch_size):
            with torch.autocast(device.type, dtype=cast, enabled=cast is not None):
                loss = work.loss(work.model, tuple(part[ids] for part in work.data)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return loop


def _alternating(
    one: Callable[[], object], other: Callable[[], object], rounds: int, setting: Setting
) -> tuple[list[float], list[float]]:
    """Return the seconds of both, by round, the sides taking turns in going first; the first round is not counted."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(rounds + 1):
        for side in ((0, 1), (1, 0))[turn % 2]:
            _wait(setting)
            started = time.perf_counter()
            (one, other)[side]()
            _wait(setting)
            seconds[side].append(time.perf_counter() - started)
    return seconds[0][1:], seconds[1][1:]


def _wait(setting: Setting) -> None:
    if setting.cuda:
        torch.cuda.synchronize()


def selecting(setting: Setting) -> Iterator[Row]:
    """Time the rules, and a course through full and taught epochs of n examples, beside a step of ViT-S."""
    told, step = _step_of_vit(setting)
    yield Row("a step", f"{1e3 * step:.2f} ms: {told}, bfloat16", None, {"seconds": step})
    for n in (10**4, 10**5) if setting.tiny else (10**6, 10**7):
        scores = np.random.default_rng(0).exponential(size=n)
        k, noise = n * 2 // 5, attent.Noise(seed=0, draw=0)
        hard = min(_seconds(partial(attent.hard, scores, k)) for _ in range(3))
        soft = partial(attent.soft, scores, k, noise, temperature=0.3, scaling="std")
        softly = min(_seconds(soft) for _ in range(3))
        told = f"hard {hard:.3f} s, soft {softly:.3f} s: {hard / step:.1f} and {softly / step:.1f} steps"
        yield Row(f"selecting 40 % of {n:,}", told, None, {"hard": hard, "soft": softly})
        spent, steps = _course(scores)
        shares = [a / (b * step) for a, b in zip(spent, steps, strict=True)]
        told = f"full {spent[0]:.2f} s, taught {spent[1]:.2f} s: {shares[0]:.2%} and {shares[1]:.2%} of the training"
        yield Row(f"course, an epoch of {n:,}", told, None, {"seconds": spent, "steps": steps})


def _step_of_vit(setting: Setting) -> tuple[str, float]:
    """Return what is trained, and the seconds of a step."""
    work = vit(setting)
    learner = work.learner(autocast=torch.bfloat16)
    batches = [np.arange(work.batch_size)] * (2 if setting.tiny else 20)
    training, _ = _alternating(lambda: learner.train(batches), lambda: None, 2, setting)
    return f"{work.told}, batches of {work.batch_size}", min(training) / len(batches)


def _course(scores: Numbers) -> tuple[list[float], list[int]]:
    """Return seconds and steps of each of three epochs, the second one taught, in which nothing is trained."""
    course = attent.Course(attent.Plan.default(epochs=3, batch_size=256), len(scores))
    spent, steps = [0.0] * 3, [row.steps for row in course.timeline]
    while True:
        epoch, started = course.epoch, time.perf_counter()
        lesson = course.next()
        spent[epoch % 3] += time.perf_counter() - started
        if not isinstance(lesson, attent.Train):
            return spent, steps
        losses = scores[np.concatenate(lesson.batches)]
        started = time.perf_counter()
        course.record(losses)
        spent[epoch] += time.perf_counter() - started


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def language(setting: Setting) -> Iterator[Row]:
    """Train a byte-level GPT on Python's standard library in full, short, and by ``Plan.auto`` at the cost of short."""
    from attent_torch.recipes import byte_gpt

    size = {"windows": 64, "window_bytes": 32, "width": 16} if setting.tiny else {"windows": 2048, "window_bytes": 128}
    more = {} if setting.tiny else {"width": 256, "depth": 4, "heads": 4, "learning_rate": 2e-3}
    device = "cuda" if setting.cuda else "cpu"
    epochs = (4, 2) if setting.tiny else (8, 4)
    for name, plan in (
        ("full", attent.Plan.full(epochs=epochs[0], batch_size=32)),
        ("short", attent.Plan.full(epochs=epochs[1], batch_size=32)),
        ("auto", attent.Plan.auto(epochs=epochs[1], batch_size=32)),
    ):
        learner = byte_gpt(plan, device=device, **size, **more)
        started = time.perf_counter()
        trace = attent.teach(learner, plan)
        spent = time.perf_counter() - started
        cost = sum(record.examples_trained for record in trace.records) / len(learner)
        found = learner.evaluate()
        taught = len(trace.selections)
        told = f"held-out loss {found['loss']:.3f} at {cost:.1f} epochs, {spent:.1f} s, {taught} selections"
        good = bool(np.isfinite(found["loss"]))
        yield Row(name, told, good, {"cost": cost, "seconds": spent, **found})
