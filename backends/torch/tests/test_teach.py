"""Whole runs: taught like the NumPy reference (rule L), and stopped and resumed exactly (rules R1, R2)."""

import numpy as np
import pytest
import torch

import attent
from attent.reference import recipes as numpy_recipes
from attent_torch import recipes


@pytest.mark.parametrize(
    "plan",
    [
        attent.Plan(epochs=4, batch_size=96, ratio=0.2, warm_up=1, seed=1),
        attent.Plan(epochs=3, batch_size=96, ratio=0.2, select="soft(correction=5.0)", source="fresh", seed=2),
    ],
    ids=["reuse, hard", "fresh, soft, weighted"],
)
def test_float64_runs_teach_what_numpy_teaches(plan):
    ours = attent.teach(recipes.vit_digits(plan, precision="float64", device="cpu"), plan)
    theirs = attent.teach(numpy_recipes.vit_digits(plan), plan)
    assert attent.first_difference(ours, theirs) is None
    last = [trace.ids(plan.epochs - 1).tolist() for trace in (ours, theirs)]
    assert last[0] == last[1]
    assert len(last[0]) == 287


@pytest.mark.parametrize("augmented", [False, True])
def test_a_stopped_run_goes_on_exactly(task, values, assert_same, tmp_path, augmented):
    class Augmented:
        def __len__(self):
            return 24

        def __getitem__(self, i):
            return task.x[i] + 0.1 * np.random.normal(), task.y[i]

    def learner(seed=0):
        torch.manual_seed(seed)
        return task.learner(task.model(dropout=0.4), data=Augmented() if augmented else None)

    plan = attent.Plan(epochs=6, batch_size=5, ratio=0.5, warm_up=1, source="fresh", seed=4)
    whole = learner()
    trace = attent.teach(whole, plan, segment_steps=2)
    lessons = []
    begun = attent.teach(
        learner(), plan, run=tmp_path / "run", segment_steps=2, stop=lambda: lessons.append(0) or len(lessons) == 7
    )
    assert not begun.finished
    resumed = learner(seed=8)
    finished = attent.teach(resumed, plan, run=tmp_path / "run", resume=True, segment_steps=2)
    assert finished.finished
    assert attent.first_difference(trace, finished) is None
    assert_same(values(resumed.model), values(whole.model))
