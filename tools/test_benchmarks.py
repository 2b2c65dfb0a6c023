"""Tests of the tables of docs/benchmarks.md: what the command printed, and what is met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import benchmarks
import document
import pytest

ROOT = Path(__file__).resolve().parent.parent


def rates(*values: float) -> list[dict[str, float]]:
    """Make runs of such rates."""
    return [{"tasks_per_second": value} for value in values]


def case(granularity: str, *, cold: bool = False) -> dict[str, Any]:
    """Make a case of the throughput."""
    plain = {"task_bytes": 128, "storage": "file", "workers": 4}
    return {"case": plain | {"granularity": granularity, "raw_chunk": 1024, "cold": cold}}


RUNS: dict[str, list[dict[str, Any]]] = {
    "throughput": [
        case("off") | {"raw": rates(100, 200, 100), "farm": rates(90, 100, 80)},
        case("auto") | {"raw": rates(9e5, 9e5, 9e5), "farm": rates(6e5, 7e5, 8e5)},
        case("auto", cold=True) | {"raw": rates(1e6), "farm": rates(1)},
    ],
    "safety": [{"side": "plain", "gives": "little", "runs": rates(1)}],
    "latency": [
        {
            "rate_per_second": 1000.0,
            "raw": [{"p50_ms": 1.0, "p99_ms": 2.0}],
            "farm": [{"p50_ms": 1.2, "p99_ms": 4.0}],
        },
        {"rate_per_second": 5000.0, "raw": [], "farm": []},
    ],
    "granularity": [
        {
            "service_microseconds": 100,
            "granularity": granularity,
            "farm": [{"efficiency_net_of_server_ratio": ratio}],
        }
        for granularity, ratio in (("off", 0.5), ("auto", 0.91))
    ],
    "footprint": [
        {
            "cold_starts": [
                {"function": "raw loop", "seconds": [9.0]},
                {"function": "bench", "seconds": [0.01, 0.02, 0.03]},
            ],
            "idle": [
                {
                    "function": "bench",
                    "role": role,
                    "resident_bytes": 12_000_000,
                    "wake_ups_per_second": 0.5,
                }
                for role in ("worker", "emitter")
            ],
            "crowd": {},
        }
    ],
    "ingest": [
        {"tasks_per_message": 1, "raw": rates(1), "farm": rates(1)},
        {"tasks_per_message": 256, "raw": rates(2e6), "farm": rates(1e5)},
    ],
    "results": [{"tasks_per_message": 1, "raw": rates(1), "farm": rates(1)}],
}


def bench() -> dict[str, Any]:
    """Make what a benchmark writes."""
    return {
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "memory_bytes": 2**34,
            "kernel": "6.1",
            "load_average": "0.1 0.2 0.3",
            "nats_server": "nats-server: v2",
            "build": "release",
        },
        "pairs": 3,
        "run_seconds": 2.0,
        "slots": 1,
        "scenarios": [
            {
                "scenario": name,
                "elapsed_seconds": 120.0,
                "tables": [
                    {
                        "title": f"Table of {name}",
                        "heading": ["CASE", "FARM"],
                        "rows": [["good", "2 (1–3)"], ["bad", "0"]],  # noqa: RUF001
                        "notes": ["A note."],
                    }
                ],
                "runs": runs,
            }
            for name, runs in RUNS.items()
        ],
    }


def aims(scenario: str) -> list[str]:
    """Give the rows of the aims of a scenario."""
    lines = benchmarks.sections(bench())[f"bench-{scenario}"].splitlines()
    return [line for line in lines if line.endswith("met |") or line.endswith("met** |")]


def test_every_row_that_was_printed_is_there() -> None:
    for name in benchmarks.SCENARIOS:
        text = benchmarks.sections(bench())[f"bench-{name}"]
        for line in (f"**Table of {name}**", "| CASE | FARM |", "| bad | 0 |", "- A note."):
            assert line in text.splitlines()


def test_the_conditions_are_those_of_the_document() -> None:
    text = benchmarks.sections(bench())["bench-conditions"]
    assert "2 cores of a processor, 16.0 GiB, Linux 6.1, nats-server: v2, release build" in text
    assert "Pairs: 3, of runs of about 2 s; slots of a worker: 1. All of it took 14 min." in text


def test_an_aim_is_judged_by_the_median_of_the_pairs() -> None:
    # The first job of a farm has none.
    off, auto, rate = aims("throughput")
    # 0.9, 0.5 and 0.8: not the quotient of the medians, which is 0.9.
    assert "| 0.800 (0.500\N{EN DASH}0.900) | **not met** |" in off
    assert "| ≥ 0.7 | 0.778 (0.667\N{EN DASH}0.889) | met |" in auto
    assert "| ≥ 500,000 tasks/s | 700,000 (600,000\N{EN DASH}800,000) | met |" in rate


def test_every_scenario_with_an_aim_is_judged() -> None:
    p50, p99 = aims("latency")
    assert p50.endswith("| ≤ 1.3 | 1.20 | met |")
    assert p99.endswith("| ≤ 1.5 | 2.00 | **not met** |")
    assert [row.split(" | ")[1:] for row in aims("granularity")] == [["≥ 0.9", "0.910", "met |"]]
    start, memory, wake_ups = aims("footprint")
    assert start.endswith("| ≤ 30 ms | 20.0 (10.0\N{EN DASH}30.0) | met |")
    assert memory.endswith("| ≤ 10 MB | 12.0 | **not met** |")
    assert wake_ups.endswith("| ≤ 1 a second | 0.500 | met |")
    assert [row.split(" | ")[1:] for row in aims("ingest")] == [
        ["≥ 100,000 tasks/s", "100,000", "met |"]
    ]


def test_part_of_a_benchmark_is_refused() -> None:
    part = bench()
    part["scenarios"] = part["scenarios"][1:]
    with pytest.raises(benchmarks.UnusableError, match="no scenario throughput"):
        benchmarks.sections(part)


def test_the_document_has_a_place_for_every_section(tmp_path: Path) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    benchmarks.write(copy, bench())
    text = copy.read_text()
    assert text.count("| bad | 0 |") == len(benchmarks.SCENARIOS)
    benchmarks.write(copy, bench())
    assert copy.read_text() == text


def test_a_debug_build_is_not_published(tmp_path: Path) -> None:
    debug = bench()
    debug["machine"]["build"] = "debug"
    with pytest.raises(benchmarks.UnusableError, match="debug build"):
        benchmarks.write(tmp_path / "none.md", debug)


def test_a_wrong_document_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "bench.json"
    part.write_text(json.dumps(bench() | {"scenarios": []}))
    monkeypatch.setattr("sys.argv", ["benchmarks.py", str(part)])
    assert benchmarks.main() == 1
    assert "no scenario throughput" in capsys.readouterr().err


def test_a_section_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb <!-- end -->\n"
    replaced = document.replace_section(text, "x", "new \\1\n")
    assert replaced == "a\n<!-- generated: x -->\nnew \\1\n<!-- end -->\nb <!-- end -->\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- generated: x -->",
        "<!-- generated: xx --><!-- end -->",
        "<!-- generated: x --><!-- generated: y --><!-- end -->",
    ],
)
def test_a_place_that_is_missing_is_told(text: str) -> None:
    with pytest.raises(document.MissingSectionError, match="generated: x"):
        document.replace_section(text, "x", "new")
