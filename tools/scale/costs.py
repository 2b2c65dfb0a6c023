"""What a task costs: read from the JSON of `farm bench`, or measured by hand."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scale.wire import line_bytes

MICRO = 1e-6
# The kernel counts processor time in steps: what shows as none took less than this.
GRAIN_SECONDS = 0.01
PARTS = ("server", "emitter", "workers", "collector")
# The cases that are read: tasks of this size in file storage, so many workers.
TASK_BYTES = 128
BENCH_WORKERS = 4


@dataclass
class Cost:
    """What a task costs when so many share a message, on average."""

    tasks_per_message: float
    cpu_seconds: dict[str, float]
    wire_bytes: float | None = None
    disk_bytes: float | None = None


@dataclass
class Costs:
    """Costs over tasks in a message, and where they come from."""

    source: str
    points: list[Cost]
    server_cores_used: float | None = None

    @property
    def most_tasks_per_message(self) -> int:
        """The most tasks in a message that were measured."""
        return round(self.points[-1].tasks_per_message)

    def sizes(self, *wanted: int) -> list[int]:
        """Choose of these tasks a message those that were measured, and the most there were."""
        most = self.most_tasks_per_message
        return [*(size for size in wanted if size < most), most]

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
        return Cost(tasks, cpu, wire, disk)


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
    cases = [case for report in reports for case in report["runs"] if case[side]]
    used = [run["cpu_seconds"]["server"] / run["seconds"] for case in cases for run in case[side]]
    runs = {
        granularity: case[side] for case in cases if (granularity := granularity_of(case["case"]))
    }
    if 1 not in runs or len(runs) == 1:
        sys.exit(
            f"{path}: not both one and many tasks a message of {TASK_BYTES} B, file storage, "
            f"{BENCH_WORKERS} workers (farm bench throughput)"
        )
    points = [measured(path, granularity, case, runs[1]) for granularity, case in runs.items()]
    machine = document["machine"]
    source = (
        f"`farm bench`, {'the farm' if side == 'farm' else 'the raw loop'}, medians of "
        f"{document['pairs']} runs on {machine['cores']} × {machine['processor']}, "
        f"{machine['nats_server']}, load average {machine['load_average']}, {TASK_BYTES} B, "
        "file storage"
    )
    return Costs(source, sorted(points, key=lambda point: point.tasks_per_message), max(used))


def granularity_of(case: dict[str, Any]) -> int | None:
    """Read how many tasks were to share a message; nothing of a case that is not used."""
    wanted = (TASK_BYTES, "file", BENCH_WORKERS)
    if (case["task_bytes"], case["storage"], case["workers"]) != wanted or case.get("cold"):
        return None
    granularity = str(case["granularity"])
    if granularity == "off":
        return 1
    return int(granularity) if granularity.isdigit() else None


def measured(
    path: Path, granularity: int, runs: list[dict[str, Any]], single: list[dict[str, Any]]
) -> Cost:
    """Take the medians of a case.

    How many tasks shared a message is told by the messages that passed: a full message is bounded
    in bytes, too, and one is sent before it is full while workers have nothing to do.
    """
    tasks = messages_per_task(single) / messages_per_task(runs)
    # Else these are the costs of one task a message under another name.
    if granularity > 1 and tasks < granularity / 10:
        sys.exit(f"{path}: granularity {granularity}, but {tasks:.1f} tasks in a message")
    return Cost(tasks, *medians(runs))


def messages_per_task(runs: list[dict[str, Any]]) -> float:
    """Give the messages to and from the server of a task, acknowledgements included."""
    return float(statistics.median(run["messages"] / run["tasks"] for run in runs))


def medians(runs: list[dict[str, Any]]) -> tuple[dict[str, float], float, float]:
    """Give processor time by part, bytes on the wire and on disk of a task: medians of the runs."""

    def per_task(values: list[float]) -> float:
        shares = [float(v / r["tasks"]) for v, r in zip(values, runs, strict=True)]
        return statistics.median(shares)

    cpu = {
        part: per_task([max(run["cpu_seconds"][part], GRAIN_SECONDS) for run in runs])
        for part in PARTS
    }
    wire = [run["wire_bytes"] + run["messages"] * line_bytes() for run in runs]
    return cpu, per_task(wire), per_task([run["disk_bytes"] for run in runs])
