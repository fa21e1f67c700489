"""One process of several that ``attent.teach`` teaches together: ``python process_taught.py FOLDER RANK WORLD PORT``.

Teaches a small network on 21 examples in batches of 5, so that shares differ and some are empty, and writes what it
was taught and its parameters, or the error, to FOLDER/RANK.json.
"""

import json
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import attent
from attent_jax import JaxLearner, workers

N = 21
PLANS = {
    "auto": attent.Plan.auto(epochs=4, batch_size=5),
    "weighted": attent.Plan(epochs=4, batch_size=5, ratio=0.5, select="soft(correction=10.0)", source="fresh"),
}


def loss(params, batch, key):
    x, y = batch
    hidden = jnp.tanh(x @ params["first"])
    if key is not None:
        hidden = jnp.where(jax.random.bernoulli(key, 0.8, hidden.shape), hidden, 0)
    return -jnp.take_along_axis(jax.nn.log_softmax(hidden @ params["last"]), y[:, None], 1)[:, 0]


def learner_of(kind="rows", *, data=0, seed=1):
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    draw = np.random.default_rng(data)
    x, y = draw.normal(size=(N, 4)), draw.integers(0, 3, N)
    draw = np.random.default_rng(seed)
    params = {"first": draw.normal(size=(4, 8)), "last": draw.normal(size=(8, 3))}
    if kind == "parts":  # the parameters lie in parts on the processes too
        places = {"first": P(None, "data"), "last": P("data")}
        params = {
            name: jax.make_array_from_callback(value.shape, NamedSharding(mesh, places[name]), lambda i, v=value: v[i])
            for name, value in params.items()
        }
    settings = {"keep_on_host": kind == "host"}
    examples = (x, y)
    if kind == "function":
        examples, settings = (lambda ids: (x[ids], y[ids])), {"n": N}
    rows = None if kind == "alone" else NamedSharding(mesh, P("data"))
    optimizer = optax.sgd(0.3, momentum=0.9)
    return JaxLearner(params, examples, loss, optimizer, batch_sharding=rows, score_batch_size=4, **settings)


def told(plan, make, **settings):
    """Teach, and return what was taught and the last parameters; of an error its text."""
    started = time.monotonic()
    try:
        learner = make()
        trace = attent.teach(workers(learner), plan, **settings)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.monotonic() - started}
    state = learner.state()
    parameters = np.concatenate([state[f"params/{name}"].ravel() for name in ("first", "last")])
    ids = [trace.ids(epoch).tolist() for epoch in range(len(trace.records))]
    return {"parameters": parameters.tolist(), "ids": ids, "finished": trace.finished, "steps": learner.steps}


def stopping(epochs):
    """Return a listener and a ``stop`` that stop after so many epochs."""
    records = []
    return {
        "listeners": [lambda progress: records.append(progress.record)],
        "stop": lambda: sum(record is not None for record in records) == epochs,
    }


def main(folder, rank, world, port):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_x64", True)
    if world > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", world, rank)
    auto, weighted = PLANS["auto"], PLANS["weighted"]
    results = {}
    for kind in ("rows", "parts", "host", "function"):
        results[f"auto {kind}"] = told(auto, lambda k=kind: learner_of(k), run=folder / kind)
    results["weighted rows"] = told(weighted, learner_of)
    run = folder.parent / "elastic"
    goes = stopping({2: 2, 1: 4, 4: 99}[world])
    results["elastic"] = told(auto, lambda: learner_of("parts"), run=run, resume=True, **goes)
    if world > 1:
        for kind in ("rows", "host", "function"):
            results[f"other data {kind}"] = told(auto, lambda k=kind: learner_of(k, data=int(rank == 1)))
        results["other parameters"] = told(auto, lambda: learner_of(seed=1 + (rank == 1)))
        results["other plan"] = told(weighted if rank == 1 else auto, learner_of)
        results["alone"] = told(auto, lambda: learner_of("alone"))

        def dies(progress):
            if rank == world - 1 and progress.epoch == 1:
                os.kill(os.getpid(), 9)

        results["died"] = told(weighted, learner_of, listeners=[dies], segment_steps=1)
    (folder / f"{rank}.json").write_text(json.dumps(results))
    os._exit(0)  # one is gone: JAX would wait for it


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
