"""What only a CUDA device shows: placement, pinned copies, its generator, loss scaling, one transfer per call."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from attent.errors import LearnerError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("data_on", ["cpu", "cuda"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_scores_and_losses_agree_with_the_cpu(task, data_on, num_workers):
    data = [(x, y) for x, y in zip(task.x, task.y, strict=True)]
    if num_workers == 0:
        data = TensorDataset(task.x.to(data_on), task.y.to(data_on))
    there = task.learner(task.model().cuda(), data=data, num_workers=num_workers)
    here = task.learner()
    assert there.device == torch.device("cuda", 0)
    assert np.allclose(there.train(task.batches, task.weights), here.train(task.batches, task.weights), rtol=1e-10)
    assert np.allclose(there.score(np.arange(24)), here.score(np.arange(24)), rtol=1e-10)


def test_dropout_resumes_and_scoring_leaves_the_device_generator(task):
    torch.cuda.manual_seed(0)
    learner = task.learner(task.model(dropout=0.5).cuda())
    learner.train(task.batches[:2])
    before = torch.cuda.get_rng_state()
    learner.score(np.arange(24))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    state = learner.state()
    assert "random/cuda:0" in state
    losses = learner.train(task.batches)
    torch.cuda.manual_seed(9)
    fresh = task.learner(task.model(dropout=0.5, seed=8).cuda())
    fresh.load_state(state)
    assert fresh.train(task.batches).tolist() == losses.tolist()


@pytest.mark.parametrize("autocast", [torch.float16, torch.bfloat16])
def test_mixed_precision_learns(task, autocast):
    task.x, task.y = task.x.float(), task.y.float()
    learner = task.learner(task.model(dtype=torch.float32).cuda(), autocast=autocast, clip_norm=1.0)
    losses = learner.train([task.batches[0]] * 40)
    assert losses[-6:].mean() < 0.7 * losses[:6].mean()


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("data_on", ["cpu", "cuda"])
def test_a_training_call_waits_for_the_device_once(task, data_on):
    learner = task.learner(task.model().cuda(), data=(task.x.to(data_on), task.y.to(data_on)))
    learner.train(task.batches, task.weights)  # memory and kernels are there now
    try:
        torch.cuda.set_sync_debug_mode("error")
        with pytest.raises(RuntimeError, match="synchronizing"):  # the one at the end
            learner.train(task.batches, task.weights)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert learner.steps == 10  # all steps came before it


def test_another_device_than_the_models_is_refused(task):
    with pytest.raises(LearnerError, match=r"device is cuda:0, but the model's parameters are on cpu"):
        task.learner(device="cuda")
