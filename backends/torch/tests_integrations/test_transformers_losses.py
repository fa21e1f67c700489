"""Losses of a user's own, tasks beyond one label, and what a callback or a schedule of the user's may do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import BertConfig, BertForQuestionAnswering, TrainerCallback, TrainingArguments

import attent
from attent.errors import CourseError, LearnerError
from attent_torch.trainers import transformers_checks
from attent_torch.trainers.transformers import TaughtTrainer
from attent_torch.trainers.transformers_losses import losses_of

PLAN = attent.Plan.default(epochs=4, batch_size=10)


@pytest.fixture
def taught(tiny, tmp_path):
    def build(cls=TaughtTrainer, model=None, data=None, accumulate: int = 1, changes=None, **options):
        settings = {"learning_rate": 0.1, "optim": "sgd", "max_grad_norm": 0.0, "save_strategy": "no", "report_to": []}
        settings |= {"use_cpu": True, "disable_tqdm": True, "log_level": "error", **(changes or {})}
        sizes = {
            "per_device_train_batch_size": 10 // accumulate,
            "gradient_accumulation_steps": accumulate,
        }
        return cls(
            model=tiny.model("bert") if model is None else model,
            args=TrainingArguments(str(Path(tmp_path, "out")), **sizes, **settings),
            train_dataset=Dataset.from_dict(tiny.rows("bert")) if data is None else data,
            plan=PLAN,
            **options,
        )

    return build


class OwnMean(TaughtTrainer):
    """As transformers' documentation has it: a mean of its own, without super()."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = F.cross_entropy(outputs["logits"], labels)
        return (loss, outputs) if return_outputs else loss


def mean(outputs, labels, num_items_in_batch=None):
    return F.cross_entropy(outputs["logits"], labels)


def counted(outputs, labels, num_items_in_batch=None):
    total = F.cross_entropy(outputs["logits"], labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


OWN = {
    "compute_loss": {"cls": OwnMean},
    "compute_loss_func, a mean": {"compute_loss_func": mean},
    "compute_loss_func, counted": {"compute_loss_func": counted},
    "label smoothing": {"changes": {"label_smoothing_factor": 0.1}},
}


@pytest.mark.parametrize("options", OWN.values(), ids=OWN)
@pytest.mark.parametrize("accumulate", [2, 5])
def test_a_loss_of_ones_own_trains_the_same_whatever_the_accumulation(options, accumulate, taught, flat):
    whole, parts = taught(**options), taught(accumulate=accumulate, **options)
    whole.train()
    parts.train()
    assert attent.first_difference(whole.feed.trace(), parts.feed.trace()) is None
    torch.testing.assert_close(flat(parts.model), flat(whole.model), rtol=0, atol=1e-12)


def test_a_mean_of_ones_own_is_told_of(taught, monkeypatch):
    heard = []
    monkeypatch.setattr(transformers_checks.logger, "warning", heard.append)
    taught(OwnMean, accumulate=2, changes={"max_steps": 1}).train()
    assert [line.split(":")[0] for line in heard] == ["The loss of OwnMean does not use num_items_in_batch"]


def test_a_mean_of_ones_own_is_refused_where_trainer_cannot_divide_it(taught, monkeypatch):
    monkeypatch.delattr(transformers_checks.Trainer, "loss_is_scaled_for_ga")  # as before 5.2x
    trainer = taught(compute_loss_func=mean, accumulate=2)
    with pytest.raises(LearnerError, match="compute_loss_func returns a mean"):
        trainer.train()
    assert trainer.state.global_step == 0


def answers(tiny) -> tuple[torch.nn.Module, Dataset]:
    torch.manual_seed(0)
    size = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForQuestionAnswering(BertConfig(**size, **rates, num_attention_heads=2)).double()
    ends = {"start_positions": (tiny.tokens[:, 1] % 12).tolist(), "end_positions": (tiny.tokens[:, 2] % 12).tolist()}
    return model, Dataset.from_dict({"input_ids": tiny.tokens.tolist(), **ends})


def test_answers_as_spans_are_ranked_by_both_ends(tiny, taught, seen):
    model, data = answers(tiny)
    columns = data.with_format("torch")[:]
    with torch.no_grad():
        outputs = model(**columns)
        losses, counts = losses_of(outputs, columns, shift=False)
        alone = [model(**{name: column[id : id + 1] for name, column in columns.items()}).loss for id in range(43)]
    torch.testing.assert_close(losses, torch.stack(alone), rtol=0, atol=1e-12)
    assert counts.tolist() == [1] * 43
    trainer = taught(model=model, data=data)
    steps = seen(model)
    trainer.train()
    trained = [id for step in steps.batches[5:7] for id in step]  # pass 1, after one on all 43
    assert sorted(trained) == trainer.feed.trace().ids(1).tolist()
    assert len(trained) == 17


def test_a_schedule_of_ones_own_must_be_of_the_plans_length(tiny, taught, flat):
    def given(steps):
        model = tiny.model("bert")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return taught(model=model, optimizers=(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)))

    trainer = given(100)
    before = flat(trainer.model)
    with pytest.raises(LearnerError, match="the scheduler is too long: its CosineAnnealingLR has T_max=100"):
        trainer.train()
    assert torch.equal(flat(trainer.model), before)
    trainer = given(PLAN.total_steps(43))
    trainer.train()
    assert trainer.lr_scheduler.get_last_lr() == [0.0]


class StopsTheEpoch(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_epoch_stop = state.global_step == 2


def test_a_callback_that_ends_an_epoch_is_refused(taught):
    with pytest.raises(CourseError, match="a callback ended the epoch after 2 of the 5 steps of pass 0"):
        taught(callbacks=[StopsTheEpoch()]).train()


def test_an_empty_data_set_is_refused(taught):
    with pytest.raises(LearnerError, match="train_dataset is empty"):
        taught(data=Dataset.from_dict({"input_ids": [], "labels": []}))


def test_a_causal_models_loss_is_computed_once_a_step(tiny, taught, monkeypatch, flat):
    shapes = []
    own = F.cross_entropy

    def counting(logits, *args, **kwargs):
        if torch.is_grad_enabled():
            shapes.append(tuple(logits.shape))
        return own(logits, *args, **kwargs)

    model = tiny.model("llama", dtype=torch.float32)
    trainer = taught(model=model, data=Dataset.from_dict(tiny.rows("llama")), changes={"max_steps": 3})
    monkeypatch.setattr(F, "cross_entropy", counting)
    trainer.train()
    assert [shape for shape in shapes if shape != (11, 64)] == [(10 * 12, 64)] * 3  # those are looked at before
    assert not hasattr(model, "_loss_function")  # its own again
