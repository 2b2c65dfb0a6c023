"""Farms and decisions as the autoscaler describes them, for a page to show."""

import math
import time
from typing import Any

Json = dict[str, Any]

INTERVAL_SECONDS = 2.0
# What goes wrong on the day that is played.
BLIND = range(140, 150)
REFUSED = 200
LONG_BACKLOG_TASKS = 12


def farm(name: str = "thumbnails", **changes: Any) -> Json:  # noqa: ANN401
    """Describe a farm without a history."""
    return {
        "farm": name,
        "function": f"{name}-worker",
        "namespace": "openfaas-fn",
        "policy": "predictive",
        "settings": {
            "min": 1,
            "max": 32,
            "slots_max": 8,
            "replicas_max": 5,
            "deadline_seconds": 2.0,
            "target_qos_ratio": 0.95,
            "interval_seconds": INTERVAL_SECONDS,
        },
        "problem": None,
        "warnings": [],
        "history": [],
    } | changes


def decision(name: str = "thumbnails", sequence: int = 1, **changes: Any) -> Json:  # noqa: ANN401
    """Describe a decision that left a calm farm as it was."""
    return {
        "farm": name,
        "function": f"{name}-worker",
        "decided_by": "autoscaler-0",
        "sequence": sequence,
        "at_seconds": time.time(),
        "policy": "predictive",
        "observed": observed(),
        "target_qos_ratio": 0.95,
        "deadline_seconds": 2.0,
        "wanted_parallelism": 8,
        "target_parallelism": 8,
        "allocation": {"replicas": 2, "slots": 4},
        "outcome": "unchanged",
        "reasons": ["8 workers meet the deadline of 97 % of the tasks that are expected."],
        "error": None,
        "observe_seconds": 0.011,
        "decide_seconds": 0.0004,
        "act_seconds": 0.0,
    } | changes


def observed(**changes: Any) -> Json:  # noqa: ANN401
    """Describe what is seen of a calm farm."""
    return {
        "backlog_tasks": 3,
        "in_flight_tasks": 6,
        "arrival_rate_per_second": 12.5,
        "service_seconds_mean": 0.48,
        "service_seconds_max": 0.91,
        "sojourn_seconds_mean": 0.72,
        "qos_ratio": 0.981,
        "available_parallelism": 8,
        "busy_parallelism": 6,
        "replicas": 2,
        "available_replicas": 2,
        "slots": 4,
    } | changes


def day(name: str = "thumbnails", length: int = 300) -> list[Json]:
    """Play a farm through two waves of load, one blind spell and one refused change."""
    events: list[Json] = []
    now = time.time()
    available, backlog = 4, 0.0
    for index in range(length):
        rate = max(0.0, 22 + 15 * math.sin(index / 26) + 0.7 * math.sin(index * 1.7))
        wanted = max(1, round(rate * 0.48 * 1.1) + (3 if backlog > LONG_BACKLOG_TASKS else 0))
        moved = min(wanted, available + 2) if wanted > available else available
        if wanted < available - 1 and index % 4 == 0:
            moved = available - 1
        backlog = max(0.0, backlog + (rate - available / 0.48) * INTERVAL_SECONDS)
        qos = max(0.55, 0.995 - backlog / 160)
        changes: Json = {
            "at_seconds": now - (length - 1 - index) * INTERVAL_SECONDS,
            "wanted_parallelism": wanted,
            "target_parallelism": moved,
            "reasons": [f"{moved} workers meet the deadline of 95 % of the tasks to come."],
            "allocation": {"replicas": math.ceil(moved / 4), "slots": 4},
            "observed": observed(
                backlog_tasks=round(backlog),
                in_flight_tasks=min(available, round(rate)),
                arrival_rate_per_second=round(rate, 2),
                qos_ratio=round(qos, 4),
                available_parallelism=available,
                busy_parallelism=min(available, round(rate * 0.48)),
                replicas=math.ceil(available / 4),
                available_replicas=math.ceil(available / 4),
            ),
        }
        if moved != available:
            changes |= {"outcome": "applied", "act_seconds": 0.034}
            changes["reasons"] = [
                f"Arrivals of {rate:.1f}/s need {wanted} workers for 95 % in 2 s.",
                *(["Down by at most one step."] if moved > wanted else []),
            ]
        if index in BLIND:
            changes |= {"outcome": "held", "observed": None, "wanted_parallelism": None}
            changes["reasons"] = ["NATS did not answer within 2 s; the farm is left as it is."]
        if index == REFUSED:
            changes |= {"outcome": "failed", "error": "gateway: 409 Conflict; tried again"}
        events.append(decision(name, index + 1, **changes))
        available = moved
    return events
