"""The referee: precheck, tuning, then seed by seed all arms, within a budget; everything finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attent.errors import PlanError
from attent.judging.arms import Arm, alike, plans_of
from attent.judging.budget import Budget
from attent.judging.concluding import Finished, conclude
from attent.judging.jobs import Build, JobResult, Setting, finished, run_job
from attent.judging.judgement import FILE, Judgement
from attent.judging.picture import picture
from attent.judging.policies import FULL, SHORT
from attent.judging.precheck import Precheck, precheck
from attent.judging.question import Question
from attent.judging.report import report_text
from attent.judging.tuning import BATCH_SIZE, FURTHER, SEED_DISTANCE, Tuning, default_grid, points_of, tune
from attent.plan.plan import Plan
from attent.run.files import write_json, write_whole
from attent.run.folder import held

Tell = Callable[[str], None]


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
        judgement = self._judgement(tuned)
        self._write(judgement)
        return judgement

    def _tune(self) -> bool:
        question = self.question
        grid = dict(question.grid or {})
        if question.grid_is_default:
            grid = default_grid(question.defaults, question.batch_size, self.check.n, question.options)
        size = question.batch_size
        count = len(points_of(grid))

        def run(place: int, point: Mapping[str, Any]) -> JobResult | None:
            options = {**self.options, **{key: value for key, value in point.items() if key != BATCH_SIZE}}
            plan = Plan.full(
                epochs=question.epochs,
                batch_size=point.get(BATCH_SIZE, size),
                seed=question.first_seed + SEED_DISTANCE,
            )
            told = ", ".join(f"{key} {value}" for key, value in point.items())
            folder = self._folder("tuning", str(place))
            kept = self._kept("full", plan, options, folder)
            if kept is not None:
                return kept
            return self._run("full", plan, options, folder, f"tuning {place + 1} of {max(count, place + 1)}, {told}")

        further = FURTHER if question.grid_is_default else 0
        self.tuning = tune(grid, self.check.metrics[0], run, further=further)
        if self.tuning is None:
            return False
        chosen = dict(self.tuning.chosen)
        self.batch_size = chosen.pop(BATCH_SIZE, size)
        self.options.update(chosen)
        if all(job.failure is not None for job in self.tuning.jobs):
            self._note(f"Every point of the tuning failed, the first so: {self.tuning.jobs[0].failure}")
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
            folders = {name: self._folder(f"seed-{seed}", arm.folder) for name, (_, arm) in arms.items()}
            kept = {name: self._kept(name, plans[name][0], self.options, folders[name]) for name in arms}
            for name, found in kept.items():
                if found is not None:  # what has finished costs nothing, however small the budget
                    self.jobs.append(found)
                    self.budget.done(name, found.wall_seconds)
            names = list(arms)
            turn = number % len(names)
            # Rotated from seed to seed: a machine that slows down does not slow the same arm each time.
            order = [name for name in names[turn:] + names[:turn] if kept[name] is None]
            if number and order and not self.budget.fits(order):
                self._note(f"The budget was enough for {number} of up to {question.seeds} seeds.")
                return
            if number == 0 and order:
                self._leave_out_lengths(arms)
            for name in order:
                if name in self.left_out:
                    continue
                place = f"seed {seed}, {name} ({len(self.jobs) + 1} of {len(arms) * question.seeds})"
                job = self._run(name, plans[name][0], self.options, folders[name], place)
                if job is None:
                    if self.budget.over:
                        self._note(f"The budget ended in seed {seed}, arm {name}.")
                    return
                self.jobs.append(job)
                if number == 0:
                    self._leave_out_lengths(arms)
            if self.folder is not None and order and number + 1 < question.seeds:
                self._write(self._judgement(tuned=True))  # whatever happens in the next

    def _leave_out_lengths(self, arms: Mapping[str, tuple[Plan, Arm]]) -> None:
        """Give up points of the curve while the first seed would not fit, but never its longest and shortest length."""
        lengths = sorted((arm.length or 0, arm.name) for _, arm in arms.values() if arm.kind == FULL)
        inner = [name for _, name in lengths[1:-1]] + [name for name, (_, arm) in arms.items() if arm.kind == SHORT]
        ran = {job.arm for job in self.jobs}
        for name in inner:
            if name not in ran and name not in self.left_out and not self.budget.fits_rest():
                self.left_out.append(name)
                self.budget.drop(name)
                self._note(f"The budget is too small for the whole curve: {name} was left out.")

    def _folder(self, *parts: str) -> Path | None:
        return None if self.folder is None else self.folder.joinpath(*parts)

    def _kept(self, arm: str, plan: Plan, options: Mapping[str, Any], folder: Path | None) -> JobResult | None:
        if folder is None:
            return None
        return finished(folder, arm, plan, options, recipe=self.question.recipe, n=self.check.n)

    def _run(
        self, arm: str, plan: Plan, options: Mapping[str, Any], folder: Path | None, told: str
    ) -> JobResult | None:
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
        left = self.budget.left
        job = run_job(setting, arm, plan, options, folder)
        if job is not None:
            self.budget.done(arm, left - self.budget.left if question.budget_seconds else job.wall_seconds)
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
        so_far = Finished(
            check=self.check,
            made=self._plans(self.check.n, self.batch_size, self.question.first_seed),
            tuned=tuned,
            tuning=self.tuning,
            jobs=self.jobs,
            left_out=self.left_out,
            options=self.options,
            batch_size=self.batch_size,
            budget_over=self.budget.over,
            notes=self.notes,
        )
        return conclude(self.question, so_far)

    def _write(self, judgement: Judgement) -> None:
        if self.folder is None:
            return
        write_json(self.folder / FILE, judgement)
        drawn = picture(judgement)
        report = report_text(judgement)
        if drawn is not None:
            write_whole(self.folder / "judge.svg", lambda path: _text(path, drawn))
            report += "\n![quality by cost](judge.svg)\n"
        write_whole(self.folder / "report.md", lambda path: _text(path, report))


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _found(job: JobResult) -> str:
    if job.failure is not None:
        return f"failed in epoch {job.failed_epoch}: {job.failure}"
    quality = ", ".join(f"{name} {value:.4g}" for name, value in job.quality.items() if value is not None)
    seconds = "" if job.wall_seconds is None else f", {job.wall_seconds:.1f} s"
    return f"{quality}{seconds}"
