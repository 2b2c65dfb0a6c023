"""The tables, in Markdown."""

from __future__ import annotations

import math
from pathlib import Path

from scale.costs import MICRO, PARTS, TASK_BYTES, Costs
from scale.model import (
    ALONE_SECONDS,
    CHUNK_SECONDS,
    COPIES,
    DISK_BYTES,
    LEADER,
    LINK_BYTES,
    MOST_BYTES,
    MOST_TASKS,
    PLAIN,
    RATES,
    SERIAL,
    SERVICE_SECONDS,
    SETUPS,
    SHARDED,
    USABLE,
    USED,
    WORKERS,
    always_fed,
    chunk,
    chunk_needed,
    efficiency,
    erlang_c,
    pairs_needed,
    stream_wait_seconds,
)
from scale.pool import SIMULATED_SECONDS, simulate
from scale.wire import line_bytes


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


def many(costs: Costs) -> int:
    """Choose the size of a message that stands for all shared ones."""
    return costs.sizes(256)[0]


def cost_table(costs: Costs) -> str:
    """Write what a task costs."""
    heading = ["tasks a message", *(f"{part}, µs" for part in PARTS), "wire, B", "disk, B"]
    rows = [
        [
            f"{point.tasks_per_message:,.0f}",
            *(number(point.cpu_seconds[part] / MICRO) for part in PARTS),
            number(point.wire_bytes),
            number(point.disk_bytes),
        ]
        for point in costs.points
    ]
    return markdown(heading, rows)


def setup_table(costs: Costs) -> str:
    """Write what each setup sustains, and what limits it."""
    sizes = costs.sizes(1, 64, 256)
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
        for n in (1, many(costs)):
            cost = costs.at(n)
            cpu = {part: rate * cost.cpu_seconds[part] / USABLE for part in PARTS}
            wire = rate * cost.wire_bytes * 8 / 1e9 if cost.wire_bytes else None
            disk = rate * cost.disk_bytes / 1e6 if cost.disk_bytes else None
            streams = math.ceil(cpu["server"] * SERIAL)
            cells = [number(cpu["server"]), str(streams)]
            cells += [number(cpu[part]) for part in PARTS[1:]]
            rows.append([f"{rate:,}", str(n), *cells, number(wire), number(disk)])
    return markdown(heading, rows)


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


def verdict(costs: Costs) -> str:
    """Say what is needed first when a farm grows."""
    shared = many(costs)
    single, chunked = costs.at(1), costs.at(shared)
    lines = []
    for name, cost in (("one task", single), (f"{shared} tasks", chunked)):
        limits = PLAIN.limits(cost)
        # A job's results are read by one collector, in one thread at worst.
        limits["one collector"] = USABLE / cost.cpu_seconds["collector"]
        limits["one emitter"] = USABLE / cost.cpu_seconds["emitter"]
        order = sorted(limits.items(), key=lambda item: item[1])
        steps = ", ".join(f"{part} at {number(rate)}" for part, rate in order)
        lines.append(
            f"* {name} a message, on {PLAIN.name}, parts used up in this order, tasks/s: {steps}."
        )
    gain = PLAIN.sustains(chunked)[0] / PLAIN.sustains(single)[0]
    sharded = SHARDED.sustains(single)[0] / PLAIN.sustains(single)[0]
    lines.append(
        f"* Chunks of {shared} are worth {gain:.0f} times one task a message; "
        f"{SHARDED.streams} pairs of streams on the same server {sharded:.1f} times."
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
    heading = ["tasks a message", *(f"{100 * used:.0f} % used" for used in USED)]
    rows = []
    for n in costs.sizes(1, 256):
        waits = [stream_wait_seconds(costs, n, used) for used in USED]
        rows.append([f"{n:,}", *(duration(wait) for wait in waits)])
    return markdown(heading, rows)


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
        f"granularity puts {duration(CHUNK_SECONDS)} of even work into a message, at most "
        f"{MOST_TASKS:,} tasks and {MOST_BYTES >> 10} KiB, which is {chunk(1e-9):,} tasks of "
        f"{TASK_BYTES} B; tasks of {duration(ALONE_SECONDS)} and more travel alone. Subjects and "
        f"words of the protocol, which the server does not count, take {line_bytes():.0f} B a "
        "message of NATS.\n"
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
