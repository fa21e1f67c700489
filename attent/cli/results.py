"""What each arm came to: cost from its trace, quality from its learner; kept as ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from attent.run.files import FORMAT, read_json, write_json
from attent.run.records import Seconds
from attent.run.trace import Trace

FILE = "report.json"


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """One finished arm. ``quality`` is by metric name, the main one first; None is a value that is not finite."""

    name: str
    epochs: int
    examples_scored: int
    examples_trained: int
    steps: int
    seconds: Seconds
    quality: dict[str, float | None]
    plan: dict[str, Any]

    @property
    def forward(self) -> int:
        """Examples that went forward through the model: scored or trained."""
        return self.examples_scored + self.examples_trained

    def cost(self, forward_share: float) -> float:
        """Return the cost in trained examples, a scored one counting ``forward_share``."""
        return self.examples_trained + forward_share * self.examples_scored


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The arms of a run so far, and what they are measured by: ``epochs`` on all ``n`` examples."""

    format: int = FORMAT
    attent: str
    recipe: str
    backend: str
    options: dict[str, Any]
    n: int
    epochs: int
    forward_share: float
    versions: dict[str, str] = {}
    arms: list[ArmResult] = []
    alike: dict[str, str] = {}

    def arm(self, name: str) -> ArmResult | None:
        """Return the arm of this name, or the one that trains like it, if it has finished."""
        wanted = self.alike.get(name, name)
        return next((arm for arm in self.arms if arm.name == wanted), None)

    def full_epochs(self, arm: ArmResult) -> float:
        """Return an arm's cost in epochs on all examples."""
        return arm.cost(self.forward_share) / self.n

    def saving(self, arm: ArmResult) -> float:
        """Return the share of the cost saved against training on all examples; negative where it cost more."""
        return 1 - self.full_epochs(arm) / self.epochs


def result_of(name: str, trace: Trace, quality: Mapping[str, float | None]) -> ArmResult:
    """Return what a finished arm came to, by its trace."""
    seconds = {
        phase: sum(getattr(record.seconds, phase) for record in trace.records) for phase in Seconds.__struct_fields__
    }
    return ArmResult(
        name=name,
        epochs=len(trace.records),
        examples_scored=sum(record.examples_scored for record in trace.records),
        examples_trained=sum(record.examples_trained for record in trace.records),
        steps=sum(record.steps for record in trace.records),
        seconds=Seconds(**seconds),
        quality=dict(quality),
        plan=trace.header.plan,
    )


def write_report(folder: Path, report: Report) -> None:
    """Write a run's report. Raises TraceError if it cannot be written."""
    told = msgspec.to_builtins(report)
    for arm, row in zip(report.arms, told["arms"], strict=True):
        row["full_epochs"], row["saving"] = report.full_epochs(arm), report.saving(arm)
    write_json(folder / FILE, told)


def read_report(folder: Path) -> Report | None:
    """Return a run's report, None if there is none yet. Raises TraceError if it cannot be read."""
    return read_json(folder / FILE, Report, FORMAT)
