"""Processes that train together by a loop: what each tells the others, and that one that chose otherwise stops all."""

import numpy as np
import pytest
import torch

from attent.errors import WorkersError
from attent_torch.trainers.workers import Workers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_rank_with_other_batches_is_named_on_all(monkeypatch, dtype):
    batches = [[np.array([3, 1, 2])], [np.array([3, 1, 2])], [np.array([3, 2, 1])]]
    own = [torch.full((1,), float(rank), dtype=dtype) for rank in range(3)]
    sent = []
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "gloo")

    def send(parts, told):
        sent.append(told.clone())
        for part in parts:
            part.copy_(told)

    monkeypatch.setattr("torch.distributed.all_gather", send)
    for rank in range(3):
        Workers(rank, 3).gathered(own[rank], batches[rank])
    monkeypatch.setattr(
        "torch.distributed.all_gather",
        lambda parts, told: [part.copy_(one) for part, one in zip(parts, sent, strict=True)],
    )
    for rank in range(3):
        with pytest.raises(WorkersError, match=r"^rank 2 of 3 trained other batches than rank 0: give every process"):
            Workers(rank, 3).gathered(own[rank], batches[rank])
    sent[2][-8:] = sent[0][-8:]
    numbers, ids = Workers(0, 3).gathered(own[0], batches[0])
    assert (numbers.tolist(), ids.tolist()) == ([0.0, 1.0, 2.0], [3, 1, 2])
