"""A Keras learning-rate schedule counts steps: it must be built for as many as the plan takes."""

from __future__ import annotations

from typing import Any

from attent.errors import LearnerError

_DEAD = 1e-6  # of the first learning rate
_LENGTH = {"CosineDecay": "decay_steps", "PolynomialDecay": "decay_steps"}


def check_schedule(optimizer: Any, steps: int, epochs: int) -> None:
    """Raise LearnerError for a schedule that tells another length than ``steps``, by more than a hundredth.

    Known are CosineDecay, PolynomialDecay without cycle, and PiecewiseConstantDecay, whose last boundary must lie
    within the steps and beyond the epochs; and ExponentialDecay, which must not fall below a millionth. Any other is
    taken as it is.

    Example:
        >>> import attent, keras
        >>> from attent_tensorflow.trainers.keras_schedule import check_schedule
        >>> try:
        ...     check_schedule(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100)), 52, 4)
        ... except attent.AttentError as error:
        ...     print(str(error)[:61])
        the learning rate's CosineDecay has decay_steps=100, and the
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = optimizer.get_config().get("learning_rate")
    if not isinstance(schedule, dict):
        return
    kind, config = schedule["class_name"], schedule["config"]
    told = None
    if kind in _LENGTH and not config.get("cycle"):
        length = config[_LENGTH[kind]] + (config.get("warmup_steps") or 0)
        if abs(length - steps) > max(1, 0.01 * steps):
            told = f"{_LENGTH[kind]}={config[_LENGTH[kind]]}" + (
                f" and warmup_steps={config['warmup_steps']}" if config.get("warmup_steps") else ""
            )
    elif kind == "PiecewiseConstantDecay" and config["boundaries"]:
        last = config["boundaries"][-1]
        if last >= steps or last <= epochs < steps:
            told = f"boundaries={list(config['boundaries'])}"
    elif kind == "ExponentialDecay" and 0 < config["decay_rate"] ** (steps / config["decay_steps"]) < _DEAD:
        told = f"decay_steps={config['decay_steps']} and decay_rate={config['decay_rate']}"
    if told is not None:
        raise LearnerError(
            f"the learning rate's {kind} has {told}, and the plan takes {steps} steps: a schedule counts optimiser "
            "steps, build it for plan.total_steps(n) of them"
        )
