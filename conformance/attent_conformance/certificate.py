"""Certificates: what was examined on what, and what came of it, as JSON that others can verify."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import msgspec

from attent_conformance.chains import CHAINS, digests_of, golden, reference_run
from attent_conformance.checks.lockstep import RUNS
from attent_conformance.needs import Check
from attent_conformance.subject import DTYPES, Subject
from attent_conformance.suite import CHECKS, Result, Status, passed

FORMAT = 3  # 2 did not say which precisions it covers, nor the seed of the drawn cases
_SUITE = ("attent", "attent-conformance")


class CertificateError(ValueError):
    """A certificate that cannot be read, or that says what is not so."""


class _Outcome(msgspec.Struct):
    rule: str
    check: str
    status: Status
    reason: str
    margins: dict[str, float]
    seconds: float


class _Content(msgspec.Struct):
    format: int
    backend: str
    plugin: bool
    abilities: list[str]
    dtypes: list[str]
    evaluates: bool
    seed: int
    passed: bool
    complete: bool
    versions: dict[str, str]
    platform: dict[str, str]
    device: str
    checks: list[_Outcome]
    digests: dict[str, dict[str, list[tuple[str, str]]]]  # of each epoch's selection and batches, by run and plan


def certificate(subject: Subject, results: list[Result]) -> dict[str, Any]:
    """Return the certificate of an examination, JSON-ready.

    ``complete``: every check was asked for, at full length and in every precision that the backend has. What it does
    not declare among its ``abilities`` is skipped, and only that. ``dtypes``: the precisions it was examined in.
    """
    packages = [*_SUITE, "numpy"]
    if subject.backend is not None:
        packages += [package for package in subject.backend.packages if package not in packages]
    asked = {result.check.name for result in results}
    return {
        "format": FORMAT,
        "backend": subject.name,
        "plugin": subject.backend is not None,
        "abilities": list(subject.abilities),
        "dtypes": list(subject.precisions),
        "evaluates": subject.evaluates,
        "seed": subject.seed,
        "passed": passed(results),
        "complete": not subject.quick
        and asked == {check.name for check in CHECKS}
        and set(subject.dtypes) == set(DTYPES),
        "versions": {package: _version(package) for package in packages},
        "platform": {
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
        },
        "device": subject.device or "cpu",
        "checks": [
            {
                "rule": result.check.rule,
                "check": result.check.name,
                "status": result.status,
                "reason": result.reason,
                "margins": result.margins,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
        "digests": _by_plan(subject),
    }


def _version(package: str) -> str:
    # A package that is not there has failed B3 already; what else was found is worth keeping.
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _by_plan(subject: Subject) -> dict[str, dict[str, list[list[str]]]]:
    """Return the digests of the subject's own runs, as far as they went, by chain and plan."""
    table: dict[str, dict[str, list[list[str]]]] = {}
    for name, found in subject.digests.items():
        rest = iter(found)
        table[name] = {plan: [d for _, d in zip(epochs, rest, strict=False)] for plan, epochs in golden()[name].items()}
    return table


def read(path: Path) -> dict[str, Any]:
    """Return a certificate. Raises CertificateError naming the file and what is wrong with it."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8
        raise CertificateError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CertificateError(f"{path} is not a certificate: it holds a {type(content).__name__}")
    if content.get("format") != FORMAT:
        raise CertificateError(
            f"{path} has format {content.get('format')!r}, this version reads format {FORMAT}: "
            f"write it anew by attent-conformance {content.get('backend', 'NAME')} --json {path.name}"
        )
    try:
        msgspec.convert(content, _Content)
    except msgspec.ValidationError as error:
        raise CertificateError(f"{path} is not a certificate: {error}") from None
    for package in _SUITE:
        if package not in content["versions"]:
            raise CertificateError(f"{path} is not a certificate: it does not say the version of {package}")
    return content


def verify(content: dict[str, Any]) -> list[str]:
    """Return what was verified, in words. Raises CertificateError for the first thing that is not so.

    Verified are its own consistency and every digest, against the golden table and against runs of NumPy
    made here. What it says of times, margins and abilities cannot be.
    """
    said = [_consistent(content)]
    compared = sum(_compared(name, plans) for name, plans in content["digests"].items())
    statuses = {check["check"]: check["status"] for check in content["checks"]}
    for name, check in RUNS.items():
        if content["complete"] and statuses[check] == "pass":
            _whole(name, content["digests"].get(name, {}))
        elif name in content["digests"] and statuses.get(check, "skip") == "skip":
            raise CertificateError(f"it holds digests of the run {name!r}, whose check {check} was not run")
    if "pass" not in statuses.values():
        raise CertificateError("no check passed")
    said.append(f"{compared} epochs' digests equal the golden table and NumPy's runs on this machine")
    return said


def _compared(name: str, plans: dict[str, list[list[str]]]) -> int:
    """Return how many epochs of a run were compared. Raises CertificateError at the first that is not golden."""
    if name not in CHAINS:
        raise CertificateError(f"digests of an unknown run {name!r}")
    compared = 0
    for source, table in (("golden", golden()[name]), ("recomputed", digests_of(reference_run(name)))):
        for plan, epochs in plans.items():
            known = table.get(plan, [])
            if len(epochs) > len(known):
                what = (
                    f"digests of {len(epochs)} epochs, it has {len(known)}" if known else "digests of an unknown plan"
                )
                raise CertificateError(f"{name}, {plan}: {what}")
            for epoch, (mine, theirs) in enumerate(zip(known, epochs, strict=False)):
                if mine != list(theirs):
                    raise CertificateError(f"{name}, {plan}, epoch {epoch}: {theirs}, but {source} is {mine}")
                compared += source == "golden"
    return compared


def _whole(name: str, plans: dict[str, list[list[str]]]) -> None:
    """Raise CertificateError unless a run that passed holds every epoch of every plan."""
    for plan, epochs in golden()[name].items():
        found = len(plans.get(plan, []))
        if found != len(epochs):
            raise CertificateError(f"{name}, {plan}: digests of {found} epochs, a complete run has {len(epochs)}")


def _consistent(content: dict[str, Any]) -> str:
    known = {check.name: check for check in CHECKS}
    names = [check["check"] for check in content["checks"]]
    for check in content["checks"]:
        name = check["check"]
        if name not in known or known[name].rule != check["rule"]:
            version = content["versions"]["attent-conformance"]
            raise CertificateError(
                f"no check {name!r} for rule {check['rule']!r} in this version; it is of attent-conformance {version}"
            )
        if names.count(name) > 1:
            raise CertificateError(f"it holds {name} {names.count(name)} times")
    statuses = [check["status"] for check in content["checks"]]
    if content["passed"] != ("pass" in statuses and "fail" not in statuses):
        raise CertificateError(f"passed is {content['passed']}, which its checks do not bear out")
    unknown = [dtype for dtype in content["dtypes"] if dtype not in DTYPES]
    if unknown or not content["dtypes"] or len(set(content["dtypes"])) < len(content["dtypes"]):
        raise CertificateError(f"dtypes must be out of {', '.join(DTYPES)}, each once, got {content['dtypes']}")
    if content["complete"]:
        lacking = [d for d in DTYPES if d in content["abilities"] and d not in content["dtypes"]]
        if lacking:
            raise CertificateError(f"it calls itself complete, but does not cover {lacking[0]}, which it declares")
        if sorted(names) != sorted(known):
            raise CertificateError(f"it calls itself complete, but holds {len(names)} of {len(known)} checks")
        _skips_are_declared(content, known)
    covered = " and ".join(content["dtypes"])
    return f"{len(names)} checks: {statuses.count('pass')} passed, {statuses.count('skip')} skipped, in {covered}"


def _skips_are_declared(content: dict[str, Any], known: dict[str, Check]) -> None:
    """Raise CertificateError where a check was skipped, or was not, against what the backend says it can do."""
    able = {*content["abilities"], *(["plugin"] if content["plugin"] else [])}
    able |= {"held-out"} if content["evaluates"] else set()
    for check in content["checks"]:
        lacking = [need for need in known[check["check"]].needs if need not in able]
        if check["status"] == "skip" and not lacking and content["passed"]:
            raise CertificateError(f"{check['check']} is skipped, though nothing it needs is lacking")
        if check["status"] != "skip" and lacking:
            raise CertificateError(f"{check['check']} is not skipped, though it needs {lacking[0]!r}, not declared")
