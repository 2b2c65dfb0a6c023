"""Throws bad input at everything that reads what others wrote, and counts how much.

The targets are the tests called `fuzz` of each crate: property tests that run with all others too,
here with more cases. proptest's own variables hold as well, such as PROPTEST_RNG_SEED.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ["farm-autoscaler", "farm-core", "farm-local", "farm-nats", "farm-policy", "farm-sdk"]
# Cases of these are large, or each is a long story: a fraction of the others' number is enough.
FRACTIONS = {"artefacts": 20, "stack_files": 10, "environments": 4, "reports": 4}
TARGET = re.compile(r"^((?:\w+::)*fuzz::(\w+)): test$", re.MULTILINE)


def build() -> dict[str, Path]:
    """Build the test binary of each package; what the compiler says is shown."""
    packages = [word for package in PACKAGES for word in ("-p", package)]
    command = ["cargo", "test", "--locked", "--profile", "fuzz", "--lib", "--no-run", *packages]
    command.append("--message-format=json-render-diagnostics")
    built = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit("the targets cannot be built")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    tests = [message for message in messages if message.get("executable")]
    return {test["target"]["name"].replace("_", "-"): Path(test["executable"]) for test in tests}


def targets(binary: Path) -> list[tuple[str, str]]:
    """List the property tests among the tests of a binary, by full and short name."""
    listed = subprocess.run([binary, "--list"], check=True, stdout=subprocess.PIPE, text=True)
    return [(full, name) for full, name in TARGET.findall(listed.stdout)]


def run(package: str, binary: Path, full: str, cases: int) -> bool:
    """Run one target; the output of one that fails is shown."""
    environment = os.environ | {"PROPTEST_CASES": str(cases)}
    started = time.monotonic()
    ended = subprocess.run(
        [binary, "--exact", full],
        cwd=ROOT / package,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.monotonic() - started
    passed = ended.returncode == 0 and "1 passed" in ended.stdout
    outcome = "ok" if passed else "FAILED"
    print(f"{package:16} {full:34} {cases:>9,} {seconds:>7.1f} s  {outcome}", flush=True)
    if not passed:
        print(ended.stdout)
    return passed


def main() -> int:
    """Run every target; fail if one did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500_000, help="inputs for most targets")
    arguments = parser.parse_args()
    executions, failures = 0, 0
    binaries = build()
    for package in PACKAGES:
        binary = binaries[package]
        found = targets(binary)
        if not found:
            print(f"{package:16} has no targets: tests in a module called fuzz  FAILED", flush=True)
            failures += 1
        for full, name in found:
            cases = max(1, arguments.cases // FRACTIONS.get(name, 1))
            failures += not run(package, binary, full, cases)
            executions += cases
    print(f"{executions:,} executions, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
