"""The plan: the whole timeline of a run as data, known before anything is spent. Rules T1 to T14 of docs/spec.md."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from attent import checks, plugins
from attent.choose import built_in, policy, sources
from attent.choose.grouped import Balanced
from attent.choose.policies import Auto, Hard, InfoBatch, InTurn, PerCost, Random, Soft
from attent.choose.policy import Policy
from attent.choose.rules import NON_FINITE, NonFinite
from attent.choose.sources import Fresh, Reuse, Source
from attent.errors import PlanError
from attent.plan import schedules
from attent.plan.passes import in_passes
from attent.plan.schedules import Schedule
from attent.plan.timeline import Cost, Epoch, Round, cost_of, lay_out, rounds_of

Unit = Literal["epoch", "pass"]
_MOST_EPOCHS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is taught when. Epochs are passes over whatever is being taught then.

    Args:
        epochs: all epochs, warm-up and cool-down included.
        batch_size: examples per optimiser step; an epoch's last batch may be smaller.
        ratio: share of examples taught, in (0, 1]: a number or a schedule over the rounds.
        interval: epochs for which a selection is kept: a whole number or a schedule.
        select: the policy that chooses: ``Hard()``, ``Soft(temperature=0.3)``, ``Random()``, ``Band()``,
            ``InfoBatch()``, ``InTurn()``, ``Balanced()``, ``Tempered()``, ``ByGroup()``, ``PerCost()``, ``Auto()``, or
            one of your own (`attent.Policy`); also its text or a table (``"soft(temperature=0.3)"``,
            ``{"name": "soft", "temperature": 0.3}``).
        source: where scores come from: ``Reuse()``, the losses already seen in training steps, which cost nothing;
            ``Fresh()``, ``Pool()``, ``Proxy()``, ``Replay()``; also its text or a table.
        warm_up, cool_down: epochs on all examples at the start and at the end.
        cycle: epochs from one selection to the next; those beyond the interval train on all examples.
            None: as long as the interval.
        reselect: select again before every epoch of an interval, at the same ratio.
        bucket: how many batches are sorted by cost at once, so that the examples of a batch cost alike (the lengths of
            sequences, which are padded to the longest); 2 or more. None: the order is random alone.
        non_finite: what a NaN or infinite score means: ``error``; ``drop``: not taught; ``last``: taught last.
        seed: of every random choice, in [0, 2**64).

    Raises:
        PlanError: at once, naming the field, the rule and the value.

    Example:
        >>> import attent
        >>> plan = attent.Plan(epochs=4, batch_size=10, ratio=0.4, warm_up=1, cool_down=1)
        >>> [(row.phase, row.k, row.steps) for row in plan.timeline(100)]
        [('warm-up', 100, 10), ('taught', 40, 4), ('taught', 40, 4), ('cool-down', 100, 10)]
        >>> plan.total_steps(100)
        28
    """

    epochs: int
    batch_size: int
    ratio: float | Schedule = 0.4
    interval: int | Schedule = 1
    select: Policy = Hard()
    source: Source = Reuse()
    warm_up: int = 0
    cool_down: int = 0
    cycle: int | None = None
    reselect: bool = False
    non_finite: NonFinite = "error"
    seed: int = 0
    bucket: int | None = None

    def __post_init__(self) -> None:
        """Check every field, what policy and source need, and every round's ratio and interval."""
        self._take("epochs", checked_epochs(self.epochs))
        for name, least, most in (
            ("batch_size", 1, None), ("warm_up", 0, None), ("cool_down", 0, None), ("seed", 0, 2**64 - 1),
        ):  # fmt: skip
            self._take(name, checks.whole(name, getattr(self, name), least, most))
        if self.warm_up + self.cool_down > self.epochs:
            raise PlanError(
                f"must be at most epochs ({self.epochs}), got {self.warm_up} + {self.cool_down}",
                field=("warm_up", "cool_down"),
            )
        if self.cycle is not None:
            self._take("cycle", checks.whole("cycle", self.cycle, 1))
        if self.bucket is not None:
            self._take("bucket", checks.whole("bucket", self.bucket, 2))
        self._take("reselect", checks.flag("reselect", self.reselect))
        checks.one_of("non_finite", self.non_finite, NON_FINITE)
        for name in ("ratio", "interval"):
            self._take(name, _named(name, functools.partial(schedules.read, getattr(self, name))))
        if not callable(self.ratio):
            self._take("ratio", checks.number("ratio", self.ratio, 0, 1, open_below=True))
        if not callable(self.interval):
            self._take("interval", checks.whole("interval", self.interval, 1))
        self._take("select", _named("select", lambda: built_in.policy_of(self.select, _further)))
        self._take("source", _named("source", lambda: sources.source_of(self.source)))
        self._check_together()

    def _take(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        """Raise PlanError where the policy needs what the source or the warm-up does not give."""
        name = repr(self.select)
        asked = _named("select", lambda: policy.asks_of_training(self.select))
        if asked:
            told = f"{name} goes by what training has shown of each example ({', '.join(asked)})"
            if not isinstance(self.source, Reuse) or self.source.refresh:
                raise PlanError(f"must be Reuse() without refresh, got {self.source!r}: {told}", field="source")
            if self.non_finite != "error":
                raise PlanError(f"must be 'error', got {self.non_finite!r}: {told}", field="non_finite")
            if self.warm_up < 1 and policy.ranks(self.select):
                raise PlanError(f"must be at least 1, got 0: {told}", field="warm_up")
        if isinstance(self.source, Reuse) and self.source.measure == "progress":
            if "before" in asked:
                raise PlanError(f"must rank 'loss', got {self.source!r}: {name} goes by losses itself", field="source")
            if self.warm_up < 2:
                raise PlanError(
                    f"must be at least 2, got {self.warm_up}: progress is the decrease between two sights of an "
                    "example in training",
                    field="warm_up",
                )
        highest = max((each.ratio for each in self.rounds()), default=0.0)
        if sources.share_of(self.source) < highest:
            raise PlanError(
                f"must have a share of at least the highest ratio ({highest:g}), got {self.source!r}", field="source"
            )

    def rounds(self) -> tuple[Round, ...]:
        """Return the taught rounds in order: first epoch, ratio, taught and further full epochs."""
        ratio = self.ratio if callable(self.ratio) else schedules.constant(self.ratio)
        interval = self.interval if callable(self.interval) else schedules.constant(self.interval)
        rounds = rounds_of(self.warm_up, self.epochs - self.warm_up - self.cool_down, ratio, interval, self.cycle)
        share = self.first_look
        if share == 1:
            return rounds
        first, second, *others = rounds
        cut = first._replace(ratio=share * first.ratio), second._replace(ratio=(1 - share) * second.ratio)
        return (*cut, *others)

    @property
    def first_look(self) -> float:
        """The share of the first pass that is a pass of its own, since the policy is asked again after it; 1: all."""
        taught = self.epochs - self.warm_up - self.cool_down
        even = not callable(self.ratio) and self.interval == 1 and not self.reselect and not self.cycle
        return policy.first_look(self.select) if self.unit == "pass" and even and taught > 1 else 1.0

    def timeline(self, n: int) -> tuple[Epoch, ...]:
        """Return one row per epoch for n examples: phase, round, ratio, k, score?, select?, steps.

        Examples dropped at run time (``non_finite="drop"``) can only make an epoch shorter. Raises PlanError unless n
        is a whole number of at least 1.
        """
        n = checks.whole("n", n, 1)
        return lay_out(
            self.rounds(),
            epochs=self.epochs,
            warm_up=self.warm_up,
            n=n,
            batch_size=self.batch_size,
            reselect=self.reselect,
            scored=self.source.scored(n) if policy.ranks(self.select) else sources.Scored(0, 0),
            parts=self._parts(),
            cut=None if callable(self.ratio) or self.first_look == 1 else (self.ratio, self.first_look),
        )

    def _parts(self) -> int | None:
        """Return how many passes are an epoch on all examples, None where no number is."""
        if self.unit == "epoch" or callable(self.ratio) or self.interval != 1 or self.reselect or self.cycle:
            return None
        parts = round(1 / self.ratio)
        whole = parts > 1 and abs(parts * self.ratio - 1) < 1e-9
        passes = self.epochs - self.warm_up - self.cool_down - (self.first_look < 1)
        return parts if whole and passes % parts == 0 else None

    def total_steps(self, n: int) -> int:
        """Return the optimiser steps of the whole run on n examples: the length of a learning-rate schedule."""
        return sum(row.steps for row in self.timeline(n))

    def cost(self, n: int, forward_share: float = 1 / 3) -> Cost:
        """Return what the run costs and saves against as many epochs on all n examples.

        forward_share: seconds of scoring an example over seconds of training on it; measured values lie
        between 0.09 and 0.47 (docs/results.md).
        """
        return cost_of(self.timeline(n), n, forward_share, self.full_epochs)

    @property
    def unit(self) -> Unit:
        """What ``epochs`` counts: epochs, or passes, of which a policy such as `Auto` makes an epoch's cost."""
        return "pass" if policy.in_passes(self.select) else "epoch"

    @property
    def full_epochs(self) -> int:
        """Epochs on all examples that the plan stands in place of, 1 or more: ``epochs``; of passes what they cost."""
        if self.unit == "epoch":
            return self.epochs
        taught = sum(each.ratio * each.taught + each.full for each in self.rounds())
        return max(1, math.floor(self.warm_up + taught + self.cool_down + 0.5))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values; policy, source and schedules as the texts that make them again."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("ratio", "interval"):
            if callable(fields[name]):
                fields[name] = repr(fields[name])
        fields["select"] = built_in.shown(self.select, _further)
        fields["source"] = sources.shown(self.source)
        if self.bucket is None:  # of a plan without one nothing is written that was not always written
            del fields["bucket"]
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Plan:
        """Return the plan of ``to_dict``, or of a TOML table. Raises PlanError naming an unknown key.

        Example:
            >>> import attent
            >>> attent.Plan.from_dict({"epochs": 3, "batch_size": 8, "select": "soft(temperature=0.3)"}).select
            Soft(temperature=0.3)
        """
        cls._check_known(fields)
        for key in ("epochs", "batch_size"):
            if key not in fields:
                raise PlanError(f"a plan needs {key}")
        return cls(**fields)

    @classmethod
    def _check_known(cls, fields: Iterable[str]) -> None:
        known = {field.name for field in dataclasses.fields(cls)}
        for key in fields:
            if key not in known:
                raise PlanError(f"no plan field {key!r}; known: {', '.join(sorted(known))}")

    @classmethod
    def _preset(cls, fields: Mapping[str, Any]) -> Plan:
        """Return the plan of a preset's fields and the caller's changes. Raises PlanError naming an unknown one."""
        cls._check_known(fields)
        return cls(**fields)

    @classmethod
    def full(cls, *, epochs: int, batch_size: int, seed: int = 0, bucket: int | None = None) -> Plan:
        """Return the plan that teaches nothing: every epoch on all examples."""
        return cls(epochs=epochs, batch_size=batch_size, warm_up=epochs, seed=seed, bucket=bucket)

    @classmethod
    def default(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the plan that always teaches: one full epoch, then the harder 40 %, softly, then a full epoch.

        Scores are the losses already seen in training (``Reuse``), so choosing costs nothing. It hurts where labels
        are wrong or all is new: `Plan.auto` teaches only where that is seen to help.
        """
        epochs = checked_epochs(epochs)
        ends = {"warm_up": min(1, epochs), "cool_down": 1 if epochs > 2 else 0}
        chosen = {"ratio": 0.4, "select": Soft(temperature=0.3)}
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **ends, **chosen, **changes})

    @classmethod
    def paper(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return AtteNT's best plan: soft selection, ratio rising 0.2 to 0.8, interval growing, fresh scores.

        Source: AtteNT, arXiv 2602.20461, ablation "soft, incremental ratio, incremental interval". Scores are
        scaled first, since the softmax of raw losses is nearly flat. Intervals grow from 1 epoch to a tenth of all,
        rounded: they do from 15 epochs on; in a shorter run every interval is 1.
        """
        epochs = checked_epochs(epochs)
        chosen = {
            "ratio": schedules.linear(0.2, 0.8),
            "interval": schedules.linear(1, max(1, round(epochs / 10))),
            "select": Soft(),
            "source": Fresh(),
        }
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen, **changes})

    @classmethod
    def official(cls, *, epochs: int, batch_size: int, cycles: int = 10, **changes: Any) -> Plan:
        """Return what the published code does, its defects mended (docs/plans.md lists them).

        One full epoch, then ``cycles`` cycles of (epochs - 1) // cycles epochs: a fresh scoring pass, hard
        selection at a ratio rising 0.2 to 0.8 along a cosine, 5 epochs on it, the rest of the cycle on
        all examples; what is left over is trained on all examples. ``select=Soft()`` scores and
        selects again before every epoch of the interval.
        """
        cycles, epochs = checks.whole("cycles", cycles, 1), checked_epochs(epochs)
        cycle = (epochs - 1) // cycles
        if cycle < 1:
            raise PlanError(f"must be at least cycles + 1 = {cycles + 1}, got {epochs}", field="epochs")
        chosen: dict[str, Any] = {
            "warm_up": 1,
            "cool_down": epochs - 1 - cycle * cycles,
            "cycle": cycle,
            "ratio": schedules.cosine(0.2, 0.8),
            "interval": 5,
            "source": Fresh(),
            **changes,
        }
        plan = cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen})
        soft = isinstance(plan.select, Soft) and "reselect" not in changes
        return dataclasses.replace(plan, reselect=True) if soft else plan

    @classmethod
    def official_simple(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the published code's plan for language models: one full epoch, then its hardest 70 % to the end."""
        epochs = checked_epochs(epochs)
        chosen = {"warm_up": 1, "ratio": 0.7, "interval": max(1, epochs - 1)}
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen, **changes})

    @classmethod
    def rs2(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return repeated random subsets without replacement: the baseline that every selection must beat.

        Warm-up, ratio and cool-down are those of `Plan.default`, so that the two differ only in what they choose.
        Source: Okanovic et al. 2023, arXiv 2305.18424.
        """
        return cls.default(epochs=epochs, batch_size=batch_size, **{"select": InTurn(ties=Random()), **changes})

    @classmethod
    def infobatch(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return InfoBatch: prune at random below the mean loss, rescale those kept, end on all examples.

        The first epoch and the last eighth are on all examples. The paper prunes half of what lies below the mean;
        with the usual 60 to 80 % there, about 65 % of all examples are kept, and that is the ratio.
        Source: Qin et al. 2024, arXiv 2303.04947.
        """
        epochs = checked_epochs(epochs)
        ends = {"warm_up": min(1, epochs), "cool_down": min(math.ceil(epochs / 8), epochs - 1)}
        chosen = {"ratio": 0.65, "select": InfoBatch()}
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **ends, **chosen, **changes})

    @classmethod
    def auto(
        cls, *, epochs: int, batch_size: int, keep: float | None = None, per_cost: bool = False, **changes: Any
    ) -> Plan:
        """Return the plan that costs ``epochs`` epochs on all examples and decides as it goes what fills them.

        After a warm-up epoch come passes of about ``ratio * n`` examples, as many as make up the cost; the first is cut
        in two, a third and the rest, so that what is learnt by heart is known before much is taught. A run of up to 3
        epochs ends on a pass in turn, a longer one on an epoch on all examples. Before each pass the
        losses seen so far decide between the hardest examples (with a bonus of 0.6 per epoch skipped), a soft choice,
        and all in turn (`attent.choose.auto`). The signs can fail: docs/results.md says where they did.
        Steps and cost are known beforehand, and nothing is ever scored. ``plan.epochs`` counts the passes. ``keep``: by
        how much what the learner watches may become worse (`attent.Auto`); None: nothing is watched. ``per_cost``: what
        is chosen is chosen by loss per cost (`attent.PerCost`), where the learner has ``costs()``. The cost of
        ``epochs`` epochs is counted in examples: in tokens a pass costs what its examples do.

        Where n is at least 4 * batch_size, three passes in turn are an epoch, batch for batch: the cost is exact, and
        a run that never teaches is `Plan.full` with as many epochs. On fewer examples, and with ``interval``,
        ``reselect`` or a ratio of which no whole number of passes is an epoch, passes are rounded to
        whole examples and have batches of their own: cost and steps are then near those of full training, not equal.
        With a ratio of 1/m it is m passes, and (m + 1) * batch_size.

        Example:
            >>> import attent
            >>> plan = attent.Plan.auto(epochs=6, batch_size=10)
            >>> plan.epochs, round(plan.cost(300).epochs, 9), plan.total_steps(300)
            (15, 6.0, 180)
            >>> round(attent.Plan.auto(epochs=5, batch_size=10, ratio=0.4).ratio, 9)
            0.375
        """
        if keep is not None and "select" in changes:
            raise PlanError("belongs to the policy where one is given: select=Auto(keep=...)", field="keep")
        if checks.flag("per_cost", per_cost) and "select" in changes:
            raise PlanError("belongs to the policy where one is given: select=PerCost(Auto())", field="per_cost")

        def select(ratio: float) -> Policy:
            chosen = Auto(bonus=round(0.6 * ratio, 12), keep=keep)
            return PerCost(chosen) if per_cost else chosen

        cool_down = 1 if checked_epochs(epochs) >= 4 else 0
        return cls._in_passes(epochs, batch_size, {"cool_down": cool_down, **changes}, select)

    @classmethod
    def balanced(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the plan that costs ``epochs`` epochs and fills them evenly by group.

        One epoch on all examples, then passes of about ``ratio * n`` examples, as many of each group as of any other.
        It costs nothing where groups are known, so every choice by loss must be held against it.

        Example:
            >>> import attent
            >>> plan = attent.Plan.balanced(epochs=4, batch_size=10)
            >>> plan.epochs, round(plan.cost(300).epochs, 9)
            (10, 4.0)
        """
        return cls._in_passes(epochs, batch_size, {"cool_down": 0, **changes}, lambda ratio: Balanced())

    @classmethod
    def _in_passes(
        cls, epochs: int, batch_size: int, changes: Mapping[str, Any], select: Callable[[float], Policy]
    ) -> Plan:
        """Return the plan of as many passes as cost ``epochs`` epochs on all examples, both ends included."""
        fields, ratio = in_passes(checked_epochs(epochs), changes)
        plan = cls._preset({"batch_size": batch_size, "select": select(ratio), **fields})
        if plan.unit != "pass":
            raise PlanError(f"must count passes, as Auto() does, got {plan.select!r}", field="select")
        return dataclasses.replace(plan, epochs=plan.epochs + 1) if plan.first_look < 1 else plan


def checked_epochs(epochs: object) -> int:
    """Return a plan's epochs; every one of them is laid out, so there is an end. Raises PlanError."""
    return checks.whole("epochs", epochs, 1, _MOST_EPOCHS)


def _further() -> dict[str, Any]:
    return plugins.gather("attent_policies")


def _named(name: str, make: Callable[[], Any]) -> Any:
    """Return what is made; an error is told as the plan's field of this name."""
    try:
        return make()
    except PlanError as error:
        whole = error.field is None and error.rule.startswith("must")
        raise PlanError(error.rule if whole else f"cannot be taken: {error}", field=name) from error
