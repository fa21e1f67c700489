"""Checks on a GPU: the rules, mixed precision, copies that wait for nothing, two processes on one card."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu.part import Row, Setting, Skip

_TINY_RULES = "S,A1,R"


def machine(setting: Setting) -> Iterator[Row]:
    """Say what the numbers are of."""
    import torch

    names = ("numpy", "torch", "jax", "jaxlib", "optax", "transformers", "peft")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    yield Row("Python and packages", f"{platform.python_version()}; " + ", ".join(f"{k} {v}" for k, v in found.items()))
    yield Row("CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    if not setting.cuda:
        raise Skip("no CUDA device: everything else is run on the CPU, and shows only that it runs")
    card = torch.cuda.get_device_properties(0)
    yield Row("card", f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute {card.major}.{card.minor}")


def torch_rules(setting: Setting) -> Iterator[Row | str]:
    """Hold the torch learner on the device against the rules."""
    from attent_torch import reference_learner

    return _rules("torch", reference_learner, setting.device, setting, None)


def jax_rules(setting: Setting, rules: str) -> Iterator[Row | str]:
    """Hold the JAX learner on JAX's own GPU against the rules, products of float32 in full precision."""
    os.environ |= {
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": os.environ.get(
            "XLA_FLAGS", "--xla_gpu_autotune_level=0"
        ),  # many small programs: compile, not tune
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # XLA would take TF32, 1e-3 off
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # other parts use the card meanwhile
    }
    if not setting.cuda:
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax

        from attent_jax import reference_learner
    except ImportError as missing:
        raise Skip(f"{missing.name} is not installed") from missing
    device = "cpu"
    if setting.cuda:
        if jax.default_backend() != "gpu":
            raise Skip(f"this JAX ({jax.__version__}) finds no GPU: its devices are {jax.devices()}")
        device = "cuda"
    with tempfile.TemporaryDirectory() as folder:
        # The suite builds many learners of few shapes: compiled programs are kept for the next one.
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        yield from _rules("jax", reference_learner, device, setting, rules)


def _rules(
    name: str, reference: Callable[..., Any], device: str, setting: Setting, rules: str | None
) -> Iterator[Row | str]:
    """Run the conformance suite: a row for each letter of rules when its last check ends, one for each failure."""
    from attent_conformance.subject import Subject
    from attent_conformance.suite import result_of, selected

    subject = Subject(name, reference, device=device, quick=setting.tiny)
    few = selected(_TINY_RULES if setting.tiny else None)
    checks = [check for check in selected(rules) if "plugin" not in check.needs and check in few]
    left = Counter(check.rule[:1] for check in checks)
    passed: Counter[str] = Counter()
    total, margins = dict(left), {letter: {} for letter in left}
    for check in checks:
        letter, result = check.rule[:1], result_of(check, subject)
        left[letter] -= 1
        passed[letter] += result.status == "pass"
        margins[letter][f"{check.rule} {check.name}"] = {**result.margins, "seconds": round(result.seconds, 2)}
        yield f"{check.rule} {check.name}"
        if result.status != "pass":
            failed = result.status == "fail"
            yield Row(f"{check.rule} {check.name}", " ".join(result.reason.split())[:300], False if failed else None)
        if not left[letter]:
            whole = passed[letter] == total[letter]
            told = f"{passed[letter]} of {total[letter]} checks pass on {device}"
            yield Row(f"rules {letter}", told, whole, margins[letter])


def tests(setting: Setting) -> Iterator[Row]:
    """Run the torch backend's own tests that need a CUDA device."""
    if not setting.cuda:
        raise Skip("no CUDA device")
    folder = Path(__file__).parents[2] / "tests"
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", str(folder / "test_cuda.py")]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    *above, last = ended.stdout.strip().splitlines() or [ended.stderr.strip()[-300:]]
    failed = [line for line in above if line.startswith(("FAILED", "ERROR"))]
    yield Row("test_cuda.py", "; ".join([last, *failed])[:600], ended.returncode == 0, {"output": ended.stdout[-6000:]})


def mixed_precision(setting: Setting) -> Iterator[Row]:
    """Teach the small model in float32, twice, and in bfloat16 and float16, and set side by side what was taught."""
    import torch

    import attent
    from gpu.models import small

    plan = attent.Plan.official(epochs=6, cycles=5, batch_size=64)
    taught: dict[str, list[Any]] = {}
    for name, cast in (
        ("float32", None), ("float32 again", None), ("bfloat16", torch.bfloat16), ("float16", torch.float16),
    ):  # fmt: skip
        work = small(setting)
        learner = work.learner(autocast=cast)
        trace = attent.teach(learner, plan)
        losses = [record.loss for record in trace.records]
        ids = [trace.selections[draw].ids for draw in sorted(trace.selections)]
        good = bool(
            np.isfinite(losses).all() and losses[-1] < losses[0] and learner.steps == plan.total_steps(trace.header.n)
        )
        told = f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {learner.steps} steps"
        numbers: dict[str, object] = {"losses": losses}
        if taught:
            first = taught["float32"]
            shares = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(first, ids, strict=True)]
            differ = [len(np.setdiff1d(a, b)) for a, b in zip(first, ids, strict=True)]
            told += "; ids as in float32: " + " ".join(f"{share:.1%}" for share in shares)
            numbers |= {"shares": shares, "differ": differ, "selected": [len(a) for a in first]}
        taught[name] = ids
        yield Row(name, told, good, numbers)
    yield from _skipped_steps(setting)


def _skipped_steps(setting: Setting) -> Iterator[Row]:
    """Train on losses that overflow float16 at first: such steps change nothing and are counted, later ones learn."""
    import torch

    from attent_torch import cross_entropy
    from attent_torch.state import unpack
    from gpu.models import small

    def steep(model: Any, batch: Any) -> Any:
        return 300.0 * cross_entropy(model, batch)

    learner = small(setting)._replace(loss=steep).learner(autocast=torch.float16)
    ids = np.arange(64)
    scales, unchanged, means = [], [], []
    steps = 16 if setting.tiny else 40
    for _ in range(steps):
        before = [parameter.detach().clone() for parameter in learner.model.parameters()]
        means.append(float(learner.train([ids]).mean()))
        unchanged.append(all(map(torch.equal, before, learner.model.parameters())))
        scales.append(float(unpack(learner.state())["scaler"]["scale"]))
    lowered = [after < before for before, after in zip([65536.0, *scales], scales, strict=False)]
    skipped = sum(unchanged)
    good = unchanged == lowered and 0 < skipped < steps == learner.steps
    good = good and bool(np.isfinite(means).all()) and means[-1] < means[0]
    told = f"{skipped} of {steps} steps overflowed and changed nothing; scale 65536 to {scales[-1]:g}; "
    told += f"loss {means[0]:.0f} to {means[-1]:.0f}"
    yield Row("float16 scaler skips", told, good, {"scales": scales})


_WAITS = re.compile(r"cu(da)?(Stream|Device|Event|Ctx)Synchronize|cudaMemcpy$")


def copies(setting: Setting) -> Iterator[Row]:
    """Count, of one call of train, what waits for the device and what is copied: per step, and per call."""
    import torch

    from attent_torch import TorchLearner
    from gpu.models import small

    fused = {"fused": True} if setting.cuda else {}
    for name, on, cast, options, strict in (
        ("float32, data on the device", setting.device, None, {}, True),
        ("float32, data on the host", "cpu", None, {}, True),
        ("bfloat16, clipped", "cpu", torch.bfloat16, {"clip_norm": 1.0}, True),
        ("float16, fused AdamW", "cpu", torch.float16, {}, True),
        ("float16, AdamW as it comes", "cpu", torch.float16, {}, False),
        ("items through 2 workers", "cpu", None, {"num_workers": 2}, True),
    ):
        work = small(setting, on=on)
        data: Any = work.data
        if "num_workers" in options:
            data = list(zip(*work.data, strict=True))
        kind = fused if "fused" in name else {}
        optimizer = torch.optim.AdamW(work.model.parameters(), 1e-4, **kind)
        learner = TorchLearner(work.model, data, work.loss, optimizer, autocast=cast, **options)
        few, many = (2, 6) if setting.tiny else (16, 64)
        order = np.arange(len(work.data[0]))
        batches = [np.roll(order, -64 * step)[:64] for step in range(many)]
        learner.train(batches)
        less, more = (_counted(learner, batches[:steps], setting) for steps in (few, many))
        step = {name: (more[name] - less[name]) / (many - few) for name in more.keys() | less.keys()}
        waits = sum(count for name, count in step.items() if _WAITS.search(name))
        back = sum(count for name, count in step.items() if "DtoH" in name)
        pageable = sum(count for name, count in step.items() if "HtoD (Pageable" in name)
        pinned = sum(count for name, count in step.items() if "HtoD (Pinned" in name)
        told = (
            f"a step: {waits:.2f} waits, {back:.2f} copies back, {pinned:.2f} pinned and {pageable:.2f} pageable "
            "copies there"
        )
        if not setting.cuda:
            told = f"{many} steps ran; on the CPU there is nothing to count"
        shown = {n: c for n, c in sorted(step.items()) if _WAITS.search(n) or "Memcpy" in n}
        once = {n: less[n] - few * step[n] for n in shown}
        good = None
        if strict and setting.cuda:  # a profiler that does not even see the losses come back has seen nothing
            good = waits == back == pageable == 0 and any("DtoH" in name for name in less)
        yield Row(name, told, good, {"a step": shown, "a call": once})


def _counted(learner: Any, batches: list[Any], setting: Setting) -> Counter[str]:
    """Return how often each operation, CUDA call and copy happened in one call of train."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.cuda else [])]
    with profile(activities=activities) as profiled:
        learner.train(batches)
        if setting.cuda:
            torch.cuda.synchronize()
    counted: Counter[str] = Counter()
    for event in profiled.key_averages():
        counted[event.key] += event.count
    return counted


def two_processes(setting: Setting) -> Iterator[Row]:
    """Teach a loop of one's own in two processes on one device, and compare with the same loop in one."""
    import torch.distributed as distributed
    import torch.multiprocessing as processes

    if not distributed.is_available() or not distributed.is_gloo_available():
        raise Skip("this PyTorch has no gloo, and NCCL puts no two processes on one card")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        _rank(0, 1, setting, Path(folder))
        processes.spawn(_rank, (2, setting, Path(folder)), nprocs=2)
        one, left, right = (np.load(Path(folder, f"{name}.npz")) for name in ("0-1", "0-2", "1-2"))
        together = _in_steps(left, right)
        single = np.split(one["ids"], np.cumsum(one["sizes"])[:-1])
        equal = sum(map(np.array_equal, single, together)) if len(single) == len(together) else 0
        between = float(np.abs(left["parameters"] - right["parameters"]).max())
        apart = float(np.abs(one["parameters"] - left["parameters"]).max())
    told = f"{equal} of {len(single)} steps train the ids of one process' steps, half on each rank of gloo"
    yield Row("ids in two processes", f"{told}, on {setting.device}", equal == len(single) == len(together))
    told = f"{apart:.1e} from one process', {between:.1e} between the ranks (float64)"
    yield Row("parameters at the end", told, apart < 1e-9 and between == 0.0, {"apart": apart})


def _in_steps(*ranks: Any) -> list[Any]:
    """Return the ids of each step over all ranks, in the order of the ranks."""
    parts = [np.split(rank["ids"], np.cumsum(rank["sizes"])[:-1]) for rank in ranks]
    return [np.concatenate(step) for step in zip(*parts, strict=True)]


def _rank(rank: int, world: int, setting: Setting, folder: Path) -> None:
    """Train as one of ``world`` processes, and keep the ids of each own step and the parameters at the end."""
    import torch
    import torch.distributed as distributed
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, TensorDataset

    import attent
    from attent_torch import Teacher
    from gpu.models import small

    distributed.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
    work = small(setting, dtype=torch.float64, on="cpu")
    model, optimizer = DistributedDataParallel(work.model), work.optimizer()
    data = TensorDataset(torch.arange(len(work.data[0])), *work.data)
    loader = DataLoader(data, batch_size=work.batch_size // world, shuffle=True)
    epochs = 2 if setting.tiny else 4
    teacher = Teacher(attent.Plan.default(epochs=epochs, batch_size=work.batch_size), loader)
    taught = []
    for _ in range(epochs):
        for ids, *batch in teacher(loader):
            taught.append(ids.numpy())
            losses = work.loss(model, tuple(part.to(setting.device) for part in batch))
            optimizer.zero_grad()
            teacher.record(losses).backward()
            optimizer.step()
    flat = torch.cat([parameter.detach().cpu().flatten() for parameter in work.model.parameters()])
    sizes = [len(ids) for ids in taught]
    np.savez(folder / f"{rank}-{world}.npz", ids=np.concatenate(taught), sizes=sizes, parameters=flat.numpy())
    distributed.destroy_process_group()
