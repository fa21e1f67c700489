"""state() and load_state(): going on exactly (rules P6, P7, R2)."""

import random

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn
from torch.optim import lr_scheduler

from attent.errors import LearnerError
from attent_torch.state import pack, unpack


class Remembering(torch.optim.SGD):
    """Keeps nested things: lists of tensors, tuples, numbers, a flag, None."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                past = state.setdefault("past", [])
                past.append((p.detach().clone(), len(past), 0.1 * len(past), None, True))
                with torch.no_grad():
                    p.sub_(0.01 * sum(old for old, *_ in past[-3:]))


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05),
    "SGD, momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.05),
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, 0.05, amsgrad=True),
    "Adam, foreach": lambda p: torch.optim.Adam(p, 0.05, foreach=True),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, 0.05, fused=True),
    "Adam, tensor rate": lambda p: torch.optim.Adam(p, torch.tensor(0.05)),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, centered=True, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.05, lr_decay=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "Adafactor": lambda p: torch.optim.Adafactor(p, 0.05),
    "ASGD": lambda p: torch.optim.ASGD(p, 0.05),
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01),
    "nested": lambda p: Remembering(p, 0.05, momentum=0.9),
    "groups": lambda p: torch.optim.AdamW([{"params": p[:2], "lr": 0.1}, {"params": p[2:], "weight_decay": 0.3}], 0.02),
}
SCHEDULERS = {
    "none": lambda o: None,
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: np.cos(step / 9)),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4, 4]),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.8)], [4]
    ),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
}
PAIRS = [(name, "LambdaLR") for name in OPTIMIZERS] + [("AdamW", name) for name in SCHEDULERS]


class Augmented:
    def __init__(self, task):
        self.task = task

    def __len__(self):
        return 24

    def __getitem__(self, i):
        return self.task.x[i] + 0.1 * np.random.normal(), self.task.y[i]


def build(task, optimizer="AdamW", scheduler="none", augmented=False, **settings):
    model = settings.pop("model", None) or task.model(dropout=0.3)
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    data = Augmented(task) if augmented else None
    return task.learner(model, data=data, optimizer=chosen, scheduler=SCHEDULERS[scheduler](chosen), **settings)


@pytest.mark.parametrize(("optimizer", "scheduler"), PAIRS)
def test_going_on_is_exact(task, assert_same, optimizer, scheduler):
    torch.manual_seed(0)
    learner = build(task, optimizer, scheduler)
    learner.train(task.batches)
    saved = safetensors.numpy.save(learner.state())
    losses, state = learner.train(task.batches).tolist(), learner.state()

    learner.load_state(safetensors.numpy.load(saved))
    assert learner.train(task.batches).tolist() == losses
    assert_same(learner.state(), state)

    torch.manual_seed(77)
    fresh = build(task, optimizer, scheduler, model=task.model(dropout=0.3, seed=9))
    fresh.load_state(safetensors.numpy.load(saved))
    assert fresh.steps == 5
    assert fresh.train(task.batches).tolist() == losses
    assert_same(fresh.state(), state)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_random_items_resume(task, assert_same, num_workers):
    torch.manual_seed(0)
    whole = build(task, augmented=True)
    whole.train(task.batches[:2])
    state = whole.state()
    losses = whole.train(task.batches[2:])
    resumed = build(task, augmented=True, num_workers=num_workers)
    np.random.seed(1)
    resumed.load_state(state)
    assert resumed.train(task.batches[2:]).tolist() == losses.tolist()
    assert_same(resumed.state(), whole.state())


def test_the_generators_of_python_and_numpy_resume(task):
    class Skipping(nn.Linear):  # as layer drop does
        def forward(self, x):
            return super().forward(x) * (random.gauss(0, 1) + np.random.normal())

    random.seed(4), np.random.seed(4)
    learner = build(task, model=Skipping(3, 2).double())
    learner.train(task.batches[:1])
    state = learner.state()
    losses = learner.train(task.batches[1:])
    random.seed(5), np.random.seed(5)
    learner.load_state(state)
    assert learner.train(task.batches[1:]).tolist() == losses.tolist()


def test_a_state_is_a_copy(task, assert_same):
    learner = build(task, "SGD, momentum")
    learner.train(task.batches)
    state = learner.state()
    kept = {name: array.copy() for name, array in state.items()}
    learner.train(task.batches)
    assert_same(state, kept)
    learner.load_state(state)
    learner.train(task.batches)
    assert_same(state, kept)


def test_arrays_have_speaking_names_and_are_contiguous(task):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    model[0].weight = nn.Parameter(torch.ones(3, 2, dtype=torch.float64).t())
    learner = build(task, model=model)
    learner.train(task.batches[:1])
    state = learner.state()
    assert {"model/0.weight", "model/1.running_mean", "optimizer/state/0/exp_avg", "random/cpu", "tree"} < set(state)
    assert state["model/0.weight"].tolist() == model[0].weight.tolist()
    assert state["optimizer/state/0/step"].shape == ()
    assert all(array.flags.c_contiguous and array.dtype != object for array in state.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_parameters_with_wider_moments(task, assert_same, dtype):
    class Wide(torch.optim.Optimizer):
        """Keeps its moments in float32, which load_state_dict of torch rounds to the parameters' dtype."""

        def __init__(self, parameters):
            super().__init__(parameters, {})

        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                state = self.state[p]
                state.setdefault("mean", torch.zeros_like(p, dtype=torch.float32)).mul_(0.9).add_(p.grad.float())
                with torch.no_grad():
                    p.sub_((0.05 * state["mean"]).to(p.dtype))

    def make():
        model = task.model(dtype=dtype)
        return task.learner(model, data=(task.x.to(dtype), task.y.to(dtype)), optimizer=Wide(model.parameters()))

    learner = make()
    learner.train(task.batches)
    state = learner.state()
    assert state["model/0.weight"].dtype == (np.uint16 if dtype == torch.bfloat16 else np.float16)
    assert state["optimizer/state/0/mean"].dtype == np.float32
    fresh = make()
    fresh.load_state(state)
    assert fresh.model[0].weight.dtype == dtype
    assert fresh.train(task.batches).tolist() == learner.train(task.batches).tolist()
    assert_same(fresh.state(), learner.state())


def test_the_loss_scale_resumes(task, assert_same):
    def make():
        data = task.x.float(), task.y.float()
        return task.learner(task.model(dtype=torch.float32), data=data, autocast=torch.float16)

    learner = make()
    learner.train(task.batches)
    fresh = make()
    fresh.load_state(learner.state())
    saved = unpack(fresh.state())["scaler"]
    assert (saved["scale"], saved["_growth_tracker"]) == (2.0**15, 4)  # the first step overflowed
    assert fresh.train(task.batches).tolist() == learner.train(task.batches).tolist()
    assert_same(fresh.state(), learner.state())


def edited(state, **changes):
    return {name: array for name, array in {**state, **changes}.items() if array is not None}


OTHERS = {
    "another model": (
        lambda task: build(task, model=nn.Sequential(nn.Linear(3, 2).double())),
        "it lacks '3.bias', '3.weight'",
    ),
    "another width": (
        lambda task: build(
            task, model=nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(), nn.Linear(4, 2)).double()
        ),
        r"'model/0.weight' is float64 of shape \(4, 3\) in the state, but float64 of shape \(8, 3\) in this learner",
    ),
    "another dtype": (
        lambda task: task.learner(
            task.model(dtype=torch.float32), optimizer=None, data=(task.x.float(), task.y.float())
        ),
        r"'model/0.weight' is float32 of shape \(8, 3\) in the state, but float64",
    ),
    "another optimizer": (
        lambda task: build(task, "RMSprop"),
        "the state's optimizer is RMSprop, this learner's is AdamW",
    ),
    "another scheduler": (
        lambda task: build(task, "AdamW", "MultiStepLR"),
        "the state's scheduler is MultiStepLR, this learner's is LambdaLR",
    ),
    "no scheduler": (lambda task: build(task, "AdamW"), "the state's scheduler is none, this learner's is LambdaLR"),
    "other groups": (
        lambda task: build(task, "groups", "LambdaLR"),
        r"parameter groups of \[2, 2\] tensors, this learner's of \[4\]",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_something_else_is_refused_and_changes_nothing(task, assert_same, other):
    make, message = OTHERS[other]
    learner = build(task, "AdamW", "LambdaLR")
    learner.train(task.batches[:2])
    before = learner.state()
    stranger = make(task)
    if other != "another dtype":
        stranger.train(task.batches[:1])
    stranger = stranger.state()
    torch.set_rng_state(torch.from_numpy(before["random/cpu"].copy()))
    with pytest.raises(LearnerError, match=message):
        learner.load_state(stranger)
    assert_same(learner.state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tree": None}, "it has no array 'tree'"),
        ({"tree": np.frombuffer(b"{", np.uint8)}, "its array 'tree' cannot be read"),
        ({"tree": np.frombuffer(b"[1, 2]", np.uint8), "model/0.weight": None}, "arrays that it does not mention"),
        ({"model/0.weight": None}, "the state lacks the array 'model/0.weight'"),
        ({"model/9.weight": np.zeros(2)}, "arrays that it does not mention: model/9.weight"),
        ({"model/0.bias": np.zeros(3)}, r"'model/0.bias' is float64 of shape \(3,\) in the state"),
        (
            {"optimizer/state/1/exp_avg": np.zeros(3)},
            r"'optimizer/state/1/exp_avg' is float64 of shape \(3,\) in the state",
        ),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(task, assert_same, change, message):
    learner = build(task)
    learner.train(task.batches[:2])
    before = learner.state()
    with pytest.raises(LearnerError, match=message):
        learner.load_state(edited(before, **change))
    assert_same(learner.state(), before)


def test_a_state_without_content_is_refused(task):
    with pytest.raises(LearnerError, match="this is no state of a TorchLearner: it must hold"):
        build(task).load_state(pack({"model": {}}))


def test_what_cannot_be_saved_is_named(task):
    learner = build(task)
    learner.optimizer.param_groups[0]["callback"] = print
    with pytest.raises(
        LearnerError, match="cannot save 'optimizer/param_groups/0/callback', which is builtins.builtin"
    ):
        learner.state()


def test_a_judgement_that_is_no_number_is_named(task):
    learner = task.learner(task.model(), evaluate=lambda model: {"accuracy": None})
    with pytest.raises(LearnerError, match="evaluate must return numbers by metric name, got {'accuracy': None}"):
        learner.evaluate()


def renumbered(state, old, new):
    return state["tree"].tobytes().replace(old, new, 1)


FRESH = {
    "another shape": (
        {"optimizer/state/1/exp_avg": np.zeros(3)},
        r"'optimizer/state/1/exp_avg' is float64 of shape \(3,\) in the state, but of shape \(8,\) in this learner",
    ),
    "a shape that would broadcast": (
        {"optimizer/state/0/exp_avg_sq": np.zeros((1, 1))},
        r"'optimizer/state/0/exp_avg_sq' is float64 of shape \(1, 1\) in the state, but of shape \(8, 3\)",
    ),
    "steps of another shape": (
        {"optimizer/state/0/step": np.zeros(8, np.float32)},
        r"'optimizer/state/0/step' is float32 of shape \(8,\) in the state, but of shape \(\)",
    ),
    "another dtype": (
        {"optimizer/state/0/exp_avg": np.zeros((8, 3), np.int64)},
        "'optimizer/state/0/exp_avg' is int64 in the state, which says that it is float64",
    ),
}


@pytest.mark.parametrize("what", FRESH)
def test_moments_that_do_not_fit_are_refused_before_the_first_step(task, assert_same, what):
    """An optimiser that has not stepped holds no moments to compare with; its parameters say the shapes."""
    change, message = FRESH[what]
    learner, fresh = build(task), build(task)
    learner.train(task.batches[:2])
    before = fresh.state()
    with pytest.raises(LearnerError, match=message):
        fresh.load_state(edited(learner.state(), **change))
    assert_same(fresh.state(), before)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'["steps", 2]', b'["steps", "2"]', "'steps' must be a whole number of at least 0 in the state, got '2'"),
        (b'["steps", 2]', b'["steps", -2]', "'steps' must be a whole number of at least 0 in the state, got -2"),
        (b"[[0, ", b"[[9, ", "has moments of parameter 9; this learner's has 4 parameters"),
        (b'"classes", {', b'"classes", [{', "this is no state of a TorchLearner: "),
    ],
)
def test_a_damaged_tree_is_refused_and_changes_nothing(task, assert_same, old, new, message):
    learner, fresh = build(task), build(task)
    learner.train(task.batches[:2])
    state, before = learner.state(), fresh.state()
    with pytest.raises(LearnerError, match=message):
        fresh.load_state({**state, "tree": np.frombuffer(renumbered(state, old, new), np.uint8)})
    assert_same(fresh.state(), before)


def test_a_moment_that_one_parameter_lacks_is_named(task):
    learner = build(task)
    learner.train(task.batches[:2])
    tree = unpack(learner.state())
    del tree["optimizer"]["state"][2]["exp_avg_sq"]
    with pytest.raises(LearnerError, match="the state lacks 'optimizer/state/2/exp_avg_sq', which other parameters"):
        build(task).load_state(pack(tree))


def test_moments_that_only_an_optimizer_of_yours_knows_are_its_own(task):
    class Preconditioned(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for p in self.param_groups[0]["params"]:
                self.state[p]["left"] = torch.eye(len(p))

    def make():
        model = task.model()
        return task.learner(model, optimizer=Preconditioned(model.parameters(), 0.1))

    learner, fresh = make(), make()
    learner.train(task.batches[:2])
    fresh.load_state(learner.state())
    assert fresh.train(task.batches).tolist() == learner.train(task.batches).tolist()


@pytest.mark.parametrize("kind", [">f4", object])
def test_arrays_that_no_tensor_is_kept_in_are_refused_by_name(task, assert_same, kind):
    learner = task.learner()
    learner.train(task.batches)
    before = learner.state()
    name = next(name for name, array in before.items() if array.dtype.kind == "f" and array.ndim)
    with pytest.raises(LearnerError, match=f"'{name}' is an array of {np.dtype(kind)} in the state"):
        learner.load_state({**before, name: before[name].astype(kind)})
    assert_same(learner.state(), before)


@pytest.mark.parametrize("name", ["random/python/1", "random/numpy/state/key"])
def test_a_generators_words_in_another_dtype_are_refused_and_change_nothing(task, assert_same, name):
    learner = task.learner()
    before = learner.state()
    with pytest.raises(LearnerError, match=f"'{name}' must be unsigned integers, got int64"):
        learner.load_state({**before, name: before[name].astype(np.int64)})
    assert_same(learner.state(), before)
