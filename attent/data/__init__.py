"""Real data small enough to ship or to be found: handwritten digits, and the text of Python's own library."""

from __future__ import annotations

import sysconfig
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attent.errors import RecipeError

# Single files in every Python since 3.11, so that only their text differs between versions.
_TRAIN_MODULES = (
    "argparse", "ast", "calendar", "configparser", "contextlib", "dataclasses", "difflib", "enum",
    "functools", "inspect", "ipaddress", "pickle", "subprocess", "tarfile", "threading", "typing",
)  # fmt: skip
_HELD_OUT_MODULES = ("shutil", "statistics", "textwrap", "tokenize")
_HELD_OUT_SHARE = 8


class Digits(NamedTuple):
    """Images of handwritten digits, uint8 (n, 8, 8) with ink from 0 to 16, and labels, uint8 (n,)."""

    x_train: npt.NDArray[np.uint8]
    y_train: npt.NDArray[np.uint8]
    x_test: npt.NDArray[np.uint8]
    y_test: npt.NDArray[np.uint8]


class Text(NamedTuple):
    """Text as bytes, uint8 of shape (bytes,), to train on and held out."""

    train: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.uint8]


def digits() -> Digits:
    """Return 1,437 training and 360 test images of handwritten digits, shipped with attent.

    The 1,797 images of the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and
    C. Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0; see LICENSE-digits). Sorted by the 64-bit
    numbers of ``Noise(0, LEARNER + 1)``, the first 1,437 are for training. The split never changes.

    Example:
        >>> from attent.data import digits
        >>> digits().x_train.shape, digits().x_test.shape
        ((1437, 8, 8), (360, 8, 8))
    """
    with resources.as_file(resources.files(__name__) / "digits.npz") as path, np.load(path) as arrays:
        return Digits(*(arrays[name] for name in Digits._fields))


def library_text(limit_bytes: int) -> Text:
    r"""Return up to ``limit_bytes`` bytes of Python's standard library, and an eighth as many held out.

    The beginnings, in equal shares, of 16 modules and of 4 others, read where the running Python keeps them,
    line ends made "\\n". Equal between machines only for the same Python version.

    Raises RecipeError for a limit below 1,024, and where this Python came without its sources.

    Example:
        >>> from attent.data import library_text
        >>> [len(part) for part in library_text(16_000)]
        [16000, 2000]
    """
    if limit_bytes < 1024:
        raise RecipeError(f"limit_bytes must be at least 1024, got {limit_bytes}")
    return Text(
        _beginnings(_TRAIN_MODULES, limit_bytes),
        _beginnings(_HELD_OUT_MODULES, limit_bytes // _HELD_OUT_SHARE),
    )


def _beginnings(modules: tuple[str, ...], limit_bytes: int) -> npt.NDArray[np.uint8]:
    share = -(-limit_bytes // len(modules))  # rounded up; what is too much is cut off at the end
    library = Path(sysconfig.get_path("stdlib"))
    parts = []
    for module in modules:
        path = library / f"{module}.py"
        try:
            text = path.read_bytes().replace(b"\r\n", b"\n")
        except OSError as error:
            raise RecipeError(
                f"this Python has no readable source for its module '{module}' ({path}); use one installed "
                "with its library as .py files, or a recipe with other text"
            ) from error
        parts.append(np.frombuffer(text[:share], np.uint8))
    return np.concatenate(parts)[:limit_bytes]
