"""Tests of the model: against what can be computed by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scale import costs as reading
from scale import model, tables, wire
from scale.costs import MICRO, PARTS, Cost, Costs

ROOT = Path(__file__).resolve().parent.parent
CASE = {"task_bytes": 128, "storage": "file", "workers": 4, "granularity": "off"}


def costs() -> Costs:
    """Costs of 1 and of 100 tasks a message that make round numbers."""

    def cost(tasks: int, micros: float) -> Cost:
        cpu = dict.fromkeys(PARTS, micros * MICRO)
        return Cost(tasks, cpu, wire_bytes=10 * micros, disk_bytes=micros)

    return Costs("a test", [cost(1, 100.0), cost(100, 1.0)])


def test_costs_lie_between_the_measured_ones() -> None:
    assert costs().at(10).cpu_seconds["server"] == pytest.approx(10e-6)
    assert costs().at(4096).cpu_seconds["server"] == pytest.approx(1e-6)
    assert costs().at(1).wire_bytes == pytest.approx(1000)


def test_a_server_is_used_up_by_its_cores_and_a_stream_by_one() -> None:
    limits = model.Setup("", 1, 8, 1).limits(costs().at(1))
    assert limits["server"] == pytest.approx(0.8 * 8 / 100e-6)
    assert limits["stream"] == pytest.approx(0.8 / (model.SERIAL * 100e-6))
    spread = model.Setup("", 1, 8, 4).limits(costs().at(1))
    assert spread["server"] == limits["server"]
    assert spread["stream"] == pytest.approx(4 * limits["stream"])


def test_copies_cost_all_servers_together_what_was_measured() -> None:
    balanced = model.Setup("", 3, 8, 3, 3)
    assert 3 * balanced.server_share() == pytest.approx(model.COPIES)
    assert model.Setup("", 3, 8, 1, 3).server_share() == pytest.approx(model.LEADER)
    # Three times the servers and the streams carry three times as much.
    assert 9 * model.Setup("", 9, 8, 9, 3).server_share() == pytest.approx(model.COPIES)


def test_every_server_keeps_its_share_of_the_bytes() -> None:
    assert model.Setup("", 3, 8, 1, 3).copy_share() == 1
    assert model.Setup("", 3, 8, 3, 3).copy_share() == 1
    assert model.Setup("", 9, 8, 9, 3).copy_share() == pytest.approx(1 / 3)
    assert model.Setup("", 3, 8, 3).copy_share() == pytest.approx(1 / 3)


def test_pairs_and_chunks_that_a_rate_needs_fit_together() -> None:
    rate = 100_000
    needed = model.chunk_needed(costs(), rate)
    assert needed is not None
    assert model.pairs_needed(costs().at(needed), rate) == 1
    assert model.pairs_needed(costs().at(needed - 1), rate) > 1


def test_erlang_c_is_the_known_one() -> None:
    # One worker: the share that waits is the share in use. Two workers at 1 erlang: a third.
    assert model.erlang_c(1, 0.7) == pytest.approx(0.7)
    assert model.erlang_c(2, 1.0) == pytest.approx(1 / 3)


def run(cpu: float, messages: float) -> dict[str, object]:
    """Make a run of a second with so many messages a task."""
    seconds = dict.fromkeys(PARTS, cpu)
    counts = {"tasks": 1000, "seconds": 1.0, "messages": 1000 * messages}
    return counts | {"cpu_seconds": seconds, "wire_bytes": 5e5, "disk_bytes": 2e5}


def bench(folder: Path, runs: list[dict[str, object]]) -> Path:
    """Write what a benchmark writes."""
    machine = {"cores": 2, "processor": "a", "nats_server": "b", "load_average": "0"}
    scenario = {"scenario": "throughput", "runs": runs}
    path = folder / "bench.json"
    path.write_text(json.dumps({"machine": machine, "pairs": 3, "scenarios": [scenario]}))
    return path


def test_a_benchmark_whose_chunks_are_none_is_refused(tmp_path: Path) -> None:
    runs: list[dict[str, object]] = [
        {"case": CASE, "farm": [run(0.1, 7.0)]},
        {"case": CASE | {"granularity": "256"}, "farm": [run(0.1, 7.0)]},
    ]
    with pytest.raises(SystemExit, match=r"granularity 256, but 1.0 tasks in a message"):
        reading.from_bench(bench(tmp_path, runs), "farm")


def test_a_benchmark_without_shared_messages_is_refused(tmp_path: Path) -> None:
    path = bench(tmp_path, [{"case": CASE, "farm": [run(0.1, 7.0)]}])
    with pytest.raises(SystemExit, match="not both one and many"):
        reading.from_bench(path, "farm")


def test_a_benchmark_is_read_by_its_medians(tmp_path: Path) -> None:
    runs: list[dict[str, object]] = [
        {"case": CASE, "raw": [], "farm": [run(0.5, 7.0), run(0.1, 7.0), run(0.2, 7.0)]},
        {"case": CASE | {"granularity": "auto"}, "raw": [], "farm": [run(9.0, 0.1)]},
        {"case": CASE | {"granularity": "256"}, "raw": [], "farm": [run(0.01, 0.028)]},
        {"case": CASE | {"granularity": "256", "cold": True}, "raw": [], "farm": [run(1.0, 1.0)]},
    ]
    found = reading.from_bench(bench(tmp_path, runs), "farm")
    assert [point.tasks_per_message for point in found.points] == pytest.approx([1, 250])
    assert found.points[0].cpu_seconds["server"] == pytest.approx(200e-6)
    assert found.points[0].wire_bytes == pytest.approx(500 + 7 * wire.line_bytes())
    assert found.server_cores_used == pytest.approx(9.0)


def test_tasks_in_a_message_are_those_that_were_measured(tmp_path: Path) -> None:
    runs: list[dict[str, object]] = [
        {"case": CASE, "farm": [run(0.1, 7.0)]},
        {"case": CASE | {"granularity": "4096"}, "farm": [run(0.01, 0.007)]},
    ]
    found = reading.from_bench(bench(tmp_path, runs), "farm")
    assert [point.tasks_per_message for point in found.points] == pytest.approx([1, 1000])
    assert found.sizes(1, 256) == [1, 256, 1000]
    assert "4,096" not in tables.cost_table(found) + tables.setup_table(found)
    # The wait is for whole messages, of as many tasks as there were.
    message_seconds = 1000 * found.points[-1].cpu_seconds["server"] * model.SERIAL
    assert model.stream_wait_seconds(found, 1000, 0.5) == pytest.approx(message_seconds / 2)


def rust_number(file: str, name: str) -> float:
    """Read a constant out of the source that the model speaks of."""
    found = re.search(rf"const {name}: \w+ = ([^;]+);", (ROOT / file).read_text())
    assert found, f"{file} has no {name}"
    base, _, shift = found[1].replace("_", "").partition("<<")
    return float(base) * (1 << int(shift or 0))


def test_granularity_is_that_of_the_sdk() -> None:
    source = "farm-sdk/src/granularity.rs"
    assert rust_number(source, "CHUNK_SECONDS") == model.CHUNK_SECONDS
    assert rust_number(source, "ALONE_SECONDS") == model.ALONE_SECONDS
    assert rust_number(source, "MOST_BYTES") == model.MOST_BYTES
    assert rust_number("farm-core/src/chunk.rs", "MOST_TASKS") == model.MOST_TASKS
    # The values that its own tests expect.
    assert [model.chunk(s) for s in (1e-3, 99.99e-6, 1.99e-3, 2e-3, 10.0)] == [5, 50, 2, 1, 1]
    assert model.chunk(1e-9, task_bytes=1) == model.MOST_TASKS
    assert model.chunk(1e-9) == (256 << 10) // (128 + 4)
    uneven = model.chunk(1e-4, 1e-3)
    assert uneven < 50
    assert uneven * 1e-4 + uneven**0.5 * 1e-3 <= model.CHUNK_SECONDS


def test_subjects_are_those_of_the_topology() -> None:
    source = (ROOT / "farm-core/src/topology.rs").read_text()
    shapes = ("farm.{}.task.{job}", "farm.{}.result.{}.{}", "farm-{}-tasks", "farm-{}-results")
    for shape in shapes:
        assert f'"{shape}"' in source
    assert 'WORKERS_CONSUMER: &\'static str = "workers"' in source
    # What a server was seen to send; numbers have fewer digits early on.
    seen = (
        "HMSG farm.bench.result.01a200b20f5873caa8f786309f813dba.167 2 $JS.ACK.farm-bench-results"
        ".reading-dd3a12a83df242739a769cd41ee9c5a3.1.189.189.1795307999088746422.10 159 159"
    )
    assert len(wire.LINES[5]) == pytest.approx(len(seen), abs=15)


def test_processor_time_below_the_kernels_grain_is_not_nothing() -> None:
    cpu, _, _ = reading.medians([run(0.0, 1.0)])
    assert cpu["collector"] == pytest.approx(10e-6)


def test_the_figures_by_hand_make_every_table_but_the_simulated_one() -> None:
    known = reading.by_hand()
    for table in (tables.cost_table, tables.setup_table, tables.need_table, tables.thousand_table):
        assert table(known).count("\n") > 3
    assert "**not `farm bench`**" in known.source
    assert "pairs of streams" in tables.verdict(known)
