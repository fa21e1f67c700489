"""What goes on beside a model that Keras saves and restores: the plan, and what Keras leaves out of a saved model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

import attent
from attent.errors import CourseError, TraceError
from attent.run.files import read_plain, write_whole

_SAVING = ("save", "save_weights")  # a model's methods by which callbacks keep it
_HELD = {"feed", "steps", "seeds", "generators", "losses", "metrics"}


class States:
    """The states of a run, in a folder: one before each pass, and one for each time that a callback saves the model.

    A state is named by its pass and the steps that the optimiser had taken, which a restored model tells. It holds
    the feed's state before the pass, the losses of the pass so far, and what Keras leaves out of a saved model: the
    seeds of dropout, on PyTorch its global generators, which dropout without a seed draws from, and the metrics of the
    pass.

    folder: None keeps nothing. losses: the metric that holds the losses of the pass. check: called before a state is
    written, raises where the model must not be kept. within: whether states within a pass may be written.
    """

    def __init__(
        self, folder: Path | None, feed: attent.Feed, model: Any, losses: Any, check: Callable[[], None], within: bool
    ) -> None:
        self.folder, self.feed, self.model, self.losses = folder, feed, model, losses
        self.check, self.within = check, within
        self._metrics: list[Any] | None = None  # of a pass that is gone on with, until they are put back
        self._generators: list[str] = []  # likewise
        self._last: Path | None = None  # written by this process, of a pass that no step of is taken

    def keep(self) -> None:
        """Write the state at this step, unless it is written."""
        if self.folder is None:
            return
        losses, steps = self.losses.so_far(), int(self.model.optimizer.iterations)
        path = self.folder / f"{self.feed.epoch}-{steps}.json"
        if path == self._last or (len(losses) and not self.within):
            return
        self.check()
        held = {
            "feed": self.feed.state(),
            "steps": steps,
            "seeds": [ops.convert_to_numpy(each).tolist() for each in self._seeds()],
            "generators": _generators(),
            "losses": losses.tolist(),
            "metrics": [ops.convert_to_numpy(each).tolist() for each in self._measured()] if len(losses) else [],
        }
        kept = json.dumps(held)
        write_whole(path, lambda part: part.write_text(kept) and None)
        self._last = None if len(losses) else path

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Within this context a state is written before each saving of the model, by whichever callback."""
        model = self.model
        for name in _SAVING:
            setattr(model, name, self._after_a_state(getattr(model, name)))
        try:
            yield
        finally:
            for name in _SAVING:
                delattr(model, name)

    def _after_a_state(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def saving(*args: Any, **settings: Any) -> Any:
            self.keep()
            return save(*args, **settings)

        return saving

    def go_on(self, start: int, told: bool) -> None:
        """Take the plan to where the restored model was saved. start: the pass; told: by the user, not by a backup."""
        if self.folder is None:
            raise TraceError(f"to go on from pass {start} give the run's folder, where its state is: run=...")
        steps = int(self.model.optimizer.iterations)
        found = {int(path.stem.split("-")[0]): path for path in self.folder.glob(f"*-{steps}.json")}
        path = found.get(start) if told else found[max(found)] if found else None  # a backup may tell another pass
        if path is None:
            others = sorted(int(other.stem.split("-")[1]) for other in self.folder.glob(f"{start}-*.json"))
            if not others:
                raise TraceError(f"there is no state of pass {start} in {self.folder}: begin with initial_epoch=0")
            raise CourseError(
                f"the model has taken {steps} steps, and states of pass {start} are of {others}: restore the model as "
                "it was saved then, with its optimiser"
            )
        held = read_plain(path)
        if set(held) != _HELD or held["steps"] != steps:
            raise TraceError(f"{path} is no state of a pass: it holds {', '.join(sorted(held)) or 'nothing'}")
        seeds = self._seeds()
        if len(seeds) != len(held["seeds"]):
            raise CourseError(f"the model has {len(seeds)} layers with a seed, that of {path} has {len(held['seeds'])}")
        self.feed.load_state(held["feed"])
        for seed, value in zip(seeds, held["seeds"], strict=True):
            seed.assign(np.array(value, seed.dtype))
        self.losses.put_back(np.array(held["losses"]))
        if held["losses"]:
            self._metrics, self._generators = held["metrics"], held["generators"]
        else:
            _put_generators_back(held["generators"])

    def put_metrics_back(self) -> None:
        """Take the metrics to where they were in the pass that is gone on with: after ``fit`` has reset them."""
        if self._metrics is None:
            return
        metrics = self._measured()
        if len(metrics) != len(self._metrics):
            raise CourseError("the model is compiled with other metrics than the one that was saved")
        for each, value in zip(metrics, self._metrics, strict=True):
            each.assign(np.array(value, each.dtype))
        self._metrics = None

    def put_generators_back(self) -> None:
        """Take global generators to where they were within the pass: after ``fit`` has drawn a seed for its loader."""
        if self._generators:
            _put_generators_back(self._generators)
            self._generators = []

    def _measured(self) -> list[Any]:
        """Return the variables of the model's metrics, but for ours."""
        return [each for metric in self.model.metrics if metric is not self.losses for each in metric.variables]

    def _seeds(self) -> list[Any]:
        """Return the variables that are neither weights nor of metrics: the states of random layers."""
        known = {id(each) for each in self.model.weights}
        known |= {id(each) for metric in [*self.model.metrics, self.losses] for each in metric.variables}
        return [each for each in self.model.variables if id(each) not in known]


def _generators() -> list[str]:
    """Return the states of PyTorch's global generators, where Keras runs on it."""
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return [state.numpy().tobytes().hex() for state in states]


def _put_generators_back(states: list[str]) -> None:
    if not states:
        return
    import torch

    host, *devices = (torch.from_numpy(np.frombuffer(bytes.fromhex(state), np.uint8).copy()) for state in states)
    torch.set_rng_state(host)
    if len(devices) == torch.cuda.device_count():  # else the run goes on elsewhere
        torch.cuda.set_rng_state_all(devices)
