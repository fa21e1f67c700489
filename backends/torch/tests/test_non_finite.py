"""A step with a loss or a gradient that is not finite changes nothing (rule P8)."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR

import attent
from attent_torch import Teacher, TorchLearner, cross_entropy

SICK = 7
GOOD = np.delete(np.arange(40), SICK)
FIRST, BAD, SECOND = np.arange(10, 20), np.array([5, 6, SICK, 8]), np.arange(20, 30)
OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-2),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
    "SGD, fused": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-2),
}


class Counting(nn.Module):
    """Counts its training passes, in a buffer that it replaces each time, and that no state_dict has."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.passes = self.passes + 1
        return x


def learner(optimizer="AdamW", sick=True, schedule=None, **settings):
    torch.manual_seed(0)
    x, y = torch.randn(40, 5), torch.randint(3, (40,))
    if sick:
        x[SICK] = torch.nan
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), Counting(), nn.ReLU(), nn.Linear(8, 3))
    own = OPTIMIZERS[optimizer](model.parameters())
    return TorchLearner(model, (x, y), cross_entropy, own, schedule and schedule(own), **settings)


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.1}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_is_changed(optimizer, settings, assert_same):
    disturbed, plain = learner(optimizer, **settings), learner(optimizer, **settings)
    for batches in ([BAD, FIRST], [BAD], [SECOND, BAD, BAD], [FIRST]):
        losses = disturbed.train(batches)
        assert not np.isfinite(losses).all() or batches == [FIRST]
    plain.train([FIRST, SECOND, FIRST])
    ours, theirs = disturbed.state(), plain.state()
    wanted = [name for name in theirs if name.startswith(("model/", "optimizer/", "buffers/"))]
    assert "buffers/2.passes" in wanted
    assert "model/1.running_mean" in wanted
    assert_same({name: ours[name] for name in wanted}, {name: theirs[name] for name in wanted})
    assert (disturbed.skipped, plain.skipped, disturbed.steps) == (4, 0, 7)


def test_a_gradient_that_is_not_finite_is_as_bad_as_a_loss(assert_same):
    it, plain = learner(sick=False), learner(sick=False)
    it.train([FIRST])
    losses = it.train([SECOND], [np.full(10, 1e308)])  # beyond float32
    assert np.isfinite(losses).all()
    it.train([SECOND])
    plain.train([FIRST, SECOND])
    assert it.skipped == 1
    assert np.array_equal(it.score(GOOD), plain.score(GOOD))


def test_the_schedule_goes_on(recwarn):
    it = learner(schedule=lambda optimizer: LinearLR(optimizer, 1.0, 0.0, total_iters=4))
    it.train([BAD, FIRST])
    assert it.scheduler.last_epoch == 2
    assert [str(warning.message) for warning in recwarn] == []


def test_the_loss_scale_does_not_learn_from_a_nan():
    it = learner(autocast=torch.float16)
    it.train([FIRST])
    before = it._steps.scaler.state_dict()
    it.train([BAD])
    assert it._steps.scaler.state_dict() == before
    assert it.skipped == 1


def overflow_at(layer, steps):
    """Let a gradient overflow in these steps, though the losses are finite."""
    step = 0

    def hook(gradient):
        nonlocal step
        step += 1
        return gradient * torch.inf if step - 1 in steps else gradient

    layer.weight.register_hook(hook)


@pytest.mark.parametrize("optimizer", ["AdamW", "AdamW, fused", "SGD"])
def test_a_step_that_the_loss_scaler_leaves_out_changes_nothing_and_is_counted(optimizer, assert_same, recwarn):
    def built():
        return learner(optimizer, False, lambda own: LinearLR(own, 1.0, 0.99, total_iters=9), autocast=torch.float16)

    it, plain = built(), built()
    overflow_at(it.model[0], {1, 2})
    for each in (it, plain):
        each._steps.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    losses = it.train([FIRST, SECOND, GOOD[:8], SECOND])
    assert np.isfinite(losses).all()
    plain.train([FIRST, SECOND])
    assert (it.skipped, plain.skipped, it.scales_losses, learner().scales_losses) == (2, 0, True, False)
    for name in ("1.running_mean", "1.num_batches_tracked", "2.passes"):
        assert_same({name: it._buffers.all()[name]}, {name: plain._buffers.all()[name]})
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("policy", ["error", "drop"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loop_counts_what_its_gradient_scaler_leaves_out(optimizer, policy):
    """In each pass, its last step too, under every plan; the parameters are those of the steps taken."""
    torch.manual_seed(0)
    x, y = torch.randn(24, 5), torch.randint(3, (24,))
    model = nn.Linear(5, 3)
    own, scaler = OPTIMIZERS[optimizer](model.parameters()), torch.amp.GradScaler("cpu", init_scale=256.0)
    sick = {0, 5, 7}
    overflow_at(model, sick)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    plan = attent.Plan(epochs=3, batch_size=4, ratio=0.5, warm_up=1, non_finite=policy)
    teacher, step = Teacher(plan, loader, optimizer=own), 0
    for _ in range(3):
        for inputs, targets in teacher(loader):
            before = model.weight.detach().clone()
            loss = teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none"))
            own.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(own)
            scaler.update()
            assert torch.equal(before, model.weight) == (step in sick)
            step += 1
            if step == 8:
                teacher.state_dict()
    assert teacher.finished
    assert [record.steps_skipped for record in teacher.trace().records] == [2, 1, 0]


def test_steps_taken_outside_of_the_loop_hide_none_that_was_left_out():
    torch.manual_seed(0)
    x, y = torch.randn(24, 5), torch.randint(3, (24,))
    model = nn.Linear(5, 3)
    own = torch.optim.Adam(model.parameters(), 0.0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    teacher, step = Teacher(attent.Plan.full(epochs=2, batch_size=4), loader, optimizer=own), 0
    own.step()  # as torch.distributed.checkpoint takes one, to have moments that it can load into
    for _ in range(2):
        for inputs, targets in teacher(loader):
            teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none")).backward()
            if step not in (1, 4, 8):
                own.step()
            step += 1
            if step == 3:
                teacher.load_state_dict(teacher.state_dict())
                own.step()
    assert [record.steps_skipped for record in teacher.trace().records] == [2, 1]


def test_several_optimisers_are_refused_by_name():
    own = [torch.optim.SGD(nn.Linear(5, 3).parameters(), 0.1)]
    with pytest.raises(attent.LearnerError, match="optimizer is a list, and the steps of one torch.optim.Optimizer"):
        Teacher(attent.Plan.full(epochs=2, batch_size=4), 24, optimizer=own)


@pytest.mark.parametrize("way", ["nobody", "the scaler, unseen", "the scaler", "the loop"])
def test_a_loop_that_takes_or_hides_a_step_on_a_loss_that_is_not_finite_is_stopped(way):
    torch.manual_seed(0)
    x, y = torch.randn(24, 5), torch.randint(3, (24,))
    x[SICK] = torch.nan
    model = nn.Linear(5, 3)
    own, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", enabled="scaler" in way)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    plan = attent.Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, non_finite="drop")
    teacher = Teacher(plan, loader, optimizer=None if way in ("nobody", "the scaler, unseen") else own)

    def train():
        for inputs, targets in (batch for _ in range(2) for batch in teacher(loader)):
            loss = teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none"))
            own.zero_grad()
            scaler.scale(loss).backward()
            if way != "the loop" or bool(loss.isfinite()):
                scaler.step(own)
                scaler.update()

    if way in ("the scaler", "the loop"):
        train()
        assert [record.steps_skipped for record in teacher.trace().records] == [1, 0]
        assert bool(torch.isfinite(model.weight).all())
        return
    with pytest.raises(
        attent.LearnerError, match=r"[13] of 6 steps in pass 0 had a loss that is not finite, and 0 were l"
    ):
        train()


def test_a_buffer_that_begins_to_change_later_is_put_back_too():
    it, plain = learner(), learner()
    for each in (it, plain):
        each.model[1].eval()
        each.train([FIRST])
        each.model[1].train()
    it.train([BAD, SECOND])
    plain.train([SECOND])
    assert torch.equal(it.model[1].running_mean, plain.model[1].running_mean)


@pytest.mark.parametrize("policy", ["drop", "last"])
def test_a_run_goes_on_without_a_bad_example(tmp_path, policy):
    it = learner()
    plan = attent.Plan(epochs=3, batch_size=8, ratio=0.5, warm_up=1, non_finite=policy)
    trace = attent.teach(it, plan, run=tmp_path)
    assert [record.steps_skipped for record in trace.records] == [1, 0, 0]
    assert trace.finished
    assert np.isfinite(it.score(GOOD)).all()
    assert all(np.isfinite(record.loss) for record in trace.records)


def test_a_loop_leaves_such_a_step_out_where_it_asks():
    torch.manual_seed(0)
    x, y = torch.randn(24, 5), torch.randint(3, (24,))
    x[SICK] = torch.nan
    model = nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    plan = attent.Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, non_finite="drop")
    teacher = Teacher(plan, loader)
    with pytest.raises(attent.CourseError, match="no losses are recorded"):
        teacher.finite(optimizer)
    taken = []
    for _ in range(2):
        for inputs, targets in teacher(loader):
            loss = teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            taken.append(teacher.finite(optimizer))
            if taken[-1]:
                optimizer.step()
    assert teacher.finished
    assert taken.count(False) == 1
    assert bool(torch.isfinite(model.weight).all())


@pytest.mark.parametrize("sick_steps", [{0}, {5, 8}, {2, 5, 8}, set()])
def test_steps_that_a_loop_leaves_out_are_counted_in_their_passes(sick_steps):
    """Also those of a pass's last step, whose losses are recorded before it is known; here gradients alone are sick."""
    torch.manual_seed(0)
    x, y = torch.randn(24, 5), torch.randint(3, (24,))
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    teacher = Teacher(attent.Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, non_finite="drop"), loader)
    step = 0
    for _ in range(2):
        for inputs, targets in teacher(loader):
            loss = teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            if step in sick_steps:
                model.bias.grad[0] = torch.inf
            assert teacher.finite(optimizer) == (step not in sick_steps)
            step += 1
    assert teacher.finished
    counted = [sum(step < 6 for step in sick_steps), sum(step >= 6 for step in sick_steps)]
    assert [record.steps_skipped for record in teacher.trace().records] == counted


def test_a_loop_that_does_not_ask_still_comes_to_its_end():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(10, 2)), batch_size=4, shuffle=True)
    plan = attent.Plan(epochs=2, batch_size=4, ratio=0.5, warm_up=1, non_finite="drop")
    teacher = Teacher(plan, loader)
    for _ in range(2):
        for (inputs,) in teacher(loader):
            teacher.record(inputs.sum(1))
    assert teacher.finished
    own = Teacher(plan, 10)
    while not own.finished:
        for ids in own.batch_sampler:
            own.record(torch.ones(len(ids)))
    assert attent.first_difference(own.trace(), teacher.trace()) is None


def test_a_loop_keeps_no_weights_that_are_not_finite():
    model = nn.Linear(2, 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(10, 2)), batch_size=4, shuffle=True)
    teacher = Teacher(attent.Plan.full(epochs=1, batch_size=4), loader, model=model)
    for at, (inputs,) in enumerate(teacher(loader)):
        teacher.record(model(inputs)[:, 0])
        if at == 0:
            teacher.state_dict()
            nn.init.constant_(model.weight, torch.nan)
            with pytest.raises(
                attent.LearnerError, match="'weight' of the model is not finite in pass 0. Nothing of it is kept"
            ):
                teacher.state_dict()
            nn.init.constant_(model.weight, 1.0)
    masked = nn.Linear(2, 1)
    masked.register_buffer("mask", torch.tensor([-torch.inf]))  # what is not finite at first may stay
    assert set(Teacher(attent.Plan.full(epochs=1, batch_size=4), 10, model=masked).state_dict()) == set(
        teacher.state_dict()
    )


@pytest.mark.parametrize(
    ("layers", "size", "accumulate", "told"),
    [
        (
            [nn.BatchNorm1d(5)],
            4,
            1,
            r"epoch 0 trains 9 examples in batches of 4, the last of 1: BatchNorm \('0'\) cannot",
        ),
        ([nn.BatchNorm1d(5)], 6, 3, "the last of 3: .*, and some part of that batch has no more"),
        ([nn.BatchNorm1d(5)], 3, 1, None),
        ([nn.Unflatten(1, (1, 5)), nn.BatchNorm1d(1), nn.Flatten()], 4, 1, None),  # five values a channel
        ([nn.LayerNorm(5)], 4, 1, None),
    ],
)
def test_a_loop_is_told_of_batch_norms_batch_of_one_before_a_step(layers, size, accumulate, told):
    model = nn.Sequential(*layers, nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.utils.data.TensorDataset(torch.randn(9, 5), torch.arange(9) % 3)
    loader = torch.utils.data.DataLoader(data, batch_size=size // accumulate, shuffle=True)
    teacher = Teacher(attent.Plan.full(epochs=1, batch_size=size), loader, model=model, accumulate=accumulate)
    with torch.no_grad():
        model(torch.randn(4, 5))  # as a validation before training: nothing is told of it
    taken = 0

    def train():
        nonlocal taken
        for inputs, targets in teacher(loader):
            teacher.record(nn.functional.cross_entropy(model(inputs), targets, reduction="none")).backward()
            optimizer.step()
            taken += 1

    if told is None:
        train()
        assert teacher.finished
        return
    with pytest.raises(attent.LearnerError, match=told):
        train()
    assert taken == 0
