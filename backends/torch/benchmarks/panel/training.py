"""How the panel trains: seeded models, AdamW with a schedule of the plan's length, and pre-training that is kept."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from attent.errors import RecipeError
from attent.plan.plan import Plan
from attent.reference.optimisers import warm_up_cosine

_WARM_UP_SHARE = 12  # 8 % of the steps
Optimised = tuple[torch.optim.Optimizer, LambdaLR]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block whose draws from torch's global generator are ``seed``'s; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    steps: int,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.98),
) -> Optimised:
    """Return AdamW and its schedule: up over a twelfth of the steps to ``learning_rate``, then a cosine to 0."""
    if not 0.0 < learning_rate < math.inf:
        raise RecipeError(f"learning_rate must be a finite number above 0, got {learning_rate}")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    return optimizer, LambdaLR(optimizer, warm_up_cosine(1.0, steps, steps // _WARM_UP_SHARE))


def pretrain(
    model: nn.Module,
    data: torch.Tensor,
    loss: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    plan: Plan,
    learning_rate: float = 4e-3,
    **how: Any,
) -> None:
    """Train ``model`` on rows of ``data`` as a full plan does, without attent. Starts from kept weights if there are any.

    ``how``: further arguments of `adamw`.

    They are kept in the folder that the environment variable ATTENT_PANEL_CACHE names, else in one of the
    system's temporary folder, by plan, optimiser, weights, data, code and versions: all arms of a seed share them.
    """
    path = _kept(model, data, loss, [plan.to_dict(), learning_rate, how])
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return
    optimizer, scheduler = adamw(model.parameters(), learning_rate, plan.total_steps(len(data)), **how)
    order = np.random.default_rng(plan.seed)
    with seeded(plan.seed):
        for _ in range(plan.epochs):
            for rows in torch.from_numpy(order.permutation(len(data))).split(plan.batch_size):
                optimizer.zero_grad()
                loss(model, data[rows]).mean().backward()
                optimizer.step()
                scheduler.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        torch.save(model.state_dict(), file)
    Path(file.name).replace(path)  # at once whole: another arm may be looking


def _kept(model: nn.Module, data: torch.Tensor, loss: Callable[..., Any], settings: list[Any]) -> Path:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    code = {type(part).__module__ for part in model.modules()} | {loss.__module__, __name__}
    for module in sorted(code):
        if not module.startswith("torch."):  # the version says it
            digest.update(inspect.getsource(sys.modules[module]).encode())
    digest.update(f"{torch.__version__} {np.__version__} {platform.machine()}".encode())
    for name, value in [("data", data), *model.state_dict().items()]:
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    folder = os.environ.get("ATTENT_PANEL_CACHE") or Path(tempfile.gettempdir(), "attent-panel")
    return Path(folder, f"{digest.hexdigest()[:32]}.pt")
