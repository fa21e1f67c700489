"""What is examined: a backend by its name, or a function that builds reference learners."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import attent
from attent import plugins
from attent.errors import PluginError
from attent.learner import Evaluates, Learner
from attent.plugins import ABILITIES, Backend
from attent.reference import NumpyLearner, Optimiser, Parameters
from attent_conformance import surroundings
from attent_conformance.tasks import Task, rate, task

T = TypeVar("T")
DTYPES = ("float64", "float32")


@dataclass
class Subject:
    """Builds reference learners, and keeps what was measured on them so that checks share it.

    Args:
        name: of the backend, or of whatever ``reference`` is.
        reference: function with the signature of ``attent.reference.NumpyLearner``, returning a learner.
        abilities: what it can do, out of ``attent.plugins.ABILITIES``; the rest is skipped, visibly.
        device: passed on as ``device=`` where given.
        dtypes: precisions to examine, out of float64 and float32.
        quick: only the first plans of the long runs; for trying out, never for a certificate.
        backend: the plugin's description, where there is one.
        seed: of the cases that checks draw.
        feed: what is examined under rules F: ``feed(plan, n)`` returns an `attent.Feed`, or what stands for one.
        workers: what is examined under rules W, as `attent.Backend` says; of a backend each rank is a process, of a
            function a thread.

    ``digests`` holds what its long runs taught, once they ran; ``failed`` the rules and checks that failed;
    ``around`` the settings of the process before its first learner was built, ``begun`` its environment then.

    Example:
        >>> from attent.reference import NumpyLearner
        >>> from attent_conformance import Subject, task
        >>> len(Subject("mine", NumpyLearner).learner(task("classes")))
        96
    """

    name: str
    reference: Callable[..., Learner]
    abilities: Sequence[str] = ABILITIES
    device: str | None = None
    dtypes: Sequence[str] = DTYPES
    quick: bool = False
    backend: Backend | None = None
    seed: int = 0
    feed: Callable[..., Any] = attent.Feed
    workers: Callable[..., Callable[..., attent.Workers]] | None = None
    digests: dict[str, list[list[str]]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    around: dict[str, object] = field(default_factory=surroundings.lasting)
    begun: dict[str, object] = field(default_factory=surroundings.begun)
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a precision that no check examines, or a device that the function does not take."""
        if self.workers is not None and "workers" not in self.abilities:
            self.abilities = (*self.abilities, "workers")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {self.seed!r}")
        unknown = [dtype for dtype in self.dtypes if dtype not in DTYPES]
        if unknown:
            raise ValueError(f"dtypes must be out of {', '.join(DTYPES)}, got {unknown[0]!r}")
        if self.device is not None and not _takes_device(self.reference):
            raise ValueError(
                f"{self.name} cannot be examined on {self.device!r}: its reference function has no argument 'device'; "
                "choose the device by its framework's own settings"
            )

    @classmethod
    def named(cls, name: str, **settings: Any) -> Subject:
        """Return the subject that an installed backend is.

        Raises PluginError: no backend of this name, one whose framework cannot be imported, or one that
        names no ``reference``.
        """
        backend = plugins.backend(name)
        if backend.reference is None:
            raise PluginError(
                f"backend {name!r} names no reference learner: attent_backend must return an attent.Backend with "
                "reference='module:function', a function with the signature of attent.reference.NumpyLearner"
            )
        if backend.workers is not None:
            settings.setdefault("workers", resolved(backend.workers, name))
        return cls(name, resolved(backend.reference, name), backend.abilities, backend=backend, **settings)

    def learner(
        self,
        task: Task,
        *,
        dtype: str | None = None,
        optimiser: Optimiser | None = None,
        learning_rate: float | Callable[[int], float] | None = rate,
        parameters: Parameters | None = None,
        scoring_batch: int | None = None,
        held_out: bool = False,
    ) -> Learner:
        """Return a fresh learner of a task, in ``precision`` where ``dtype`` is None, judged on held-out data if asked.

        Further settings that are None are left to the reference function's own defaults.
        """
        return built(
            self.reference,
            task,
            parameters,
            dtype=self.precision if dtype is None else dtype,
            optimiser=optimiser,
            learning_rate=learning_rate,
            scoring_batch=scoring_batch,
            device=self.device,
            held_out=task.held_out if held_out else None,
        )

    @property
    def shared(self) -> Learner:
        """One learner of "classes" for checks to which it does not matter what it was taught before.

        Frameworks that compile do so once per learner, which is most of what this suite costs them.
        """
        return self.kept("shared", lambda: self.learner(task("classes")))

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when this key was first asked for."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value

    @property
    def exact(self) -> bool:
        """Whether repeated arithmetic must be equal bit for bit: on the CPU."""
        return self.device is None or self.device.startswith("cpu")

    @property
    def precision(self) -> str:
        """The precision for checks that need no certain one: float64 where it is there and asked for."""
        return "float64" if self.lacking(("float64",)) is None else "float32"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that are there and asked for."""
        return tuple(dtype for dtype in DTYPES if self.lacking((dtype,)) is None)

    @property
    def evaluates(self) -> bool:
        """Whether its learners can judge themselves on held-out data, which is optional."""
        return self.kept("evaluates", self._evaluates)

    def _evaluates(self) -> bool:
        try:
            return isinstance(self.learner(task("classes"), held_out=True), Evaluates)
        except TypeError as error:
            if "held_out" in str(error):
                return False
            raise

    @property
    def tolerance(self) -> float:
        """How far numbers of that precision may be apart, relative, after a few steps."""
        return 1e-10 if self.precision == "float64" else 1e-4

    def lacking(self, needs: Sequence[str]) -> str | None:
        """Return why a check with these needs does not apply, None where it does."""
        for need in needs:
            if need == "plugin":
                if self.backend is None:
                    return "given as a function, not as a plugin"
            elif need == "held-out":
                if not self.evaluates:
                    return f"{self.name}'s learners offer no evaluate(), or its reference function takes no held_out"
            elif need not in self.abilities:
                return f"{self.name} does not declare the ability {need!r}"
            elif need in DTYPES and need not in self.dtypes:
                return f"{need} was not asked for"
        return None

    def command(self, rules: str) -> str:
        """Return the command that runs the checks of these rules alone."""
        if self.backend is None:
            told = f", of a Subject with seed={self.seed}" if self.seed else ""
            return f"attent_conformance.examine(subject, rules={rules!r}){told}"
        seed = f" --seed {self.seed}" if self.seed else ""
        device = f" --device {self.device}" if self.device else ""
        dtype = f" --dtype {self.dtypes[0]}" if len(self.dtypes) == 1 else ""
        return f"attent-conformance {self.name} --rules {rules}{device}{dtype}{seed}{' --quick' if self.quick else ''}"


def built(reference: Callable[..., Learner], task: Task, parameters: Parameters | None, **settings: Any) -> Learner:
    """Return a learner of a task from a reference function, leaving out settings that are None."""
    given = {"lengths": task.lengths, "task_weights": task.task_weights, **settings}
    # Copies: a learner that writes into its data must not spoil the next one's.
    given = {name: copy.deepcopy(value) for name, value in given.items() if value is not None}
    first = task.parameters if parameters is None else parameters
    return reference(task.architecture, copy.deepcopy(first), task.inputs.copy(), task.targets.copy(), **given)


def numpy_learner(task: Task, parameters: Parameters | None = None, **settings: Any) -> NumpyLearner:
    """Return NumPy's learner of a task in float64, which every subject is held against."""
    learner = built(NumpyLearner, task, parameters, **{"learning_rate": rate, **settings})
    assert isinstance(learner, NumpyLearner)
    return learner


def resolved(target: str, name: str) -> Callable[..., Any]:
    """Return what ``"module:attribute"`` names. Raises PluginError naming the backend where it cannot be had."""
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a framework raises that is broken or missing
        raise PluginError(
            f"backend {name!r}: {target!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise PluginError(f"backend {name!r}: {target!r} must be callable, got {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _takes_device(reference: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(reference).parameters.values()
    except (TypeError, ValueError):  # of a built-in: it will say so itself
        return True
    return any(one.name == "device" or one.kind is one.VAR_KEYWORD for one in parameters)
