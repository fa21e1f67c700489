"""Batches of similar length under Trainer: the plan's ids, sorted as rule T14 says, whatever the accumulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import TrainingArguments

import attent
from attent.errors import LearnerError
from attent_torch.trainers.transformers import TaughtTrainer
from attent_torch.trainers.transformers_lengths import lengths_of

PLAN = attent.Plan.default(epochs=4, batch_size=10)
LENGTHS = [1 + (7 * id) % 11 for id in range(43)]  # not those of the rows, which all have 12 tokens


@pytest.fixture
def taught(tiny, tmp_path):
    def build(size=10, accumulate=1, plan=PLAN, data=None, folder=tmp_path / "out", given=None, **changes):
        settings = {
            "learning_rate": 1e-2,
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "max_grad_norm": 0.0,
        }
        settings |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulate}
        settings |= {"train_sampling_strategy": "group_by_length", "disable_tqdm": True, "log_level": "error"}
        return TaughtTrainer(
            model=tiny.model("llama"),
            args=TrainingArguments(str(folder), **{**settings, **changes}),
            train_dataset=Dataset.from_dict({**tiny.rows("llama"), "length": LENGTHS}) if data is None else data,
            plan=plan,
            **(given or {}),
        )

    return build


@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_each_step_trains_a_batch_of_similar_length(accumulate, taught, seen, flat):
    trainer = taught(10 // accumulate, accumulate)
    steps = seen(trainer.model)
    trainer.train()
    assert trainer.plan == dataclasses.replace(PLAN, bucket=2)
    trace, at = trainer.feed.trace(), iter(steps.batches)
    found = []
    for row in PLAN.timeline(43):
        for step in range(row.steps):
            left = row.k - step * 10
            many = accumulate if left > 10 else -(-left // (10 // accumulate))
            found.append([id for _ in range(many) for id in next(at)])
    assert next(at, None) is None
    begun = 0
    for row in PLAN.timeline(43):
        batches = found[begun : begun + row.steps]
        begun += row.steps
        assert sorted(sum(batches, [])) == trace.ids(row.epoch).tolist()
        for batch in batches[: row.k // 10]:
            assert [LENGTHS[id] for id in batch] == sorted((LENGTHS[id] for id in batch), reverse=True)
    # The first pass, straight from the plan: two batches at once, sorted, and the rest as it came.
    first = attent.Feed(dataclasses.replace(PLAN, bucket=2), 43, costs=np.array(LENGTHS, np.float64)).batches()
    assert found[:5] == [ids.tolist() for ids in first]
    whole = taught()
    whole.train()
    torch.testing.assert_close(flat(trainer.model), flat(whole.model), rtol=0, atol=1e-12)
    assert attent.first_difference(trace, whole.feed.trace()) is None


def test_a_run_goes_on_from_any_checkpoint_to_the_bit(taught, tmp_path, seen, flat):
    settings = {"save_strategy": "steps", "save_steps": 1}
    whole = taught(**settings)
    steps = seen(whole.model)
    whole.train()
    for step in (3, 6, 11):
        again = taught(**settings)
        more = seen(again.model)
        again.train(resume_from_checkpoint=str(tmp_path / f"out/checkpoint-{step}"))
        assert more.batches == steps.batches[step:]
        assert torch.equal(flat(again.model), flat(whole.model))


def test_lengths_are_those_of_the_inputs_where_no_column_says_them(tiny):
    rows = {"input_ids": [row[: 2 + id % 9] for id, row in enumerate(tiny.rows("llama")["input_ids"])]}
    wanted = [2 + id % 9 for id in range(43)]
    assert lengths_of(Dataset.from_dict(rows), "length", "input_ids").tolist() == wanted
    assert lengths_of(Dataset.from_dict(rows).with_format("torch"), "length", "input_ids").tolist() == wanted
    assert lengths_of([{"input_ids": row} for row in rows["input_ids"]], "length", "input_ids").tolist() == wanted
    assert lengths_of(Dataset.from_dict({**rows, "tokens": LENGTHS}), "tokens", "input_ids").tolist() == LENGTHS


def test_a_plan_says_how_many_batches_are_sorted_at_once_and_costs_by_what(taught):
    own = dataclasses.replace(PLAN, bucket=3)
    trainer = taught(plan=own, train_sampling_strategy="random", max_steps=5)
    trainer.train()
    lengths = np.array(LENGTHS, np.float64)
    assert trainer.plan == own
    assert trainer.feed.trace().records[0].cost_trained == lengths.sum()
    other = taught(plan=own, max_steps=5, given={"costs": 100 - lengths})
    other.train()
    assert other.feed.trace().records[0].cost_trained == (100 - lengths).sum()


@pytest.mark.parametrize(
    "data", [Dataset.from_dict({"text": ["a", "b"]}), [(1, 2)], [{"labels": 1}], [{"input_ids": 1}]]
)
def test_data_that_tell_no_lengths_are_refused(data):
    with pytest.raises(
        LearnerError, match="the data tell no lengths: .* have neither 'length' nor a sequence 'input_ids'"
    ):
        lengths_of(data, "length", "input_ids")
