"""Broken in a setting of an optimiser, a schedule, or what only hundreds of steps show."""

import dataclasses

import numpy as np
from mutant_registry import Stepping, breaks

from attent.reference import SGD, AdamW, NumpyLearner


def _changed(kind, **fields):
    """Return a reference function whose optimiser of this kind, where one is given, has other settings."""

    def reference(*arguments, optimiser=None, **settings):
        if isinstance(optimiser, kind):
            optimiser = dataclasses.replace(optimiser, **fields)
        return NumpyLearner(*arguments, optimiser=optimiser, **settings)

    return reference


@breaks("A3")
def beta1_ignored(*arguments, **settings):
    return _changed(AdamW, beta1=0.9)(*arguments, **settings)


@breaks("A3")
def beta2_ignored(*arguments, **settings):
    return _changed(AdamW, beta2=0.999)(*arguments, **settings)


@breaks("A3")
def epsilon_ignored(*arguments, **settings):
    return _changed(AdamW, epsilon=1e-8)(*arguments, **settings)


@breaks("A3")
def decay_of_adamw_ignored(*arguments, **settings):
    return _changed(AdamW, weight_decay=0.01)(*arguments, **settings)


@breaks("P4")
def momentum_ignored(*arguments, **settings):
    return _changed(SGD, momentum=0.9)(*arguments, **settings)


@breaks("A3")
def decay_of_sgd_ignored(*arguments, **settings):
    return _changed(SGD, weight_decay=0.0)(*arguments, **settings)


@breaks("A3")
def a_rate_of_0_taken_for_the_default(*arguments, learning_rate=1e-3, **settings):
    return NumpyLearner(*arguments, learning_rate=learning_rate or 1e-3, **settings)


@breaks("A3")
def another_default_rate(*arguments, learning_rate=2e-3, **settings):
    return NumpyLearner(*arguments, learning_rate=learning_rate, **settings)


@breaks("A3")
def schedule_of_280_steps(*arguments, learning_rate=1e-3, **settings):
    rate = (lambda step: learning_rate(step % 280)) if callable(learning_rate) else learning_rate
    return NumpyLearner(*arguments, learning_rate=rate, **settings)


@breaks("A3")
def schedule_that_only_falls(*arguments, learning_rate=1e-3, **settings):
    def rate(step):
        return min(learning_rate(at) for at in range(max(0, step - 3), step + 1))

    return NumpyLearner(*arguments, learning_rate=rate if callable(learning_rate) else learning_rate, **settings)


@breaks("A3")
def schedule_in_float32(*arguments, learning_rate=1e-3, **settings):
    rate = (lambda step: float(np.float32(learning_rate(step)))) if callable(learning_rate) else learning_rate
    return NumpyLearner(*arguments, learning_rate=rate, **settings)


class _Adam(AdamW):
    """AdamW, to be changed before and after its step."""


def _stepping(kind, change):
    """Return a reference function whose optimiser of a kind steps by ``change(own step, arguments, count, rate)``."""

    class Changed(Stepping):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            if isinstance(self.optimiser, kind):
                own = self.optimiser

                class Wrapped:
                    moment_names = own.moment_names

                    def step(self, parameters, gradients, moments, *, count, learning_rate):
                        return change(own, parameters, gradients, moments, count, learning_rate)

                self.optimiser = Wrapped()

    return Changed


@breaks("A3")
def steps_counted_in_8_bits(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        return own.step(p, g, m, count=(count - 1) % 256 + 1, learning_rate=rate)

    return _stepping(AdamW, step)(*arguments, **settings)


@breaks("A3")
def no_correction_after_200_steps(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        return own.step(p, g, m, count=count if count < 200 else 10**9, learning_rate=rate)

    return _stepping(AdamW, step)(*arguments, **settings)


@breaks("A3")
def coupled_decay(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        plain = dataclasses.replace(own, weight_decay=0.0)
        decayed = {n: a + own.weight_decay * p[n] for n, a in g.items()}
        return plain.step(p, decayed, m, count=count, learning_rate=rate)

    return _stepping(AdamW, step)(*arguments, **settings)


@breaks("A3")
def vectors_not_decayed(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        new, moments = own.step(p, g, m, count=count, learning_rate=rate)
        plain, _ = dataclasses.replace(own, weight_decay=0.0).step(p, g, m, count=count, learning_rate=rate)
        return {n: a if a.ndim > 1 else plain[n] for n, a in new.items()}, moments

    return _stepping(AdamW, step)(*arguments, **settings)


@breaks("A3")
def nesterov(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        _, moments = own.step(p, g, m, count=count, learning_rate=rate)
        velocity = moments["velocity"]
        return {n: p[n] - rate * (g[n] + own.weight_decay * p[n] + own.momentum * velocity[n]) for n in p}, moments

    return _stepping(SGD, step)(*arguments, **settings)


@breaks("A3")
def dampened(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        damped = {n: a * (1 - own.momentum) - own.momentum * own.weight_decay * p[n] for n, a in g.items()}
        return own.step(p, damped if count > 1 else g, m, count=count, learning_rate=rate)

    return _stepping(SGD, step)(*arguments, **settings)


@breaks("P4")
def gradients_clipped_at_norm_5(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        norm = float(np.sqrt(sum(float((a * a).sum()) for a in g.values())))
        return own.step(
            p, {n: a * min(1.0, 5.0 / max(norm, 1e-300)) for n, a in g.items()}, m, count=count, learning_rate=rate
        )

    return _stepping((AdamW, SGD), step)(*arguments, **settings)


@breaks("A3")
def decay_after_the_step(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        new, moments = dataclasses.replace(own, weight_decay=0.0).step(p, g, m, count=count, learning_rate=rate)
        return {n: a * (1.0 - rate * own.weight_decay) for n, a in new.items()}, moments

    return _stepping(AdamW, step)(*arguments, **settings)


@breaks("A3")
def moments_begun_anew_every_256_steps(*arguments, **settings):
    def step(own, p, g, m, count, rate):
        if count % 256 == 0:
            m = {name: {n: np.zeros_like(a) for n, a in each.items()} for name, each in m.items()}
        return own.step(p, g, m, count=count, learning_rate=rate)

    return _stepping((AdamW, SGD), step)(*arguments, **settings)
