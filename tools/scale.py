#!/usr/bin/env python3
"""Computes what a farm sustains as it grows, from what one task costs; docs/scale.md explains it.

Costs are read from the JSON of `farm bench` (scenario `throughput`); without it, from figures that
were measured by hand and are marked as such. The queue at the workers is simulated by
`farm simulate`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Assumptions, each printed with the tables.
USABLE = 0.8  # share of a core, link or disk that is planned for
SERIAL = 0.45  # share of the server's time on a task that one stream does one after the other
LEADER = 1.5  # time of a stream's leader with three copies, over that of a server with one copy
COPIES = 3.4  # the same for the three servers together
LINK_BYTES = 1.25e9  # per second: 10 Gbit/s each way
DISK_BYTES = 400e6  # per second: an ordinary SSD
CHUNK_SECONDS = 5e-3  # work that automatic granularity puts into one message
MOST_TASKS = 4096  # in one message
MICRO = 1e-6
# The kernel counts processor time in steps: what shows as none took less than this.
GRAIN_SECONDS = 0.01

PARTS = ("server", "emitter", "workers", "collector")
WORKERS = (1, 10, 100, 1000)
RATES = (1_000, 10_000, 100_000, 1_000_000)
# Service time of the simulated pool: waits grow in proportion to it.
SIMULATED_SECONDS = 0.01
SERVICE_SECONDS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass
class Cost:
    """What a task costs when so many share a message."""

    tasks_per_message: int
    cpu_seconds: dict[str, float]
    wire_bytes: float | None = None
    disk_bytes: float | None = None


@dataclass
class Costs:
    """Costs over tasks in a message, and where they come from."""

    source: str
    points: list[Cost]
    server_cores_used: float | None = None

    def at(self, tasks_per_message: float) -> Cost:
        """Interpolate in 1/n: a message costs something, and so does each task in it.

        Outside the points the nearest one counts.
        """
        first, last = self.points[0], self.points[-1]
        tasks = min(max(tasks_per_message, first.tasks_per_message), last.tasks_per_message)
        above = next(point for point in self.points if point.tasks_per_message >= tasks)
        below = [point for point in self.points if point.tasks_per_message <= tasks][-1]
        span = 1 / below.tasks_per_message - 1 / above.tasks_per_message
        share = (1 / below.tasks_per_message - 1 / tasks) / span if span else 0.0

        def between(low: float | None, high: float | None) -> float | None:
            if low is None or high is None:
                return None
            return (1 - share) * low + share * high

        cpu = {p: between(below.cpu_seconds[p], above.cpu_seconds[p]) or 0.0 for p in PARTS}
        wire = between(below.wire_bytes, above.wire_bytes)
        disk = between(below.disk_bytes, above.disk_bytes)
        return Cost(round(tasks), cpu, wire, disk)


@dataclass
class Setup:
    """NATS servers, and over how many pairs of streams (tasks, results) a farm is spread."""

    name: str
    servers: int
    cores: int
    streams: int
    copies: int = 1

    def server_share(self) -> float:
        """Give the time of the busiest server on a task, over that of one that does it all."""
        leaders = math.ceil(self.streams / self.servers) / self.streams
        if self.copies == 1:
            return leaders
        # The other copies lie evenly on the other servers.
        followers = (1 - leaders) * (COPIES - LEADER) / (self.servers - 1)
        return leaders * LEADER + followers

    def stream_share(self) -> float:
        """Give the same for what one stream does one after the other."""
        return SERIAL * (LEADER if self.copies > 1 else 1.0) / self.streams

    def limits(self, cost: Cost) -> dict[str, float]:
        """Give the rate, in tasks per second, at which each part is used up."""
        seconds = cost.cpu_seconds["server"]
        limits = {
            "server": USABLE * self.cores / (seconds * self.server_share()),
            "stream": USABLE / (seconds * self.stream_share()),
        }
        if cost.wire_bytes:
            # Half of the bytes come in; with copies, those go out again to the others.
            copied = cost.wire_bytes / 2 * (1 + (self.copies - 1) / 2)
            limits["network"] = USABLE * LINK_BYTES / (copied * self.copy_share())
        if cost.disk_bytes:
            limits["disk"] = USABLE * DISK_BYTES / (cost.disk_bytes * self.copy_share())
        return limits

    def copy_share(self) -> float:
        """Give the share of all tasks of which the busiest server keeps a copy."""
        spread = min(self.streams * self.copies, self.servers)
        return self.copies / spread

    def sustains(self, cost: Cost) -> tuple[float, str]:
        """Give the rate that holds, in tasks per second, and what limits it."""
        limits = self.limits(cost)
        limit = min(limits, key=lambda name: limits[name])
        return limits[limit], limit


SETUPS = [
    Setup("1 server of 2 cores", 1, 2, 1),
    Setup("1 server of 8 cores", 1, 8, 1),
    Setup("1 server of 8 cores", 1, 8, 4),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 1, 3),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 3, 3),
    Setup("3 servers of 8 cores, 3 copies", 3, 8, 12, 3),
    Setup("3 servers of 8 cores, 1 copy", 3, 8, 3),
    Setup("9 servers of 8 cores, 3 copies", 9, 8, 36, 3),
]
PLAIN = SETUPS[1]


def by_hand() -> Costs:
    """Give the figures of a raw loop measured by hand: no bytes, and the split is assumed."""
    source = (
        "**not `farm bench`**: a raw loop measured by hand on 2 cores (128 B, file storage; server "
        "22 to 39 µs, clients 6 to 15 µs a task; with chunks both cores ÷ rate, half of it the "
        "server's; the clients' share in equal parts)"
    )
    server = {1: 30.0} | {n: 1.0 / r for n, r in ((16, 0.34), (64, 0.61), (256, 1.0), (4096, 1.5))}
    clients = {n: (10.0 if n == 1 else seconds) / 3 for n, seconds in server.items()}
    points = [
        Cost(n, {p: (server if p == "server" else clients)[n] * MICRO for p in PARTS})
        for n in server
    ]
    return Costs(source, points)


def from_bench(path: Path, side: str) -> Costs:
    """Read the cases of 128 B in file storage with four workers and a fixed granularity."""
    document = json.loads(path.read_text())
    reports = [r for r in document["scenarios"] if r["scenario"] == "throughput"]
    points, cores_used = [], 0.0
    for case in (case for report in reports for case in report["runs"]):
        tasks = tasks_per_message(case["case"])
        for run in case[side]:
            used = run["cpu_seconds"]["server"] / run["seconds"]
            cores_used = max(cores_used, used)
        if tasks and case[side]:
            points.append(Cost(tasks, *medians(case[side])))
            shared = statistics.median(run["messages"] / run["tasks"] for run in case[side])
            # Else these are the costs of one task a message under another name.
            if tasks > 1 and shared > 1:
                sys.exit(f"{path}: granularity {tasks}, but {shared:.1f} messages a task")
    if {point.tasks_per_message for point in points} <= {1}:
        sys.exit(f"{path}: no chunks of 128 B, file storage, 4 workers (farm bench throughput)")
    machine = document["machine"]
    source = (
        f"`farm bench`, {'the farm' if side == 'farm' else 'the raw loop'}, medians of "
        f"{document['pairs']} runs on {machine['cores']} × {machine['processor']}, "
        f"{machine['nats_server']}, load average {machine['load_average']}, 128 B, file storage"
    )
    return Costs(source, sorted(points, key=lambda point: point.tasks_per_message), cores_used)


def tasks_per_message(case: dict[str, Any]) -> int | None:
    """Read how many tasks share a message; nothing of a case that is not used."""
    if (case["task_bytes"], case["storage"], case["workers"]) != (128, "file", 4):
        return None
    granularity = str(case["granularity"])
    if granularity == "off":
        return 1
    return int(granularity) if granularity.isdigit() else None


def medians(runs: list[dict[str, Any]]) -> tuple[dict[str, float], float, float]:
    """Give processor time by part, bytes on the wire and on disk of a task: medians of the runs."""

    def per_task(values: list[float]) -> float:
        shares = [float(v / r["tasks"]) for v, r in zip(values, runs, strict=True)]
        return statistics.median(shares)

    cpu = {
        part: per_task([max(run["cpu_seconds"][part], GRAIN_SECONDS) for run in runs])
        for part in PARTS
    }
    wire, disk = ([run[key] for run in runs] for key in ("wire_bytes", "disk_bytes"))
    return cpu, per_task(wire), per_task(disk)


def chunk(service_seconds: float) -> float:
    """Give the tasks of such a service time that automatic granularity puts into a message."""
    return max(1.0, min(MOST_TASKS, CHUNK_SECONDS / service_seconds))


def number(value: float | None) -> str:
    """Write a number with two digits that count, and thousands apart."""
    if value is None:
        return "?"
    if value <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(value))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def markdown(heading: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def cost_table(costs: Costs) -> str:
    """Write what a task costs."""
    heading = ["tasks a message", *(f"{part}, µs" for part in PARTS), "wire, B", "disk, B"]
    rows = [
        [
            f"{point.tasks_per_message:,}",
            *(number(point.cpu_seconds[part] / MICRO) for part in PARTS),
            number(point.wire_bytes),
            number(point.disk_bytes),
        ]
        for point in costs.points
    ]
    return markdown(heading, rows)


def setup_table(costs: Costs) -> str:
    """Write what each setup sustains, and what limits it."""
    sizes = (1, 64, 256, 4096)
    heading = ["setup", "pairs of streams", *(f"{n:,} a message" for n in sizes)]
    rows = []
    for setup in SETUPS:
        held = [setup.sustains(costs.at(n)) for n in sizes]
        cells = [f"{number(rate)} ({limit})" for rate, limit in held]
        rows.append([setup.name, str(setup.streams), *cells])
    return markdown(heading, rows)


def need_table(costs: Costs) -> str:
    """Write what a rate needs."""
    heading = ["tasks/s", "tasks a message", "server cores", "pairs of streams", "emitter cores"]
    heading += ["workers' overhead, cores", "collector cores", "network, Gbit/s", "disk, MB/s"]
    rows = []
    for rate in RATES:
        for n in (1, 256):
            cost = costs.at(n)
            cpu = {part: rate * cost.cpu_seconds[part] / USABLE for part in PARTS}
            wire = rate * cost.wire_bytes * 8 / 1e9 if cost.wire_bytes else None
            disk = rate * cost.disk_bytes / 1e6 if cost.disk_bytes else None
            streams = math.ceil(cpu["server"] * SERIAL)
            cells = [number(cpu["server"]), str(streams)]
            cells += [number(cpu[part]) for part in PARTS[1:]]
            rows.append([f"{rate:,}", str(n), *cells, number(wire), number(disk)])
    return markdown(heading, rows)


def efficiency(costs: Costs, workers: int, service: float, tasks: float) -> tuple[float, str]:
    """Give useful time over the workers' time at one unsharded server, and what limits it."""
    cost = costs.at(tasks)
    held, limit = PLAIN.sustains(cost)
    own = workers / (service + cost.cpu_seconds["workers"])
    rate, limit = (own, "") if own <= held else (held, limit)
    return rate * service / workers, limit


def efficiency_table(costs: Costs) -> str:
    """Write the efficiency by workers and service time, one task a message and automatic."""
    heading = ["service time", "tasks a message"]
    heading += [f"{workers:,} worker{'s' * (workers > 1)}" for workers in WORKERS]
    rows = []
    for service in SERVICE_SECONDS:
        for tasks in sorted({1.0, chunk(service)}):
            found = [efficiency(costs, workers, service, tasks) for workers in WORKERS]
            cells = [f"{number(100 * share)} % {limit}".strip() for share, limit in found]
            rows.append([duration(service), number(tasks), *cells])
    return markdown(heading, rows)


def pairs_needed(cost: Cost, rate: float) -> int:
    """Give the pairs of streams that carry a rate, if servers have the cores for it."""
    return math.ceil(rate * cost.cpu_seconds["server"] * SERIAL / USABLE)


def chunk_needed(costs: Costs, rate: float) -> int | None:
    """Give the least tasks a message with which one pair of streams carries a rate."""
    sizes = range(1, MOST_TASKS + 1)
    return next((n for n in sizes if pairs_needed(costs.at(n), rate) == 1), None)


def thousand_table(costs: Costs) -> str:
    """Write what keeps a thousand workers busy, up to a million tasks per second."""
    heading = ["service time", "tasks/s", "pairs of streams, 1 a message", "automatic: a message"]
    heading += ["pairs of streams", "one pair is enough from", "work in such a message"]
    rows = []
    for service in SERVICE_SECONDS:
        rate = min(RATES[-1], WORKERS[-1] / service)
        automatic, enough = chunk(service), chunk_needed(costs, rate)
        row = [duration(service), f"{rate:,.0f}", str(pairs_needed(costs.at(1), rate))]
        row += [number(automatic), str(pairs_needed(costs.at(automatic), rate))]
        row += [f"{enough or '-'} a message", duration((enough or 0) * service)]
        rows.append(row)
    return markdown(heading, rows)


def always_fed(costs: Costs) -> int:
    """Give the workers that one pair of streams feeds at any service time, up to the last rate."""
    times = [1e-5 * 10 ** (step / 50) for step in range(201)]
    fed = []
    for service in times:
        rate = USABLE / (costs.at(chunk(service)).cpu_seconds["server"] * SERIAL)
        if rate < RATES[-1]:
            fed.append(rate * service)
    return math.floor(min(fed, default=WORKERS[-1]) / 10) * 10


def verdict(costs: Costs) -> str:
    """Say what is needed first when a farm grows."""
    single, chunked = costs.at(1), costs.at(256)
    lines = []
    for name, cost in (("one task a message", single), ("256 tasks a message", chunked)):
        limits = PLAIN.limits(cost)
        # A job's results are read by one collector, in one thread at worst.
        limits["one collector"] = USABLE / cost.cpu_seconds["collector"]
        limits["one emitter"] = USABLE / cost.cpu_seconds["emitter"]
        order = sorted(limits.items(), key=lambda item: item[1])
        steps = ", ".join(f"{part} at {number(rate)}" for part, rate in order)
        lines.append(f"* {name}, on {PLAIN.name}, parts used up in this order, tasks/s: {steps}.")
    gain = PLAIN.sustains(chunked)[0] / PLAIN.sustains(single)[0]
    sharded = SETUPS[2].sustains(single)[0] / PLAIN.sustains(single)[0]
    lines.append(
        f"* Chunks of 256 are worth {gain:.0f} times one task a message; four pairs of streams on "
        f"the same server {sharded:.1f} times."
    )
    for service in SERVICE_SECONDS:
        rate = min(RATES[-1], WORKERS[-1] / service)
        pairs = pairs_needed(costs.at(chunk(service)), rate)
        if pairs > 1:
            lines.append(
                f"* {WORKERS[-1]:,} workers on tasks of {duration(service)} ({rate:,.0f} tasks/s) "
                f"need {pairs} pairs of streams in automatic granularity."
            )
    lines.append(
        f"* At the others one pair feeds {WORKERS[-1]:,} workers; up to {RATES[-1]:,} tasks/s it "
        f"feeds {always_fed(costs):,} at any service time."
    )
    return "\n".join(lines) + "\n"


def broker_wait_table(costs: Costs) -> str:
    """Write the mean wait at a stream: one server, constant time, Poisson arrivals (M/D/1)."""
    shares = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    heading = ["tasks a message", *(f"{100 * share:.0f} % used" for share in shares)]
    rows = []
    for n in (1, 256, 4096):
        seconds = n * costs.at(n).cpu_seconds["server"] * SERIAL
        waits = [share / (2 * (1 - share)) * seconds for share in shares]
        rows.append([f"{n:,}", *(duration(wait) for wait in waits)])
    return markdown(heading, rows)


def erlang_c(workers: int, load: float) -> float:
    """Give the share of tasks that wait, of M/M/c at a load in erlangs."""
    blocked = 1.0
    for count in range(1, workers + 1):
        blocked = load * blocked / (count + load * blocked)
    share = load / workers
    return blocked / (1 - share + share * blocked)


def simulate(farm: Path, workers: int, used: float, allowed_seconds: float) -> float:
    """Simulate a pool; give the share of tasks that waited for longer than allowed."""
    rate = used * workers / SIMULATED_SECONDS
    # Enough for each worker to see many; the simulator takes 5 million.
    seconds = 20_000 * max(1.0, workers / 10) / rate
    scenario = {
        "name": f"{workers} workers",
        "workload": {
            "arrivals": {"poisson": {"rate": {"constant": rate}, "seconds": seconds}},
            "service": {"constant": SIMULATED_SECONDS},
            "deadline": {"seconds": SIMULATED_SECONDS + allowed_seconds},
        },
        "platform": {"poll_seconds": 0.0, "collection": {"constant": 0.0}},
        "control": {
            "interval_seconds": seconds / 10,
            "initial_parallelism": workers,
            "min_parallelism": workers,
            "max_parallelism": workers,
            "drain_seconds": 10.0,
        },
    }
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        file = Path(folder) / "scenario.json"
        file.write_text(json.dumps(scenario))
        policy = f"static:parallelism={workers}"
        command = [str(farm), "simulate", "--scenario", str(file), "--policy", policy, "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"farm simulate: {ended.stderr.strip()}")
    return 1.0 - float(json.loads(ended.stdout)["qos_ratio"])


def pool_table(farm: Path) -> str:
    """Write how tasks queue at the workers, simulated."""
    heading = [
        "workers",
        "used",
        "tasks/s",
        "wait at all",
        "Erlang C",
        "wait a tenth of their time",
    ]
    heading.append("wait as long as they take")
    rows = []
    for workers in WORKERS:
        for used in (0.7, 0.9, 0.95):
            rate = used * workers / SIMULATED_SECONDS
            shares = [
                simulate(farm, workers, used, allowed)
                for allowed in (MICRO, SIMULATED_SECONDS / 10, SIMULATED_SECONDS)
            ]
            waits = [shares[0], erlang_c(workers, used * workers), *shares[1:]]
            cells = [f"{100 * share:.2f} %" for share in waits]
            rows.append([f"{workers:,}", f"{100 * used:.0f} %", f"{rate:,.0f}", *cells])
    return markdown(heading, rows)


def assumptions() -> str:
    """Write what the tables take for granted."""
    return (
        f"Planned for: {100 * USABLE:.0f} % of a core, a link of {LINK_BYTES * 8 / 1e9:.0f} Gbit/s "
        f"and a disk of {DISK_BYTES / 1e6:.0f} MB/s. Of the server's time on a task, a pair of "
        f"streams does {100 * SERIAL:.0f} % one after the other. Three copies take {COPIES} times "
        f"the time of one on all servers together, {LEADER} times on the leader. Automatic "
        f"granularity puts {duration(CHUNK_SECONDS)} of work into a message, at most "
        f"{MOST_TASKS:,} tasks.\n"
    )


def report(costs: Costs, farm: Path) -> str:
    """Write all tables."""
    used = costs.server_cores_used
    bound = f"The server used up to {used:.2f} cores in these runs.\n" if used else ""
    parts = [
        f"Costs from {costs.source}.\n",
        f"{assumptions()}{bound}",
        f"### What a task costs\n\n{cost_table(costs)}",
        f"### What is needed first\n\n{verdict(costs)}",
        f"### What a setup sustains\n\nTasks/s (and what limits it).\n\n{setup_table(costs)}",
        f"### What a rate needs\n\n{need_table(costs)}",
        f"### A thousand workers\n\n{thousand_table(costs)}",
        f"### Useful share of the workers' time\n\n{PLAIN.name}, one pair of streams; what "
        f"limits it, if the workers do not.\n\n{efficiency_table(costs)}",
        f"### Wait at a stream\n\nMean, M/D/1.\n\n{broker_wait_table(costs)}",
        f"### Wait at the workers\n\nSimulated, tasks of {duration(SIMULATED_SECONDS)} with "
        f"Poisson arrivals.\n\n{pool_table(farm)}",
    ]
    return "\n".join(parts)


def write(document: Path, part: str) -> None:
    """Put the tables between their markers; what is written by hand stays."""
    text = document.read_text()
    begin, end = "<!-- generated: scale -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"{document} has no place {begin}")
    document.write_text(pattern.sub(lambda _: f"{begin}\n{part}{end}", text))


def main() -> int:
    """Compute and print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bench", type=Path, help="what `farm bench --json` wrote")
    parser.add_argument("--side", choices=("farm", "raw"), default="farm", help="of the bench")
    parser.add_argument("--farm", type=Path, default=ROOT / "target/release/farm")
    parser.add_argument("--document", type=Path, help="write the tables into this file, too")
    arguments = parser.parse_args()
    costs = from_bench(arguments.bench, arguments.side) if arguments.bench else by_hand()
    text = report(costs, arguments.farm)
    print(text)
    if arguments.document:
        write(arguments.document, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
