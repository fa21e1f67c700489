"""The course: a plan under way. It says what to do next and takes the numbers back. Rules R1 to R4 of docs/spec.md.

NumPy only and free of I/O, so a trainer that owns its loop can drive it; ``attent.teach`` is the loop for
everyone else.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from attent import checks
from attent.choose import policy
from attent.choose.buckets import Buckets
from attent.choose.chunks import CHUNK
from attent.choose.noise import ORDER, POOL, Noise
from attent.choose.policy import Choice
from attent.choose.rules import Ages, random
from attent.choose.scores import deviations, stalest
from attent.choose.shuffle import Shuffle
from attent.choose.sources import Reuse, share_of
from attent.columns import checked_names
from attent.errors import CourseError, ScoreError
from attent.learner import Ids, Numbers, State, checked_numbers
from attent.plan.plan import Plan
from attent.plan.timeline import Epoch
from attent.run.finite import check_finite, check_skipped
from attent.run.first_epoch import opening_of, quarters_of
from attent.run.given_scores import checked_given, checked_watching
from attent.run.records import EpochRecord, Selected, selected
from attent.run.state import keeps_before, pack, unpack
from attent.run.watching import Watching


@dataclasses.dataclass(frozen=True)
class Score:
    """Lesson: return the deviation of each of these examples, in evaluation mode."""

    ids: Ids


@dataclasses.dataclass(frozen=True)
class Train:
    """Lesson: take one optimiser step per batch and return each example's loss, concatenated."""

    batches: list[Ids]
    weights: list[Numbers] | None


@dataclasses.dataclass(frozen=True)
class Done:
    """Lesson: the plan is at its end."""


Lesson = Score | Train | Done


class Course:
    """The state machine of a run over n examples.

    ``next()`` gives the lesson at hand, the same one until ``record(...)`` has taken its numbers.
    ``segment_steps`` is how many batches a lesson holds at most, and the attribute ``score_examples`` how many examples
    one to score (None: all); they change no id and no batch. Keeps one
    float64 and one int32 per example, and the ids being taught; for a policy that asks for the loss before, or a source
    that ranks progress, one float64 more.

    ``reference``: a reference model's loss of each example, float64, shape (n,), which is subtracted before
    ranking (reducible loss). ``replay``: by draw, the scores of an earlier run, for a plan with ``source=Replay()``.
    ``groups``: the group of each example, int64, shape (n,), at least 0, for a policy that goes by groups.
    ``group_names``: of each of them, by its number, the text by which reasons name it; None: the numbers.
    ``costs``: what each example costs, float64, shape (n,), above 0, for records, a policy that asks and ``bucket``.
    ``watch``: a learner's ``watch()`` (`attent.Watches`), called before each choice of a policy that asks for it.

    Example:
        >>> import numpy as np, attent
        >>> plan = attent.Plan(epochs=2, batch_size=2, warm_up=1, ratio=0.5, select=attent.Hard())
        >>> course = attent.Course(plan, 4)
        >>> while not isinstance(lesson := course.next(), attent.Done):
        ...     ids = np.concatenate(lesson.batches)
        ...     ended = course.record(1.0 + ids)  # example 3 has the highest loss
        >>> sorted(ids.tolist())
        [2, 3]
    """

    def __init__(
        self,
        plan: Plan,
        n: int,
        *,
        segment_steps: int = 64,
        reference: Numbers | None = None,
        replay: Mapping[int, Numbers] | None = None,
        groups: Ids | None = None,
        group_names: Sequence[str] | None = None,
        costs: Numbers | None = None,
        watch: Callable[[], Numbers] | None = None,
    ) -> None:
        self.segment_steps = checks.whole("segment_steps", segment_steps, 1, error=CourseError)
        self.score_examples: int | None = None
        self._given_digest = checked_given(plan, n, reference, replay, groups, costs)
        self.reference, self.replay, self.groups, self.costs = reference, replay, groups, costs
        self._names = None if groups is None else checked_names(group_names, groups)
        self.plan, self.n = plan, n
        self.timeline = plan.timeline(n)
        self._asked = policy.asks(plan.select)
        self._watching = Watching(checked_watching(plan, watch))
        # Of each epoch the order it is trained in; passes that are parts of one epoch share it. The last: not seen.
        self._orders = np.array([*(row.shuffle for row in self.timeline), -1], np.int32)
        self.epoch = 0  # index of the epoch under way
        self.step = 0  # batches of it that are done
        self.draw = 0  # selections made so far
        self.scores: Numbers = np.full(n, np.nan)
        self.seen = np.full(n, -1, np.int32)  # epoch in which a score was seen
        self.before = np.full(n, np.nan) if keeps_before(plan) else None  # an earlier loss: the last, or the first
        self.ranked = self.scores  # what the selection under way ranked
        self.memory: Mapping[str, Any] | None = None  # what the policy's last choice left for the next
        # Taught before the choice at hand, until a step has been taken on it.
        self._last_choice: tuple[Ids | None, Numbers | None, Mapping[str, Any] | None] | None = None
        self.ids: Ids | None = None  # being taught; None: all
        self.weights: Numbers | None = None
        self.selection: Selected | None = None  # made for the epoch under way
        self.scored = self._chosen = False  # for the epoch under way
        self.scoring = 0  # examples scored of a scoring pass under way
        self.trained = 0  # examples of it trained so far
        self.skipped = 0  # steps of it that were skipped (rule P8)
        self._finite = 0  # examples of it whose loss is finite
        self._loss_sum = 0.0  # of these
        self._order: Shuffle | Buckets | None = None
        self._lesson: Lesson | None = None

    @property
    def row(self) -> Epoch:
        """The timeline's row of the epoch under way (the last one when done)."""
        return self.timeline[min(self.epoch, len(self.timeline) - 1)]

    @property
    def mean_loss(self) -> float | None:
        """Mean of the finite losses so far in the epoch under way, None before the first."""
        return self._loss_sum / self._finite if self._finite else None

    def next(self) -> Lesson:
        """Return the lesson at hand. Raises ScoreError where the scores cannot be ranked under the plan."""
        if self._lesson is None:
            self._lesson = self._make_lesson()
        return self._lesson

    def _make_lesson(self) -> Lesson:
        if self.epoch == len(self.timeline):
            return Done()
        if "watched" in self._asked:
            self._watching.begin()
        row = self.row
        if not self._chosen:
            if row.score and not self.scored:
                return Score(self._to_score(row.scored)[: self.score_examples])
            self._choose(row)
            self._chosen = True
        start = self.step * row.batch_size
        order = self._ordered().positions(start, start + self.segment_steps * row.batch_size)
        cuts = [order[at : at + row.batch_size] for at in range(0, len(order), row.batch_size)]
        if self.weights is None:
            return Train(cuts if self.ids is None else [self.ids[cut] for cut in cuts], None)
        ids = cuts if self.ids is None else [self.ids[cut] for cut in cuts]
        return Train(ids, [self.weights[cut] for cut in cuts])

    def _choose(self, row: Epoch) -> None:
        if row.select:
            choice = self._choice(row.k)
            self._last_choice = self.ids, self.weights, self.memory
            self.ids, self.weights, self.memory = choice.ids, choice.weights, choice.memory
            if choice.ranked is not None:
                self.ranked = choice.ranked
            self.selection = selected(self.draw, choice, self.ranked, self._ages(), self._names)
            self.draw += 1
        elif row.k == self.n:
            self.ids = self.weights = None

    def _choice(self, k: int) -> Choice:
        """Return what the plan's policy teaches next."""
        plan = self.plan
        among = self._candidates() if share_of(plan.source) < 1 and self.row.scored else None
        if among is None and self.replay is None and policy.ranks(plan.select) and plan.non_finite == "error":
            missing = self.seen < 0
            if missing.any():
                raise ScoreError(
                    f"{np.count_nonzero(missing)} examples have no score yet, the first is id {np.argmax(missing)}"
                )
        self.ranked = self._ranked(self.draw)
        return policy.choose(
            plan.select,
            self.ranked,
            k,
            Noise(plan.seed, self.draw),
            among=among,
            non_finite=plan.non_finite,
            offers={name: self._offered(name) for name in self._asked},
        )

    def _offered(self, name: str) -> Any:
        """Return what a policy asks for by this name, see `attent.choose.policy.OFFERS`."""
        if name == "ask":
            return self._offered
        if name == "turns":
            turns, now = np.empty(self.n, np.int32), self.row.shuffle
            for start in range(0, self.n, CHUNK):
                turns[start : start + CHUNK] = now - self._orders[self.seen[start : start + CHUNK]]
            return turns
        if name == "ages":
            return self._ages()
        if name in ("opening", "quarters"):
            of = opening_of if name == "opening" else quarters_of
            passes = self.epoch - (self.plan.first_look < 1 and self.epoch > self.plan.warm_up + 1)  # a cut one is one
            return of(lambda: self._order_of(self.timeline[0], None), self.timeline[0].k, self.n, passes)
        if name == "last":
            return self.epoch + 1 == len(self.timeline)
        if name == "whole":
            cut = self.row.round == 0 and self.plan.first_look < 1
            return sum(row.k for row in self.timeline[self.epoch : self.epoch + 1 + cut])
        if name == "watched":
            return self._watching.before(self.draw)
        if name == "progress":
            return self.draw / max(1, sum(row.select for row in self.timeline) - 1)
        if name == "order":
            return Noise(self.plan.seed, ORDER + self.row.shuffle)
        return {
            "losses": self.scores,
            "before": self.before,
            "taught": self.ids,
            "memory": None if self.memory is None else copy.deepcopy(dict(self.memory)),  # a policy may change it
            "groups": self.groups,
            "costs": self.costs,
        }[name]

    def _ages(self) -> Ages:
        """Return the epochs since each score was seen; the two parts of a first pass that is cut count as one."""
        first = self.plan.warm_up
        ages = self.epoch - self.seen
        if self.plan.first_look < 1 and self.epoch > first:
            ages -= self.seen <= first  # in place: there are as many as examples
        return ages

    def _ranked(self, draw: int) -> Numbers:
        """Return the numbers a draw ranks, which are the scores themselves where the source does not change them."""
        source = self.plan.source if isinstance(self.plan.source, Reuse) else Reuse()
        scores = self.scores if self.replay is None else self.replay[draw]
        first = self.before if source.measure == "progress" else None
        ages = self._ages() if source.bonus else None
        return deviations(scores, first=first, reference=self.reference, bonus=source.bonus, ages=ages)

    def _to_score(self, count: int) -> Ids:
        """Return what is left of a scoring pass of so many examples."""
        if count == self.n:
            return np.arange(self.scoring, self.n, dtype=np.int64)
        if share_of(self.plan.source) < 1:
            return self._candidates()[self.scoring :]
        return stalest(self.seen, count - self.scoring)  # those scored in this pass are now the freshest

    def _candidates(self) -> Ids:
        """Return the pool of the draw at hand: uniform, by noise of its own."""
        return random(self.scores, self.row.scored, Noise(self.plan.seed, POOL + self.draw))

    def _ordered(self) -> Shuffle | Buckets:
        """Return the epoch's order as positions in the ids taught: by the noise of each id (rules S9, T14)."""
        if self._order is None:
            self._order = self._order_of(self.row, self.ids)
        return self._order

    def _order_of(self, row: Epoch, ids: Ids | None) -> Shuffle | Buckets:
        order = Shuffle(Noise(self.plan.seed, ORDER + row.shuffle), self.n, ids)
        if self.plan.bucket is None:
            return order
        assert self.costs is not None  # refused when the course was made
        return Buckets(order, self.costs if ids is None else self.costs[ids], row.batch_size, self.plan.bucket)

    def record(self, numbers: Numbers, skipped: int | None = None, *, scaled: bool = False) -> EpochRecord | None:
        """Take the numbers that the lesson at hand asked for; return the epoch's record if it ended.

        numbers: float64, shape (examples of the lesson,). skipped: steps of it that changed nothing, as a loss or the
        gradient was not finite (rule P8); None: those with a loss that is not. scaled: a loss scaler left them out, as
        it does to find its scale: a gradient's overflow then stops no run. Raises LearnerError for another shape or
        dtype, ScoreError for a number or gradient that is not finite (unless the plan allows it), and for an epoch that
        ends without one finite loss, CourseError when there is no lesson to record; nothing is changed then.
        """
        lesson = self._lesson
        if lesson is None or isinstance(lesson, Done):
            raise CourseError("record() without a lesson: call next() first, and stop at Done")
        if isinstance(lesson, Score):
            self._check(numbers, lesson.ids, "score")
            self.scores[lesson.ids] = numbers
            self.seen[lesson.ids] = self.epoch
            self.scoring += len(lesson.ids)
            if self.scoring == self.row.scored:
                self.scored, self.scoring = True, 0
            self._lesson = None
            return None
        ids = np.concatenate(lesson.batches)
        self._check(numbers, ids, "train")
        finite = np.isfinite(numbers)
        skipped = self._skipped(finite, lesson, skipped, scaled)
        if self.trained + len(ids) == len(self._ordered()) and not (self._finite or finite.any()):
            raise ScoreError(
                f"no loss of epoch {self.epoch} is finite, so that none of its steps taught anything (rule P8): look "
                "at the data, or lower the learning rate and go on from the last checkpoint"
            )
        source = self.plan.source
        if isinstance(source, Reuse):
            if self.before is not None and source.measure == "progress":  # the first loss stays
                self.before[ids] = np.where(np.isnan(self.before[ids]), numbers, self.before[ids])
            elif self.before is not None:
                self.before[ids] = self.scores[ids]
            self.scores[ids] = numbers
            self.seen[ids] = self.epoch
        self._last_choice = None
        self._loss_sum = self._summed(numbers if finite.all() else np.where(finite, numbers, 0.0))
        self._finite += int(finite.sum())
        self.skipped += skipped
        self.trained += len(ids)
        self.step += len(lesson.batches)
        self._lesson = None
        return self._end_epoch() if self.trained == len(self._ordered()) else None

    def _summed(self, numbers: Numbers) -> float:
        """Return the epoch's sum of losses with a lesson's: batch by batch, so that no cut into lessons changes it."""
        sums = np.add.reduceat(numbers, np.arange(0, len(numbers), self.row.batch_size))
        return float(np.add.accumulate(np.append(self._loss_sum, sums))[-1])

    def _skipped(self, finite: npt.NDArray[np.bool_], lesson: Train, told: int | None, scaled: bool) -> int:
        """Return how many steps of a lesson were skipped; raise ScoreError where the plan allows none."""
        if told is None:
            if finite.all():
                return 0
            starts = np.cumsum([0, *(len(ids) for ids in lesson.batches[:-1])])
            return int((~np.logical_and.reduceat(finite, starts)).sum())
        check_skipped(told, len(lesson.batches), self.plan, self.epoch, scaled)
        return told

    def _check(self, numbers: Numbers, ids: Ids, call: str) -> None:
        checked_numbers(numbers, len(ids), f"learner.{call}()")
        check_finite(numbers, ids, self.plan, self.epoch, f"learner.{call}() returned")

    def _end_epoch(self) -> EpochRecord:
        row, ids = self.row, self.ids
        scored = row.scored if self.scored else 0
        record = EpochRecord(
            epoch=row.epoch,
            phase=row.phase,
            round=row.round,
            ratio=row.ratio,
            k=self.trained,
            steps=self.step,
            draw=self.draw - 1 if self.ids is not None else None,
            loss=self.mean_loss,
            examples_scored=scored,
            examples_trained=self.trained,
            selection=self.selection,
            cost_trained=None if self.costs is None else float((self.costs if ids is None else self.costs[ids]).sum()),
            # Of a part of the examples as their mean: which ones they were is not kept.
            cost_scored=None if self.costs is None else scored * float(self.costs.mean()),
            steps_skipped=self.skipped,
        )
        self.epoch, self.step, self.trained, self.skipped = self.epoch + 1, 0, 0, 0
        self._finite, self._loss_sum = 0, 0.0
        self.scored = self._chosen = False
        self.selection = self._order = None
        return record

    def state(self) -> State:
        """Return the position, scores and selection as named arrays, between any two lessons.

        A lesson handed out but not recorded is handed out again after ``load_state``; a selection on which no step has
        been taken is made again, the same.
        """
        again = self._last_choice is not None
        ids, weights, memory = self._last_choice or (self.ids, self.weights, self.memory)
        position: dict[str, Any] = {
            "n": self.n, "plan": self.plan.to_dict(), "rounds": [list(r) for r in self.plan.rounds()],
            "epoch": self.epoch, "step": self.step, "draw": self.draw - again, "scored": self.scored,
            "chosen": self._chosen and not again, "loss_sum": self._loss_sum, "trained": self.trained,
            "finite": self._finite, "skipped": self.skipped, "scoring": self.scoring,
            "given": self._given_digest, "memory": None if memory is None else dict(memory),
            "watched_at": self._watching.draw,
        }  # fmt: skip
        selection = None if again else self.selection
        watched = None if self._watching.numbers is None else self._watching.numbers.ravel()
        return pack(position, self.scores, self.seen, ids, weights, selection, self.before, watched)

    def load_state(self, state: State) -> None:
        """Take up a state of a course with the same plan and n.

        Raises CourseError naming what differs; nothing is changed then.
        """
        at, scores, seen, ids, weights, before, watched = unpack(state, self.n, self.plan)
        if at.given != self._given_digest:
            raise CourseError(
                "the state is of a course with other reference losses, replay, groups or costs: give those it began "
                "with"
            )
        self.before, self.memory = before, at.memory
        self._watching.load(watched, at.watched_at)
        self.scores, self.seen, self.ids, self.weights, self.selection = scores, seen, ids, weights, at.selection
        self.epoch, self.step, self.draw, self.scored, self._chosen = at.epoch, at.step, at.draw, at.scored, at.chosen
        self._loss_sum, self.trained = at.loss_sum, at.trained
        self._finite = at.trained if at.finite is None else at.finite
        self.skipped, self.scoring = at.skipped, at.scoring
        self._order = self._lesson = self._last_choice = None
        self.ranked = scores
