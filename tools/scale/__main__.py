"""The door: `PYTHONPATH=tools python3 -m scale`, as `make scale` calls it.

Costs are read from the JSON of `farm bench` (scenario `throughput`); without it, from figures that
were measured by hand and are marked as such.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from document import MissingSectionError, replace_section

from scale.costs import by_hand, from_bench
from scale.tables import report

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    """Compute and print all tables."""
    parser = argparse.ArgumentParser(prog="scale", description="What a growing farm needs.")
    parser.add_argument("--bench", type=Path, help="what `farm bench --json` wrote")
    parser.add_argument("--side", choices=("farm", "raw"), default="farm", help="of the bench")
    parser.add_argument("--farm", type=Path, default=ROOT / "target/release/farm")
    parser.add_argument("--document", type=Path, help="write the tables into this file, too")
    arguments = parser.parse_args()
    costs = from_bench(arguments.bench, arguments.side) if arguments.bench else by_hand()
    text = report(costs, arguments.farm)
    print(text)
    if arguments.document:
        try:
            written = replace_section(arguments.document.read_text(), "scale", text)
        except MissingSectionError as error:
            sys.exit(f"{arguments.document}: {error}")
        arguments.document.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
