"""The plan: the whole timeline of a run as data, known before anything is spent. Rules T1 to T10 of docs/spec.md."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from attent.choose import choosing
from attent.choose.rules import NonFinite, count
from attent.choose.scaling import Scaling
from attent.choose.scores import Measure
from attent.errors import PlanError
from attent.plan import schedules
from attent.plan.plan_checks import Source, between, check_epochs, check_fields, check_together, whole
from attent.plan.schedules import Schedule
from attent.plan.timeline import Cost, Epoch, Round, Scored, cost_of, lay_out, rounds_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is taught when. Epochs are passes over whatever is being taught then.

    Args:
        epochs: all epochs, warm-up and cool-down included.
        batch_size: examples per optimiser step; an epoch's last batch may be smaller.
        ratio: share of examples taught, in (0, 1]: a number or a schedule over the rounds.
        interval: epochs for which a selection is kept: a whole number or a schedule.
        selection: ``hard``, ``soft``, ``random``, ``band``, a plugin's name, or a function of
            (scores, k, noise, ids, plan) that returns k of the ids, ascending.
        source: where scores come from: ``reuse`` takes the losses already seen in training steps, which
            costs nothing; ``fresh`` scores all examples before each selection; ``pool`` scores ``pool`` of them,
            drawn at random for each selection, and chooses among those; ``replay`` takes the scores of an earlier
            run's trace (``attent.teach(..., replay=trace)``).
        measure: what is ranked: ``loss``, or ``progress``, the decrease since the loss that was seen first.
        bonus: standard deviations added to a score per epoch since it was seen.
        refresh: share of examples scored before each selection under ``reuse``, those seen longest ago.
        pool: share of examples that ``source="pool"`` draws as candidates, at least the ratio.
        coverage: teach those taught longest ago first and select only among ties: sampling without
            replacement across rounds.
        keep_steps: batches shrink with the ratio, so that a taught epoch takes about as many steps as a full one.
        adaptive: before each selection decide by the losses seen between ``selection``, ``soft``, and all in turn
            (`attent.choose.auto`); the trace says why. All in turn at the end.
        warm_up, cool_down: epochs on all examples at the start and at the end.
        cycle: epochs from one selection to the next; those beyond the interval train on all examples.
            None: as long as the interval.
        reselect: select again before every epoch of an interval, at the same ratio.
        temperature: of ``soft``, at least 0: 0 is hard, infinity is random.
        scaling: of the scores before the temperature: ``none``, ``std`` or ``rank``.
        cap: of ``band``: the quantile above which examples are passed over, in (0, 1].
        correction: the largest weight given to make ``soft`` stand for all examples (``math.inf``: no
            limit), or None: no weights.
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
    selection: str | choosing.SelectionFunction = "hard"
    source: Source = "reuse"
    measure: Measure = "loss"
    bonus: float = 0.0
    refresh: float = 0.0
    pool: float = 0.5
    coverage: bool = False
    keep_steps: bool = False
    adaptive: bool = False
    warm_up: int = 0
    cool_down: int = 0
    cycle: int | None = None
    reselect: bool = False
    temperature: float = 1.0
    scaling: Scaling = "std"
    cap: float = 0.9
    correction: float | None = None
    non_finite: NonFinite = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field, and every round's ratio and interval."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # NumPy's numbers are taken as Python's
                object.__setattr__(self, field.name, value.item())
        check_fields(self)
        check_together(self)
        self.rounds()

    def rounds(self) -> tuple[Round, ...]:
        """Return the taught rounds in order: first epoch, ratio, taught and further full epochs."""
        ratio = self.ratio if callable(self.ratio) else schedules.constant(self.ratio)
        interval = self.interval if callable(self.interval) else schedules.constant(self.interval)
        return rounds_of(self.warm_up, self.epochs - self.warm_up - self.cool_down, ratio, interval, self.cycle)

    def timeline(self, n: int) -> tuple[Epoch, ...]:
        """Return one row per epoch for n examples: phase, round, ratio, k, score?, select?, steps.

        Examples dropped at run time (``non_finite="drop"``) can only make an epoch shorter. Raises PlanError unless n
        is a whole number of at least 1.
        """
        whole("n", n, 1, beyond=": there is nothing to teach")
        return lay_out(
            self.rounds(),
            epochs=self.epochs,
            warm_up=self.warm_up,
            n=n,
            batch_size=self.batch_size,
            reselect=self.reselect,
            scored=self._scored(n),
            keep_steps=self.keep_steps,
            parts=self._parts(),
        )

    def _parts(self) -> int | None:
        """Return how many taught epochs of an adaptive plan are one on all examples, None where no number is."""
        if not self.adaptive or callable(self.ratio) or self.interval != 1 or self.reselect or self.keep_steps:
            return None
        parts = round(1 / self.ratio)
        whole = parts > 1 and abs(parts * self.ratio - 1) < 1e-9
        return parts if whole and (self.epochs - self.warm_up - self.cool_down) % parts == 0 else None

    def _scored(self, n: int) -> Scored:
        """Return how many examples are scored before a selection: before the first of a run, and before others."""
        if self.selection == "random" or self.source == "replay":
            return Scored(0, 0)
        if self.source == "pool":
            return Scored(count(self.pool, n), count(self.pool, n))
        if self.source == "fresh":
            return Scored(n, n)
        return Scored(n, count(self.refresh, n) if self.refresh else 0)

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
    def full_epochs(self) -> int:
        """Epochs on all examples that the plan stands in place of: ``epochs``; of an adaptive plan, what it costs."""
        if not self.adaptive:
            return self.epochs
        taught = sum(each.ratio * each.taught + each.full for each in self.rounds())
        return math.floor(self.warm_up + taught + self.cool_down + 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values; schedules and functions by what they print as."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("ratio", "interval"):
            if callable(fields[name]):
                fields[name] = repr(fields[name])
        fields["selection"] = choosing.name_of(self.selection)
        for name in ("temperature", "correction"):
            if fields[name] == math.inf:
                fields[name] = "inf"
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Plan:
        """Return the plan of ``to_dict``, or of a TOML table. Raises PlanError naming an unknown key.

        Example:
            >>> import attent
            >>> attent.Plan.from_dict({"epochs": 3, "batch_size": 8, "ratio": "linear(0.8, 0.2)"}).ratio
            linear(0.8, 0.2)
        """
        cls._check_known(fields)
        for key in ("epochs", "batch_size"):
            if key not in fields:
                raise PlanError(f"a plan needs {key}")
        values = dict(fields)
        for name in ("ratio", "interval"):
            if isinstance(values.get(name), str):
                values[name] = choosing.parse_schedule(values[name])
        for name in ("temperature", "correction"):
            if values.get(name) == "inf":
                values[name] = math.inf
        return cls(**values)

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
    def full(cls, *, epochs: int, batch_size: int, seed: int = 0) -> Plan:
        """Return the plan that teaches nothing: every epoch on all examples."""
        return cls(epochs=epochs, batch_size=batch_size, warm_up=epochs, seed=seed)

    @classmethod
    def default(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the plan that always teaches: one full epoch, then the harder 40 %, softly, then a full epoch.

        Scores are the losses already seen in training (``reuse``), so choosing costs nothing. It hurts where labels
        are wrong or all is new: `Plan.auto` teaches only where that is seen to help.
        """
        check_epochs(epochs)
        ends = {"warm_up": min(1, epochs), "cool_down": 1 if epochs > 2 else 0}
        chosen = {"ratio": 0.4, "selection": "soft", "scaling": "std", "temperature": 0.3, "source": "reuse"}
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **ends, **chosen, **changes})

    @classmethod
    def paper(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return AtteNT's best plan: soft selection, ratio rising 0.2 to 0.8, interval growing, fresh scores.

        Source: AtteNT, arXiv 2602.20461, ablation "soft, incremental ratio, incremental interval". Scores are
        scaled first, since the softmax of raw losses is nearly flat. Intervals grow from 1 epoch to a tenth of all,
        rounded: they do from 15 epochs on; in a shorter run every interval is 1.
        """
        check_epochs(epochs)
        chosen = {
            "ratio": schedules.linear(0.2, 0.8),
            "interval": schedules.incremental(1, max(1, round(epochs / 10))),
            "selection": "soft",
            "source": "fresh",
        }
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen, **changes})

    @classmethod
    def official(cls, *, epochs: int, batch_size: int, cycles: int = 10, **changes: Any) -> Plan:
        """Return what the published code does, its defects mended (docs/plans.md lists them).

        One full epoch, then ``cycles`` cycles of (epochs - 1) // cycles epochs: a fresh scoring pass, hard
        selection at a ratio rising 0.2 to 0.8 along a cosine, 5 epochs on it, the rest of the cycle on
        all examples; what is left over is trained on all examples. ``selection="soft"`` scores and
        selects again before every epoch of the interval.
        """
        whole("cycles", cycles, 1)
        check_epochs(epochs)
        cycle = (epochs - 1) // cycles
        if cycle < 1:
            raise PlanError(f"epochs must be at least cycles + 1 = {cycles + 1}, got {epochs}")
        chosen = {
            "warm_up": 1,
            "cool_down": epochs - 1 - cycle * cycles,
            "cycle": cycle,
            "ratio": schedules.cosine(0.2, 0.8),
            "interval": 5,
            "selection": "hard",
            "source": "fresh",
            "reselect": changes.get("selection") == "soft",
        }
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen, **changes})

    @classmethod
    def official_simple(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the published code's plan for language models: one full epoch, then its hardest 70 % to the end."""
        check_epochs(epochs)
        chosen = {"warm_up": 1, "ratio": 0.7, "interval": max(1, epochs - 1), "selection": "hard", "source": "reuse"}
        return cls._preset({"epochs": epochs, "batch_size": batch_size, **chosen, **changes})

    @classmethod
    def rs2(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return repeated random subsets without replacement: the baseline that every selection must beat.

        Warm-up, ratio and cool-down are those of `Plan.default`, so that the two differ only in what they choose.
        Source: Okanovic et al. 2023, arXiv 2305.18424.
        """
        return cls.default(epochs=epochs, batch_size=batch_size, **{"selection": "random", "coverage": True, **changes})

    @classmethod
    def infobatch(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return InfoBatch: prune at random below the mean loss, rescale those kept, end on all examples.

        The first epoch and the last eighth are on all examples. The paper prunes half of what lies below the mean;
        with the usual 60 to 80 % there, about 65 % of all examples are kept, and that is the ratio.
        Source: Qin et al. 2024, arXiv 2303.04947.
        """
        check_epochs(epochs)
        ends = {"warm_up": min(1, epochs), "cool_down": min(math.ceil(epochs / 8), epochs - 1)}
        return cls._preset({
            "epochs": epochs, "batch_size": batch_size, **ends, "ratio": 0.65, "selection": "infobatch", **changes
        })  # fmt: skip

    @classmethod
    def auto(cls, *, epochs: int, batch_size: int, **changes: Any) -> Plan:
        """Return the plan that costs ``epochs`` epochs on all examples and decides as it goes what fills them.

        After a warm-up epoch come passes of about ``ratio * n`` examples, as many as make up the cost. A run of up to 3
        epochs ends on a pass in turn, a longer one on an epoch on all examples. Before each pass the
        losses seen so far decide between the hardest examples (with a bonus of 0.3 per epoch skipped), a soft choice,
        and all in turn (`attent.choose.auto`). The signs can fail: docs/results.md says where they did.
        Steps and cost are known beforehand, and nothing is ever scored. ``plan.epochs`` counts the passes.

        Where n is at least 3 * batch_size, three passes in turn are an epoch, batch for batch: the cost is exact, and
        a run that never teaches is `Plan.full` with as many epochs. On fewer examples, and with ``interval``,
        ``reselect``, ``keep_steps`` or a ratio of which no whole number of passes is an epoch, passes are rounded to
        whole examples and have batches of their own: cost and steps are then near those of full training, not equal.
        With a ratio of 1/m it is m passes, and m * batch_size.

        Example:
            >>> import attent
            >>> plan = attent.Plan.auto(epochs=6, batch_size=10)
            >>> plan.epochs, round(plan.cost(300).epochs, 9), plan.total_steps(300)
            (14, 6.0, 180)
            >>> round(attent.Plan.auto(epochs=5, batch_size=10, ratio=0.4).ratio, 9)
            0.375
        """
        check_epochs(epochs)
        if changes.get("adaptive") is False:
            raise PlanError("Plan.auto decides as it goes: it needs adaptive=True; Plan.default always teaches")
        chosen = {"ratio": 1 / 3, "selection": "hard", "source": "reuse", "adaptive": True, **changes}
        warm_up, cool_down = chosen.pop("warm_up", 1), chosen.pop("cool_down", 1 if epochs >= 4 else 0)
        whole("warm_up", warm_up, 0)
        whole("cool_down", cool_down, 0)
        if warm_up + cool_down > epochs:
            raise PlanError(f"warm_up + cool_down must be at most epochs ({epochs}), got {warm_up} + {cool_down}")
        if isinstance(chosen["ratio"], np.generic):
            chosen["ratio"] = chosen["ratio"].item()
        between("ratio", chosen["ratio"], 0.01, 0.5, "a number in [0.01, 0.5] for Plan.auto")
        chosen.setdefault("bonus", 0.3 * chosen["ratio"])
        left = epochs - warm_up - cool_down
        passes = math.floor(left / chosen["ratio"] + 0.5)
        if passes:  # whole passes that cost what is left, neither more nor less
            chosen["ratio"] = left / passes
        ends = {"warm_up": warm_up, "cool_down": cool_down}
        return cls._preset({"epochs": warm_up + passes + cool_down, "batch_size": batch_size, **ends, **chosen})
