"""BatchNorm, which cannot train on one value per channel: known before a run, from its smallest batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def unable_alone(model: nn.Module, forward: Callable[[], Any]) -> list[str]:
    """Return the names of the BatchNorm layers that would refuse a batch of one example in training.

    ``forward`` runs the model on one example, in evaluation mode: a layer that sees one value per channel then would
    refuse it. One that its user has set to evaluation mode takes any batch.

    Example:
        >>> import torch
        >>> from attent_torch.batch_norm import unable_alone
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        >>> unable_alone(model, lambda: model.eval()(torch.zeros(1, 2)))
        ['1']
    """
    seen: dict[str, bool] = {}
    switched_on = not model.training  # a learner then sets all of it to training

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            (values,) = inputs[:1]
            if isinstance(values, torch.Tensor) and values.ndim > 1:
                seen[name] = seen.get(name, False) or values.numel() == values.shape[1]

        return look

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and (module.training or switched_on)
    ]
    if not hooks:
        return []
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, alone in seen.items() if alone]
