"""A backend whose states only the process that made them can read: found by name from another process."""

import numpy as np

from attent.learner import checked_state
from attent.reference import NumpyLearner


class NumberedInASetsOrder(NumpyLearner):
    """Numbers parameters in the order of a set of their names, which is another in each process."""

    def state(self):
        return {self._numbered(name): array for name, array in super().state().items()}

    def load_state(self, state):
        own = NumpyLearner.state(self)
        taken = checked_state(state, self.state())
        arrays = {name: taken[self._numbered(name)] for name in own}
        self._parameters = {name: arrays[f"parameters.{name}"] for name in self._parameters}
        self._moments = {
            moment: {name: arrays[f"{moment}.{name}"] for name in self._parameters} for moment in self._moments
        }
        self._steps = int(np.asarray(arrays["steps"]))

    def _numbered(self, name):
        group, _, parameter = name.partition(".")
        return f"{group}.{list(set(self._parameters)).index(parameter):03d}" if parameter else group
