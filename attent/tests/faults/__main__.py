"""``python -m attent.tests.faults``: everything that can go wrong with a run and its files, on purpose.

Ends with an error at the first finding; which input or flip it was can be drawn again from the seed.
"""

from __future__ import annotations

import argparse
import time

from attent.tests.faults import disk, flips, inputs, kills, signals

KINDS = {"inputs": inputs.run, "flips": flips.run, "disks": disk.run, "signals": signals.run, "kills": kills.run}
USUAL = {"inputs": 10_000, "flips": 600, "disks": 60, "signals": 3, "kills": 20}


def main():
    """Run each kind as often as asked; what is asked for once, ``--kills 200``, leaves the others as they are."""
    parser = argparse.ArgumentParser(prog="python -m attent.tests.faults", description=__doc__)
    for kind, count in USUAL.items():
        parser.add_argument(f"--{kind}", type=int, default=count, help=f"how many; usually {count:,}, 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    given = vars(parser.parse_args())
    seed = given.pop("seed")
    for kind, count in given.items():
        if count:
            began = time.monotonic()
            KINDS[kind](count, seed, tell=lambda line: print(line, flush=True))
            print(
                f"{kind}: {count:,} in {time.monotonic() - began:.0f} s, most memory {inputs.peak():.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
