"""Labelled images, from a folder of real data or from the digits that attent ships."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from attent.data import digits
from panel.data import path_in

Labelled = tuple[npt.NDArray[np.uint8], torch.Tensor, npt.NDArray[np.uint8], torch.Tensor]


def labelled(folder: str, file: str) -> Labelled:
    """Return images and labels to train on, and held-out ones; attent's digits, enlarged, where there is no file."""
    path = path_in(folder, file)
    if path is None:
        shipped = digits()
        ink, ink_test = (
            np.kron(part * np.uint8(15), np.ones((1, 4, 4), np.uint8)) for part in (shipped.x_train, shipped.x_test)
        )
        if file.startswith("mnist"):  # 28 by 28, as there
            ink, ink_test = (part[:, 2:-2, 2:-2] for part in (ink, ink_test))
        arrays = {"x_train": ink, "x_test": ink_test, "y_train": shipped.y_train, "y_test": shipped.y_test}
    else:
        with np.load(path) as kept:
            arrays = dict(kept)
    targets = [torch.from_numpy(arrays[name].astype(np.int64)) for name in ("y_train", "y_test")]
    return arrays["x_train"], targets[0], arrays["x_test"], targets[1]
