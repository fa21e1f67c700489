"""Write chains.json from the NumPy reference: ``python -m attent_conformance.golden.make``.

Only when a rule of docs/spec.md or a task changes, and say so in CHANGELOG.md. Refuses a run that is ambiguous.
"""

from __future__ import annotations

import json
from pathlib import Path

from attent_conformance.chains import CHAINS, digests_of, reference_run
from attent_conformance.runs import gap, keys

PATH = Path(__file__).with_name("chains.json")
LEAST_GAP = 1e-7  # in units of the keys; scores of two frameworks differ by about 1e-12 after hundreds of steps


def main() -> None:
    """Write the digests of every chain, and print the smallest gap of each."""
    table = {}
    for name, chain in CHAINS.items():
        epochs = reference_run(name)
        table[name] = digests_of(epochs)
        smallest = min(
            (gap(chain.plans[e.plan], ordering, e.k), f"{e.plan} epoch {e.epoch}")
            for e in epochs
            if e.scores is not None and (ordering := keys(chain.plans[e.plan], e.scores, e.draw)) is not None
        )
        print(f"{name}: {len(epochs)} epochs, smallest gap {smallest[0]:.2e} in {smallest[1]}")
        if smallest[0] < LEAST_GAP:
            raise SystemExit(f"{name} is ambiguous: the smallest gap must be at least {LEAST_GAP}")
    PATH.write_text(json.dumps(table, indent=0) + "\n")


if __name__ == "__main__":
    main()
