"""The referee: precheck, tuning, then seed by seed all arms, within a budget; everything finished is kept."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from attent.errors import PlanError
from attent.json_files import write_json
from attent.judging.arms import FULL, Arm, Policy, alike, plans_of
from attent.judging.budget import Budget
from attent.judging.jobs import Build, JobResult, Setting, finished, run_job
from attent.judging.judgement import Judgement, complete_seeds, measured_forward_share, rows_of
from attent.judging.precheck import Precheck, precheck
from attent.judging.report import report_text
from attent.judging.tuning import BATCH_SIZE, SEED_DISTANCE, Tuning, default_grid, points_of, tune
from attent.judging.verdict import verdict
from attent.plan import Plan
from attent.run_folder import held

Tell = Callable[[str], None]


class Question(NamedTuple):
    """What is asked of a referee, everything checked that can be without a learner."""

    recipe: str
    backend: str | None
    options: dict[str, Any]
    suggested: dict[str, Any]
    defaults: dict[str, Any]
    policies: dict[str, Policy]
    epochs: int
    batch_size: int
    lengths: list[float]
    short: bool
    grid: dict[str, list[Any]] | None
    grid_is_default: bool
    seeds: int
    first_seed: int
    budget_seconds: float | None
    forward_share: float | None
    versions: dict[str, str]
    checkpoint_seconds: float
    segment_steps: int


class Referee:
    """One judgement under way: the question, how to build a learner, and the jobs finished so far."""

    def __init__(
        self,
        question: Question,
        build: Build,
        *,
        folder: Path | None,
        stop: Callable[[], bool],
        tell: Tell,
        ready: Callable[[], None],
    ) -> None:
        self.question, self.build, self.folder, self.tell, self.ready = question, build, folder, tell, ready
        self.budget = Budget(question.budget_seconds, stop)
        self.jobs: list[JobResult] = []
        self.tuning: Tuning | None = None
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self.options = dict(question.options)
        self.batch_size = question.batch_size
        self.check = Precheck(n=0, metrics=[])

    def judge(self) -> Judgement:
        """Run what is asked for, as far as stop and budget allow, and return the judgement; also write it."""
        self._prepare()
        if self.folder is None:
            return self._judge()
        with held(self.folder):
            try:
                return self._judge()
            except (Exception, KeyboardInterrupt) as error:
                error.add_note(f"What has finished is kept in {self.folder}.")
                raise

    def _prepare(self) -> None:
        """Check all that can be checked; nothing is written. Raises AttentError."""
        question = self.question
        for batch_size in {question.batch_size, *(question.grid or {}).get(BATCH_SIZE, [])}:
            self._plans(1, batch_size, question.first_seed)  # an arm that cannot be built is an error before all else
        full = Plan.full(epochs=question.epochs, batch_size=question.batch_size, seed=question.first_seed)
        self.check = precheck(question.recipe, self.build, full, self.options)
        self._arms()

    def _judge(self) -> Judgement:
        self.ready()
        if self.check.differs is not None:
            self._note(self.check.differs)
        tuned = self.question.grid is None or self._tune()
        if tuned:
            self._run_seeds()
        return self._judgement(tuned)

    def _tune(self) -> bool:
        question = self.question
        grid = dict(question.grid or {})
        if question.grid_is_default:
            grid = default_grid(question.defaults, question.batch_size, self.check.n, question.options)
        size = question.batch_size
        points = points_of(grid)

        def run(point: Mapping[str, Any]) -> JobResult | None:
            options = {**self.options, **{key: value for key, value in point.items() if key != BATCH_SIZE}}
            plan = Plan.full(
                epochs=question.epochs,
                batch_size=point.get(BATCH_SIZE, size),
                seed=question.first_seed + SEED_DISTANCE,
            )
            told = ", ".join(f"{key} {value}" for key, value in point.items())
            place = points.index(dict(point))
            folder = None if self.folder is None else self.folder / "tuning" / str(place)
            return self._run("full", plan, options, folder, f"tuning {place + 1} of {len(points)}, {told}")

        self.tuning = tune(grid, self.check.metrics[0], run)
        if self.tuning is None:
            return False
        chosen = dict(self.tuning.chosen)
        self.batch_size = chosen.pop(BATCH_SIZE, size)
        self.options.update(chosen)
        for edge in self.tuning.edges:
            self._note(f"The best of the tuning lies on the grid's edge: {edge}. Full training may do better beyond.")
        return True

    def _run_seeds(self) -> None:
        question = self.question
        arms = self._arms()
        self.budget.begin({name: plan.cost(self.check.n).epochs for name, (plan, _) in arms.items()})
        for number in range(question.seeds):
            seed = question.first_seed + number
            plans = self._plans(self.check.n, self.batch_size, seed)
            names = list(arms)
            turn = number % len(names)
            # Rotated from seed to seed: a machine that slows down does not slow the same arm each time.
            order = names[turn:] + names[:turn]
            if number and not self.budget.fits_a_seed():
                self._note(f"The budget was enough for {number} of up to {question.seeds} seeds.")
                return
            for name in order:
                if name in self.left_out:
                    continue
                folder = None if self.folder is None else self.folder / f"seed-{seed}" / name
                job = self._run(name, plans[name][0], self.options, folder, f"seed {seed}, {name}")
                if job is None:
                    if self.budget.over:
                        self._note(f"The budget ended in seed {seed}, arm {name}.")
                    return
                self.jobs.append(job)
                if number == 0:
                    self._leave_out_lengths(arms)

    def _leave_out_lengths(self, arms: Mapping[str, tuple[Plan, Arm]]) -> None:
        """Give up lengths of full training while the first seed would not fit, but never the longest and shortest."""
        lengths = [arm for _, arm in arms.values() if arm.kind == FULL]
        ran = {job.arm for job in self.jobs}
        inner = sorted((arm.length or 0, arm.name) for arm in lengths)[1:-1]
        for _, name in inner:
            if name not in ran and name not in self.left_out and not self.budget.fits_rest():
                self.left_out.append(name)
                self.budget.drop(name)
                self._note(f"The budget is too small for all lengths: {name} was left out.")

    def _run(
        self, arm: str, plan: Plan, options: Mapping[str, Any], folder: Path | None, told: str
    ) -> JobResult | None:
        kept = None if folder is None else finished(folder, arm, plan, options)
        if kept is not None:
            self.budget.done(arm, None)
            return kept
        if self.budget.must_stop():
            return None
        question = self.question
        setting = Setting(
            self.build,
            self.check.n,
            question.recipe,
            question.versions,
            self.budget.must_stop,
            question.checkpoint_seconds,
            question.segment_steps,
        )
        started = time.monotonic()
        job = run_job(setting, arm, plan, options, folder)
        if job is not None:
            self.budget.done(arm, time.monotonic() - started)
            self.tell(f"{told}: {_found(job)}")
        return job

    def _plans(self, n: int, batch_size: int, seed: int) -> dict[str, tuple[Plan, Arm]]:
        question = self.question
        return plans_of(
            question.policies,
            n=n,
            epochs=question.epochs,
            batch_size=batch_size,
            seed=seed,
            lengths=question.lengths,
            short=question.short,
            forward_share=1 / 3 if question.forward_share is None else question.forward_share,
            suggested=question.suggested,
        )

    def _arms(self) -> dict[str, tuple[Plan, Arm]]:
        """Return the arms that are run: those that train like an earlier one are not."""
        made = self._plans(self.check.n, self.batch_size, self.question.first_seed)
        twins = alike(made, self.check.n)
        arms = {name: made[name] for name in made if name not in twins}
        if sum(arm.kind == FULL for _, arm in arms.values()) < 2:
            raise PlanError(
                f"lengths {', '.join(f'{length:g}' for length in self.question.lengths)} of {self.question.epochs} "
                "epochs are all the same training: name lengths further apart, or more epochs"
            )
        return arms

    def _note(self, note: str) -> None:
        self.notes.append(note)
        self.tell(f"Note: {note}")

    def _judgement(self, tuned: bool) -> Judgement:
        question, n, metrics = self.question, self.check.n, self.check.metrics
        made = self._plans(n, self.batch_size, question.first_seed)
        twins = alike(made, n)
        arms = [arm for name, (_, arm) in made.items() if name not in self.left_out]
        seeds = complete_seeds(self.jobs, [arm.name for arm in arms], twins)
        measured = measured_forward_share(self.jobs)
        share = question.forward_share if question.forward_share is not None else measured or 1 / 3
        rows, curves = rows_of(arms, twins, self.jobs, seeds, metrics, n, share) if seeds else ([], {})
        said, pays = verdict(question.recipe, rows, curves, metrics, len(seeds))
        if not tuned:
            said = "Nothing can be concluded: the tuning has not finished."
        complete = tuned and len(seeds) == question.seeds and not self.left_out
        if not seeds and self.budget.over:
            said += f" The budget of {question.budget_seconds:g} s is too small: give more, or less to run."
        judgement = Judgement(
            attent=importlib.metadata.version("attent"),
            recipe=question.recipe,
            backend=question.backend,
            options=msgspec.to_builtins(self.options, enc_hook=str),
            n=n,
            epochs=question.epochs,
            batch_size=self.batch_size,
            metrics=metrics,
            seeds=seeds,
            seeds_wanted=question.seeds,
            forward_share=share,
            forward_share_measured=question.forward_share is None and measured is not None,
            arms=arms,
            alike=twins,
            left_out=self.left_out,
            tuning=self.tuning,
            curves=curves,
            rows=rows,
            verdict=said,
            pays=pays,
            notes=[*self.notes, *_remarks(self.jobs)],
            finished=complete,
            jobs=sorted(self.jobs, key=lambda job: (job.seed, list(made).index(job.arm))),
            versions={"python": platform.python_version(), "numpy": np.__version__, **question.versions},
            machine=f"{platform.machine()}, {platform.system()}",
        )
        if self.folder is not None:
            write_json(self.folder / "judge.json", judgement)
            (self.folder / "report.md").write_text(report_text(judgement))
        return judgement


def _found(job: JobResult) -> str:
    if job.failure is not None:
        return f"failed in epoch {job.failed_epoch}: {job.failure}"
    quality = ", ".join(f"{name} {value:.4g}" for name, value in job.quality.items() if value is not None)
    seconds = "" if job.wall_seconds is None else f", {job.wall_seconds:.1f} s"
    return f"{quality}{seconds}"


def _remarks(jobs: list[JobResult]) -> list[str]:
    remarks = [
        f"{job.arm}, seed {job.seed}, failed in epoch {job.failed_epoch} ({job.failure}); "
        "it counts with the worst quality of all."
        for job in jobs
        if job.failure is not None
    ]
    for arm in dict.fromkeys(job.arm for job in jobs):
        equal = sum(job.selections_of_equal_scores for job in jobs if job.arm == arm)
        made = sum(job.selections for job in jobs if job.arm == arm)
        if equal:
            remarks.append(f"{arm}: all scores were equal in {equal} of {made} selections: nothing to choose by.")
    return remarks
