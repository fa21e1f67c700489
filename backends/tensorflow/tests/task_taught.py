"""One task of several that ``attent.teach`` teaches together: ``python task_taught.py FOLDER``, with TF_CONFIG in the environment.

Teaches a small network on 21 examples in batches of 5, so that shares differ and some are empty, and writes what it
was taught and its parameters, or the error, to FOLDER/RANK.json.
"""

import json
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import attent
from attent_tensorflow import SGD, KerasLearner, TensorFlowLearner, workers

CONFIG = json.loads(os.environ["TF_CONFIG"])
RANK, WORLD = CONFIG["task"]["index"], len(CONFIG["cluster"]["worker"])
N = 21
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=5),
    "weighted": attent.Plan(epochs=4, batch_size=5, ratio=0.5, select="soft(correction=10.0)", source="fresh"),
}


class Net(tf.Module):
    def __init__(self, seed=1):
        super().__init__()
        draw = np.random.default_rng(seed)
        self.first, self.last = (tf.Variable(draw.normal(size=shape)) for shape in ((4, 8), (8, 3)))

    def __call__(self, x):
        return tf.tanh(x @ self.first) @ self.last


def loss(model, batch, training):
    x, y = batch
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x))


def examples(data):
    draw = np.random.default_rng(data)
    return draw.normal(size=(N, 4)), draw.integers(0, 3, N)


def learner_of(kind="net", *, data=0, seed=1, **settings):
    if kind == "net":
        return TensorFlowLearner(Net(seed), examples(data), loss, SGD(0.3, 0.9), **settings)
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(8, "tanh", kernel_regularizer="l2"), keras.layers.Dense(3)]
    if kind == "norm":
        layers.insert(0, keras.layers.BatchNormalization(momentum=0.5))
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.SGD(0.3, 0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return KerasLearner(model, examples(data), **settings)


def told(plan, make, strategy, **settings):
    """Teach, and return what was taught and the last parameters; of an error its text."""
    started = time.monotonic()
    try:
        learner = make()
        trace = attent.teach(workers(learner, strategy, timeout=60), plan, **settings)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.monotonic() - started}
    state = learner.state()
    parameters = np.concatenate([state[name].ravel() for name in sorted(state) if name.startswith("model/")])
    ids = [trace.ids(epoch).tolist() for epoch in range(len(trace.records))]
    return {"parameters": parameters.tolist(), "ids": ids, "finished": trace.finished, "steps": learner.steps}


def stopping(epochs):
    """Return a listener and a ``stop`` that stop after so many epochs."""
    records = []
    return {
        "listeners": [lambda progress: records.append(progress.record)],
        "stop": lambda: sum(record is not None for record in records) == epochs,
    }


def scoped(strategy):
    with strategy.scope():
        return learner_of()


def main(folder):
    keras.config.set_floatx("float64")
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    auto, weighted = PLANS["auto"], PLANS["weighted"]
    results = {
        "auto": told(auto, learner_of, strategy, run=folder / "auto"),
        "weighted": told(weighted, learner_of, strategy),
        "clipped": told(auto, lambda: learner_of(clip_norm=0.2), strategy),
        "keras": told(auto, lambda: learner_of("keras"), strategy),
        "norm": told(PLANS["weighted"], lambda: learner_of("norm"), strategy, checkpoint_seconds=0),
        "elastic": told(
            auto, learner_of, strategy, run=folder.parent / "elastic", resume=True, **stopping(2 if WORLD == 2 else 99)
        ),
    }
    if WORLD > 1:
        results["other data"] = told(auto, lambda: learner_of(data=RANK), strategy)
        results["other parameters"] = told(auto, lambda: learner_of(seed=1 + RANK), strategy)
        results["other plan"] = told(weighted if RANK else auto, learner_of, strategy)
        results["scoped"] = told(auto, lambda: scoped(strategy), strategy)

        def dies(progress):
            if RANK == 1 and progress.epoch == 1:
                os.kill(os.getpid(), 9)

        results["died"] = told(weighted, learner_of, strategy, listeners=[dies], segment_steps=1)
    (folder / f"{RANK}.json").write_text(json.dumps(results))
    os._exit(0)  # one is gone: TensorFlow would wait for it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
