"""Settings at resume: another learning rate or schedule is told, and one's own is kept where asked."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

import attent
from attent import LearnerError

_spec = importlib.util.spec_from_file_location("long_run_task", Path(__file__).with_name("long_run_task.py"))
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
BATCHES, learner = shared.BATCHES, shared.learner


def test_another_learning_rate_is_told():
    state = learner(rate=0.5).state()
    it = learner(rate=0.001)
    with pytest.warns(UserWarning, match=r"lr was 0.5, is 0.001\. To go on with .* own_settings=True"):
        it.load_state(state)
    assert it.optimizer.param_groups[0]["lr"] == 0.5


def test_ones_own_learning_rate_is_kept_where_asked():
    first = learner(rate=0.5, optimizer=torch.optim.AdamW)
    first.train(BATCHES)
    it = learner(rate=0.001, optimizer=torch.optim.AdamW, own_settings=True)
    it.load_state(first.state())
    assert it.optimizer.param_groups[0]["lr"] == 0.001
    assert all(int(state["step"]) == 3 for state in it.optimizer.state.values())


def test_teach_tells_it_at_resume(tmp_path):
    plan = attent.Plan.full(epochs=2, batch_size=20)
    attent.teach(learner(rate=0.5), plan, run=tmp_path, stop=lambda: True)
    with pytest.warns(UserWarning, match="lr was 0.5, is 0.001"):
        attent.teach(learner(rate=0.001), plan, run=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (lambda o: CosineAnnealingLR(o, 10), lambda o: CosineAnnealingLR(o, 20), "the scheduler's T_max was 10, is 20"),
        (lambda o: CosineAnnealingLR(o, 10), lambda o: CosineAnnealingLR(o, 10), None),
    ],
)
def test_another_schedule_is_told(first, second, told):
    run = learner(schedule=first)
    run.train(BATCHES)
    it = learner(schedule=second)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        it.load_state(run.state())
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])
    assert it.scheduler.T_max == 10


def test_a_rate_behind_a_schedule_is_told():
    run = learner(rate=0.5, schedule=lambda o: LambdaLR(o, lambda step: 1 / (1 + step)))
    run.train(BATCHES)
    it = learner(rate=0.001, schedule=lambda o: LambdaLR(o, lambda step: 1 / (1 + step)))
    with pytest.warns(UserWarning, match="initial_lr was 0.5, is 0.001"):
        it.load_state(run.state())


def test_ones_own_schedule_is_taken_on_to_the_step():
    run = learner(schedule=lambda o: CosineAnnealingLR(o, 10))
    run.train(BATCHES)
    it = learner(rate=0.3, schedule=lambda o: LambdaLR(o, lambda step: 1 / (1 + step)), own_settings=True)
    it.load_state(run.state())
    assert it.optimizer.param_groups[0]["lr"] == pytest.approx(0.3 / 4)
    it.train(BATCHES[:1])
    assert it.optimizer.param_groups[0]["lr"] == pytest.approx(0.3 / 5)
    with pytest.raises(LearnerError, match="own schedule stands at step 4, the state at 3"):
        it.load_state(run.state())


def test_a_schedule_of_another_length_is_refused_at_resume_too(tmp_path):
    plan = attent.Plan(epochs=3, batch_size=20, ratio=0.5)
    attent.teach(learner(), plan, run=tmp_path, stop=lambda: True)
    with pytest.raises(LearnerError, match="the scheduler is too long: its CosineAnnealingLR has T_max=100"):
        attent.teach(
            learner(schedule=lambda o: CosineAnnealingLR(o, 100), own_settings=True), plan, run=tmp_path, resume=True
        )
    steps = plan.total_steps(81)
    fits = learner(schedule=lambda o: CosineAnnealingLR(o, steps), own_settings=True)
    assert attent.teach(fits, plan, run=tmp_path, resume=True).finished
