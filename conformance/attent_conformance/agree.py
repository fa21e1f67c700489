"""Do all backends agree? ``python -m attent_conformance.agree FOLDER --expect numpy,mine`` reads their certificates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attent_conformance.certificate import CertificateError, read, verify
from attent_conformance.subject import DTYPES

Certificates = Mapping[str, Mapping[str, Any]]


def gathered(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the certificates in a folder by backend. Raises CertificateError for one that is not, or two of a name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        content = read(path)
        if content["backend"] in found:
            raise CertificateError(f"two certificates of backend {content['backend']!r}; one is {path}")
        found[content["backend"]] = content
    return found


def faults(certificates: Certificates, expected: Sequence[str]) -> list[str]:
    """Return in words what keeps the backends from agreeing; empty where they do."""
    told = [f"{name}: no certificate" for name in expected if name not in certificates]
    if not certificates:
        told.append("no certificate at all: nothing is proved")
    for name, content in certificates.items():
        failed = [check for check in content["checks"] if check["status"] == "fail"]
        told += [f"{name}: {check['check']} ({check['rule']}) failed" for check in failed]
        if not content["digests"]:
            told.append(f"{name}: no digests, so there is nothing to compare")
        if not content["complete"]:
            told.append(f"{name}: the certificate is not of a complete run")
        try:
            verify(dict(content))
        except CertificateError as error:
            told.append(f"{name}: {error}")
    told += _version_faults(certificates)
    if told:
        return told
    first, *others = certificates
    for other in others:
        told += _differences(first, certificates[first]["digests"], other, certificates[other]["digests"])
    return told


def _version_faults(certificates: Certificates) -> list[str]:
    # Another version may examine less, or otherwise: equal digests would not mean equal proofs.
    told = []
    for package in ("attent", "attent-conformance"):
        found = {name: content["versions"][package] for name, content in certificates.items()}
        if len(set(found.values())) > 1:
            each = ", ".join(f"{name} {version}" for name, version in found.items())
            told.append(f"certificates are of different versions of {package}: {each}; renew them with one")
    return told


def _differences(first: str, one: Mapping[str, Any], second: str, two: Mapping[str, Any]) -> list[str]:
    # A run that a backend does not declare the ability for is shown as skipped in the matrix.
    for run in (run for run in one if run in two):
        for plan in one[run]:
            for epoch, (mine, theirs) in enumerate(zip(one[run][plan], two[run].get(plan, []), strict=False)):
                if mine != theirs:
                    return [f"{first} and {second} differ in {run}, {plan}, epoch {epoch}"]
    return []


def matrix(certificates: Certificates) -> str:
    """Return backends by rules, each pass, FAIL or skip; then by golden runs, how many digests were compared."""
    names = list(certificates)
    rules = sorted({check["rule"] for content in certificates.values() for check in content["checks"]})
    runs = sorted({run for content in certificates.values() for run in content["digests"]})
    width = max([len(name) for name in names] + [7]) + 2
    first = max([len(run) for run in runs] + [8]) + 2
    lines = ["rule".ljust(first) + "".join(name.ljust(width) for name in names)]
    lines += [
        rule.ljust(first) + "".join(_status(certificates[name], rule).ljust(width) for name in names) for rule in rules
    ]
    for dtype in DTYPES:
        covered = [dtype in certificates[name]["dtypes"] for name in names]
        lines.append(dtype.ljust(first) + "".join(("covered" if one else "-").ljust(width) for one in covered))
    lines.append("")
    lines.append("digests".ljust(first) + "".join(name.ljust(width) for name in names))
    for run in runs:
        counts = [sum(map(len, certificates[name]["digests"].get(run, {}).values())) for name in names]
        lines.append(run.ljust(first) + "".join((str(count) if count else "skip").ljust(width) for count in counts))
    return "\n".join(line.rstrip() for line in lines)


def _status(content: Mapping[str, Any], rule: str) -> str:
    statuses = [check["status"] for check in content["checks"] if check["rule"] == rule]
    if "fail" in statuses:
        return "FAIL"
    return "pass" if "pass" in statuses else ("skip" if statuses else "-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix and the faults. Returns 0 where every expected backend passed with equal digests, else 1."""
    parser = argparse.ArgumentParser(prog="python -m attent_conformance.agree", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the certificates are")
    parser.add_argument("--expect", required=True, help="backends that must be there: numpy,mine")
    given = parser.parse_args(arguments)
    expected = [name.strip() for name in given.expect.split(",") if name.strip()]
    if not expected:
        parser.error("--expect must name at least one backend")
    if not given.folder.is_dir():
        parser.error(f"no folder {given.folder}")
    try:
        certificates = gathered(given.folder)
    except CertificateError as error:
        print(f"agree: {error}", file=sys.stderr)
        return 1
    if certificates:
        print(matrix(certificates))
        print()
    told = faults(certificates, expected)
    for fault in told:
        print(f"agree: {fault}", file=sys.stderr)
    if told:
        return 1
    names = ", ".join(certificates)
    print(f"{len(certificates)} backends agree: {names}" if len(certificates) > 1 else f"{names} passes, alone")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
