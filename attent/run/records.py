"""What a run writes down: one record per epoch, with the selection made for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from attent.choose.chunks import each, extremes
from attent.choose.policy import Choice
from attent.learner import Ids, Numbers


class Selected(msgspec.Struct, frozen=True, omit_defaults=True):
    """One selection: its draw, how many, a digest of the ids, and the scores around the cut.

    ``lowest_chosen`` and ``highest_passed`` are scores; their difference is the gap at the cut of a hard
    selection. Ages are in epochs since a score was seen. ``how``: the policy's way of choosing, in a word or two;
    ``why``: its reason, as data (`attent.choose.policy.Choice`). Not-finite scores are left out of the summary.
    """

    draw: int
    k: int
    digest: str
    score_min: float | None = None
    score_mean: float | None = None
    score_max: float | None = None
    lowest_chosen: float | None = None
    highest_passed: float | None = None
    age_mean: float | None = None
    age_max: int | None = None
    weight_max: float | None = None
    how: str | None = None
    why: dict[str, Any] | None = None


class Seconds(msgspec.Struct, frozen=True):
    """Seconds of wall time spent by phase."""

    scoring: float = 0.0
    selecting: float = 0.0
    training: float = 0.0


class EpochRecord(msgspec.Struct, frozen=True):
    """One epoch: what was taught, at which mean loss, and what it cost.

    ``draw`` names the selection taught (None: all examples); ``selection`` is set where it was made. ``cost_trained``
    and ``cost_scored``: the costs of the examples trained and scored, in the learner's unit; None where it knows none.
    ``loss`` is the mean over finite losses; ``steps_skipped`` counts the steps that changed nothing, as a loss or the
    gradient was not finite (rule P8).
    """

    epoch: int
    phase: str
    round: int | None
    ratio: float
    k: int
    steps: int
    draw: int | None
    loss: float | None
    examples_scored: int
    examples_trained: int
    selection: Selected | None = None
    seconds: Seconds = Seconds()
    cost_trained: float | None = None
    cost_scored: float | None = None
    steps_skipped: int = 0


def digest_of(ids: Ids) -> str:
    """Return the SHA-256 of the ids as little-endian int64: equal ids, equal digest, in any framework.

    Example:
        >>> import numpy as np
        >>> from attent.run.records import digest_of
        >>> digest_of(np.array([1, 3]))[:12]
        '8e8f6841378f'
    """
    return hashlib.sha256(np.ascontiguousarray(ids, "<i8").data).hexdigest()


def digest_of_numbers(*parts: Numbers) -> str:
    """Return the SHA-256 of float64 numbers, little-endian, part after part; nothing is copied.

    Example:
        >>> import numpy as np
        >>> from attent.run.records import digest_of_numbers
        >>> digest_of_numbers(np.zeros(1))[:12]
        'af5570f5a181'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part, "<f8").data)
    return digest.hexdigest()


def digest_of_arrays(arrays: Mapping[str, npt.NDArray[Any]], told: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 of named arrays and of what is told beside them: names, dtypes, shapes, bytes, in any order.

    Contiguous little-endian arrays are not copied.

    Example:
        >>> import numpy as np
        >>> from attent.run.records import digest_of_arrays
        >>> digest_of_arrays({"a": np.zeros(2)})[:12]
        'b9e295ca4571'
    """
    ordered = [(name, arrays[name]) for name in sorted(arrays)]
    head = [[name, array.dtype.name, array.shape] for name, array in ordered], sorted((told or {}).items())
    digest = hashlib.sha256(json.dumps(head).encode())
    for _, array in ordered:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(plain.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def selected(
    draw: int,
    choice: Choice,
    scores: Numbers,
    ages: npt.NDArray[np.signedinteger],
    names: Sequence[str] | None = None,
) -> Selected:
    """Return the record of a choice from the scores and ages (in epochs) of all examples.

    names: of the groups, by number, which stand in the reason in place of the numbers.
    """
    ids, weights = choice.ids, choice.weights
    known, ends = scores, extremes(scores)
    if not np.isfinite(ends).all():
        known = scores[np.isfinite(scores)]
        ends = extremes(known) if len(known) else (0.0, 0.0)
    lowest, passed = _beside_the_cut(scores, ids)
    seen = len(known) > 0
    return Selected(
        draw=draw,
        k=len(ids),
        digest=digest_of(ids),
        score_min=ends[0] if seen else None,
        score_mean=float(known.mean()) if seen else None,
        score_max=ends[1] if seen else None,
        lowest_chosen=lowest if lowest < np.inf else None,
        highest_passed=passed if passed > -np.inf else None,
        age_mean=float(ages.mean()) if seen else None,
        age_max=int(ages.max()) if seen else None,
        weight_max=None if weights is None else float(weights.max()),
        how=choice.how,
        why=None if choice.why is None else _named(choice.why, names or ()),
    )


def _named(why: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a reason whose ``group``, and keys such as ``group 3``, are called by their names."""
    keys = {f"group {group}": f"group {name}" for group, name in enumerate(names)}
    found = {keys.get(key, key): held for key, held in why.items()}
    group = found.get("group")
    if isinstance(group, int) and group < len(names):
        found["group"] = names[group]
    return found


def _beside_the_cut(scores: Numbers, ids: Ids) -> tuple[float, float]:
    """Return the lowest finite score that was chosen and the highest that was not, infinity and -infinity if none."""
    chosen = np.zeros(len(scores), np.bool_)
    chosen[ids] = True

    def beside(start: int, stop: int) -> tuple[float, float]:
        some, taught = scores[start:stop], chosen[start:stop]
        finite = np.isfinite(some)
        lowest, passed = some[finite & taught], some[finite & ~taught]
        return float(lowest.min(initial=np.inf)), float(passed.max(initial=-np.inf))

    ends = list(each(beside, len(scores)))
    return min(low for low, _ in ends), max(high for _, high in ends)


class Timed(Protocol):
    """What scored and trained examples and took time for it: an epoch, a job, an arm."""

    @property
    def examples_scored(self) -> int:
        """Examples scored."""
        ...

    @property
    def examples_trained(self) -> int:
        """Examples trained."""
        ...

    @property
    def seconds(self) -> Seconds:
        """Seconds by phase."""
        ...


def scoring_over_training(spent: Iterable[Timed]) -> float | None:
    """Return seconds of scoring an example over seconds of training on it, None if nothing was scored or timed.

    Example:
        >>> from attent.run.records import scoring_over_training
        >>> scoring_over_training([]) is None
        True
    """
    spent = list(spent)
    scored, trained = (sum(getattr(each, f"examples_{what}") for each in spent) for what in ("scored", "trained"))
    scoring, training = (sum(getattr(each.seconds, what) for each in spent) for what in ("scoring", "training"))
    if not scored or not trained or training <= 0:
        return None
    return float((scoring / scored) / (training / trained))


def forward_share(records: Sequence[EpochRecord]) -> float | None:
    """Return the seconds of scoring an example over those of training on it, in a run's epochs that did both.

    The first such epoch is left out, since it may have been spent on compiling; None where there is no other. Costs
    nothing: the run scores and trains anyway.

    Example:
        >>> import attent
        >>> from attent.run.records import forward_share
        >>> from attent.reference.recipes import vit_digits
        >>> plan = attent.Plan(epochs=3, batch_size=64, ratio=0.2, source="fresh")
        >>> forward_share(attent.teach(vit_digits(plan), plan).records) > 0
        True
    """
    both = [record for record in records if record.examples_scored and record.examples_trained]
    return scoring_over_training(both[1:])
