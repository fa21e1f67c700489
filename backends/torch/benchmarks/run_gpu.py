"""What only a GPU shows, in under eight minutes on one card: checks, and timings beside training written by hand.

    python run_gpu.py [--json FILE] [--budget-seconds 420] [--only NAME] [--tiny] [--device cuda]

It needs torch and attent's own needs; jax and optax, transformers and peft where a part uses them. attent's packages
are taken from this clone. Each part is a process of its own with a time limit, so that one that fails, hangs or runs
out of memory is a row that says so; the JSON is written anew after every part. ``--tiny`` cuts all sizes down until a
CPU does them. The exit status is 1 where a check failed or a part broke. NumPy's own numbers are the yardstick of the
rules; of timings nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[2]


class Part(NamedTuple):
    """A function of ``gpu`` and the most seconds it may take. Checks run side by side, timings alone."""

    target: str
    seconds: float
    alone: bool = False


PARTS = {
    "machine": Part("checks:machine", 60),
    "rules on torch": Part("checks:torch_rules", 170),
    "rules S, P on JAX": Part("checks:jax_rules:S,P", 170),
    "rules A on JAX": Part("checks:jax_rules:A", 170),
    "rules L, R on JAX": Part("checks:jax_rules:L,R", 170),
    "tests": Part("checks:tests", 120),
    "mixed precision": Part("checks:mixed_precision", 120),
    "two processes": Part("checks:two_processes", 120),
    "copies": Part("checks:copies", 110, alone=True),
    "ViT-S": Part("timings:vit_steps", 60, alone=True),
    "Llama with LoRA": Part("timings:llama_steps", 75, alone=True),
    "selecting": Part("timings:selecting", 60, alone=True),
    "language": Part("timings:language", 60, alone=True),
}
LEAST = 20.0  # seconds: a part with less than this left is not begun


class Running:
    """A part under way in a process group of its own."""

    def __init__(self, name: str, seconds: float, folder: Path, device: str, *, tiny: bool) -> None:
        stem = "".join(letter if letter.isalnum() else "-" for letter in name)
        self.name, self.rows, self.log = name, folder / f"{stem}.jsonl", folder / f"{stem}.log"
        self.started, self.ends = time.monotonic(), time.monotonic() + seconds
        self.seconds = seconds
        command = [sys.executable, "-c", "from gpu.part import main; main()", PARTS[name].target, str(self.rows)]
        command += ["--device", device, *(["--tiny"] if tiny else [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=HERE, env=_environment(name, tiny=tiny), stdout=log, stderr=log, start_new_session=True
            )

    def finished(self) -> dict[str, Any]:
        """Wait for the part, end it where its time is over, and return its name, status, seconds and rows."""
        try:
            self.process.wait(max(0.0, self.ends - time.monotonic()))
            stopped = False
        except subprocess.TimeoutExpired:
            stopped = True
        _kill(self.process)
        lines = self.rows.read_text("utf-8").splitlines() if self.rows.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        result: dict[str, Any] = {
            "part": self.name,
            "status": "ok",
            "seconds": round(time.monotonic() - self.started, 1),
        }
        if found:
            result["seconds"] = found[-1]["at_seconds"] if not stopped else result["seconds"]
        result["rows"] = [line["row"] for line in found if "row" in line]
        for kind in ("skipped", "error"):
            if found and kind in found[-1]:
                result |= {"status": kind, "reason": found[-1][kind]}
        if any(row["passed"] is False for row in result["rows"]) and result["status"] == "ok":
            result["status"] = "failed"
        if stopped:
            reached = [f" after {line['reached']}" for line in found if "reached" in line][-1:]
            result |= {"status": "stopped", "reason": f"its {self.seconds:.0f} seconds were over{''.join(reached)}"}
        elif not found or not found[-1].keys() & {"done", "skipped", "error"}:
            result |= {"status": "error", "reason": f"ended with status {self.process.returncode}"}
        if result["status"] in ("error", "stopped"):
            result["log"] = self.log.read_text("utf-8", "replace")[-4000:]
        return result


def _environment(name: str, *, tiny: bool) -> dict[str, str]:
    own = [CLONE, *(CLONE / "backends" / backend for backend in ("torch", "jax")), CLONE / "conformance"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, own), os.environ.get("PYTHONPATH", "")])}
    if name.startswith("rules") or tiny:  # sums must not depend on how busy the machine is
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return environment


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _device() -> str:
    """Return cuda if torch finds one, asked in a process of its own so that this one holds no card."""
    asked = [sys.executable, "-c", "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"run_gpu.py needs torch, which cannot be imported: {answer.stderr.strip()[-300:]}")
    return answer.stdout.strip()


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the table: part, what, verdict, result."""
    marks = {True: "ok", False: "FAIL", None: ""}
    cells = []
    for result in results:
        name = result["part"]
        for row in result["rows"]:
            cells.append((name, row["what"], marks[row["passed"]], row["result"]))
            name = ""
        ended = f"{result['seconds']:.0f} s" + (f"; {result['reason']}" if "reason" in result else "")
        cells.append((name, "", result["status"].upper() if result["status"] != "ok" else "", ended))
    widths = [max(len(cell[column]) for cell in cells) for column in range(3)]
    return ["  ".join([*(c.ljust(w) for c, w in zip(cell, widths, strict=False)), cell[3]]).rstrip() for cell in cells]


def main() -> int:
    """Run the parts that fit into the budget, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--budget-seconds", type=float, default=420.0)
    parser.add_argument("--only", choices=list(PARTS), action="append")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", help="cuda if there is one, else cpu")
    given = parser.parse_args()
    if given.json is not None and not given.json.resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {given.json.resolve().parent}")
    started = time.monotonic()
    device = given.device or _device()
    if device == "cpu" and not given.tiny:
        parser.error("no CUDA device was found; give --tiny to try all parts on the CPU")
    wanted = [name for name in PARTS if given.only is None or name in given.only]
    results: list[dict[str, Any]] = []

    def keep(result: dict[str, Any]) -> None:
        results.append(result)
        print(f"{time.monotonic() - started:5.0f} s  {result['part']}: {result['status']}", flush=True)
        if given.json is not None:
            content = {"device": device, "tiny": given.tiny, "seconds": round(time.monotonic() - started, 1)}
            given.json.write_text(json.dumps({**content, "parts": results}, indent=1) + "\n", "utf-8")

    def begun(name: str) -> Running | None:
        left = given.budget_seconds - (time.monotonic() - started)
        if left < LEAST:
            reason = f"{max(left, 0):.0f} of {given.budget_seconds:.0f} seconds are left"
            keep({"part": name, "status": "skipped", "seconds": 0.0, "rows": [], "reason": reason})
            return None
        allowed = PARTS[name].seconds * (4 if given.tiny else 1)
        return Running(name, min(allowed, left), Path(folder), device, tiny=given.tiny)

    with tempfile.TemporaryDirectory() as folder:
        together = [begun(name) for name in wanted if not PARTS[name].alone]
        for part in together:
            if part is not None:
                keep(part.finished())
        for name in wanted:
            if PARTS[name].alone and (part := begun(name)) is not None:
                keep(part.finished())
    print()
    print("\n".join(lines(results)))
    print(f"{device}, {time.monotonic() - started:.0f} s")
    return 0 if all(result["status"] in ("ok", "skipped") for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
