"""What TensorFlowLearner costs beside TensorFlow written by hand: paired ratios from one process.

Each round times both sides once, in alternating order, because machine speed drifts. Printed is the median
of the rounds' ratios (1.00 means no cost) with its quartiles, and how often each graph was traced.

    python bench_tensorflow.py [--rounds 20] [--clock process|wall] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import attent
from attent.data import digits
from attent.reference import Architecture, initial_parameters
from attent_tensorflow import AdamW, ReferenceNetwork, TensorFlowLearner, cross_entropy

BATCH, SCORE_BATCH, EPOCHS = 64, 128, 4
CLOCKS = {"process": time.process_time, "wall": time.perf_counter}
Sides = tuple[Callable[[], object], Callable[[], object], TensorFlowLearner]


def vision() -> tuple[ReferenceNetwork, tf.Tensor, tf.Tensor]:
    """Return a vision transformer on digits and its training data."""
    data = digits()
    patches = data.x_train.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 16.0
    architecture = Architecture("classify", length=16, outputs=10, patch=4)
    model = ReferenceNetwork(architecture, initial_parameters(architecture, seed=0))
    return model, tf.constant(patches, tf.float32), tf.constant(data.y_train.astype(np.int64))


def teaching() -> Sides:
    """`attent.teach` at ratio 1, and the usual loop: one compiled step per batch, losses fetched at the end."""
    (ours, x, y), (theirs, *_) = vision(), vision()
    learner = TensorFlowLearner(ours, (x, y), cross_entropy, AdamW(1e-3))
    plan = attent.Plan(epochs=EPOCHS, batch_size=BATCH, ratio=1.0, source="reuse")
    optimizer = AdamW(1e-3)
    optimizer.build(theirs.trainable_variables)
    random = np.random.default_rng(0)

    @tf.function
    def step(ids: tf.Tensor) -> tf.Tensor:
        labels = tf.gather(y, ids)
        with tf.GradientTape() as tape:
            logits = theirs(tf.gather(x, ids))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, theirs.trainable_variables), theirs.trainable_variables)
        return loss

    def by_hand() -> None:
        losses = []
        for _ in range(EPOCHS):
            order = tf.constant(random.permutation(len(x)))
            losses += [step(order[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        tf.stack(losses).numpy()

    return lambda: attent.teach(learner, plan), by_hand, learner


def scoring() -> Sides:
    """`score` of all examples, and a bare compiled forward over slices."""
    model, x, y = vision()
    learner = TensorFlowLearner(model, (x, y), cross_entropy, AdamW(1e-3), score_batch_size=SCORE_BATCH)
    ids = np.arange(len(x))

    @tf.function
    def forward(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(inputs))

    def bare() -> None:
        parts = [forward(x[i : i + SCORE_BATCH], y[i : i + SCORE_BATCH]) for i in range(0, len(x), SCORE_BATCH)]
        tf.concat(parts, 0).numpy()

    return lambda: learner.score(ids), bare, learner


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, clock: Callable[[], float]
) -> np.ndarray:
    """Return the seconds of ``ours`` and ``theirs`` for each round, (rounds, 2), after two rounds of warming up."""
    seconds = np.empty((rounds + 2, 2))
    for turn in range(rounds + 2):
        sides = [(0, ours), (1, theirs)]
        for side, run in sides if turn % 2 else sides[::-1]:
            start = clock()
            run()
            seconds[turn, side] = clock() - start
    return seconds[2:]


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clock", choices=CLOCKS, default="process")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    for measure in (teaching, scoring):
        ours, theirs, learner = measure()
        seconds = paired(ours, theirs, arguments.rounds, CLOCKS[arguments.clock])
        low, middle, high = np.quantile(seconds[:, 0] / seconds[:, 1], [0.25, 0.5, 0.75])
        print(
            f"{measure.__name__:9s} {middle:.3f}  (quartiles {low:.3f} to {high:.3f}; by hand "
            f"{np.median(seconds[:, 1]):.3f} s)  traced {learner.traces}"
        )


if __name__ == "__main__":
    main()
