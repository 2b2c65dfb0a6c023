#!/usr/bin/env python3
"""Writes the tables of docs/benchmarks.md from one JSON document of `farm bench`.

The tables are those that the command printed, with every row; whether an aim is met is computed
from the runs. `make bench-docs` calls this.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from document import MissingSectionError, replace_section

SCENARIOS = ("throughput", "safety", "latency", "granularity", "footprint", "ingest", "results")
# At which latency has an aim.
AIM_RATE_PER_SECOND = 1_000

Json = dict[str, Any]
# What a figure is of, and its values.
Figures = Iterator[tuple[str, list[float]]]


class UnusableError(Exception):
    """A document of `farm bench` from which no tables can be made."""


@dataclass(frozen=True)
class Aim:
    """A bound for the median of a figure, set before it was measured."""

    scenario: str
    unit: str
    bound: float
    at_least: bool
    figures: Callable[[list[Json]], Figures]

    def is_met(self, values: list[float]) -> bool:
        """Tell whether the median keeps the bound."""
        median = statistics.median(values)
        return median >= self.bound if self.at_least else median <= self.bound

    def rows(self, runs: list[Json]) -> Iterator[list[str]]:
        """Write every figure that it is for beside it."""
        sign = "≥" if self.at_least else "≤"
        for what, values in self.figures(runs):
            met = "met" if self.is_met(values) else "**not met**"
            yield [what, f"{sign} {self.bound:,g} {self.unit}".rstrip(), spread(values), met]


def ratios(run: Json, key: str) -> list[float]:
    """Give a figure of the farm over that of the raw loop, pair by pair."""
    return [farm[key] / raw[key] for farm, raw in zip(run["farm"], run["raw"], strict=True)]


def plain_cases(runs: list[Json], granularity: str) -> Iterator[tuple[str, Json]]:
    """Give the cases of 128 B in file storage, the farm being warm."""
    for run in runs:
        case = run["case"]
        is_plain = (case["task_bytes"], case["storage"], case["cold"]) == (128, "file", False)
        if is_plain and case["granularity"] == granularity:
            yield f"128 B, file, workers: {case['workers']}, granularity {granularity}", run


def throughput_ratio(granularity: str) -> Callable[[list[Json]], Figures]:
    """Compare the farm with the raw loop."""

    def figures(runs: list[Json]) -> Figures:
        for name, run in plain_cases(runs, granularity):
            yield f"{name}: farm / raw", ratios(run, "tasks_per_second")

    return figures


def throughput_rate(runs: list[Json]) -> Figures:
    """Give the rate of the farm with automatic granularity."""
    for name, run in plain_cases(runs, "auto"):
        yield f"{name}: farm", [farm["tasks_per_second"] for farm in run["farm"]]


def latency_ratio(quantile: str) -> Callable[[list[Json]], Figures]:
    """Compare a quantile with the raw loop's."""

    def figures(runs: list[Json]) -> Figures:
        for run in runs:
            if run["rate_per_second"] == AIM_RATE_PER_SECOND:
                yield (
                    f"{AIM_RATE_PER_SECOND:,} tasks/s, {quantile}: farm / raw",
                    ratios(run, f"{quantile}_ms"),
                )

    return figures


def efficiency(runs: list[Json]) -> Figures:
    """Give the efficiency of short tasks once the server's processor time is taken out."""
    for run in runs:
        if (run["service_microseconds"], run["granularity"]) == (100, "auto"):
            values = [point["efficiency_net_of_server_ratio"] for point in run["farm"]]
            yield "100 µs, auto: efficiency net of the server", values


def ingest_rate(runs: list[Json]) -> Figures:
    """Give the rate at which chunked tasks are taken in."""
    for run in runs:
        if run["tasks_per_message"] > 1:
            values = [farm["tasks_per_second"] for farm in run["farm"]]
            yield f"{run['tasks_per_message']} tasks in a message: farm", values


def cold_start(runs: list[Json]) -> Figures:
    """Give the start of every function measured."""
    for start in (start for run in runs for start in run["cold_starts"]):
        if start["function"] != "raw loop":
            values = [seconds * 1e3 for seconds in start["seconds"]]
            yield f"start of {start['function']} to its first stored result", values


def idle_worker(key: str, what: str, factor: float = 1.0) -> Callable[[list[Json]], Figures]:
    """Give a figure of the idle worker of every function measured."""

    def figures(runs: list[Json]) -> Figures:
        for idle in (idle for run in runs for idle in run["idle"]):
            if idle["role"] == "worker":
                yield f"idle worker of {idle['function']}: {what}", [idle[key] * factor]

    return figures


AIMS = (
    Aim("throughput", "", 0.85, True, throughput_ratio("off")),
    Aim("throughput", "", 0.70, True, throughput_ratio("auto")),
    Aim("throughput", "tasks/s", 500_000, True, throughput_rate),
    Aim("latency", "", 1.3, False, latency_ratio("p50")),
    Aim("latency", "", 1.5, False, latency_ratio("p99")),
    Aim("granularity", "", 0.90, True, efficiency),
    Aim("footprint", "ms", 30, False, cold_start),
    Aim("footprint", "MB", 10, False, idle_worker("resident_bytes", "resident memory", 1e-6)),
    # It keeps one pull open.
    Aim("footprint", "a second", 1, False, idle_worker("wake_ups_per_second", "wake-ups")),
    Aim("ingest", "tasks/s", 100_000, True, ingest_rate),
)


def written(number: float) -> str:
    """Write a number with three digits or more, as the command does."""
    size = abs(number)
    decimals = next((d for d, least in ((0, 100), (1, 10), (2, 1)) if size >= least), 3)
    return f"{number:,.{decimals if number else 0}f}"


def spread(values: list[float]) -> str:
    """Write the median and the range."""
    least, most, median = min(values), max(values), statistics.median(values)
    if least == most:
        return written(median)
    return f"{written(median)} ({written(least)}\N{EN DASH}{written(most)})"


def markdown(heading: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def conditions(bench: Json) -> str:
    """Tell the machine, how it was measured, and how long that took."""
    machine = bench["machine"]
    minutes = sum(report["elapsed_seconds"] for report in bench["scenarios"]) / 60
    return (
        f"{machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_bytes'] / 2**30:.1f} GiB, Linux {machine['kernel']}, "
        f"{machine['nats_server']}, {machine['build']} build. Load before: "
        f"{machine['load_average']}. Pairs: {bench['pairs']}, of runs of about "
        f"{bench['run_seconds']:g} s; slots of a worker: {bench['slots']}. All of it took "
        f"{minutes:.0f} min."
    )


def section(report: Json) -> str:
    """Write the tables of a scenario, and the aims that it has."""
    parts = []
    for table in report["tables"]:
        notes = "\n".join(f"- {note}" for note in table["notes"])
        parts += [f"**{table['title']}**", markdown(table["heading"], table["rows"]), notes]
    aims = [aim for aim in AIMS if aim.scenario == report["scenario"]]
    rows = [row for aim in aims for row in aim.rows(report["runs"])]
    if rows:
        parts.append(markdown(["aim for", "aim", "measured, median", "by its median"], rows))
    return "\n\n".join(part for part in parts if part)


def sections(bench: Json) -> dict[str, str]:
    """Write every generated section, by name; refuse a document in which one is missing."""
    reports = {report["scenario"]: report for report in bench["scenarios"]}
    missing = [name for name in SCENARIOS if name not in reports]
    if missing:
        # Tables of several invocations beside each other cannot be compared.
        raise UnusableError(f"no scenario {', '.join(missing)}: run farm bench without scenarios")
    parts = {f"bench-{name}": section(reports[name]) for name in SCENARIOS}
    return {"bench-conditions": conditions(bench)} | parts


def write(document: Path, bench: Json) -> None:
    """Put the sections between their markers."""
    if bench["machine"]["build"] != "release":
        raise UnusableError("figures of a debug build say nothing")
    text = document.read_text()
    for name, body in sections(bench).items():
        text = replace_section(text, name, body)
    document.write_text(text)


def main() -> int:
    """Print the sections, or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path, help="what `farm bench --json` wrote")
    parser.add_argument("--document", type=Path, help="write the tables into this file")
    arguments = parser.parse_args()
    bench = json.loads(arguments.bench.read_text())
    try:
        if arguments.document:
            write(arguments.document, bench)
        else:
            print("\n\n".join(sections(bench).values()))
    except (UnusableError, MissingSectionError) as error:
        print(f"{arguments.document or arguments.bench}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
