"""The command ``attent-conformance``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Read when a numerical library is loaded, so set before any is: sums must not depend on how busy the machine is.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0: at least one check ran and none failed. 1: a failure, or no check ran. 2: it could not be run.
    """
    for variable in _THREADS:
        os.environ.setdefault(variable, "1")
    parser = _parser()
    given = parser.parse_args(arguments)
    from attent.errors import AttentError  # after the number of threads is set
    from attent_conformance.certificate import CertificateError

    try:
        if given.list:
            return _list(given.rules)
        if given.verify is not None:
            return _verify(given.verify)
        if given.name is None:
            parser.error("name a backend, such as numpy, or give --list or --verify")
        return _examine(given)
    except (AttentError, CertificateError, ValueError) as error:
        print(f"attent-conformance: {error}", file=sys.stderr)
        return 1 if isinstance(error, CertificateError) else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attent-conformance", description="Does a backend of attent teach the same examples as every other?"
    )
    parser.add_argument("name", nargs="?", help="an installed backend")
    parser.add_argument("--rules", help="letters, numbers or names of checks: L,P3")
    parser.add_argument("--device", help="passed to the backend's reference function")
    parser.add_argument("--dtype", choices=["float64", "float32"], help="examine one precision only")
    parser.add_argument("--seed", type=int, default=0, help="of the cases that checks draw; 0 if not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a certificate")
    parser.add_argument("--quick", action="store_true", help="only the first plans of each long run")
    parser.add_argument("--list", action="store_true", help="list the checks and run none")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="verify a certificate")
    return parser


def _examine(given: argparse.Namespace) -> int:
    from attent_conformance.certificate import certificate
    from attent_conformance.subject import DTYPES, Subject
    from attent_conformance.suite import examine, passed, selected
    from attent_conformance.table import line, summary

    selected(given.rules)  # a rule that does not exist is told before a framework is loaded
    _check_target(given.json)
    dtypes = DTYPES if given.dtype is None else (given.dtype,)
    subject = Subject.named(given.name, device=given.device, dtypes=dtypes, quick=given.quick, seed=given.seed)
    results = examine(subject, given.rules, lambda result: print(line(result), flush=True))
    print(summary(results))
    if given.json is not None:
        try:
            given.json.write_text(json.dumps(certificate(subject, results), indent=1) + "\n", "utf-8")
        except OSError as error:
            raise ValueError(f"cannot write {given.json}: {error.strerror}") from error
    return 0 if passed(results) else 1


def _check_target(path: Path | None) -> None:
    # Before half a minute of checks, not after it.
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder; --json takes a file")


def _list(rules: str | None) -> int:
    from attent_conformance.suite import selected

    for check in selected(rules):
        needs = f" [{', '.join(check.needs)}]" if check.needs else ""
        print(f"{check.rule:<3} {check.name}{needs}\n      {check.says}")
    return 0


def _verify(path: Path) -> int:
    from attent_conformance.certificate import read, verify

    content = read(path)
    for said in verify(content):
        print(f"verified: {said}")
    if not content["passed"]:
        print("the certificate is genuine, and says that checks failed")
        return 1
    print(f"not verifiable here: margins, seconds, and that {content['backend']} was what ran")
    return 0
