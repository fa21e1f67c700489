"""SFTTrainer, taught: which ids in which step, what is trained and ranked, resume, adapters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import attent
from attent.errors import LearnerError, PlanError
from attent_torch.trainers.transformers import Teaching
from attent_torch.trainers.trl import TaughtSFTTrainer, mean_token_loss

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's own settings are named as in transformers 4


class Mine(Teaching, SFTTrainer):
    """As a user mixes it."""


@pytest.fixture(scope="session")
def tokenizer():
    words = {word: number for number, word in enumerate(["<end>", *"abcdefghijklmnopqrstuvwxyz+= 0123456789"])}
    splitter = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    splitter.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=splitter, eos_token="<end>", pad_token="<end>")


ROWS = {"prompt": [f"{i} + {i} =" for i in range(43)], "completion": [f" {i + i}" + "x" * (i % 5) for i in range(43)]}


@pytest.fixture
def taught(tiny, tokenizer, tmp_path):
    def build(cls=TaughtSFTTrainer, size=10, accumulate=1, plan=None, data=None, dropout=0.0, **changes):
        options = {"attent_run", "per_example_loss", "peft_config", "processing_class", "groups", "feed_options"}
        given = {name: changes.pop(name) for name in options if name in changes}
        if issubclass(cls, Teaching):
            given["plan"] = attent.Plan.default(epochs=4, batch_size=10) if plan is None else plan
        settings = {"learning_rate": 1e-2, "save_strategy": "no", "report_to": [], "use_cpu": True, "bf16": False}
        settings |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulate}
        settings |= {"logging_steps": 1, "max_grad_norm": 0.0, "disable_tqdm": True}
        return cls(
            model=tiny.model("llama", dropout=dropout),
            args=SFTConfig(str(changes.pop("folder", tmp_path / "out")), **{**settings, **changes}),
            train_dataset=Dataset.from_dict(ROWS) if data is None else data,
            **{"processing_class": tokenizer, **given},
        )

    return build


class Recorded:
    """Every number that a feed was given, by id, in the order of passes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.passes: list[dict[int, float]] = []
        record = attent.Feed.record

        def spy(feed, numbers, ids, skipped=0, **told):
            while len(self.passes) <= feed.epoch:
                self.passes.append({})
            self.passes[feed.epoch].update(zip(ids.tolist(), numbers.tolist(), strict=True))
            return record(feed, numbers, ids, skipped, **told)

        patch.setattr(attent.Feed, "record", spy)


def traced(trainer):
    trace = trainer.feed.trace()
    return [trace.ids(row.epoch).tolist() for row in trace.records]


@pytest.mark.parametrize("cls", [TaughtSFTTrainer, Mine])
def test_ids_and_parameters_do_not_depend_on_accumulation(cls, taught, flat):
    trainers = [taught(cls=cls, size=10 // accumulate, accumulate=accumulate) for accumulate in (1, 2, 5)]
    for trainer in trainers:
        trainer.train()
        assert trainer.state.global_step == trainer.state.max_steps == 14
        assert trainer.state.epoch == 4
        assert trainer.lr_scheduler.get_last_lr() == [0.0, 0.0]
    assert traced(trainers[0]) == traced(trainers[1]) == traced(trainers[2])
    assert [len(ids) for ids in traced(trainers[0])] == [43, 17, 17, 43]
    for other in trainers[1:]:  # TRL computes the tokens' losses in float32
        torch.testing.assert_close(flat(other.model), flat(trainers[0].model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_loss_and_gradient_are_sfttrainers_own(accumulate, taught):
    rows = Dataset.from_dict({name: column[:40] for name, column in ROWS.items()})  # one step of all examples
    size = {"size": 40 // accumulate, "accumulate": accumulate, "data": rows}
    ours = taught(plan=attent.Plan.full(epochs=1, batch_size=40), **size)
    own = taught(cls=SFTTrainer, num_train_epochs=1, **size)
    ours.train()
    own.train()
    for name in ("loss", "grad_norm"):
        assert ours.state.log_history[0][name] == pytest.approx(own.state.log_history[0][name], abs=1e-6)


@pytest.mark.parametrize(("rank", "loss_type"), [("sum", "nll"), ("sum", "dft"), ("mean", "nll")])
def test_examples_are_ranked_by_their_part_in_the_token_mean_or_as_asked(rank, loss_type, taught, monkeypatch):
    recorded = Recorded(monkeypatch)
    plan = attent.Plan.full(epochs=1, batch_size=10)
    given = {"per_example_loss": mean_token_loss} if rank == "mean" else {}
    trainer = taught(plan=plan, learning_rate=0.0, loss_type=loss_type, **given)
    trainer.train()
    expected = []
    for row in trainer.train_dataset:
        labels = torch.tensor(row["labels"][1:])
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        each = F.cross_entropy(logits, labels, reduction="none")[labels != -100]
        each = each * (-each).exp() if loss_type == "dft" else each
        expected.append(float(each.sum() if rank == "sum" else each.mean()))
    assert [recorded.passes[0][id] for id in range(43)] == pytest.approx(expected, abs=1e-5)


def test_fresh_scores_are_those_of_the_model_as_it_stands(taught, monkeypatch):
    recorded = Recorded(monkeypatch)
    plan = attent.Plan.default(epochs=2, batch_size=10, warm_up=0, source=attent.Fresh(), select=attent.Hard())
    trainer = taught(plan=plan, learning_rate=0.0)
    trainer.train()
    hardest = sorted(recorded.passes[0], key=recorded.passes[0].get)[-17:]
    assert traced(trainer)[0] == sorted(hardest)
    assert [row.examples_scored for row in trainer.feed.trace().records] == [43, 43]
    assert "eval_entropy" not in {name for log in trainer.state.log_history for name in log}


def test_a_run_goes_on_from_a_checkpoint_in_mid_pass_to_the_bit(taught, tmp_path, flat):
    settings = {"size": 5, "accumulate": 2, "save_strategy": "steps", "save_steps": 3, "folder": tmp_path / "out"}
    whole = taught(dropout=0.1, attent_run=tmp_path / "run", **settings)
    whole.train()
    trace = attent.Trace.read(tmp_path / "run")
    for step in (9, 6, 3):
        again = taught(dropout=0.1, attent_run=tmp_path / "run", **settings)
        again.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{step}"))
        assert torch.equal(flat(again.model), flat(whole.model))
        assert attent.first_difference(trace, attent.Trace.read(tmp_path / "run")) is None


def test_adapters_are_taught(taught, flat):
    trainer = taught(peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = {name: each.clone() for name, each in trainer.model.named_parameters()}
    trainer.train()
    assert [len(ids) for ids in traced(trainer)] == [43, 17, 17, 43]
    changed = {name for name, each in trainer.model.named_parameters() if not torch.equal(each, before[name])}
    assert changed
    assert all("lora" in name for name in changed)


@pytest.mark.parametrize("name", ["packing", "padding_free"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_joined_examples_are_refused(name, taught):
    settings = {name: True, **({"max_length": None} if name == "padding_free" else {})}
    with pytest.raises(PlanError, match=f"{name}=True joins .*: set {name}=False"):
        taught(**settings)


def test_a_data_set_that_is_shuffled_is_refused(taught):
    with pytest.raises(PlanError, match="shuffle_dataset=True renumbers the examples.*: set shuffle_dataset=False"):
        taught(shuffle_dataset=True)


def test_a_stream_is_refused(taught):
    stream = Dataset.from_dict(ROWS).to_iterable_dataset()
    with pytest.raises(LearnerError, match="is a IterableDataset, which is read in its own order"):
        taught(data=stream, max_steps=3)


def test_a_policy_by_group_goes_by_a_column_of_the_rows(taught):
    source = ["new" if i % 5 == 0 else "old" for i in range(43)]
    plan = attent.Plan.balanced(epochs=2, batch_size=10)
    trainer = taught(plan=plan, data=Dataset.from_dict({**ROWS, "source": source}), groups="source")
    trainer.train()
    taken = [[source[i] for i in trainer.feed.trace().ids(epoch)].count("new") for epoch in (1, 2, 3)]
    assert taken == [5, 9, 7]  # of passes of 10, 20 and 13; there are nine


def test_a_runs_folder_is_shown_compared_and_replayed(taught, tmp_path, read_back):
    plan = attent.Plan(epochs=4, batch_size=10, warm_up=1, ratio=0.4, select=attent.Hard())
    taught(plan=plan, attent_run=tmp_path / "run").train()
    trace = attent.Trace.read(tmp_path / "run")
    options = {"attent_run": tmp_path / "again", "feed_options": {"replay": trace}}
    trainer = taught(plan=replace(plan, source=attent.Replay()), folder=tmp_path / "other", **options)
    trainer.train()
    again = trainer.feed.trace()
    read_back(trace, again)
