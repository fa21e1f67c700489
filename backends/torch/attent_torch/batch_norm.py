"""BatchNorm, which cannot train on one value per channel: known before a step, from a run's smallest batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attent.errors import LearnerError
from attent.plan.timeline import Epoch


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


def refuse_alone(model: nn.Module, row: Epoch, smallest: int) -> None:
    """Have a model's first training forward raise LearnerError where BatchNorm could not train one example.

    For a loop that has such a batch and that alone knows how to call the model: before its first step, in place of the
    one that fails. ``row``, ``smallest``: the epoch of the plan and its last batch, told in the error.

    Example:
        >>> import attent, torch
        >>> from attent_torch.batch_norm import refuse_alone
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        >>> refuse_alone(model, attent.Plan.full(epochs=1, batch_size=4).timeline(5)[0], 1)
        >>> try:
        ...     model(torch.zeros(4, 2))
        ... except attent.LearnerError as error:
        ...     print(str(error)[:63])
        epoch 0 trains 5 examples in batches of 4, the last of 1: Batch
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            _Look(name, module, row, smallest)


class _Look:
    """A hook that looks at a layer's first input in training, and is gone."""

    def __init__(self, name: str, module: nn.Module, row: Epoch, smallest: int) -> None:
        self._name, self._row, self._smallest = name, row, smallest
        self._handle = module.register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        values = inputs[0] if inputs else None
        if not module.training or not torch.is_grad_enabled() or not isinstance(values, torch.Tensor):
            return
        self._handle.remove()
        if values.ndim > 1 and values.numel() == values.shape[0] * values.shape[1]:
            row, last = self._row, self._smallest
            raise LearnerError(
                f"epoch {row.epoch} trains {row.k} examples in batches of {row.batch_size}, the last of {last}: "
                f"BatchNorm ({self._name!r}) cannot train on one example, of which each channel has one value"
                f"{'' if last == 1 else ', and some part of that batch has no more'}. Choose another batch_size or "
                "ratio, so that the last batch has more, or a norm that does not look across examples"
            )
