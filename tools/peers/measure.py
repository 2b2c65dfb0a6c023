"""What is measured of a system that runs tasks, and the table of it."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

# The body of a task: 128 bytes that are text, since some systems carry nothing but JSON.
PAYLOAD = "x" * 128
# From here on a third digit counts.
MANY = 1000


@dataclass
class Measurement:
    """One system, or one way to use it."""

    name: str
    version: str
    tasks_per_second: list[float] = field(default_factory=list)
    tasks_per_run: int = 0
    round_trip_seconds: list[float] = field(default_factory=list)
    worker_rss_bytes: int | None = None
    cold_start_seconds: list[float] = field(default_factory=list)
    killed: str = ""
    documented: str = ""
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        """Write all that was measured, and what the table shows of it."""
        row = asdict(self)
        row["tasks_per_second_median"] = median(self.tasks_per_second)
        row["round_trip_p50_seconds"] = quantile(self.round_trip_seconds, 0.50)
        row["round_trip_p99_seconds"] = quantile(self.round_trip_seconds, 0.99)
        row["cold_start_median_seconds"] = median(self.cold_start_seconds)
        return row


def median(values: list[float]) -> float | None:
    """Give the median of what there is."""
    return statistics.median(values) if values else None


def quantile(values: list[float], share: float) -> float | None:
    """Give the smallest value that at least this share of the values does not exceed."""
    if not values:
        return None
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def run_length(tasks: int, seconds: float, aim_seconds: float) -> int:
    """Choose how many tasks take about so long, from a run of `tasks` that took `seconds`."""
    rate = tasks / max(seconds, 1e-6)
    return max(100, min(400_000, round(rate * aim_seconds / 100) * 100))


def rounded(value: float | None, factor: float = 1.0) -> str:
    """Write a value with two digits that count, three from 1,000 on; a dash if there is none."""
    if value is None:
        return "-"
    scaled = value * factor
    if scaled <= 0:
        return "0"
    digits = (3 if scaled >= MANY else 2) - 1 - math.floor(math.log10(scaled))
    return f"{round(scaled, digits):,.{max(0, digits)}f}"


def titled(row: Measurement) -> str:
    """Write the name of a system with its version, then the way it is used."""
    system, comma, way = row.name.partition(",")
    return f"{system} {row.version}".strip() + comma + way


def table(rows: list[Measurement]) -> str:
    """Write the table, and below it what was skipped and why."""
    lines = [
        "| system | tasks/s | (range) | round trip p50 / p99, ms | idle worker RSS, MB "
        "| worker cold start, s | worker killed mid-task: seen | documented |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.skipped:
            continue
        rates = row.tasks_per_second
        spread = f"{rounded(min(rates))} to {rounded(max(rates))}" if rates else "-"
        trips = [rounded(quantile(row.round_trip_seconds, share), 1e3) for share in (0.5, 0.99)]
        rss = None if row.worker_rss_bytes is None else float(row.worker_rss_bytes)
        cells = (
            titled(row),
            rounded(median(rates)),
            spread,
            " / ".join(trips),
            rounded(rss, 1e-6),
            rounded(median(row.cold_start_seconds)),
            row.killed or "-",
            row.documented or "-",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\nSkipped: {row.name}: {row.skipped}" for row in rows if row.skipped]
    return "\n".join(lines) + "\n"
