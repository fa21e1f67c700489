"""The referee: precheck, tuning, then seed by seed all arms, within a budget; everything finished is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from attent.choose.policy import asks
from attent.choose.sources import Proxy, Replay
from attent.errors import LearnerError, PlanError
from attent.judging.arms import DEFAULT_AGAINST, FULL, POLICY, SHORT, Arm, Question, alike, plans_of
from attent.judging.budget import Budget
from attent.judging.controls import FILTER, REPLAY, Known, goes_by_new, left_out, shares_to_try
from attent.judging.jobs import (
    NOTHING_SAID,
    Build,
    JobResult,
    Precheck,
    Setting,
    finished,
    goes_on_from,
    precheck,
    run_job,
)
from attent.judging.judgement import FILE, Judgement
from attent.judging.picture import picture
from attent.judging.replay import SHARE, choose_share, share_of
from attent.judging.report import report_text
from attent.judging.seed_groups import check_said, kept_groups, look_at_groups
from attent.judging.tuning import BATCH_SIZE, FURTHER, SEED_DISTANCE, Tuning, default_grid, points_of, tune
from attent.judging.verdict import Finished, conclude
from attent.plan.plan import Plan
from attent.run.files import FORMAT, read_json, write_json, write_whole
from attent.run.folder import held
from attent.run.given_scores import checked_groups, checked_watching, goes_by_costs, unknown_costs
from attent.run.teaching import Listener

PICTURE, REPORT = "judge.svg", "report.md"
_CHECK = "check.json"
Tell = Callable[[str], None]
Ready = Callable[[int, list[str]], None]
"""Called with n and the names of the arms that are run, once everything has been checked."""


class Work(NamedTuple):
    """A job that begins, of so many seeds, and how much work it is; ``rest``: all jobs after it, in the same unit."""

    arm: str
    plan: Plan
    seeds: int
    amount: float
    rest: float


Watch = Callable[[Work], Listener]
"""From a job that begins, or goes on, to what is called after every lesson of it."""


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
        ready: Ready,
        watch: Watch | None = None,
    ) -> None:
        self.question, self.build, self.folder = question, build, folder
        self.tell, self.ready, self.watch = tell, ready, watch
        self.budget = Budget(question.budget_seconds, stop)
        self.jobs: list[JobResult] = []
        self.tuning: Tuning | None = None
        self.replayed: Tuning | None = None
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
        before = None if self.folder is None else read_json(self.folder / _CHECK, Precheck, FORMAT)
        compare = before is None and (len(question.policies) > 1 or question.against != ())
        self.check = precheck(question.recipe, self.build, full, self.options, compare=compare, silent=question.teach)
        if before is not None:  # what differed once differs in all that is kept; only n and the like are looked at anew
            self.check = msgspec.structs.replace(self.check, differs=before.differs)
        if FILTER in question.against and question.against != DEFAULT_AGAINST and not self.check.relevant:
            raise LearnerError(
                f"{FILTER} keeps what is nearest to a target, and recipe {question.recipe!r} does not say what is: set "
                "the learner's relevance, one number per example, higher is nearer, or leave it out of against"
            )
        mixed = [name for name in question.against if goes_by_new(name)]
        if mixed and question.against != DEFAULT_AGAINST and not self.check.new:
            raise LearnerError(
                f"{mixed[0]} goes by what is new, and recipe {question.recipe!r} does not say what is: give its "
                f"learner groups() and new_groups, which of them the model does not know, or leave {mixed[0]} out of "
                "against"
            )
        for plan, arm in self._arms().values():
            if "groups" in asks(plan.select) and not self.check.sizes:
                checked_groups(None, self.check.n, plan)
            if goes_by_costs(plan) and not self.check.costs:
                raise unknown_costs(plan)
            if not self.check.watches:
                checked_watching(plan, None)
            if isinstance(plan.source, Proxy):
                raise PlanError(
                    f"arm {arm.name!r} needs another learner to score, which only attent.teach takes: scorer"
                )
            if isinstance(plan.source, Replay) and not self.check.relevant:
                raise LearnerError(
                    f"arm {arm.name!r} goes by scores known beforehand, and there are none: set the learner's relevance"
                )

    def _judge(self) -> Judgement:
        self.ready(self.check.n, list(self._arms()))
        if self.folder is not None:
            write_json(self.folder / _CHECK, self.check)
        if self.check.differs is not None:
            self._note(self.check.differs)
        if self.check.nameless:
            named = ", ".join(self.check.nameless[:3]) + ", ..." * (len(self.check.nameless) > 3)
            self._note(
                f"Metrics by group name no group that has examples: {named}. Name groups as groups() numbers them, or "
                "give the learner group_names, a list of texts."
            )
        made = self._plans(self.check.n, self.batch_size, self.question.first_seed)
        if any(plan.rounds() for plan, arm in made.values() if arm.kind == POLICY):
            for note in left_out(self.question.against, made, self.check.n, self._known()):
                self._note(note)
        tuned = (self.question.grid is None or self._tune()) and self._choose_share()
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
        later = question.seeds * sum(plan.cost(self.check.n).epochs for plan, _ in self._arms().values())

        def run(place: int, point: Mapping[str, Any]) -> JobResult | None:
            options = {**self.options, **{key: value for key, value in point.items() if key != BATCH_SIZE}}
            plan = Plan.full(
                epochs=question.epochs,
                batch_size=point.get(BATCH_SIZE, size),
                seed=question.first_seed + SEED_DISTANCE,
            )
            told = ", ".join(f"{key} {value}" for key, value in point.items())
            folder = self._folder("tuning", str(place))
            kept = self._kept(FULL, plan, options, folder)
            if kept is not None:
                return kept
            rest = later + max(0, count - place - 1) * question.epochs
            work = Work("tuning", plan, 1, question.epochs, rest)
            return self._run(FULL, work, options, folder, f"tuning {place + 1} of {max(count, place + 1)}, {told}")

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

    def _choose_share(self) -> bool:
        """Choose the share of the control that replays, at the cost of the last policy; False if that was stopped."""
        question, n = self.question, self.check.n
        if REPLAY not in self._plans(n, self.batch_size, question.first_seed):
            return True
        seed = question.first_seed + SEED_DISTANCE
        known = kept_groups(self._folder("tuning"))
        if known is None:
            full = Plan.full(epochs=question.epochs, batch_size=self.batch_size, seed=seed)
            known = look_at_groups(self.build(full, self.options), self._folder("tuning"))
        shares = shares_to_try(n, known)
        if not shares or not self.check.metrics:
            why = f"with seed {seed} none can be tried" if self.check.metrics else "there is no metric to go by"
            self._note(f"{REPLAY} left out, as its share cannot be chosen: {why}.")
            self.question = question._replace(against=tuple(name for name in question.against if name != REPLAY))
            return True
        amount = sum(plan.cost(n).epochs for plan, _ in self._arms().values())

        def run(place: int, point: Mapping[str, Any]) -> JobResult | None:
            share = 0.0 if place == 0 else point[SHARE]
            plan, arm = self._plans(n, self.batch_size, seed, known._replace(replayed=share))[REPLAY]
            folder = self._folder("tuning", f"{arm.folder}-{place}")
            kept = self._kept(REPLAY, plan, self.options, folder)
            if kept is not None:
                return kept
            own = plan.cost(n).epochs
            work = Work(f"tuning {REPLAY}", plan, 1, own, own * (len(shares) - place - 1) + amount * question.seeds)
            told = f"tuning {REPLAY} {place + 1} of {len(shares)}, {SHARE} {point[SHARE]:g}"
            return self._run(REPLAY, work, self.options, folder, told)

        self.replayed = choose_share(n, known, self.check.metrics[0], run)
        if self.replayed is None:
            return False
        if all(job.failure is not None for job in self.replayed.jobs):
            self._note(f"{REPLAY} failed with every share, with the first so: {self.replayed.jobs[0].failure}")
        for edge in self.replayed.edges:
            self._note(f"The best share of {REPLAY} lies on the grid's edge: {edge}. It may do better beyond.")
        return True

    def _run_seeds(self) -> None:
        question, n = self.question, self.check.n
        arms = self._arms()
        names = list(arms)
        if question.teach:
            names.sort(key=lambda name: arms[name][1].kind != POLICY)
        amounts = {name: plan.cost(n).epochs for name, (plan, _) in arms.items()}
        self.budget.begin(amounts)
        seeds = [question.first_seed + number for number in range(question.seeds)]
        known = {seed: kept_groups(self._folder(f"seed-{seed}")) for seed in seeds}
        # A seed of which nothing is new has no arms by what is: those of the first then, whose learner tells why.
        plans = {
            seed: self._plans(n, self.batch_size, seed) | self._plans(n, self.batch_size, seed, known[seed])
            for seed in seeds
        }
        said: dict[int, dict[str, str]] = {seed: {} for seed in seeds}
        said[question.first_seed] = dict(self.check.said)
        to_run: dict[int, list[str]] = {}
        for number, seed in enumerate(seeds):
            to_run[seed] = []
            turn = number % len(names)
            # Rotated from seed to seed: a machine that slows down does not slow the same arm each time.
            for name in names[turn:] + names[:turn]:
                found = self._kept(name, plans[seed][name][0], self.options, self._job_folder(seed, arms[name][1]))
                if found is None:
                    to_run[seed].append(name)
                else:  # what has finished costs nothing, however small the budget
                    check_said(said[seed], found.said, seed)
                    said[seed] |= found.said
                    self.jobs.append(found)
                    self.budget.done(name, found.wall_seconds)
        rest = sum(amounts[name] for left in to_run.values() for name in left)
        for number, seed in enumerate(seeds):
            order = to_run[seed]
            if number and order and not self.budget.fits(order):
                self._note(f"The budget was enough for {number} of up to {question.seeds} seeds.")
                return
            if number == 0 and order:
                self._leave_out_lengths(arms)
            if number and order and known[seed] is None and self._goes_by_what_is_new:
                learner = self.build(plans[seed][order[0]][0], self.options)
                groups = look_at_groups(learner, self._folder(f"seed-{seed}"))
                del learner  # its memory is needed for the arms
                plans[seed] |= self._plans(n, self.batch_size, seed, groups)
            for name in order:
                rest -= amounts[name]
                if name in self.left_out:
                    continue
                told = f"seed {seed}, {name} ({len(self.jobs) + 1} of {len(arms) * question.seeds})"
                work = Work(name, plans[seed][name][0], question.seeds, amounts[name], rest)
                folder = self._job_folder(seed, arms[name][1])
                job = self._run(name, work, self.options, folder, told, said[seed])
                if job is None:
                    if self.budget.over:
                        self._note(f"The budget ended in seed {seed}, arm {name}.")
                    return
                self.jobs.append(job)
                said[seed] |= job.said
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

    def _job_folder(self, seed: int, arm: Arm) -> Path | None:
        return self._folder(f"seed-{seed}", arm.folder)

    def _kept(self, arm: str, plan: Plan, options: Mapping[str, Any], folder: Path | None) -> JobResult | None:
        if folder is None:
            return None
        return finished(folder, arm, plan, options, recipe=self.question.recipe, n=self.check.n)

    def _run(
        self,
        arm: str,
        work: Work,
        options: Mapping[str, Any],
        folder: Path | None,
        told: str,
        said: Mapping[str, str] = NOTHING_SAID,
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
            question.teach,
        )
        if folder is not None and (place := goes_on_from(folder, work.plan, self.check.n)) is not None:
            self.tell(f"{told}: {place}")
        left = self.budget.left
        listeners = () if self.watch is None else (self.watch(work),)
        job = run_job(setting, arm, work.plan, options, folder, listeners, said)
        if job is not None:
            self.budget.done(arm, left - self.budget.left if question.budget_seconds else job.wall_seconds)
            self.tell(f"{told}: {_found(job)}")
        return job

    def _plans(self, n: int, batch_size: int, seed: int, known: Known | None = None) -> dict[str, tuple[Plan, Arm]]:
        return plans_of(self.question, n=n, batch_size=batch_size, seed=seed, known=self._known(known))

    def _known(self, of_seed: Known | None = None) -> Known:
        """Return what is known of the learner: the groups of a seed, None: those of the first."""
        known = Known(self.check.sizes, self.check.new) if of_seed is None else of_seed
        if known.replayed is None and self.replayed is not None:
            known = known._replace(replayed=share_of(self.replayed))
        return known._replace(relevant=self.check.relevant)

    @property
    def _goes_by_what_is_new(self) -> bool:
        """Whether an arm takes as many examples as are new, of which another seed may have others."""
        return bool(self.check.new) and any(map(goes_by_new, self.question.against))

    def _arms(self) -> dict[str, tuple[Plan, Arm]]:
        """Return the arms that are run: those that train like an earlier one are not."""
        question = self.question
        made = self._plans(self.check.n, self.batch_size, question.first_seed)
        twins = alike(made, self.check.n)
        arms = {name: made[name] for name in made if name not in twins}
        if not question.teach and sum(arm.kind in (FULL, SHORT) for _, arm in arms.values()) < 2:
            if FULL not in question.against:
                raise PlanError(
                    f"against must have {FULL}, got {', '.join(question.against) or 'none'}: a saving is read off the "
                    "curve of training on all examples"
                )
            if len(question.lengths) < 2:
                raise PlanError(
                    f"lengths must be at least 2, got {len(question.lengths)}: a saving is read off the curve between "
                    "them, such as 0.4,0.55,0.75,1"
                )
            raise PlanError(
                f"lengths {', '.join(f'{length:g}' for length in question.lengths)} of {question.epochs} "
                "epochs are all the same training: name lengths further apart, or more epochs"
            )
        return arms

    def _note(self, note: str) -> None:
        self.notes.append(note)
        self.tell(f"Note: {note}")

    def _judgement(self, tuned: bool) -> Judgement:
        question = self.question
        so_far = Finished(
            check=self.check,
            made=self._plans(self.check.n, self.batch_size, question.first_seed),
            tuned=tuned,
            tuning=self.tuning,
            replayed=self.replayed,
            jobs=self.jobs,
            left_out=self.left_out,
            options=self.options,
            batch_size=self.batch_size,
            budget_over=self.budget.over,
            notes=self.notes,
        )
        return conclude(question, so_far)

    def _write(self, judgement: Judgement) -> None:
        if self.folder is None:
            return
        write_json(self.folder / FILE, judgement)
        drawn = picture(judgement)
        report = report_text(judgement)
        if drawn is not None:
            write_whole(self.folder / PICTURE, lambda path: _text(path, drawn))
            report += f"\n![quality by cost]({PICTURE})\n"
        write_whole(self.folder / REPORT, lambda path: _text(path, report))


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _found(job: JobResult) -> str:
    if job.failure is not None:
        return f"failed in epoch {job.failed_epoch}: {job.failure}"
    told = [f"{name} {value:.4g}" for name, value in list(job.quality.items())[:2] if value is not None]
    if job.wall_seconds is not None:
        told.append(f"{job.wall_seconds:.1f} s")
    return ", ".join(told) or "done"
