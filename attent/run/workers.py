"""Processes that train one model together: every one runs the same course and computes its share. Rules W1 to W5.

How processes reach each other is a function of bytes, so this is the same in every framework.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.errors import LearnerError, WorkersError
from attent.learner import Ids, Learner, Numbers, State, check_batches, check_ids, checked_length, checked_numbers
from attent.run.course import Course

T = TypeVar("T")
Gather = Callable[[bytes], Sequence[bytes]]
Answering = Callable[[], contextlib.AbstractContextManager[None]]
_TOLD, _FAILED = b"t", b"f"  # how a message begins
_DIGEST = 32  # bytes of SHA-256
_SHORT = 120  # bytes of a message that go with its length, in one exchange
_COMPARED = 16  # examples that every process scores, to see that all have the same data and parameters
_TOLERANCE = 1e-3  # of their losses, relative: other machines round otherwise, other data are far off


class Workers:
    """A learner on several processes, as one learner. Every process makes one and hands it to ``attent.teach``.

    Scores are computed once each, by shard, and gathered by id; of each global batch a process trains its share. Before
    it computes anything, every call compares what the processes were asked for, so that one that chose otherwise stops
    all of them. ``teach`` lets rank 0 alone write the run folder.

    Backends make it for their frameworks: ``attent_torch.workers``, ``attent_jax.workers`` and
    ``attent_tensorflow.workers``.

    Args:
        learner: this process' learner, over all examples. Its ``train`` takes the mean over the batch that it is
            given, and averages gradients over the processes before each step, as DistributedDataParallel does.
        rank, world: this process' number, from 0, and how many there are.
        gather: given bytes of this process, returns those of every process, by rank. All call it equally often, in one
            order. It raises ``WorkersError`` where a process is gone or does not answer in time.
        answering: returns a context for every call of the learner and of ``gather``, which says as a WorkersError what
            the framework raises where another process is gone.
        shares: False for a learner that divides batches among the processes itself, and returns all numbers to each.

    Raises WorkersError where the processes disagree; all of them raise it, and it names the ranks.

    Example:
        >>> import attent
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan.default(epochs=2, batch_size=64)
        >>> alone = attent.Workers(vit_digits(plan), rank=0, world=1, gather=lambda told: [told])
        >>> attent.teach(alone, plan).finished
        True
    """

    def __init__(
        self,
        learner: Learner,
        rank: int,
        world: int,
        gather: Gather,
        *,
        answering: Answering = contextlib.nullcontext,
        shares: bool = True,
    ) -> None:
        self.world = checks.whole("world", world, 1, error=WorkersError)
        self.rank = checks.whole("rank", rank, 0, world - 1, error=WorkersError)
        self.learner, self._gather, self._answering, self._shares = learner, gather, answering, shares
        self._silent = False  # whether others may be waiting elsewhere than in ``gather``
        self._tells = False  # whether a block is under way whose error the others are told
        with self.telling():
            if not isinstance(learner, Learner):
                raise LearnerError(f"Workers takes an attent.Learner, got {type(learner).__name__}")
            self._n = checked_length(learner)
            self._agreed("the number of examples", str(self._n).encode())
        for name in (
            "evaluate",
            "groups",
            "group_names",
            "costs",
            "watch",
            "check_schedule",
            "scales_losses",
        ):  # what a learner may offer besides
            if hasattr(learner, name):
                setattr(self, name, getattr(learner, name))

        if hasattr(learner, "check_batches"):
            self.check_batches = self._check_shares

    def __len__(self) -> int:
        """Return the number of training examples."""
        return len(self.learner)

    @property
    def skipped(self) -> int:
        """The steps that changed nothing, where the learner counts them (rule P8): the same on all processes."""
        return self.learner.skipped  # type: ignore[attr-defined, no-any-return]

    @property
    def score_batch_size(self) -> int:
        """Examples per forward in scoring, over all processes, where the learner tells it."""
        return self.learner.score_batch_size * (self.world if self._shares else 1)  # type: ignore[attr-defined, no-any-return]

    def _check_shares(self, largest: int, smallest: int) -> None:
        """Raise LearnerError where the learner cannot train a share of the smallest batch."""
        world = self.world if self._shares else 1
        self.learner.check_batches(-(-largest // world), max(1, smallest // world))  # type: ignore[attr-defined]

    def score(self, ids: Ids) -> Numbers:
        """Return each example's deviation, each computed by one process: float64, shape (len(ids),)."""
        with self.telling():
            return self._score(ids)

    def _score(self, ids: Ids) -> Numbers:
        check_ids("ids", ids, self._n)
        self._agreed("the examples to score", _digest([ids]))
        if not self._shares:
            return self._jointly(lambda: self._scored(ids))
        if not len(ids):
            return np.empty(0)
        spans = [_span(len(ids), rank, self.world) for rank in range(self.world)]
        # Equally many for all, some twice: models whose forward is a joint act need as many forwards on each.
        longest = max(stop - start for start, stop in spans)
        start, stop = spans[self.rank]
        own = np.append(ids[start:stop], np.repeat(ids[:1], longest - (stop - start)))
        numbers = checked_numbers(self._scored(own), longest, "learner.score()")
        parts = self._exchanged("the scores", b"", numbers[: stop - start].tobytes())
        return np.concatenate([np.frombuffer(part) for part in parts])

    def train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None = None) -> Numbers:
        """Take one optimiser step per global batch, this process on its share; return the losses of all examples."""
        with self.telling():
            return self._train(batches, weights)

    def _train(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None) -> Numbers:
        check_batches(batches, weights, self._n)
        self._agreed("the batches to train", _digest([*batches, *(weights or [])]))
        if not self._shares:
            return self._jointly(lambda: self._trained(batches, weights))
        spans = [[_span(len(ids), rank, self.world) for ids in batches] for rank in range(self.world)]
        own, factors, kept = [], [], []
        for at, (ids, (start, stop)) in enumerate(zip(batches, spans[self.rank], strict=True)):
            share = ids[start:stop] if stop > start else ids[:1]  # where it has none, one that counts nothing
            weighed = np.ones(len(ids)) if weights is None else weights[at]
            own.append(share)
            # The average over processes of the means over their shares is then the mean over the batch.
            factors.append(
                weighed[start:stop] * (self.world * (stop - start) / len(ids)) if stop > start else np.zeros(1)
            )
            kept.append(np.full(len(share), stop > start))
        numbers = self._jointly(lambda: self._trained(own, factors))
        numbers = checked_numbers(numbers, sum(map(len, own)), "learner.train()")
        parts = self._exchanged("the losses", b"", numbers[_joined(kept, np.bool_)].tobytes())
        result, begins = np.empty(sum(map(len, batches))), np.cumsum([0, *map(len, batches)])[:-1]
        for rank, part in enumerate(parts):
            spots = [np.arange(b + i, b + j) for b, (i, j) in zip(begins, spans[rank], strict=True)]
            result[_joined(spots, np.int64)] = np.frombuffer(part)
        return result

    def state(self) -> State:
        """Return the learner's state, which holds nothing of how many processes there are."""
        with self._answering():
            return self.learner.state()

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a state, of any number of processes."""
        with self._answering():
            self.learner.load_state(state)

    # What teach asks

    def in_turn(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns, called on rank 0 once all others are done. One that fails stops all."""
        with self.telling():
            made = make() if self.rank else None
            self._agreed("reading the run folder")
            if made is None:
                made = make()
            self._agreed("opening the run folder")
            return made

    def begun(self, course: Course) -> None:
        """Raise WorkersError unless all stand at one place of one course, and their learners agree."""
        self._agreed("where the run stands", course.state()["digest"].tobytes())
        self.compare()

    def ended(self) -> None:
        """Wait until all are at the end of what they teach: rank 0 has written it, and the others can read it."""
        self._agreed("the end")

    def compare(self) -> None:
        """Raise WorkersError naming the ranks whose learners give the same examples other losses."""
        if not self._shares:
            return  # its numbers are common ones
        ids = np.unique(np.linspace(0, self._n - 1, _COMPARED).astype(np.int64))
        own = checked_numbers(self._scored(ids), len(ids), "learner.score()")
        found = np.stack([np.frombuffer(part) for part in self._exchanged("the losses compared", b"", own.tobytes())])
        with np.errstate(invalid="ignore"):
            usual = found[0] if self.world == 2 else np.median(found, axis=0)
        magnitude = np.abs(usual[np.isfinite(usual)]).max(initial=0.0)
        near = np.isclose(found, usual, rtol=_TOLERANCE, atol=_TOLERANCE * magnitude, equal_nan=True)
        if near.all():
            return
        ranks = np.flatnonzero(~near.all(1)).tolist()
        rank, at = ranks[0], int(np.argmin(near[ranks[0]]))
        raise WorkersError(
            f"{_named(ranks)} of {self.world} has other data or parameters than the others: the loss of example "
            f"{ids[at]} is {found[rank, at]:.6g} there and {usual[at]:.6g} elsewhere. Give every process the same "
            "examples in the same order and the same first parameters (seed before the model is made). All have "
            "stopped (rule W3)"
        )

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return which of the flags is set on any process."""
        parts = self._exchanged("whether to stop", b"", bytes(flags))
        return tuple(any(values) for values in zip(*parts, strict=True))

    def slowest(self, seconds: float) -> float:
        """Return the most seconds that any process spent: what is decided by them is decided alike."""
        parts = self._exchanged("the seconds spent", b"", np.float64(seconds).tobytes())
        return max(float(np.frombuffer(part)[0]) for part in parts)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Run a block; an error in it stops the other processes too, by name. Of nested blocks the outer one tells."""
        if self._tells:
            yield
            return
        self._tells = True
        try:
            yield
        except WorkersError:  # the others know
            raise
        except Exception as error:
            if not self._silent:
                with contextlib.suppress(WorkersError), self._answering():
                    self._gather(failure(error))
            raise
        finally:
            self._tells = False

    def _scored(self, ids: Ids) -> Numbers:
        with self._answering():
            return self.learner.score(ids)

    def _trained(self, batches: Sequence[Ids], weights: Sequence[Numbers] | None) -> Numbers:
        with self._answering():
            return self.learner.train(batches, weights)

    def _jointly(self, call: Callable[[], Numbers]) -> Numbers:
        """Return what ``call`` returns, in which the learners exchange numbers themselves."""
        self._silent = True  # an error on the way leaves the others there, where they do not hear of it
        numbers = call()
        self._silent = False
        return numbers

    def _agreed(self, what: str, said: bytes = b"") -> None:
        self._exchanged(what, said, b"")

    def _exchanged(self, what: str, said: bytes, payload: bytes) -> list[bytes]:
        """Return every process' payload, by rank; raise WorkersError on all where one failed or said something else."""
        own = _TOLD + hashlib.sha256(f"{what}:".encode() + said).digest() + payload
        with self._answering():
            parts = list(self._gather(own))
        if len(parts) != self.world or parts[self.rank] != own:
            raise WorkersError(
                f"gather must return the bytes of {self.world} processes by rank, with those of rank {self.rank} in "
                f"their place; got {len(parts)}"
            )
        check_failures(parts)
        heads = [part[: 1 + _DIGEST] for part in parts]
        most = Counter(heads).most_common(1)[0][0]  # of equally many that of the lowest rank
        others = [rank for rank, head in enumerate(heads) if head != most]
        if others:
            raise WorkersError(
                f"{_named(others)} of {self.world} disagrees with the others on {what}. Give every process the same "
                "plan, data, reference and version of attent, and let all see the same run folder. All have stopped "
                "(rule W3)"
            )
        return [part[1 + _DIGEST :] for part in parts]


def failure(error: Exception) -> bytes:
    """Return what a process tells the others in place of what they wait for: that it has stopped, and why.

    Example:
        >>> from attent.run.workers import failure
        >>> failure(OSError("the disk is gone"))
        b'fOSError: the disk is gone'
    """
    return _FAILED + f"{type(error).__name__}: {error}"[:2000].encode()


def check_failures(parts: Sequence[bytes]) -> None:
    """Raise WorkersError naming the first process, by rank, that told a `failure`."""
    for rank, part in enumerate(parts):
        if part[:1] == _FAILED:
            text = part[1:].decode(errors="replace")
            raise WorkersError(f"rank {rank} of {len(parts)} has stopped, and so have all: {text}")


def framed(exchange: Callable[[npt.NDArray[np.uint8]], Sequence[bytes]]) -> Gather:
    """Return a gather of bytes of any length, made from an exchange of arrays that are equally long on all processes.

    Frameworks gather arrays of one shape. Short messages take one exchange of 128 bytes; the rest of longer ones takes
    a second, padded to a power of two, so that few shapes are compiled.

    Example:
        >>> import numpy as np
        >>> from attent.run.workers import framed
        >>> gather = framed(lambda own: [own.tobytes()] * 2)  # two processes that say the same
        >>> [len(part) for part in gather(b"a" * 300)]
        [300, 300]
    """

    def gather(told: bytes) -> list[bytes]:
        heads = exchange(_padded(len(told).to_bytes(8, "little") + told[:_SHORT], 8 + _SHORT))
        lengths = [int.from_bytes(head[:8], "little") for head in heads]
        rests: Sequence[bytes] = [b""] * len(heads)
        if max(lengths) > _SHORT:
            rests = exchange(_padded(told[_SHORT:], max(256, 1 << (max(lengths) - _SHORT - 1).bit_length())))
        return [(head[8:] + rest)[:size] for head, rest, size in zip(heads, rests, lengths, strict=True)]

    return gather


def _padded(told: bytes, size: int) -> npt.NDArray[np.uint8]:
    result = np.zeros(size, np.uint8)
    result[: len(told)] = np.frombuffer(told, np.uint8)
    return result


class Alone:
    """What `Workers` does for ``teach``, in one process: nothing."""

    rank = 0

    def in_turn(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns."""
        return make()

    def begun(self, course: Course) -> None:
        """Compare nothing."""

    def compare(self) -> None:
        """Compare nothing."""

    def ended(self) -> None:
        """Wait for nobody."""

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return the flags."""
        return flags

    def slowest(self, seconds: float) -> float:
        """Return the seconds."""
        return seconds

    def telling(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()


def workers_of(learner: Learner) -> Workers | Alone:
    """Return the processes that a learner is taught on."""
    return learner if isinstance(learner, Workers) else Alone()


def _span(size: int, rank: int, world: int) -> tuple[int, int]:
    """Return from where to where a rank's share of so many examples goes: parts as equal as can be, in order."""
    return rank * size // world, (rank + 1) * size // world


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])


def _digest(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{plain.dtype.str}{plain.shape}".encode())
        digest.update(plain.data)
    return digest.digest()


def _named(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
