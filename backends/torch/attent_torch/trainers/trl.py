"""TRL's SFTTrainer, taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from trl import SFTTrainer

from attent_torch.trainers.transformers import Teaching
from attent_torch.trainers.transformers_losses import losses_of


def mean_token_loss(outputs: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return each example's mean loss over its tokens, (B,): what to rank where length should not count.

    Example:
        >>> import torch
        >>> from attent_torch.trainers.trl import mean_token_loss
        >>> labels = torch.tensor([[0, 1, 1], [0, 1, -100]])
        >>> mean_token_loss({"logits": torch.zeros(2, 3, 2)}, {"labels": labels})
        tensor([0.6931, 0.6931])
    """
    sums, counts = losses_of(outputs, inputs, shift=True)
    return sums / counts.clamp(min=1)


class TaughtSFTTrainer(Teaching, SFTTrainer):
    """`trl.SFTTrainer` that trains by a plan: two more arguments, ``plan`` and ``attent_run``; see `Teaching`.

    SFTTrainer trains the mean over all tokens of an optimiser step that have a label. An example is ranked by its part
    in that: the losses of its tokens, summed (with ``loss_type="dft"``, those losses). Label smoothing is not ranked.
    To rank by the mean over an example's tokens, so that long examples do not come first for their length, give
    ``per_example_loss=mean_token_loss``. Packing and ``padding_free`` are refused: they join examples.

    Example:
        >>> from attent_torch.trainers.trl import TaughtSFTTrainer
        >>> import inspect, trl
        >>> [each.__name__ for each in TaughtSFTTrainer.__mro__[1:3]]
        ['Teaching', 'SFTTrainer']
    """
