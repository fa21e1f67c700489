"""What lies around a learner and is not its own: global generators, floating-point settings, process settings.

A framework's are looked at where it is loaded; none is loaded for it.
"""

from __future__ import annotations

import contextlib
import decimal
import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Around = dict[str, object]


def generators() -> Around:
    """Return the states of the global generators of Python, NumPy and every framework that is loaded, by name."""
    name, key, *rest = np.random.get_state()  # noqa: NPY002 - others use it, and must find it as it was
    found: Around = {"the generator of random": random.getstate()}
    found["the generator of numpy.random"] = (name, np.asarray(key).tobytes(), *rest)
    _look(found, "torch", _torch_generators)
    _look(found, "tensorflow", _tensorflow_generators)
    _look(found, "cupy", lambda it: {"cupy's generator": str(it.random.get_random_state().__dict__)})
    return found


def arithmetic() -> Around:
    """Return what decides how floating-point numbers are computed, and what happens where they overflow."""
    tiny, half = np.array([2.0**-1022]), np.array([2.0**-53])
    found: Around = {
        "numpy.geterr()": tuple(sorted(np.geterr().items())),
        "numpy.geterrcall()": np.geterrcall(),
        "numpy.getbufsize()": np.getbufsize(),
        "whether the processor keeps subnormal numbers": bool((tiny / 2)[0] > 0),
        "how the processor rounds": ((1.0 + half)[0], (-1.0 - half)[0], (1.0 + 3 * half)[0]),
        "decimal.getcontext()": repr(decimal.getcontext()),
    }
    _look(found, "torch", _torch_settings)
    _look(found, "jax", lambda it: {f"jax.config.{k}": v for k, v in dict(it.config.values).items()})
    _look(found, "tensorflow", _tensorflow_settings)
    _look(found, "keras", _keras_settings)
    return found


def process() -> Around:
    """Return what else of the process a learner could leave changed."""
    return {
        "the working folder": str(Path.cwd()),
        "os.environ": dict(os.environ),
        "the locale": locale.setlocale(locale.LC_ALL),
        "numpy.get_printoptions()": repr(np.get_printoptions()),
        "warnings.filters": [repr(one) for one in warnings.filters],
        "the root logger": (logging.root.level, logging.root.disabled, logging.root.manager.disable),
        "the root logger's handlers": [(type(one).__qualname__, one.level) for one in logging.root.handlers],
        "warnings.showwarning": warnings.showwarning,
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "the recursion limit": sys.getrecursionlimit(),
        "the handlers of interrupts and of SIGTERM": _handlers(),
        "how many files may be open": _open_files(),
        "sys.path": list(sys.path),
        "sys.dont_write_bytecode": sys.dont_write_bytecode,
        "how processes are started": multiprocessing.get_start_method(allow_none=True),
        "the processors and priority of the process": _processors(),
        "the size of new threads' stacks": threading.stack_size(),
        "faulthandler.is_enabled()": faulthandler.is_enabled(),
        "the socket's default timeout": socket.getdefaulttimeout(),
        "sys.getprofile() and sys.gettrace()": (sys.getprofile(), sys.gettrace()),
        "threading.excepthook": threading.excepthook,
        "sys.excepthook": sys.excepthook,
        "sys.getswitchinterval()": sys.getswitchinterval(),
        "the mask of new files' modes": _mask(),
        "sys.stdout": id(sys.stdout),
        "sys.stderr": id(sys.stderr),
    }


def lasting() -> Around:
    """Return settings that nothing of a learner may change for good, not even when it is built or first used.

    The environment's variables are not among them, as frameworks set some when they load a part of theirs; nor is JAX's
    64-bit mode: a process has it or not, and a float64 learner needs it; nor are hooks and handlers, which programs
    on the command line set beside a suite.
    """
    found = {**arithmetic(), **process()}
    passing = (
        "os.environ", "warnings.filters", "sys.stdout", "sys.stderr", "sys.excepthook", "jax.config.jax_enable_x64",
        "decimal.getcontext()", "sys.path", "the root logger's handlers", "warnings.showwarning",
        "faulthandler.is_enabled()",
    )  # fmt: skip
    return {name: value for name, value in found.items() if name not in passing}


def modules(learner: object) -> list[Any]:
    """Return each module that a learner holds, where its framework has modules in training or in evaluation mode.

    Which those are is seen by their form: they have ``training`` and ``modules()``, as PyTorch's do.
    """
    found: dict[int, Any] = {}  # each once, by whatever names it is held
    for value in vars(learner).values() if hasattr(learner, "__dict__") else ():
        if isinstance(getattr(value, "training", None), bool) and callable(getattr(value, "modules", None)):
            found |= {id(module): module for module in value.modules()}
    return list(found.values())


def begun() -> Around:
    """Return copies of what frameworks add to once, when they load a part of theirs, and no call adds to again."""
    return {"os.environ": dict(os.environ), "sys.path": list(sys.path)}


@contextlib.contextmanager
def unusual(seed: int, first: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Put global settings where nobody left them, until the block ends.

    So that a call shows that seeds a generator, or sets what it has set before. Generators are moved, decimal numbers
    have other digits, and a filter comes before all warnings'; the environment and ``sys.path`` are those of ``first``,
    what `begun` returned before anything was called.
    """
    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    torchs = None if torch is None else torch.get_rng_state()
    with warnings.catch_warnings(), decimal.localcontext() as digits, _put_back(first or begun()):
        digits.prec = 5 + seed % 20
        warnings.filterwarnings("default", message=f"a filter of its own, {seed}")
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        if torch is not None:
            torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)  # noqa: NPY002
            if torch is not None:
                torch.set_rng_state(torchs)


@contextlib.contextmanager
def _put_back(first: Mapping[str, Any]) -> Iterator[None]:
    now = begun()
    _put(first)
    try:
        yield
    finally:
        _put(now)


def _put(first: Mapping[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(first["os.environ"])
    sys.path[:] = first["sys.path"]


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> str | None:
    """Return the first thing that is not what it was, None where there is none.

    What was not there before is no difference: a framework may load a part of itself when it is first used.

    Example:
        >>> difference({"a": 1}, {"a": 2, "b": 3})
        'a'
    """
    return next((name for name, value in before.items() if name in after and after[name] != value), None)


def _look(found: Around, module: str, look: Callable[[Any], Around]) -> None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        with contextlib.suppress(AttributeError, ImportError, RuntimeError, TypeError, ValueError):  # another version
            found.update(look(loaded))


def _handlers() -> object:
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


def _open_files() -> object:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _processors() -> object:
    if not hasattr(os, "sched_getaffinity"):  # on Linux alone
        return None
    return os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)


def _mask() -> int:
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _torch_generators(torch: Any) -> Around:
    found: Around = {"torch's generator": torch.get_rng_state().numpy().tobytes()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["torch.cuda's generators"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return found


def _torch_settings(torch: Any) -> Around:
    return {
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": torch.get_num_threads(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled(),
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        "torch.is_autocast_enabled()": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "torch's deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "torch's threads of backward()": torch.autograd.is_multithreading_enabled(),
        "how torch prints": repr(vars(torch._tensor_str.PRINT_OPTS)),
        "torch.backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.backends.cudnn": (
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.enabled,
        ),
        "torch's hooks of all modules": {
            name: len(hooks)
            for name, hooks in vars(torch.nn.modules.module).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        },
    }


def _tensorflow_generators(tensorflow: Any) -> Around:
    context = sys.modules["tensorflow.python.eager.context"]
    return {"tensorflow's global seed": context.global_seed()}


def _tensorflow_settings(tensorflow: Any) -> Around:
    config = tensorflow.config
    return {
        "tensorflow.config.functions_run_eagerly()": config.functions_run_eagerly(),
        "tensorflow's number of threads": (
            config.threading.get_intra_op_parallelism_threads(),
            config.threading.get_inter_op_parallelism_threads(),
        ),
        "tensorflow's TensorFloat-32": config.experimental.tensor_float_32_execution_enabled(),
        "tensorflow's soft placement": config.get_soft_device_placement(),
        "tensorflow.executing_eagerly()": tensorflow.executing_eagerly(),
        "tensorflow.config.optimizer": (
            config.optimizer.get_jit(),
            sorted(config.optimizer.get_experimental_options().items()),
        ),
        "tensorflow's synchronous execution": config.experimental.get_synchronous_execution(),
        "tensorflow's logger": tensorflow.get_logger().level,
    }


def _keras_settings(keras: Any) -> Around:
    config = keras.config
    return {
        "keras.config.floatx()": config.floatx(),
        "keras.config.epsilon()": config.epsilon(),
        "keras.config.image_data_format()": config.image_data_format(),
        "keras.config.dtype_policy()": config.dtype_policy().name,
        "keras' logging and tracebacks": (
            config.is_interactive_logging_enabled(),
            config.is_traceback_filtering_enabled(),
        ),
    }
