"""Workers as threads of one process, over NumPy's learner: as many as a test wants, at no cost."""

from __future__ import annotations

import threading

import numpy as np

import attent
from attent.errors import WorkersError
from attent.reference import SGD, Architecture, NumpyLearner, initial_parameters


class Room:
    """Where so many threads exchange bytes and sums. ``timeout``: seconds until one that does not come is missed."""

    def __init__(self, world, timeout=20):
        self.world = world
        self._barrier = threading.Barrier(world, timeout=timeout or 20)
        self._said = [None] * world

    def exchanged(self, rank, value):
        """Return what every thread said, by rank."""
        self._said[rank] = value
        try:
            self._barrier.wait()
            parts = list(self._said)
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise WorkersError("a rank is gone") from None
        return parts

    def gather(self, rank):
        """Return the ``gather`` of a rank."""
        return lambda told: self.exchanged(rank, told)

    def run(self, work, *, raised=False):
        """Return what ``work(room, rank)`` returned on each thread, or raised."""
        results, errors = [None] * self.world, [None] * self.world

        def one(rank):
            try:
                results[rank] = work(self, rank)
            except BaseException as error:
                errors[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if raised:
            return errors
        for error in errors:
            if error is not None:
                raise error
        return results


class Apart(NumpyLearner):
    """NumPy's learner that averages gradients over the threads of a room."""

    def __init__(self, room, rank, n=48, seed=0):
        draw = np.random.default_rng(seed)
        architecture = Architecture("classify", length=3, outputs=3, patch=2, width=4, heads=1, depth=1, hidden=6)
        inputs, targets = draw.normal(size=(n, 3, 2)), draw.integers(0, 3, n)
        super().__init__(
            architecture,
            initial_parameters(architecture, 0),
            inputs,
            targets,
            optimiser=Averaged(room, rank),
            learning_rate=0.1,
        )
        self.room, self.rank = room, rank


class Averaged(SGD):
    """Gradient descent that averages gradients first."""

    def __init__(self, room, rank):
        super().__init__(momentum=0.9)
        object.__setattr__(self, "place", (room, rank))

    def step(self, parameters, gradients, moments, *, count, learning_rate):
        """Take a step on the average of all threads' gradients."""
        room, rank = self.place
        every = room.exchanged(rank, gradients)
        mean = {name: sum(each[name] for each in every) / room.world for name in gradients}
        return super().step(parameters, mean, moments, count=count, learning_rate=learning_rate)


def learner():
    """Return a learner of one process."""
    return Apart(Room(1), 0)


def parameters(learner):
    """Return its parameters as arrays."""
    return [value for name, value in sorted(learner.state().items()) if name.startswith("parameters.")]


def taught(plan, world, *, run=None, resume=False, end=None, learner=Apart):
    """Return each thread's trace and learner; ``end``: epochs after which the run is stopped."""

    def work(room, rank):
        one = learner(room, rank)
        at = []
        trace = attent.teach(
            attent.Workers(one, rank, world, room.gather(rank)),
            plan,
            run=run,
            resume=resume,
            listeners=[lambda progress: at.append(progress)],
            stop=lambda: end is not None and at[-1].record is not None and at[-1].epoch + 1 == end,
        )
        return trace, one

    return Room(world).run(work)
