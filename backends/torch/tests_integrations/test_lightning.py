"""Lightning trains what the plan says, in every step, on one process and two, and goes on exactly from a checkpoint."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
)
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader

import attent
from attent_torch import TorchLearner
from attent_torch.trainers.lightning import Teaching

_spec = importlib.util.spec_from_file_location("lightning_task", Path(__file__).with_name("lightning_task.py"))
task = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(task)
AUTO, DEFAULT, INPUTS, LABELS, Module = task.AUTO, task.DEFAULT, task.INPUTS, task.LABELS, task.Module
N, Numbered, SIZE, loader_of, losses_of = task.N, task.Numbered, task.SIZE, task.loader_of, task.losses_of
new_net, new_trainer, taught, weights_of = task.new_net, task.new_trainer, task.taught, task.weights_of

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "trainers"
PARTS = {"auto": 1, "default": 2}  # batches accumulated in two processes
WEIGHTED = attent.Plan.infobatch(epochs=4, batch_size=SIZE)
pytestmark = task.QUIET


class Watched(TorchLearner):
    """A learner that remembers which ids each step trained."""

    def train(self, batches, weights=None):
        self.seen = [*getattr(self, "seen", []), *(ids.tolist() for ids in batches)]
        return super().train(batches, weights)


def by_teach(plan: attent.Plan) -> tuple[attent.Trace, Watched]:
    net = new_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    schedule = CosineAnnealingLR(optimizer, plan.total_steps(N))
    learner = Watched(net, (INPUTS, LABELS), lambda net, batch: losses_of(net, *batch), optimizer, scheduler=schedule)
    return attent.teach(learner, plan), learner


@pytest.mark.parametrize("plan", [AUTO, DEFAULT, WEIGHTED], ids=["auto", "default", "weighted"])
@pytest.mark.parametrize("workers", [{}, {"num_workers": 2, "persistent_workers": True}], ids=["main", "workers"])
def test_every_step_trains_what_teach_trains(plan, workers):
    trace, learner = by_teach(plan)
    module, teaching, trainer = taught(plan, loader=loader_of(**workers))
    assert [ids for _, ids in module.seen] == learner.seen
    assert attent.first_difference(teaching.teacher.trace(), trace) is None
    torch.testing.assert_close(weights_of(module.net), weights_of(learner.model), rtol=0, atol=1e-12)
    assert teaching.teacher.finished
    assert module.steps == trainer.global_step == plan.total_steps(N)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0
    assert trainer.current_epoch == 4
    assert [count for _, count in sorted(Counter(epoch for epoch, _ in module.seen).items())] == teaching.teacher.steps


@pytest.mark.parametrize(("plan", "held_out"), [(AUTO, True), (DEFAULT, False)], ids=["auto", "default"])
def test_goes_on_exactly_from_any_step(plan, held_out, tmp_path):
    keep = ModelCheckpoint(tmp_path / "states", "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, teaching, trainer = taught(plan, keep, held_out=held_out, run=tmp_path / "run")
    trace = teaching.teacher.trace()
    every = sorted((tmp_path / "states").iterdir(), key=lambda path: int(path.stem.removeprefix("step=")))
    assert len(every) == trainer.global_step
    ends = np.cumsum(teaching.teacher.steps).tolist()
    for step in sorted({1, 3, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}):
        path = every[step - 1]
        module, again, after = taught(plan, ckpt=path, held_out=held_out)
        assert module.seen == whole.seen[step:], path
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), path
        assert (after.current_epoch, after.global_step, module.steps) == (4, trainer.global_step, whole.steps), path
        assert again.teacher.finished, path
    module, again, _ = taught(plan, ckpt=every[7], run=tmp_path / "run")
    assert attent.first_difference(again.teacher.trace(), trace) is None


@pytest.mark.parametrize("late", [True, False])
def test_goes_on_exactly_from_every_epoch(late, tmp_path):
    keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=late)
    whole, teaching, _ = taught(DEFAULT, keep)
    ends = np.cumsum(teaching.teacher.steps).tolist()
    for epoch, end in enumerate(ends):
        path = tmp_path / f"epoch={epoch}.ckpt"
        assert torch.load(path, weights_only=True)["callbacks"]["attent"]
        module, _, _ = taught(DEFAULT, ckpt=path)
        assert module.seen == whole.seen[end:], epoch
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), epoch


def test_one_cycle_ends_with_the_run_where_the_first_pass_is_the_shortest():
    class OneCycle(Module):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            schedule = OneCycleLR(optimizer, 0.5, total_steps=self.trainer.estimated_stepping_batches)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    plan = attent.Plan.paper(epochs=4, batch_size=SIZE)
    assert plan.timeline(N)[0].steps < plan.timeline(N)[3].steps
    module = OneCycle()
    teaching = Teaching(plan, loss=lambda module, batch: losses_of(module.net, *batch[1:]))
    trainer = new_trainer(teaching)
    trainer.fit(module, loader_of())
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == trainer.global_step == plan.total_steps(N)
    assert [len(teaching.teacher.trace().ids(epoch)) for epoch in range(4)] == [row.k for row in plan.timeline(N)]


@pytest.mark.parametrize("kind", ["auto", "default", "infobatch"])
@pytest.mark.parametrize("accumulate", [2, 5])
def test_a_step_trains_the_plans_batch_whatever_the_accumulation(kind, accumulate):
    plan = getattr(attent.Plan, kind)(epochs=4, batch_size=20)
    whole, teaching, _ = taught(plan, loader=loader_of(batch_size=20))
    parts, again, trainer = taught(
        plan, loader=loader_of(batch_size=20 // accumulate), accumulate_grad_batches=accumulate
    )
    assert len(parts.seen) == accumulate * len(whole.seen)
    for step, (epoch, ids) in enumerate(whole.seen):
        found = parts.seen[step * accumulate : (step + 1) * accumulate]
        assert {each for each, _ in found} == {epoch}
        own = [id for _, part in found for id in part]
        assert own == ids if len(ids) >= accumulate else set(own) == set(ids)
    assert attent.first_difference(again.teacher.trace(), teaching.teacher.trace()) is None
    torch.testing.assert_close(weights_of(parts.net), weights_of(whole.net), rtol=0, atol=1e-12)
    assert parts.steps == trainer.global_step == plan.total_steps(N)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0


def test_goes_on_exactly_from_any_step_of_accumulated_batches(tmp_path):
    settings = {"accumulate_grad_batches": 2}
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, _, trainer = taught(DEFAULT, keep, loader=loader_of(batch_size=SIZE // 2), **settings)
    for step in range(1, trainer.global_step + 1):
        module, _, _ = taught(
            DEFAULT, loader=loader_of(batch_size=SIZE // 2), ckpt=tmp_path / f"step={step}.ckpt", **settings
        )
        assert module.seen == whole.seen[2 * step :], step
        assert torch.equal(weights_of(module.net), weights_of(whole.net)), step


def test_other_callbacks_keep_working(tmp_path):
    class Worse(Module):
        def validation_step(self, batch, batch_idx):
            self.log("held_out", float(self.current_epoch))

    best = ModelCheckpoint(tmp_path, monitor="held_out", save_top_k=1)
    stop = EarlyStopping("held_out", patience=2)
    module, teaching, trainer = taught(DEFAULT, best, stop, module=Worse())
    assert trainer.current_epoch == 3
    assert best.best_model_path.endswith("epoch=0-step=6.ckpt")
    assert teaching.teacher.feed.epoch == 3
    assert len(module.seen) == sum(teaching.teacher.steps[:3])


def test_validation_within_an_epoch_is_not_recorded():
    module, _, _ = taught(DEFAULT, val_check_interval=0.5)
    plain, _, _ = taught(DEFAULT, held_out=False)
    assert module.seen == plain.seen


def test_the_module_stays_usable_without_a_plan():
    module = Module()
    new_trainer(epochs=1).fit(module, loader_of(shuffle=False))
    assert module.seen[0][1] == list(range(SIZE))


def test_a_second_fit_with_another_trainer_begins_anew():
    teaching, first, second = Teaching(DEFAULT), Module(), Module()
    for module in (first, second):
        new_trainer(teaching).fit(module, loader_of())
    assert first.seen == second.seen


def test_a_fit_that_was_stopped_is_gone_on_with():
    class Stopped(Module):
        def training_step(self, batch, batch_idx):
            if len(self.seen) == 9 and self.stop:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    module, teaching, whole = Stopped(), Teaching(DEFAULT), taught(DEFAULT)[0]
    trainer = new_trainer(teaching)
    module.stop = True
    with pytest.raises(SystemExit):  # Lightning's way
        trainer.fit(module, loader_of())
    assert isinstance(trainer.fit_loop._data_source.instance, DataLoader)
    module.stop = False
    trainer.fit(module, loader_of())
    assert [ids for _, ids in module.seen] == [ids for _, ids in whole.seen]


def test_the_trainer_gets_its_own_loader_back():
    trainer = taught(DEFAULT)[2]
    assert isinstance(trainer.fit_loop._data_source.instance, DataLoader)
    assert trainer.reload_dataloaders_every_n_epochs == 0


def test_a_data_module_and_a_dry_run_are_taught_too(tmp_path):
    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return loader_of()

    module, dry = Module(), Module()
    new_trainer(Teaching(DEFAULT)).fit(module, datamodule=Data())
    assert module.seen == taught(DEFAULT)[0].seen
    new_trainer(Teaching(DEFAULT, run=tmp_path / "run"), fast_dev_run=True).fit(dry, datamodule=Data())
    assert dry.seen == module.seen[:1]
    assert not (tmp_path / "run").exists()


def test_two_optimisers_by_hand():
    class ByHand(Module):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self):
            return [torch.optim.SGD(each.parameters(), 0.5) for each in (self.net[0], self.net[2])]

    module, teaching, _ = taught(DEFAULT, module=ByHand())
    assert teaching.teacher.finished
    assert len(module.seen) == DEFAULT.total_steps(N)


@pytest.mark.parametrize("plan", ["auto", "default"])
def test_two_processes_train_their_shares_of_the_same_batches(plan, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, __file__, plan, str(tmp_path)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    one, teaching, _ = taught({"auto": AUTO, "default": DEFAULT}[plan])
    parts = PARTS[plan]
    assert len(ranks[0]["seen"]) == len(ranks[1]["seen"]) == parts * len(one.seen)
    for step, (epoch, ids) in enumerate(one.seen):
        own = [part for rank in ranks for part in rank["seen"][parts * step : parts * (step + 1)]]
        assert {part[0] for part in own} == {epoch}
        assert [id for part in own for id in part[1]] == ids
    for rank in ranks:
        np.testing.assert_allclose(rank["weights"], weights_of(one.net), rtol=0, atol=1e-12)
        assert rank["again"] == rank["seen"][8 * parts :]
        assert rank["weights"] == rank["weights_again"]
        assert rank["steps"] == one.steps
    assert attent.first_difference(attent.Trace.read(tmp_path / "run"), teaching.teacher.trace()) is None


def on_a_rank(plan: attent.Plan, parts: int, folder: Path) -> None:
    """Train, and go on from a checkpoint in mid-pass, on one of two processes."""
    found = {}
    for again in ("", "_again"):
        keep = ModelCheckpoint(folder / f"states{again}", "{step}", every_n_train_steps=8, save_top_k=-1)
        module, _, trainer = taught(
            plan, keep, strategy="ddp", devices=2, loader=loader_of(batch_size=SIZE // 2 // parts), accumulate_grad_batches=parts,
            ckpt=folder / "states" / "step=8.ckpt" if again else None, run=None if again else folder / "run",
        )  # fmt: skip
        found |= {"again" if again else "seen": module.seen, f"weights{again}": weights_of(module.net).tolist()}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps({**found, "steps": module.steps}))


@pytest.mark.parametrize("name", ["lightning_trainer"])
def test_at_most_five_lines_of_the_script_change(name):
    before, after = ((EXAMPLES / f"{name}{kind}.py").read_text().splitlines() for kind in ("_before", ""))
    added = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert 0 < len(added) <= 5, added
    assert len(after) <= 40


@pytest.mark.parametrize("name", ["lightning_trainer_before", "lightning_trainer"])
def test_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert found["trainer"].current_epoch == 5
    assert found["trainer"].callback_metrics["accuracy"] > 0.9


class Sorted(Numbered):
    """Examples whose groups are an attribute."""

    source = np.arange(N) // 60


def test_a_policy_by_group_goes_by_an_attribute_of_the_dataset():
    teaching = Teaching(attent.Plan.balanced(epochs=2, batch_size=SIZE), groups="source")
    trainer = Trainer(
        max_epochs=2, callbacks=[teaching], logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(Sorted(), batch_size=SIZE, shuffle=True))
    trace = teaching.teacher.trace()
    taken = [np.bincount(Sorted.source[trace.ids(epoch)]).tolist() for epoch in range(1, len(trace.records))]
    assert [max(each) - min(each) <= 1 for each in taken] == [True] * len(taken)


if __name__ == "__main__":
    on_a_rank({"auto": AUTO, "default": DEFAULT}[sys.argv[1]], PARTS[sys.argv[1]], Path(sys.argv[2]))


READ_BACK = {
    "hard": attent.Plan(epochs=4, batch_size=SIZE, warm_up=1, ratio=0.4, select=attent.Hard()),
    "weighted": attent.Plan.default(epochs=4, batch_size=SIZE, select=attent.Soft(temperature=0.3, correction=5.0)),
}


@pytest.mark.parametrize("plan", READ_BACK.values(), ids=READ_BACK)
def test_a_runs_folder_is_shown_compared_and_replayed(plan, tmp_path, read_back):
    taught(plan, run=tmp_path / "run")
    trace = attent.Trace.read(tmp_path / "run")
    teaching = Teaching(replace(plan, source=attent.Replay()), run=tmp_path / "again", replay=trace)
    new_trainer(teaching).fit(Module(), loader_of())
    again = teaching.teacher.trace()
    read_back(trace, again)
