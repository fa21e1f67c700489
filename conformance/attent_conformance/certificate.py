"""Certificates: what was examined on what, and what came of it, as JSON that others can verify."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from attent_conformance.chains import CHAINS, digests_of, golden, reference_run
from attent_conformance.subject import Subject
from attent_conformance.suite import CHECKS, Result, passed

FORMAT = 1
_FIELDS = ("format", "backend", "passed", "complete", "versions", "platform", "device", "checks", "digests")
_STATUSES = ("pass", "fail", "skip")


class CertificateError(ValueError):
    """A certificate that cannot be read, or that says what is not so."""


def certificate(subject: Subject, results: list[Result]) -> dict[str, Any]:
    """Return the certificate of an examination, JSON-ready. ``complete``: every check was asked for, at full length."""
    packages = ["attent", "attent-conformance", "numpy"]
    if subject.backend is not None:
        packages += [package for package in subject.backend.packages if package not in packages]
    asked = {result.check.name for result in results}
    return {
        "format": FORMAT,
        "backend": subject.name,
        "passed": passed(results),
        "complete": not subject.quick and asked == {check.name for check in CHECKS},
        "versions": {package: importlib.metadata.version(package) for package in packages},
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
    except ValueError as error:
        raise CertificateError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CertificateError(f"{path} is not a certificate: it holds a {type(content).__name__}")
    for field in _FIELDS:
        if field not in content:
            raise CertificateError(f"{path} is not a certificate: it lacks {field!r}")
    if content["format"] != FORMAT:
        raise CertificateError(f"{path} has format {content['format']}, this version reads format {FORMAT}")
    return content


def verify(content: dict[str, Any]) -> list[str]:
    """Return what was verified, in words. Raises CertificateError for the first thing that is not so.

    Verified are its own consistency and every digest, against the golden table and against runs of NumPy
    made here. What it says of times and margins cannot be.
    """
    said = [_consistent(content)]
    compared = 0
    for name, plans in content["digests"].items():
        if name not in CHAINS:
            raise CertificateError(f"digests of an unknown run {name!r}")
        for source, table in (
            ("golden", golden()[name]),
            ("recomputed", digests_of(reference_run(name))),
        ):
            for plan, epochs in plans.items():
                for epoch, (mine, theirs) in enumerate(zip(table.get(plan, []), epochs, strict=False)):
                    if mine != theirs:
                        raise CertificateError(f"{name}, {plan}, epoch {epoch}: {theirs}, but {source} is {mine}")
                    compared += source == "golden"
    ran = {check["check"] for check in content["checks"] if check["status"] == "pass"}
    expected = {name: sum(map(len, golden()[name].values())) for name in content["digests"]}
    for name, count in expected.items():
        found = sum(map(len, content["digests"][name].values()))
        if content["complete"] and content["passed"] and found != count:
            raise CertificateError(f"{name} holds digests of {found} epochs, a complete run has {count}")
    if not ran:
        raise CertificateError("no check passed")
    said.append(f"{compared} epochs' digests equal the golden table and NumPy's runs on this machine")
    return said


def _consistent(content: dict[str, Any]) -> str:
    known = {check.name: check.rule for check in CHECKS}
    for check in content["checks"]:
        if known.get(check["check"]) != check["rule"]:
            raise CertificateError(f"no check {check['check']!r} for rule {check['rule']!r} in this version")
        if check["status"] not in _STATUSES:
            raise CertificateError(f"{check['check']} has the status {check['status']!r}, which is none")
    statuses = [check["status"] for check in content["checks"]]
    if content["passed"] != ("pass" in statuses and "fail" not in statuses):
        raise CertificateError(f"passed is {content['passed']}, which its checks do not bear out")
    names = [check["check"] for check in content["checks"]]
    if content["complete"] and sorted(names) != sorted(known):
        raise CertificateError(f"it calls itself complete, but holds {len(set(names))} of {len(known)} checks")
    return f"{len(names)} checks: {statuses.count('pass')} passed, {statuses.count('skip')} skipped, consistent"
