"""Sharded arrays on a mesh of four devices, in a process of its own: the number of devices is fixed at JAX's start."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
from conftest import Task
from attent.errors import LearnerError

task, adam = Task(), optax.adamw(0.01)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
split = {"w1": NamedSharding(mesh, P(None, "data")), "b1": rows, "w2": rows}
compiled = []
jax.monitoring.register_event_duration_secs_listener(lambda e, s, **_: "backend_compile" in e and compiled.append(e))


def run(**settings):
    learner = task.learner(optimizer=adam, **settings)
    before = learner.score(np.arange(24))
    losses = learner.train(task.batches, task.weights)
    learner.train(task.batches), learner.score(np.arange(24))
    count = len(compiled)
    state = learner.state()
    again = learner.train(task.batches)
    recompiled = len(compiled) - count
    shardings = [leaf.sharding for leaf in jax.tree.leaves((learner.params, learner.params))]
    learner.load_state(state)
    assert [leaf.sharding for leaf in jax.tree.leaves((learner.params, learner.params))] == shardings
    assert np.array_equal(learner.train(task.batches), again)
    return {
        "scores": before.tolist(), "losses": losses.tolist(), "again": again.tolist(), "recompiled": recompiled,
        "w1": np.asarray(learner.params["w1"]).tolist(), "compilations": learner.compilations,
        "devices": len(learner.params["w1"].sharding.device_set), "spec": list(getattr(learner.params["w1"].sharding, "spec", ())),
    }


sharded = {name: jax.device_put(value, split[name]) for name, value in task.params().items()}
data = tuple(jax.device_put(part, rows) for part in (task.x, task.y))
result = {
    "one": run(),
    "batches": run(batch_sharding=rows),
    "params": run(params=sharded),
    "all": run(params=sharded, data=data, batch_sharding=rows),
    "host": run(batch_sharding=rows, keep_on_host=True),
}
assert all(value.is_deleted() is False for value in sharded.values())
try:
    task.learner(batch_sharding=rows, pad=False)
except LearnerError as error:
    result["error"] = str(error)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def runs(request):
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    tests = str(request.path.parent)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tests], env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", ["batches", "params", "all", "host"])
def test_a_mesh_changes_rounding_only(runs, case):
    for name in ("scores", "losses", "again", "w1"):
        np.testing.assert_allclose(runs[case][name], runs["one"][name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert runs[case]["devices"] == 4
    assert runs[case]["recompiled"] == 0
    assert runs[case]["compilations"] == {"score": 1, "train": 1}


def test_parameters_stay_where_the_caller_put_them(runs):
    assert runs["one"]["devices"] == 1
    assert runs["batches"]["spec"] == []
    assert runs["all"]["spec"] == runs["params"]["spec"] == [None, "data"]


def test_parts_need_padding(runs):
    assert runs["error"].startswith("batch_sharding cuts batches into 4 parts, so they must be padded: give pad=True")
