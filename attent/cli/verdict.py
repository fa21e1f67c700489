"""What the arms of one run say, in a few honest sentences."""

from __future__ import annotations

from attent.cli.arms import TAUGHT
from attent.cli.phases import unit
from attent.cli.results import ArmResult, Report
from attent.judging.metrics import better
from attent.run.records import scoring_over_training
from attent.tables import percent, quality


def verdict(report: Report) -> list[str]:
    """Return sentences on what was saved against full data, and on whether teaching beat the short arm."""
    taught = report.arm(TAUGHT)
    if taught is None:
        return ["The taught arm has not finished: there is nothing to say yet."]
    sentences = [_saved(report, taught)]
    if "short" in report.alike and report.alike["short"] == TAUGHT:
        return [
            *sentences,
            "This plan trains on all examples throughout: nothing was taught, nothing to compare.",
        ]
    short = report.arm("short")
    if short is None:
        sentences.append("Whether it beats simply training for less time is not known: no short arm has run.")
    elif not set(taught.quality) & set(short.quality):
        sentences.append("The learner does not judge itself (evaluate), so whether teaching paid is not known.")
    else:
        sentences.append(_against_short(taught, short))
    random = report.arm("random")
    if random is not None and random is not taught and (told := _against_random(taught, random)) is not None:
        sentences.append(told)
    if (measured := measured_forward_share(report)) is not None:
        sentences.append(
            f"Measured here, scoring an example took {measured:.2f} of training on it; "
            f"the costs above count {report.forward_share:.2f}."
        )
    return sentences


def measured_forward_share(report: Report) -> float | None:
    """Return seconds of scoring an example over seconds of training on it, over all arms; None if none scored."""
    return scoring_over_training(report.arms)


def _saved(report: Report, taught: ArmResult) -> str:
    cost, saving = report.full_epochs(taught), report.saving(taught)
    if unit(taught.plan) == "pass" and abs(saving) < 0.005:
        return f"Teaching spent what it was given, {report.epochs} epochs on all examples: did it reach more for them?"
    if saving >= 0.005:
        told = f"Teaching cost {cost:.2f} epochs on all examples instead of {report.epochs}: {percent(saving)} saved"
    elif saving > -0.005:
        told = f"Teaching cost as much as {report.epochs} epochs on all examples: nothing was saved"
    else:
        told = (
            f"Teaching cost {cost:.2f} epochs on all examples, more than the {report.epochs} it was to shorten: "
            f"{percent(-saving)} were added, nothing was saved"
        )
    full = report.arm("full")
    if full is None or full is taught or not full.quality:
        return told + "."
    return f"{told}, with {_values(taught, full, list(full.quality))}."


def _against_short(taught: ArmResult, short: ArmResult) -> str:
    shared, ahead, behind = _compared(taught, short)
    values = _values(taught, short, shared)
    if not ahead:
        did = "better" if behind else "as well"
        return (
            f"The short arm, full data at the same cost, did {did}: {values}. "
            "Teaching did not pay here, in this single run."
        )
    if behind or shared[0] not in ahead:
        level = [name for name in shared if name not in ahead and name not in behind]
        told = [f"{word} by {', '.join(names)}" for word, names in
                (("ahead", ahead), ("level", level), ("behind", behind)) if names]  # fmt: skip
        return (
            f"Against the short arm, full data at the same cost, taught is {' and '.join(told)}: {values}. "
            "This single run does not show that teaching pays."
        )
    return (
        f"Taught beats the short arm, full data at the same cost: {values}. "
        "This is one run with one seed, which proves nothing yet."
    )


def _against_random(taught: ArmResult, random: ArmResult) -> str | None:
    shared, ahead, behind = _compared(taught, random)
    if not shared or (ahead and not behind):
        return None
    did = "better" if not ahead and behind else "as well" if not behind else "better by some measures"
    return f"Choosing at random, with the same plan, did {did}: {_values(taught, random, shared)}."


def _compared(one: ArmResult, other: ArmResult) -> tuple[list[str], list[str], list[str]]:
    """Return the metrics that both have, those by which the first is better, and those by which the other is."""
    shared = [name for name in one.quality if name in other.quality]
    ahead = [name for name in shared if better(name, one.quality[name], other.quality[name])]
    behind = [name for name in shared if better(name, other.quality[name], one.quality[name])]
    return shared, ahead, behind


def _values(one: ArmResult, other: ArmResult, metrics: list[str]) -> str:
    return ", ".join(
        f"{name} {quality(one.quality.get(name))} ({other.name}: {quality(other.quality.get(name))})"
        for name in metrics
    )
