"""Workers that are broken in one way each: threads over NumPy's learner, with a single fault."""

import threading

import numpy as np

import attent
from attent.errors import WorkersError
from attent.reference import SGD, NumpyLearner

MUTANTS = {}


def breaks(rule):
    """Register a mutant with the rule whose check must fail first."""

    def register(kind):
        MUTANTS[kind.__name__] = (kind, rule)
        return kind

    return register


class Room:
    """Where the threads of one run exchange what they have."""

    rooms: dict = {}
    lock = threading.Lock()

    def __init__(self, world):
        self.world, self.parts = world, [None] * world
        self.barrier = threading.Barrier(world, timeout=4)

    @classmethod
    def of(cls, name, world):
        with cls.lock:
            return cls.rooms.setdefault(name, cls(world))

    def exchanged(self, rank, value):
        """Return what every thread has, by rank."""
        self.parts[rank] = value
        try:
            self.barrier.wait()
            parts = list(self.parts)
            self.barrier.wait()
        except threading.BrokenBarrierError:
            raise WorkersError("a thread is gone") from None
        return parts


class Right:
    """Nothing is broken: what the mutants change is in these methods."""

    workers = attent.Workers

    def __init__(self, rank, world, addresses):
        self.rank, self.world, self.room = rank, world, Room.of(addresses[0], world)

    def __call__(self, *arguments, **settings):
        return self.workers(self.learner(*arguments, **settings), self.rank, self.world, self.gather)

    def learner(self, *arguments, optimiser, **settings):
        return NumpyLearner(*arguments, optimiser=Averaging(optimiser.momentum, made_by=self), **settings)

    def gather(self, told):
        return self.room.exchanged(self.rank, told)

    def average(self, gradients):
        every = self.room.exchanged(self.rank, gradients)
        return {name: sum(each[name] for each in every) / self.world for name in gradients}


class Averaging(SGD):
    def __init__(self, momentum, made_by):
        super().__init__(momentum)
        object.__setattr__(self, "made_by", made_by)

    def step(self, parameters, gradients, moments, *, count, learning_rate):
        mean = self.made_by.average(gradients)
        return super().step(parameters, mean, moments, count=count, learning_rate=learning_rate)


@breaks("W2")
class GradientsAreSummed(Right):
    def average(self, gradients):
        return {name: value * self.world for name, value in super().average(gradients).items()}


@breaks("W2")
class EachTrainsItsShareAlone(Right):
    def average(self, gradients):
        return gradients


@breaks("W2")
class TheGradientOfRank0IsTaken(Right):
    def average(self, gradients):
        return self.room.exchanged(self.rank, gradients)[0]


@breaks("W2")
class OneParameterIsForgotten(Right):
    def average(self, gradients):
        own = gradients["head.bias"]
        return {**super().average(gradients), "head.bias": own}


@breaks("W2")
class UnevenSharesWeighTheSame(Right):
    """As a sampler's do that ignores what the last batch lacks."""

    def learner(self, *arguments, **settings):
        learner = super().learner(*arguments, **settings)
        train = learner.train
        learner.train = lambda batches, weights=None: train(batches)
        return learner


@breaks("W1")
class ScoresComeInTheOrderOfArrival(Right):
    class workers(attent.Workers):
        def score(self, ids):
            found = super().score(ids)
            return np.roll(found, len(found) // self.world)


@breaks("W1")
class WeightsOfSelectionsAreLost(Right):
    class workers(attent.Workers):
        def train(self, batches, weights=None):
            return super().train(batches)


@breaks("W1")
class ARankSelectsFromItsOwnScores(Right):
    """Scores of the other shards are left at what this rank guesses."""

    class workers(attent.Workers):
        def score(self, ids):
            found = super().score(ids).copy()
            found[len(ids) // self.world :] = found[: len(ids) // self.world].mean()
            return found


@breaks("W3")
class NobodyCompares(Right):
    class workers(attent.Workers):
        def _exchanged(self, what, said, payload):
            return super()._exchanged("", b"", payload)

        def compare(self):
            pass


@breaks("W3")
class OtherParametersPass(Right):
    class workers(attent.Workers):
        def compare(self):
            pass


@breaks("W3")
class TheWrongRankIsNamed(Right):
    def __call__(self, *arguments, **settings):
        world = self.world

        class Blaming(attent.Workers):
            def _exchanged(self, what, said, payload):
                try:
                    return super()._exchanged(what, said, payload)
                except WorkersError as error:
                    raise WorkersError(str(error).replace(f"rank {world - 1} of", "rank 0 of")) from None

        return Blaming(self.learner(*arguments, **settings), self.rank, self.world, self.gather)


@breaks("W4")
class AFrameworksErrorComesThrough(Right):
    def gather(self, told):
        try:
            return super().gather(told)
        except WorkersError as error:
            raise RuntimeError(str(error)) from None

    def average(self, gradients):
        try:
            return super().average(gradients)
        except WorkersError as error:
            raise RuntimeError(str(error)) from None


@breaks("W4")
class TheRestGoesOnAlone(Right):
    """Without the one that is gone."""

    def gather(self, told):
        try:
            return super().gather(told)
        except WorkersError:
            return [told] * self.world

    def average(self, gradients):
        try:
            return super().average(gradients)
        except WorkersError:
            return gradients


@breaks("W4")
class OneThatIsGoneIsAnEnd(Right):
    """As a worker does whose group's errors are swallowed."""

    class workers(attent.Workers):
        def train(self, batches, weights=None):
            try:
                return super().train(batches, weights)
            except WorkersError:
                return np.zeros(sum(map(len, batches)))

        def any(self, *flags):
            try:
                return super().any(*flags)
            except WorkersError:
                return True, True

        def compare(self):
            self.without_it(super().compare)

        def ended(self):
            self.without_it(super().ended)

        def without_it(self, call):
            try:
                call()
            except WorkersError as error:
                if "gone" not in str(error):
                    raise


@breaks("W5")
class StatesHoldTheWorld(Right):
    class workers(attent.Workers):
        def state(self):
            return {**super().state(), "world": np.array(self.world)}

        def load_state(self, state):
            state = dict(state)
            assert int(state.pop("world")) == self.world
            super().load_state(state)


@breaks("W5")
class VelocitiesAreNotKept(Right):
    class workers(attent.Workers):
        def load_state(self, state):
            super().load_state({k: v * (0 if k.startswith("velocity") else 1) for k, v in state.items()})


@breaks("W5")
class TheFirstStateIsTakenUpAgain(Right):
    """As a copy does that stays on a device."""

    class workers(attent.Workers):
        kept = None

        def load_state(self, state):
            self.kept = self.kept or dict(state)
            super().load_state(self.kept)
